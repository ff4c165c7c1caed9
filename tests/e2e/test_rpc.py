"""A real Ethereum node over JSON-RPC: anvil, as package-lock.json pins it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from coordinator.daemons import free_ports, wait_for_chain
from coordinator.deploy import connect
from coordinator.progress import Silent
from coordinator.run import run
from hmchain.errors import ChainError
from tests.e2e.proxy import Answer, Call, Forward, Proxy
from tests.e2e.stripes import arguments_for, invoke, options_for
from tools import daemons

Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def port() -> int:
    """A port that nobody listens on."""
    return free_ports(1)[0]


@pytest.fixture
def anvil(port: int) -> Iterator[Start]:
    """Starts nodes on that port, and ends them."""
    nodes: list[subprocess.Popen[bytes]] = []

    def start(*options: str) -> subprocess.Popen[bytes]:
        command = [str(daemons.anvil()), "--silent", "--port", str(port), *options]
        nodes.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL))
        wait_for_chain(f"http://127.0.0.1:{port}")
        return nodes[-1]

    yield start
    for node in nodes:
        stop(node)


def stop(node: subprocess.Popen[bytes]) -> None:
    node.terminate()
    node.wait(10)


def test_a_phases_messages_share_a_block_of_a_chain_that_takes_its_time(
    port: int, anvil: Start, data: Path, tmp_path: Path
) -> None:
    """One after the other, each message would wait for a block of its own."""
    anvil("--block-time", "2")
    run(options_for(tmp_path / "run", data, chain=f"http://127.0.0.1:{port}", rounds=1), Silent())
    web3 = connect(f"http://127.0.0.1:{port}")
    used = [web3.eth.get_block(n)["transactions"] for n in range(1, web3.eth.block_number + 1)]
    together = [len(transactions) for transactions in used if transactions]
    assert len(together) < sum(together) * 2 / 3
    assert invoke("verify", tmp_path / "run")[0] == 0


def test_a_run_on_a_real_node_gives_the_same_model_and_verifies_until_the_node_is_another(
    port: int, anvil: Start, data: Path, tmp_path: Path
) -> None:
    url, folder = f"http://127.0.0.1:{port}", tmp_path / "run"
    node = anvil("--chain-id", "4242")
    summary = run(options_for(folder, data, chain=url), Silent())
    plain = run(options_for(tmp_path / "plain", data, chain=None), Silent())
    assert summary["model_digest"] == plain["model_digest"] is not None
    assert summary["gas"]["round_total"]["min"] > 100_000
    assert not (folder / "ledger.jsonl").exists()

    code, out, err = invoke("verify", folder, "--json", "--data-root", data)
    assert (code, err) == (0, "")
    assert json.loads(out)["chain"] == url

    blob = max((folder / "blobs").iterdir(), key=lambda path: path.stat().st_size)
    content = blob.read_bytes()
    blob.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert invoke("verify", folder)[0] == 1
    blob.write_bytes(content)

    stop(node)
    assert invoke("verify", folder) == (
        ChainError.exit_code,
        "executing the ledger again\n",
        f"hmchain: no Ethereum node answers at {url}\n",
    )
    node = anvil("--chain-id", "4343")
    code, _, err = invoke("verify", folder)
    assert (code, err) == (ChainError.exit_code, f"hmchain: {url} is chain 4343, the run was on chain 4242\n")
    stop(node)
    anvil("--chain-id", "4242")
    code, _, err = invoke("verify", folder)
    assert (code, err) == (
        ChainError.exit_code,
        f"hmchain: the transaction that created the contract is not on the chain of {url}: the node is behind, or its "
        "chain is another\n",
    )


def test_a_chain_without_a_price_for_gas_needs_no_funds(port: int, anvil: Start, data: Path, tmp_path: Path) -> None:
    """As Besu is run in a consortium."""
    anvil("--gas-price", "0", "--base-fee", "0", "--accounts", "0")
    summary = run(options_for(tmp_path / "run", data, chain=f"http://127.0.0.1:{port}", rounds=1), Silent())
    assert summary["completed_rounds"] == 1


def test_blocks_may_be_small_and_nodes_may_want_a_tip(port: int, anvil: Start, data: Path, tmp_path: Path) -> None:
    """As geth's developer mode has it."""
    url = f"http://127.0.0.1:{port}"
    anvil("--gas-limit", "11500000")
    summary = run(options_for(tmp_path / "run", data, chain=url, rounds=1), Silent())
    assert summary["completed_rounds"] == 1
    web3 = connect(url)
    (last,) = web3.eth.get_block("latest", full_transactions=True)["transactions"]
    assert last["maxPriorityFeePerGas"] > 0


def test_a_node_that_stops_in_the_middle_ends_the_run_with_one_line(
    port: int, anvil: Start, data: Path, tmp_path: Path
) -> None:
    class Saboteur(Silent):
        def note(self, text: str) -> None:
            """The run has begun."""

        def step(self, *_: object) -> None:
            stop(node)

    node = anvil()
    with pytest.raises(ChainError, match=r"^http://127.0.0.1:\d+ does not answer \(ConnectionError\)$"):
        run(options_for(tmp_path / "run", data, chain=f"http://127.0.0.1:{port}"), Saboteur())


def test_a_node_that_has_nothing_to_pay_with_is_refused(port: int, anvil: Start, data: Path, tmp_path: Path) -> None:
    anvil("--accounts", "0")
    code, _, err = invoke(*arguments_for(data, chain=f"http://127.0.0.1:{port}"), "--out", tmp_path / "run")
    assert (code, err) == (
        ChainError.exit_code,
        "hmchain: gas has a price on this chain, and its node has no unlocked account to pay it from\n",
    )
    assert not (tmp_path / "run").exists()


def test_blocks_with_validators_and_seals_as_qbft_writes_them_are_read(
    port: int, anvil: Start, data: Path, tmp_path: Path
) -> None:
    """anvil's own blocks have next to nothing in extraData, where a QBFT header of four validators has 500 bytes."""

    def sealed(call: Call, forward: Forward) -> Answer | None:
        answer = forward()
        if not call.method.startswith("eth_getBlock"):
            return answer
        return answer.edited(lambda block: block | {"extraData": "0x" + "f8" * 500})

    anvil()
    proxy = Proxy(f"http://127.0.0.1:{port}", sealed)
    try:
        assert run(options_for(tmp_path / "run", data, chain=proxy.url, rounds=1), Silent())["completed_rounds"] == 1
    finally:
        proxy.close()
