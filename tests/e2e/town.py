"""A consortium of real processes under test: anvil, Kubo daemons and nodes, each behind proxies that can do harm."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
from web3 import HTTPProvider, Web3
from web3.types import RPCEndpoint

from coordinator import daemons, local, local_founding
from coordinator.daemons import Kubo
from coordinator.deploy import fund
from coordinator.jobs import read_manifest
from coordinator.processes import tail_of
from hmchain.chain import ChainClient
from hmchain.consortium import Consortium
from hmchain.contract import Event
from hmchain.errors import HMChainError
from hmchain.history import History
from hmchain.ledger import ContractLedger, JobFeed
from hmchain.manifest import Manifest
from hmchain.rounds import RoundState
from tests.e2e.proxy import CONTRACT, Proxy, Rule
from tests.e2e.stripes import NAME
from tests.e2e.undisturbed import contract_of, keys_of
from tests.e2e.undisturbed import undisturbed as undisturbed
from tools import daemons as tools
from trainers import keystore
from trainers.config import FILE
from trainers.splits import Shard, write_shard

HOSPITALS = 5
PATIENCE = 240.0  # seconds; what is waited for takes a few
QUICK: dict[str, Any] = {"fraction": 0.4, "masters": 4, "epochs": 1, "batch_size": 16, "learning_rate": 0.1, "seed": 0}
QUICK |= {"standard": "relative:-1"}  # whatever was learnt passes: a round without a model is a round that went wrong


class Town:
    """Made by `Town(folder, data, rounds=…)`, started piece by piece, and stopped by `close`."""

    chain_options: tuple[str, ...] = ()

    def __init__(self, folder: Path, data: Path, hospitals: int = HOSPITALS, **job: Any) -> None:
        tools.anvil(), tools.ipfs()
        self.local = local_founding.prepare(folder, hospitals, NAME, data, "iid", QUICK | job)
        self.rpc = {n: Proxy(self.local.url) for n in range(1, hospitals + 1)}
        self.ipfs = {n: Proxy(f"http://127.0.0.1:{k.api_port}") for n, k in enumerate(self.local.kubos, start=1)}
        self.lonely: dict[int, int] = {}
        self._spare: list[Proxy] = []
        for n in self.rpc:
            self._use_proxies(n)

    def _use_proxies(self, hospital: int) -> None:
        store = f"ipfs:/ip4/127.0.0.1/tcp/{self.ipfs[hospital].port}"
        self.configure(hospital, urls=[self.rpc[hospital].url], store=store)
        self.configure(hospital, poll_seconds=0.2, worker_idle_seconds=600.0, start_after_seconds=120.0)

    def configure(self, hospital: int, table: str = "", **changes: Any) -> None:
        """Changes keys of a hospital's configuration; of one table where others have keys of that name, too."""
        path = self.folder(hospital) / FILE
        text, within = path.read_text(), rf"\[{table}\]\n(?:(?!\[).*\n)*?" if table else ""
        for key, value in changes.items():
            line = f"{key} = {json.dumps(value)}"
            text, count = re.subn(rf"(?m)^({within}){key} = .*$", lambda found, line=line: found[1] + line, text)
            assert count == 1, key
        path.write_text(text)

    def give_nodes(self, hospital: int, *rules: Rule) -> None:
        """A hospital's Ethereum nodes in its order of preference: one for each rule, then the chain as it is."""
        proxies = [Proxy(self.local.url, rule) for rule in rules]
        self._spare += proxies
        self.configure(hospital, urls=[*(proxy.url for proxy in proxies), self.local.url])

    def folder(self, hospital: int) -> Path:
        return self.local.hospitals[hospital - 1]

    # ------------------------------------------------------------------ processes

    def found(self) -> None:
        """Chain and blobs run, the consortium is founded, the job created."""
        self._introduce_daemons()
        self.start_chain()
        for n in self.ipfs:
            self.start_ipfs(n)
        local_founding.found_members(self.local)
        local_founding.create_first_job(self.local)

    def _introduce_daemons(self) -> None:
        """Every IPFS daemon to every other; one that is `lonely` to its only friend, and to nobody else."""
        daemons.connect_all(self.local.kubos, daemons.swarm_key())
        kubos = dict(enumerate(self.local.kubos, start=1))
        for n, kubo in kubos.items() if self.lonely else ():
            known = [m for m in kubos if m != n and self.lonely.get(n, m) == m and self.lonely.get(m, n) == n]
            kubo.configure({identity_of(kubos[m]): kubos[m] for m in known})

    def start_chain(self) -> None:
        chain = self.local.folder / "chain"
        chain.mkdir(exist_ok=True)
        options = ("--chain-id", str(daemons.CHAIN_ID), *self.chain_options)
        command = daemons.anvil_command(self.local.anvil, self.local.chain_port, chain / "state.json", *options)
        self.local.processes.start("chain", command, chain / "anvil.log")
        daemons.wait_for_chain(self.local.url)

    def start_ipfs(self, hospital: int, wait: bool = True) -> None:
        kubo = self.local.kubos[hospital - 1]
        self.local.processes.start(f"ipfs-{hospital}", kubo.command, self.folder(hospital) / "ipfs.log")
        if wait:
            kubo.wait()

    def start_node(self, hospital: int) -> None:
        command = local.node_command(self.folder(hospital))
        self.local.processes.start(f"node-{hospital}", command, self.folder(hospital) / "node.log")

    def start_nodes(self) -> None:
        for n in self.rpc:
            self.start_node(n)

    def settle(self, shard: Shard) -> int:
        """One more hospital, whose IPFS daemon knows all others and whose node waits to be admitted. Returns its number
        in this town.
        """
        number = len(self.local.hospitals) + 1
        swarm, api = daemons.free_ports(2)
        others = {identity_of(kubo): kubo for kubo in self.local.kubos}
        ports = {"swarm_ports": (*self.local.swarm_ports, swarm), "api_ports": (*self.local.api_ports, api)}
        key = (self.local.kubos[0].repository / "swarm.key").read_bytes()
        self.local = replace(self.local, **ports)
        kubo = self.local.kubos[-1]
        card = local_founding.make_hospital(self.folder(number), f"Hospital {number}", self.local.url, kubo.api)
        write_shard(self.folder(number) / "data.npz", shard)
        shutil.copy(self.local.folder / local.CONSORTIUM, self.folder(number))
        fund(self.web3, [card.operator])
        self.rpc[number], self.ipfs[number] = Proxy(self.local.url), Proxy(f"http://127.0.0.1:{api}")
        self._use_proxies(number)
        kubo.create(key)
        kubo.configure(others)
        self.start_ipfs(number)
        self.start_node(number)
        return number

    def kill(self, name: str) -> None:
        """SIGKILL."""
        self.local.processes.stop(name, force=True)

    def stop_chain(self) -> None:
        """SIGTERM, between two blocks: anvil writes its state down beside what it executes, and a block that came in
        between is lost in part, its storage kept and its events not. No chain does that; what waits is lost as a whole.
        """
        eth, head = self.web3.eth, -1
        while eth.get_block_transaction_count("pending"):
            time.sleep(0.02)
        self.web3.provider.make_request(RPCEndpoint("evm_setAutomine"), [False])
        while head != (head := eth.block_number):
            time.sleep(0.2)
        self.local.processes.stop("chain")

    def let_deadline_pass(self) -> None:
        """The first job's present one, on the chain's clock."""
        seconds = self.state().deadline - self.client.block().time + 1
        for method, parameters in (("evm_increaseTime", [seconds]), ("evm_mine", [])):
            self.web3.provider.make_request(RPCEndpoint(method), parameters)

    def running(self, name: str) -> bool:
        return self.local.processes.runs(name)

    def log(self, hospital: int) -> str:
        return (self.folder(hospital) / "node.log").read_text()

    def close(self) -> None:
        processes = self.local.processes
        for name in processes.running():
            processes.stop(name, force=True)
        for proxy in (*self.rpc.values(), *self.ipfs.values(), *self._spare):
            proxy.close()

    # ------------------------------------------------------------------ what happened

    @property
    def web3(self) -> Web3:
        return Web3(HTTPProvider(self.local.url))

    @property
    def client(self) -> ChainClient:
        """The contract on the chain itself, by no proxy."""
        return ChainClient(self.web3, None, self.consortium.contract)

    @property
    def consortium(self) -> Consortium:
        return Consortium.read(self.local.folder / local.CONSORTIUM)

    def client_of(self, hospital: int) -> ChainClient:
        """The same for a hospital's own account, while its node is not running."""
        return ChainClient(self.web3, keys_of(self.folder(hospital)).identity.account, self.consortium.contract)

    def history(self) -> History:
        """As the chain itself has it."""
        return self._feed().poll()

    def _feed(self) -> JobFeed:
        return JobFeed(self.client, self.consortium.block, wary=True)

    def events(self) -> list[Event]:
        """All that the contract told, in order."""
        return list(self.client.events(self.consortium.block, self.client.head()))

    def state(self) -> RoundState:
        """The first job's round now."""
        feed = self._feed()
        feed.poll()
        return ContractLedger(self.client, feed, 1, 0).state()

    def wait(self, what: str, condition: Callable[[History], Any], patience: float = PATIENCE) -> Any:
        """Until a condition on the history holds."""
        deadline, feed = time.monotonic() + patience, self._feed()
        while time.monotonic() < deadline:
            try:
                if found := condition(feed.poll()):
                    return found
            except (OSError, ValueError, HMChainError):
                pass
            time.sleep(0.2)
        raise AssertionError(f"{what} did not happen; the nodes say: {self.last_words()}")

    def last_words(self) -> str:
        """The end of every node's log."""
        return " | ".join(f"{n}: {tail_of(self.folder(n) / 'node.log', 6)}" for n in self.rpc)

    def wait_for_round(self, number: int) -> None:
        """Until a round is over."""
        self.wait(f"the end of round {number}", lambda h: _over(h, number))

    def wait_until_closed(self) -> History:
        self.wait("the end of the job", lambda h: h.jobs[1].closed)
        return self.history()

    def account(self, hospital: int) -> str:
        """A hospital's operator account."""
        return keystore.address_of(self.folder(hospital) / "keys" / keystore.OPERATOR)

    def nonce(self, hospital: int) -> int:
        """How many transactions of a hospital are in blocks."""
        return self.web3.eth.get_transaction_count(Web3.to_checksum_address(self.account(hospital)))

    def sent(self) -> Counter[tuple[Any, ...]]:
        """How often each message was sent: function, sender and, where it has them, job and round."""
        messages: Counter[tuple[Any, ...]] = Counter()
        web3 = self.web3
        contract = self.consortium.contract
        for number in range(web3.eth.block_number + 1):
            for transaction in web3.eth.get_block(number, full_transactions=True)["transactions"]:
                if transaction.get("to") == contract:  # type: ignore[union-attr]
                    function, arguments = CONTRACT.decode_function_input(transaction["input"])  # type: ignore[index]
                    key = function.fn_name, transaction["from"], arguments.get("job"), arguments.get("round")  # type: ignore[index]
                    messages[key] += 1
        return messages

    def secrets(self) -> Iterator[tuple[str, str]]:
        """What no log and no command line may ever hold, and what it is."""
        manifest: Manifest = read_manifest(self.local.folder / local.JOB)
        yield "AGE-SECRET-KEY", "an age secret key"
        yield (self.local.kubos[0].repository / "swarm.key").read_text().split()[-1], "the swarm's key"
        for n, folder in enumerate(self.local.hospitals, start=1):
            identity = keys_of(folder).identity
            yield (folder / "password").read_text().strip(), f"hospital {n}'s password"
            yield bytes(identity.account.key).hex(), f"hospital {n}'s operator key"
            yield identity.encryption.raw().hex(), f"hospital {n}'s encryption key"
            yield identity.salt_secret.hex(), f"hospital {n}'s salt secret"
            identity = identity.for_job(daemons.CHAIN_ID, contract_of(self.local), 1)
            for number in range(1, manifest.rounds + 1):
                yield identity.salt(manifest.digest(), number).hex(), f"hospital {n}'s salt of round {number}"

    def leaks(self) -> list[str]:
        """Secrets that a log or a command line of this machine holds: what, and where."""
        logs = self.local.folder.rglob("*.log")
        texts = {str(path): path.read_text(errors="replace").lower() for path in logs}
        wanted = {str(folder / name) for folder in self.local.hospitals for name in ("node.log", "ipfs.log")}
        assert wanted <= set(texts)
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                texts[f"process {process.pid}"] = " ".join(process.cmdline()).lower()
        return [
            f"{what} in {where}"
            for secret, what in self.secrets()
            for where, text in texts.items()
            if secret.lower() in text
        ]


def _over(history: History, number: int) -> bool:
    record = history.jobs[1].rounds.get(number)
    return record is not None and (record.model is not None or record.failed is not None)


def identity_of(kubo: Kubo) -> str:
    """The name by which an IPFS daemon knows another one."""
    return str(json.loads((kubo.repository / "config").read_text())["Identity"]["PeerID"])
