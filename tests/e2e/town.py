"""A consortium of real processes under test: anvil, Kubo daemons and nodes, each behind proxies that can do harm."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from web3 import HTTPProvider, Web3

from coordinator import daemons, local
from coordinator.jobs import read_manifest
from coordinator.local import Local
from hmchain.chain import ChainClient
from hmchain.consortium import Consortium
from hmchain.errors import HMChainError
from hmchain.exchange import DirectExchange, model_header
from hmchain.history import History
from hmchain.ledger import JobFeed, Ledger
from hmchain.manifest import Manifest
from hmchain.plain import PlainJob
from hmchain.rounds import COORDINATOR, Phase
from hmchain.stopwatch import Stopwatch
from hmchain.weights import digest, encode, specification
from tests.e2e.proxy import CONTRACT, Proxy
from tests.e2e.stripes import NAME
from tools import daemons as tools
from trainers import keystore
from trainers.config import FILE
from trainers.hospital import Hospital, base_model, propose_aggregate
from trainers.learner import LocalLearner
from trainers.networks import Compute, build, initial_weights
from trainers.splits import load_shard

HOSPITALS = 5
PATIENCE = 240.0  # seconds; what is waited for takes a few
QUICK: dict[str, Any] = {"fraction": 0.4, "masters": 4, "epochs": 1, "batch_size": 16, "learning_rate": 0.1, "seed": 0}


class Town:
    """Made by `Town(folder, data, rounds=…)`, started piece by piece, and stopped by `close`."""

    def __init__(self, folder: Path, data: Path, hospitals: int = HOSPITALS, **job: Any) -> None:
        tools.anvil(), tools.ipfs()
        self.local = local.prepare(folder, hospitals, NAME, data, "iid", QUICK | job)
        self.rpc = {n: Proxy(self.local.url) for n in range(1, hospitals + 1)}
        self.ipfs = {n: Proxy(f"http://127.0.0.1:{k.api_port}") for n, k in enumerate(self.local.kubos, start=1)}
        for n in self.rpc:
            self.configure(n, urls=[self.rpc[n].url], store=f"ipfs:/ip4/127.0.0.1/tcp/{self.ipfs[n].port}")
            self.configure(n, poll_seconds=0.2, worker_idle_seconds=600.0, start_after_seconds=120.0)

    def configure(self, hospital: int, **changes: Any) -> None:
        """Changes keys of a hospital's configuration."""
        path = self.folder(hospital) / FILE
        text = path.read_text()
        for key, value in changes.items():
            line = f"{key} = {json.dumps(value)}"
            text, count = re.subn(rf"(?m)^{key} = .*$", line.replace("\\", r"\\"), text)
            assert count == 1, key
        path.write_text(text)

    def folder(self, hospital: int) -> Path:
        return self.local.hospitals[hospital - 1]

    # ------------------------------------------------------------------ processes

    def found(self) -> None:
        """Chain and blobs run, the consortium is founded, the job created."""
        daemons.connect_all(self.local.kubos, daemons.swarm_key())
        self.start_chain()
        for n in self.ipfs:
            self.start_ipfs(n)
        local.found_members(self.local)
        local.create_first_job(self.local)

    def start_chain(self) -> None:
        chain = self.local.folder / "chain"
        chain.mkdir(exist_ok=True)
        options = ("--chain-id", str(daemons.CHAIN_ID), *self.chain_options)
        command = daemons.anvil_command(self.local.anvil, self.local.chain_port, chain / "state.json", *options)
        self.local.processes.start("chain", command, chain / "anvil.log")
        daemons.wait_for_chain(self.local.url)

    chain_options: tuple[str, ...] = ()

    def start_ipfs(self, hospital: int) -> None:
        kubo = self.local.kubos[hospital - 1]
        self.local.processes.start(f"ipfs-{hospital}", kubo.command, self.folder(hospital) / "ipfs.log")
        kubo.wait()

    def start_node(self, hospital: int) -> None:
        command = local.node_command(self.folder(hospital))
        self.local.processes.start(f"node-{hospital}", command, self.folder(hospital) / "node.log")

    def start_nodes(self) -> None:
        for n in self.rpc:
            self.start_node(n)

    def kill(self, name: str) -> None:
        """SIGKILL."""
        self.local.processes.stop(name, force=True)

    def stop(self, name: str) -> None:
        """SIGTERM."""
        self.local.processes.stop(name)

    def running(self, name: str) -> bool:
        return name in self.local.processes.running()

    def log(self, hospital: int) -> str:
        return (self.folder(hospital) / "node.log").read_text()

    def close(self) -> None:
        processes = self.local.processes
        for name in processes.running():
            processes.stop(name, force=True)
        for proxy in (*self.rpc.values(), *self.ipfs.values()):
            proxy.close()

    # ------------------------------------------------------------------ what happened

    @property
    def web3(self) -> Web3:
        return Web3(HTTPProvider(self.local.url))

    def history(self) -> History:
        """As the chain itself has it, by no proxy."""
        consortium = Consortium.read(self.local.folder / local.CONSORTIUM)
        return JobFeed(ChainClient(self.web3, None, consortium.contract), consortium.block).poll()

    def wait(self, what: str, condition: Callable[[History], Any], patience: float = PATIENCE) -> Any:
        """Until a condition on the history holds."""
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            try:
                if found := condition(self.history()):
                    return found
            except (OSError, ValueError, HMChainError):
                pass
            time.sleep(0.2)
        raise AssertionError(f"{what} did not happen; node 1 says: {self.log(1)[-1500:]}")

    def wait_for_round(self, number: int) -> None:
        """Until a round is over."""
        self.wait(f"the end of round {number}", lambda h: _over(h, number))

    def wait_until_closed(self) -> History:
        self.wait("the end of the job", lambda h: h.jobs[1].closed)
        return self.history()

    def sent(self) -> Counter[tuple[Any, ...]]:
        """How often each message was sent: function, sender and, where it has them, job and round."""
        messages: Counter[tuple[Any, ...]] = Counter()
        web3 = self.web3
        contract = Consortium.read(self.local.folder / local.CONSORTIUM).contract
        for number in range(web3.eth.block_number + 1):
            for transaction in web3.eth.get_block(number, full_transactions=True)["transactions"]:
                if transaction.get("to") == contract:  # type: ignore[union-attr]
                    function, arguments = CONTRACT.decode_function_input(transaction["input"])  # type: ignore[index]
                    key = function.fn_name, transaction["from"], arguments.get("job"), arguments.get("round")  # type: ignore[index]
                    messages[key] += 1
        return messages


