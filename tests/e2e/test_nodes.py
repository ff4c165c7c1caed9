"""`hmchain verify` of a run on a real node, behind a proxy that makes the node lag, leave out or lie."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import requests
from eth_utils import encode_hex, event_abi_to_log_topic

from coordinator.daemons import free_ports, wait_for_chain
from coordinator.deploy import connect
from coordinator.progress import Silent
from coordinator.run import run
from hmchain.contract import Artifact
from tests.e2e.proxy import Answer, Call, Forward, Proxy, Rule, ask, pass_on
from tests.e2e.stripes import arguments_for, invoke, options_for
from tools import daemons


@dataclass(frozen=True)
class Told:
    """A finished run, its node's URL, a proxy before it; the numbers of its first and last block."""

    folder: Path
    node: str
    proxy: Proxy
    first: int
    last: int

    def verify(self, rule: Rule) -> tuple[int, dict[str, Any], str]:
        """Exit code, verdict and the line on standard error, with the proxy's URL as URL."""
        self.proxy.rule = rule
        code, out, err = invoke("verify", self.folder, "--json")
        return code, json.loads(out or "{}"), err.replace(self.proxy.url, "URL")


@pytest.fixture(scope="module")
def told(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    """It is copied nowhere: nobody may write to its folder."""
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    command = [str(daemons.anvil()), "--silent", "--port", str(port), "--chain-id", "4242"]
    node = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    proxy = Proxy(url)
    try:
        wait_for_chain(proxy.url)
        folder = tmp_path_factory.mktemp("told") / "run"
        run(options_for(folder, data, chain=proxy.url), Silent())
        web3 = connect(proxy.url)
        deployment = json.loads((folder / "run.json").read_text())["deployment"]
        yield Told(
            folder, url, proxy, web3.eth.get_transaction_receipt(deployment)["blockNumber"], web3.eth.get_block_number()
        )
    finally:
        proxy.close()
        node.terminate()
        node.wait(10)


def at_block(last: int) -> Rule:
    """A node that has no more blocks than this one."""

    def known(found: Any) -> Any:
        return found if found and int(found["blockNumber"], 16) <= last else None

    def rule(call: Call, forward: Forward) -> Answer | None:
        if call.method == "eth_blockNumber":
            return forward().edited(lambda _: hex(last))
        if call.method == "eth_getBlockByNumber" and call.params[0] == "latest":
            return forward(ask(call.method, hex(last), False))
        if call.method == "eth_getLogs":
            return forward().edited(lambda logs: [log for log in logs if known(log)])
        if call.method.startswith("eth_getTransaction"):
            return forward().edited(known)
        return forward()

    return rule


def test_what_a_node_that_is_behind_does_not_know_is_no_evidence_against_a_run(told: Told) -> None:
    assert told.verify(at_block(told.last))[0] == 0
    for last in range(told.first, told.last, 7):
        line = f"hmchain: URL is at block {last} and knows no report on job 1: the node is behind, or the run broke off"
        assert told.verify(at_block(last)) == (4, {}, f"{line} before it filed one\n"), last
    assert told.verify(at_block(told.first - 1)) == (
        4,
        {},
        "hmchain: the transaction that created the contract is not on the chain of URL: the node is behind, or its "
        "chain is another\n",
    )


def test_a_run_that_has_no_report_did_not_finish_whatever_its_node_knows(told: Told, tmp_path: Path) -> None:
    shutil.copytree(told.folder, tmp_path / "run")
    (tmp_path / "run/summary.json").unlink()
    told.proxy.rule = at_block(told.last - 1)
    code, out, _ = invoke("verify", tmp_path / "run", "--json")
    assert (code, json.loads(out)["reason"]) == (1, "the run did not finish: 2 of 2 rounds, no report")


def giving(method: str, edit: Callable[[Any], Any]) -> Rule:
    """A node that answers one method with something else in place of the truth, where it knows one."""

    def rule(call: Call, forward: Forward) -> Answer | None:
        answer = forward()
        return answer.edited(lambda found: edit(found) if found else found) if call.method == method else answer

    return rule


OTHER = "0x" + "11" * 20
NOT_ASKED_FOR = {
    "another contract's": (
        lambda logs: [log | {"address": OTHER} for log in logs],
        "of another contract than was asked",
    ),
    "twice": (lambda logs: [logs[0], *logs], "that occur twice, or not in the order of the chain"),
    "in another order": (lambda logs: logs[::-1], "that occur twice, or not in the order of the chain"),
    "of later blocks": (lambda logs: [*logs[:-1], logs[-1] | {"blockNumber": "0xffff"}], "of other blocks than were"),
}


@pytest.mark.parametrize("lie", NOT_ASKED_FOR)
def test_logs_that_nobody_asked_for_are_the_nodes_fault(lie: str, told: Told) -> None:
    edit, said = NOT_ASKED_FOR[lie]
    code, verdict, line = told.verify(giving("eth_getLogs", edit))
    assert (code, verdict) == (4, {})
    assert f"does not answer as it should: ValueError: logs {said}" in line


def test_a_chain_longer_than_there_can_be_is_not_read_to_its_end(told: Told) -> None:
    def rule(call: Call, forward: Forward) -> Answer | None:
        if call.method == "eth_getLogs" and int(call.params[0]["fromBlock"], 16) > told.last:
            return Answer.error(0, "nobody should get here")
        if call.method == "eth_blockNumber":
            return forward().edited(lambda _: hex(2**60))
        if call.method == "eth_getBlockByNumber":
            return forward(ask(call.method, "latest", False)).edited(lambda block: block | {"number": hex(2**60)})
        return forward()

    line = f"hmchain: the chain's node claims to have block {2**60}: no chain is as long as that\n"
    assert told.verify(rule) == (4, {}, line)


def test_a_chain_that_changes_while_it_is_read_proves_nothing(told: Told) -> None:
    seen: list[str] = []

    def another_later(block: dict[str, Any]) -> dict[str, Any]:
        seen.append(block["hash"])
        return block if len(seen) == 1 else block | {"hash": "0x" + "22" * 32}

    line = f"hmchain: block {told.last} changed while the chain was read\n"
    assert told.verify(giving("eth_getBlockByNumber", another_later)) == (4, {}, line)


@pytest.mark.parametrize("lacking", ["UpdateSubmitted", "ScoresCommitted", "ModelProposed", "RoundFinalized"])
def test_a_node_that_leaves_out_what_others_follow_from_is_at_fault(lacking: str, told: Told) -> None:
    (topic,) = (event_abi_to_log_topic(part) for part in Artifact.load().abi if part.get("name") == lacking)

    def without(logs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        first = next(log for log in logs if log["topics"][0] == encode_hex(topic))
        return [log for log in logs if log is not first]

    code, verdict, line = told.verify(giving("eth_getLogs", without))
    assert (code, verdict) == (4, {})
    assert line.startswith("hmchain: the chain's events make no sense (LookupError: ")


def test_a_run_whose_node_gives_receipts_without_logs_ends_with_one_line(
    told: Told, data: Path, tmp_path: Path
) -> None:
    told.proxy.rule = giving("eth_getTransactionReceipt", lambda receipt: receipt | {"logs": []})
    code, _, line = invoke(*arguments_for(data, chain=told.proxy.url), "--out", tmp_path / "run")
    assert (code, line) == (4, "hmchain: the chain's node gives a receipt that lacks JobCreated\n")
    assert not (tmp_path / "run").exists()


# ---------------------------------------------------------------- URLs that hold secrets


def test_what_is_secret_in_the_url_of_a_node_is_neither_written_nor_printed(
    told: Told, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor need it stand on the command line, where every user of the machine may read it."""

    def rule(call: Call, _: Forward) -> Answer | None:
        if call.path != "/v3/hunter3":
            return Answer(401, b"")
        answer = requests.post(told.node, call.body, headers={"Content-Type": "application/json"}, timeout=60)
        return Answer(answer.status_code, answer.content)

    told.proxy.rule, folder = rule, tmp_path / "run"
    url = told.proxy.url.replace("//", "//user:hunter2@") + "/v3/hunter3"
    monkeypatch.setattr("sys.stdin", StringIO(f"{url}\n" * 2))
    said = [invoke(*arguments_for(data, chain="-", rounds=1), "--out", folder)]
    assert f"check it with: hmchain verify {folder} --chain URL --data-root {data}\n" in said[0][1]
    said += [invoke("verify", folder), invoke("verify", folder, "--chain", "-")]
    assert [code for code, _, _ in said] == [0, 4, 0]
    assert f"chain  {told.proxy.url}, contract 0x" in said[2][1]
    assert "the report says without proof: attack, malicious" in said[2][1], "the chain's URL is the report's"

    told.proxy.rule = at_block(told.last)
    said.append(invoke("verify", folder, "--chain", url))
    told.proxy.rule = giving("eth_chainId", lambda _: "0x7")
    said.append(invoke("verify", folder, "--chain", url))
    assert [code for code, _, _ in said[3:]] == [4, 4]
    assert "standard input has no URL" in invoke("verify", folder, "--chain", "-")[2]

    assert not any("hunter" in text for _, *both in said for text in both)
    assert not any(b"hunter" in path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_a_run_may_be_verified_by_another_url_of_its_chain(told: Told) -> None:
    told.proxy.rule = lambda call, forward: None
    code, out, err = invoke("verify", told.folder, "--json", "--chain", told.node)
    assert (code, err) == (0, "")
    verdict = json.loads(out)
    assert verdict["chain"] == told.node
    assert "the report says without proof: chain, attack," in verdict["notes"][0]


def test_a_run_that_earlier_kept_a_whole_url_does_not_print_it(told: Told, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(told.folder, tmp_path / "run"))
    content = (folder / "run.json").read_text()
    (folder / "run.json").write_text(content.replace("//127.0.0.1", "//user:hunter2@127.0.0.1"))
    for rule, expected in ((pass_on, 0), (at_block(told.last - 1), 4), (at_block(0), 4)):
        told.proxy.rule = rule
        code, *said = invoke("verify", folder)
        assert code == expected
        assert not any("hunter" in text for text in said)
