"""The real contract on the embedded chain and the plain model, driven together and compared after every step."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from typing import Any

from eth_account import Account
from eth_utils import keccak

from coordinator.ballots import cast_vote
from hmchain.chain import ChainClient
from hmchain.contract import Artifact, Decoder, Receipt
from hmchain.embedded import EmbeddedChain
from hmchain.errors import ContractError
from hmchain.history import bits_of
from hmchain.protocol import Protocol
from hmchain.rounds import COORDINATOR, Phase, RoundState, Terms
from hmchain.scores import commitment_of, pack, unpack

SAMPLES = 1_000
BLOB = (b"\1" * 32, b"\2" * 32, 950_000)
AHEAD_OF_THE_CLOCK = 10**8  # seconds; py-evm then adds one second a block, whatever the time of day
SUSPEND, REINSTATE = 1, 2
ABOUT_ACCOUNTS = {"NotActiveMember", "NotCoordinator", "NotYourTurn", "AlreadyProposed"}  # the model has numbers there
ABOUT_STANDING = {"MemberEnrolled", "MemberWithdrawn", "UpdatesJudged"}


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
        self.ballots = self.coordinator.call("ballots")
        self._ballots_artifact = Artifact.load("Ballots")
        self.decoder = Decoder(web3, Artifact.load())
        self.suspended: set[int] = set()

    def now(self) -> int:
        """The time of the latest block."""
        return int(self.chain.web3.eth.get_block("latest")["timestamp"])

    def travel(self, seconds: int) -> None:
        self.chain.travel(max(seconds, 2))

    def vote(self, motion: int, member: int) -> None:
        """Carries a motion: as many other members vote as it takes."""
        voters = [n for n in self.members if n != member and n not in self.suspended]
        opened = self._at_ballots(voters[0], ChainClient.transact, "proposeMotion", motion, member)
        number = opened.events[0].args["ballot"]
        seen = ChainClient(self.chain.web3, None, self.ballots, self._ballots_artifact).call("ballot", number)
        active = len(self.members) - len(self.suspended)
        for voter in voters[1 : active // 2 + 1]:
            self._at_ballots(voter, cast_vote, number, seen)
        assert self.coordinator.call("memberOf", self.addresses[member])[1] == (2 if motion == SUSPEND else 1)
        (self.suspended.add if motion == SUSPEND else self.suspended.discard)(member)

    def _at_ballots(self, voter: int, call: Callable[..., Receipt], *arguments: Any) -> Receipt:
        """Every client counts its account's nonces for itself: a new one for the vote, and one for after it."""
        account = self.members[voter].account
        receipt = call(ChainClient(self.chain.web3, account, self.ballots, self._ballots_artifact), *arguments)
        self.members[voter] = ChainClient(self.chain.web3, account, self.address)
        return receipt