def _over(history: History, number: int) -> bool:
    record = history.jobs[1].rounds.get(number)
    return record is not None and (record.model is not None or record.failed is not None)


def undisturbed(here: Local) -> bytes:
    """The last model's digest where nothing happens: the same keys, data and job, in one process, with no chain."""
    manifest: Manifest = read_manifest(here.folder / local.JOB)
    initial = initial_weights(manifest.architecture, manifest.channels, len(manifest.classes), manifest.seed)
    exchange = DirectExchange(specification(initial))
    job = PlainJob(
        manifest.terms(), manifest.digest(), digest(encode(initial, model_header(manifest.digest(), 0, bytes(32))))
    )
    network, members = build(manifest.architecture, manifest.channels, len(manifest.classes)), {}
    for number, folder in enumerate(here.hospitals, start=1):
        shard = load_shard(folder / "data.npz")
        job.join(number, len(shard.train))
        identity = keystore.unlock(
            folder / "keys/operator.json", folder / "keys/encryption.json", (folder / "password").read_text().strip()
        ).identity
        ledger: Ledger = job.ledger(number)
        base = base_model(manifest.digest(), exchange, initial, ledger.records)
        learner = LocalLearner(manifest, shard, network, Compute())
        members[number] = Hospital(number, learner, identity, manifest, ledger, exchange, base, Stopwatch())
    job.start()
    coordinator = job.ledger(0)
    while (state := coordinator.state()).phase != Phase.CLOSED:
        if state.phase == Phase.COMMIT and COORDINATOR not in state.proposed:
            propose_aggregate(state, coordinator, exchange, manifest.digest(), Stopwatch())
            continue
        for number in state.clients if state.phase == Phase.REQUEST else state.masters:
            if (now := coordinator.state()).phase == state.phase and now.number == state.number:
                members[number].act(now)
    model = coordinator.records()[-1].model
    assert model is not None
    return model
