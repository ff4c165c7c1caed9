"""The real contract on the embedded chain and the plain model, driven together and compared after every step."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from typing import Any

from eth_account import Account
from eth_utils import keccak

from hmchain.chain import Artifact, ChainClient, Receipt
from hmchain.embedded import EmbeddedChain
from hmchain.errors import ContractError
from hmchain.protocol import Protocol
from hmchain.rounds import COORDINATOR, Phase, RoundState, Terms
from hmchain.scores import commitment_of, pack, unpack

SAMPLES = 1_000
BLOB = (b"\1" * 32, b"\2" * 32, 950_000)
AHEAD_OF_THE_CLOCK = 10**8  # seconds; py-evm then adds one second a block, whatever the time of day
SUSPEND, REINSTATE = 1, 2
ABOUT_ACCOUNTS = {"NotActiveMember", "NotCoordinator", "NotYourTurn", "AlreadyProposed"}  # the model has numbers there


class Consortium:
    """A deployment with `size` members, each with a data set, a coordinator and an outsider."""

    def __init__(self, size: int) -> None:
        accounts = [Account.from_key(keccak(b"account %d" % i)) for i in range(size + 2)]
        self.chain = EmbeddedChain([account.address for account in accounts])
        self.chain.travel(AHEAD_OF_THE_CLOCK)
        web3 = self.chain.web3
        self.coordinator, _ = ChainClient.deploy(web3, accounts[0])
        self.address = self.coordinator.address
        self.outsider = ChainClient(web3, accounts[-1], self.address)
        self.addresses = {number: accounts[number].address for number in range(1, size + 1)}
        self.members = {number: ChainClient(web3, accounts[number], self.address) for number in self.addresses}
        organisations = [(address, b"\3" * 32, b"Hospital".ljust(32, b"\0")) for address in self.addresses.values()]
        for start in range(0, size, 50):
            self.coordinator.transact("found", organisations[start : start + 50])
        self.coordinator.transact("seal")
        for member in self.members.values():
            member.transact("commitDataset", b"\4" * 32, SAMPLES)
        self.chain_id = int(web3.eth.chain_id)
        ballots, artifact = self.coordinator.call("ballots"), Artifact.load("Ballots")
        self._voters = {n: ChainClient(web3, accounts[n], ballots, artifact) for n in self.addresses}
        self.suspended: set[int] = set()

    def now(self) -> int:
        """The time of the latest block."""
        return int(self.chain.web3.eth.get_block("latest")["timestamp"])

    def travel(self, seconds: int) -> None:
        """Lets about that many seconds pass, at least one."""
        self.chain.travel(max(seconds, 2))

    def vote(self, motion: int, member: int) -> None:
        """Carries a motion: as many other members vote as it takes."""
        voters = [n for n in self._voters if n != member and n not in self.suspended]
        opened = self._voters[voters[0]].transact("proposeMotion", motion, member)
        ballot = opened.events[0].args["ballot"]
        for voter in voters[1 : self._voters[voters[0]].call("quorum", member)]:
            self._voters[voter].transact("vote", ballot)
        (self.suspended.add if motion == SUSPEND else self.suspended.discard)(member)


class SideBySide:
    """One job, on the contract and in the model. A sender is a member's number, None the coordinator, 0 an outsider."""

    def __init__(self, consortium: Consortium, terms: Terms, manifest: bytes, enrolled: Sequence[int]) -> None:
        self.consortium = consortium
        model = keccak(b"initial model")
        arguments = (terms.to_abi(), consortium.coordinator.account.address, manifest, model, BLOB, BLOB)
        created = consortium.members[1].transact("createJob", *arguments)
        self.job: int = created.events[0].args["job"]
        self.model = Protocol(terms, manifest, model, consortium.now, self.opening, self.job)
        self.finalised = model
        for member in [*consortium.members, 0]:
            self.model.commit_dataset(member, SAMPLES)
        self.model.suspend(0)  # an outsider is to the model what a member without rights is
        for member in enrolled:
            self.enrol(member)

    # ------------------------------------------------------------------ messages, to both

    def enrol(self, sender: int) -> bool:
        return self._both(sender, "enrol", (), lambda: self.model.enrol(sender))

    def withdraw(self, sender: int) -> bool:
        return self._both(sender, "withdraw", (), lambda: self.model.withdraw(sender))

    def strike(self, sender: int, member: int) -> bool:
        return self._both(sender, "strike", (member,), lambda: self.model.strike(member))

    def start(self, sender: int | None = None) -> bool:
        return self._both(sender, "startJob", (), lambda: self.model.start(sender))

    def submit(self, sender: int, round: int, position: int, samples: int = SAMPLES) -> bool:
        arguments = (round, position, samples, BLOB)
        return self._both(
            sender, "submitUpdate", arguments, lambda: self.model.submit_update(sender, round, position, samples)
        )

    def commit(self, sender: int, round: int, position: int, commitment: bytes) -> bool:
        arguments = (round, position, commitment)
        return self._both(sender, "commitScores", arguments, lambda: self.model.commit_scores(sender, *arguments))

    def reveal(self, sender: int, round: int, position: int, words: Sequence[int], salt: bytes) -> bool:
        arguments = (round, position, pack(words), salt)
        return self._both(
            sender, "revealScores", arguments, lambda: self.model.reveal_scores(sender, round, position, words, salt)
        )

    def propose(self, sender: int | None, round: int, position: int, model: bytes) -> bool:
        arguments = (round, position, model, BLOB)
        return self._both(
            sender, "proposeModel", arguments, lambda: self.model.propose_model(sender, round, position, model)
        )

    def attest(self, sender: int, round: int, position: int, model: bytes) -> bool:
        arguments = (round, position, model)
        return self._both(sender, "attestModel", arguments, lambda: self.model.attest_model(sender, *arguments))

    def advance(self, sender: int | None = 0) -> bool:
        return self._both(sender, "advance", (), self.model.advance)

    def opening(self, round: int, member: int, slots: Sequence[int], salt: bytes) -> bytes:
        where = (self.consortium.chain_id, self.consortium.address, self.job, round)
        return commitment_of(*where, self.consortium.addresses.get(member, self.consortium.address), slots, salt)

    # ------------------------------------------------------------------ a whole round by the book

    def play_round(self, words: Callable[[int], Sequence[int]], model: bytes) -> None:
        """Everyone drawn does its part; words gives a master's score words by its position."""
        state = self.model.round()
        number = state.number
        for position, client in enumerate(state.clients):
            assert self.submit(client, number, position)
        salts = [keccak(b"salt %d %d" % (number, master)) for master in state.masters]
        for position, master in enumerate(state.masters):
            assert self.commit(
                master, number, position, self.opening(number, master, pack(words(position)), salts[position])
            )
        for position, master in enumerate(state.masters):
            assert self.reveal(master, number, position, words(position), salts[position])
        if self.model.round().phase != Phase.COMMIT:
            return
        assert self.propose(None, number, COORDINATOR, model)
        for position, master in enumerate(state.masters):
            if self.model.round().number == number and self.model.round().phase == Phase.REPLY:
                assert self.attest(master, number, position, model)

    # ------------------------------------------------------------------ comparison

    def _both(self, sender: int | None, function: str, arguments: tuple[Any, ...], act: Callable[[], None]) -> bool:
        """Sends a message to the contract, then to the model at the same second; whether both accepted it."""
        judged, ended = len(self.model.judgements), len(self.model.outcomes)
        client = self._client(sender)
        contract, receipt = _refusal(client, lambda: client.transact(function, self.job, *arguments))
        plain, _ = _refusal(client, act)
        assert (contract and contract.name) == (plain and plain.name), f"{function}: {contract} here, {plain} in the model"
        if contract and plain and contract.name not in ABOUT_ACCOUNTS:
            assert tuple(contract.arguments) == plain.arguments, function
        if receipt is not None:
            self._compare_events(receipt, judged, ended)
            self.compare_standing()
        self.compare_round()
        return contract is None

    def _client(self, sender: int | None) -> ChainClient:
        if sender is None:
            return self.consortium.coordinator
        return self.consortium.members[sender] if sender else self.consortium.outsider

    def _compare_events(self, receipt: Receipt, judged: int, ended: int) -> None:
        events: dict[str, list[dict[str, Any]]] = {}
        for event in receipt.events:
            events.setdefault(event.name, []).append(event.args)
        verdicts = [_verdict(e, verdict.medians) for e, verdict in self._judged_since(events, judged)]
        expected = [
            (v.round, v.accepted, v.standard, (*v.medians, v.base)) for v in self.model.judgements[judged:]
        ]
        assert verdicts == expected
        failed = [(e["round"], e["phase"], None) for e in events.get("RoundFailed", [])]
        finalised = [(e["round"], Phase.REPLY, e["model"]) for e in events.get("RoundFinalized", [])]
        assert failed + finalised == [tuple(outcome) for outcome in self.model.outcomes[ended:]]
        if finalised:
            self.finalised = finalised[-1][2]

    def _judged_since(self, events: dict[str, list[dict[str, Any]]], judged: int) -> Any:
        return zip(events.get("UpdatesJudged", []), self.model.judgements[judged:], strict=True)

    def compare_round(self) -> None:
        """roundOf, rosterOf and modelOf against the model; what was finalised stays until the next RoundFinalized."""
        view, state = self.consortium.coordinator, self.model.round()
        number, completed, masters, phase, deadline, *sets = view.call("roundOf", self.job)
        assert phase != Phase.NONE
        assert (number, completed, phase, deadline) == (state.number, state.completed, state.phase, state.deadline)
        assert masters in (0, self.model.terms.masters)
        assert [_positions(bits) for bits in sets] == _sets(state)
        clients, committee = view.call("rosterOf", self.job)
        assert [clients[i // 16] >> 16 * (i % 16) & 0xFFFF for i in range(len(state.clients))] == list(state.clients)
        assert [committee >> 16 * i & 0xFFFF for i in range(len(state.masters))] == list(state.masters)
        assert view.call("modelOf", self.job) == (self.model.manifest, self.model.model, state.completed)
        assert self.model.model == self.finalised

    def compare_standing(self) -> None:
        """Everybody's reputation, and who can be drawn."""
        pool, view = self.model.pool, self.consortium.coordinator
        assert view.call("enrolledCount", self.job) == len(pool.enrolled)
        for member in self.consortium.members:
            standing = (pool.reputation.get(member, 0), member in pool.enrolled)
            assert view.call("standing", self.job, member) == standing, member


def _verdict(e: dict[str, Any], medians: Sequence[int]) -> tuple[Any, ...]:
    return e["round"], _positions(e["accepted"]), e["standard"], tuple(unpack(e["medians"], len(medians) + 1))


def _sets(state: RoundState) -> list[frozenset[int]]:
    return [state.awaited, state.updates, state.uncommitted, state.unrevealed, state.attested, state.proposed]


def _positions(bits: int) -> frozenset[int]:
    return frozenset(i for i in range(bits.bit_length()) if bits >> i & 1)


def _refusal(client: ChainClient, call: Callable[[], Any]) -> tuple[ContractError | None, Any]:
    try:
        return None, call()
    except ContractError as fault:
        return _decoded(client, fault), None


def _decoded(client: ChainClient, fault: ContractError) -> ContractError:
    """web3 puts eth-tester's revert data into a message as the repr of bytes."""
    text = str(fault.__cause__).removeprefix("execution reverted: ")
    return client._decoder.error(ast.literal_eval(text)) if fault.name == "Reverted" and text[:1] == "b" else fault
