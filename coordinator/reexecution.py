"""Executes again, from signed transactions alone, what a node says happened; replay.py does so with a recorded ledger.

A node could tell of messages that nobody sent. So every transaction of which it tells events is asked for in whole: it
must be signed, and our own bytecode, called by its sender at the time of its block, must log the events that were told
and no others. So a node can neither make up nor change what a member or the coordinator said, nor leave out anything
that matters later. It can keep back what came last, and tell another order or other times, if nothing else comes of
them.

A call that anyone may make can come by way of another contract, whose code is not here: what it led to must follow from
the calls of advance and strike that explain it. Messages of other jobs are left out, which have their own state, and
transactions without events: those of advance that only write down what the clock has done.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter
from typing import cast

from web3 import Web3
from web3.types import LogReceipt

from coordinator.folder import RunFile
from hmchain.chain import ChainClient
from hmchain.contract import Artifact, Decoder, Event
from hmchain.errors import ChainError
from hmchain.ethereum import Deployment
from hmchain.machine import Execution, Machine, address_of
from hmchain.signed import Signed, find_signed

ANYONE = "0x" + "00" * 20  # who calls does not matter there
NOWHERE = {"blockNumber": 0, "logIndex": 0, "transactionHash": b""}  # where a log is that is in no block
NOT_ACTIVE = 2  # IMasterElection.Withdrawal: struck out by whoever noticed


def reexecute(web3: Web3, run: RunFile, deployment: Deployment, events: Sequence[Event], head: int) -> None:
    """Executes all that matters to the run's job, up to the block `head`; `events` are what the node told of the run's
    contract. Raises ChainError for the first transaction that did not do what was told.
    """
    again = _Reexecution(web3, run, deployment)
    for told in _by_transaction([*events, *again.votes(head)]):
        matters = [event for event in told if _matters(event, run.job)]
        if matters:
            again.execute(matters)


def _by_transaction(events: Iterable[Event]) -> Iterator[list[Event]]:
    found: dict[str, list[Event]] = {}
    for event in sorted(events, key=attrgetter("block", "index")):
        found.setdefault(event.transaction, []).append(event)
    yield from found.values()


def _matters(event: Event, job: int) -> bool:
    return event.name == "JobCreated" or event.args.get("job", job) == job


class _Reexecution:
    """The run's contract and its Ballots, as far as they have been executed."""

    def __init__(self, web3: Web3, run: RunFile, deployment: Deployment) -> None:
        self._web3 = web3
        self._run = run
        self._deployment = deployment
        self._contract = ChainClient(web3, None, run.contract)
        self._machine = Machine(run.chain_id)
        self._times: dict[int, int] = {}
        self._nonces: dict[str, int] = {}
        self._create()
        ballots = self._machine.call(ANYONE, run.contract, self._contract.encode("ballots"), 0).output
        self._ballots = ChainClient(web3, None, "0x" + ballots[-20:].hex(), Artifact.load("Ballots"))
        self._decoders: dict[str, Decoder] = {each.address: each.decoder for each in (self._contract, self._ballots)}

    def _create(self) -> None:
        creation, code, block = self._signed(self._run.deployment), Artifact.load().bytecode, self._deployment.block
        created = address_of(creation.sender, creation.nonce)
        if (creation.to, creation.data, created) != (None, code, self._run.contract):
            raise self._untrue(self._run.deployment, block, "it creates another contract than the run's")
        self._machine.create(creation.sender, creation.nonce, code, self._time_of(block))

    def votes(self, head: int) -> Iterator[Event]:
        """What the node tells of votes, up to the block `head`. Raises ChainError."""
        return self._ballots.events(self._deployment.block, head)

    def execute(self, told: Sequence[Event]) -> None:
        """Executes a transaction again, of which these events were told. Raises ChainError."""
        transaction, block = told[0].transaction, told[0].block
        signed, time = self._signed(transaction), self._time_of(block)
        if signed.to is not None and signed.to in self._decoders:
            calls = [(signed.sender, signed.to, signed.data)]
        else:
            calls = [(ANYONE, self._contract.address, data) for data in self._calls_of_anyone(told)]
        found: list[Event] = []
        for sender, to, data in calls:
            done = self._machine.call(sender, to, data, time)
            if done.failed:
                raise self._untrue(transaction, block, str(self._decoders[to].error(done.output)))
            found += (event for event in self._events(done) if _matters(event, self._run.job))
        if [(event.name, event.args) for event in found] != [(event.name, event.args) for event in told]:
            names = ", ".join(event.name for event in found)
            raise self._untrue(transaction, block, f"it logs {names or 'nothing'}, with other contents or in part")

    def _calls_of_anyone(self, told: Iterable[Event]) -> Iterator[bytes]:
        """The calls, open to everyone, that these events can come from."""
        advanced = set()
        for name, args in ((event.name, event.args) for event in told):
            if name == "MemberWithdrawn" and args["reason"] == NOT_ACTIVE:
                yield self._contract.encode("strike", args["job"], args["member"])
            elif "job" in args and args["job"] not in advanced:
                advanced.add(args["job"])
                yield self._contract.encode("advance", args["job"])

    def _events(self, done: Execution) -> Iterator[Event]:
        for log in done.logs:
            found = {**NOWHERE, "topics": log.topics, "data": log.data}
            yield from self._decoders[log.address].events([cast(LogReceipt, found)])

    def _signed(self, transaction: str) -> Signed:
        """A transaction, later than all others of its sender: two with one nonce cannot both be on a chain."""
        signed = find_signed(self._web3, transaction, self._run.chain_id)
        if signed.nonce <= self._nonces.get(signed.sender, -1):
            raise ChainError(f"the chain's node puts transaction {transaction} after a later one of its sender")
        self._nonces[signed.sender] = signed.nonce
        return signed

    def _time_of(self, block: int) -> int:
        if block not in self._times:
            self._times[block] = self._contract.block(block).time
        return self._times[block]

    def _untrue(self, transaction: str, block: int, fault: str) -> ChainError:
        where = f"transaction {transaction} in block {block}"
        return ChainError(f"{self._run.chain_shown} does not tell the truth about {where}; executed again: {fault}")