class SideBySide:
    """One job, on the contract and in the model. A sender is a member's number, None the coordinator, 0 an outsider."""

    def __init__(self, consortium: Consortium, terms: Terms, manifest: bytes, enrolled: Sequence[int]) -> None:
        self.consortium = consortium
        model = keccak(b"initial model")
        arguments = (terms.to_abi(), consortium.coordinator.sender, manifest, model, BLOB, BLOB)
        creator = min(consortium.members.keys() - consortium.suspended)
        created = consortium.members[creator].transact("createJob", *arguments)
        self.job: int = created.events[0].args["job"]
        self.model = Protocol(terms, manifest, model, consortium.now, self.commitment, self.job)
        self.finalised = model
        for member in [*consortium.members, 0]:
            self.model.commit_dataset(member, SAMPLES)
        for member in consortium.suspended | {0}:
            self.model.suspend(member)  # an outsider is to the model what a member without rights is
        for member in enrolled:
            consortium.members[member].transact("enrol", self.job)
            self.model.enrol(member)
        self.compare_round()
        self.compare_standing()

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

    def attest(self, sender: int, round: int, position: int, proposed: frozenset[int], model: bytes) -> bool:
        arguments = (round, position, bits_of(proposed), model)
        return self._both(
            sender, "attestModel", arguments, lambda: self.model.attest_model(sender, round, position, proposed, model)
        )

    def advance(self, sender: int | None = 0) -> bool:
        return self._both(sender, "advance", (), self.model.advance)

    def commitment(self, round: int, member: int, slots: Sequence[int], salt: bytes) -> bytes:
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
                master, number, position, self.commitment(number, master, pack(words(position)), salts[position])
            )
        for position, master in enumerate(state.masters):
            assert self.reveal(master, number, position, words(position), salts[position])
        assert self.propose(None, number, COORDINATOR, model)
        for position, master in enumerate(state.masters):
            if self.model.round().number == number and self.model.round().phase == Phase.REPLY:
                assert self.attest(master, number, position, self.model.round().proposed, model)
        self.compare_round()

    # ------------------------------------------------------------------ comparison

    def _both(self, sender: int | None, function: str, arguments: tuple[Any, ...], act: Callable[[], None]) -> bool:
        """Sends a message to the contract, then to the model at the same second; whether both accepted it."""
        judged, ended = len(self.model.judgements), len(self.model.outcomes)
        client = self._client(sender)
        contract, receipt = self._refusal(lambda: client.transact(function, self.job, *arguments))
        plain, _ = self._refusal(act)
        assert (contract and contract.name) == (plain and plain.name), (
            f"{function}: {contract} here, {plain} in the model"
        )
        if contract and plain and contract.name not in ABOUT_ACCOUNTS:
            assert tuple(contract.arguments) == plain.arguments, function
        if receipt is not None:
            self._compare_events(receipt, judged, ended)
            if ABOUT_STANDING.intersection(event.name for event in receipt.events):
                self.compare_standing()
        self._compare_state()
        return contract is None

    def _refusal(self, call: Callable[[], Any]) -> tuple[ContractError | None, Any]:
        try:
            return None, call()
        except ContractError as fault:
            text = str(fault.__cause__).removeprefix("execution reverted: b")
            if fault.name != "Reverted" or text[:1] not in ("'", '"'):
                return fault, None
            # web3 puts eth-tester's revert data into a message, as the repr of bytes
            return self.consortium.decoder.error(ast.literal_eval("b" + text)), None

    def _client(self, sender: int | None) -> ChainClient:
        if sender is None:
            return self.consortium.coordinator
        return self.consortium.members[sender] if sender else self.consortium.outsider

    def _compare_events(self, receipt: Receipt, judged: int, ended: int) -> None:
        events: dict[str, list[dict[str, Any]]] = {}
        for event in receipt.events:
            events.setdefault(event.name, []).append(event.args)
        for e, verdict in zip(events.get("UpdatesJudged", []), self.model.judgements[judged:], strict=True):
            medians = (*verdict.medians, verdict.base)
            assert unpack(e["medians"], len(medians)) == list(medians)
            assert (e["round"], e["standard"]) == (verdict.round, verdict.standard)
            assert _positions(e["accepted"]) == verdict.accepted
        failed = [(e["round"], e["phase"], None) for e in events.get("RoundFailed", [])]
        finalised = [(e["round"], Phase.REPLY, e["model"]) for e in events.get("RoundFinalized", [])]
        assert failed + finalised == [tuple(outcome) for outcome in self.model.outcomes[ended:]]
        if finalised:
            self.finalised = finalised[-1][2]

    def compare_round(self) -> None:
        """roundOf, rosterOf and modelOf against the model; what was finalised stays until the next RoundFinalized."""
        state, view = self._compare_state(), self.consortium.coordinator
        clients, committee = view.call("rosterOf", self.job)
        assert [clients[i // 16] >> 16 * (i % 16) & 0xFFFF for i in range(len(state.clients))] == list(state.clients)
        assert [committee >> 16 * i & 0xFFFF for i in range(len(state.masters))] == list(state.masters)
        assert tuple(view.call("modelOf", self.job)) == (self.model.manifest, self.model.model, state.completed)
        assert self.model.model == self.finalised

    def _compare_state(self) -> RoundState:
        state = self.model.round()
        number, completed, masters, phase, deadline, *sets = self.consortium.coordinator.call("roundOf", self.job)
        assert phase != Phase.NONE
        assert (number, completed, phase, deadline) == (state.number, state.completed, state.phase, state.deadline)
        assert masters in (0, self.model.terms.masters)
        assert [_positions(bits) for bits in sets] == _sets(state)
        return state

    def compare_standing(self) -> None:
        """Everybody's reputation, and who can be drawn."""
        pool, view = self.model.pool, self.consortium.coordinator
        assert view.call("enrolledCount", self.job) == len(pool.enrolled)
        for member in self.consortium.members:
            standing = (pool.reputation.get(member, 0), member in pool.enrolled)
            assert tuple(view.call("standing", self.job, member)) == standing, member


def _sets(state: RoundState) -> list[frozenset[int]]:
    return [state.awaited, state.updates, state.uncommitted, state.unrevealed, state.attested, state.proposed]


def _positions(bits: int) -> frozenset[int]:
    return frozenset(i for i in range(bits.bit_length()) if bits >> i & 1)
