"""One job of the protocol in plain Python: what contracts/Training.sol, Rounds.sol and MasterElection.sol do.

It is the readable form of the protocol: runs without a chain use it, and tests drive it side by side with the contract.
It differs from the contract in three ways only: members are numbers, not accounts; blobs are not recorded; and it may
loop over the membership. A refusal raises ContractError with the contract's own error. `None` as a member is the
coordinator.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from hmchain.election import Committee, draw_clients, elect_masters
from hmchain.errors import Reason
from hmchain.history import bits_of
from hmchain.judgement import Ballot, Judgement, judge
from hmchain.members import Members, require
from hmchain.phases import NONE, Outcome, draw_pending, first_state, next_phase, open_round, revealed, roll
from hmchain.rounds import COORDINATOR, MAX_MASTERS, MAX_SAMPLES, Phase, RoundState, Terms, clients_of, quorum_of
from hmchain.scores import chain_seed, commitment_of, pack, slots_for

CommitmentRule = Callable[[int, int, Sequence[int], bytes], bytes]  # round, member, slots, salt -> commitment


def plain_commitment(round: int, member: int, slots: Sequence[int], salt: bytes) -> bytes:
    """The commitment of a run without a chain: chain id and contract are 0, the member's number stands for its account.

    slots are packed score words, salt has 32 bytes; see hmchain.scores.commitment_of.
    """
    return commitment_of(0, f"0x{0:040x}", 1, round, f"0x{member:040x}", slots, salt)


class Protocol(Members):
    """One job. clock gives the time in seconds; commitment says what a master must have committed to for its ballot."""

    def __init__(
        self,
        terms: Terms,
        manifest: bytes,
        model: bytes,
        clock: Callable[[], int],
        commitment: CommitmentRule = plain_commitment,
        job: int = 1,
    ) -> None:
        super().__init__(job)
        _check_terms(terms)
        self.terms = terms
        self.manifest = manifest
        self.model = model
        self.candidate = bytes(32)
        self.seed = manifest
        self.judgements: list[Judgement] = []
        self.outcomes: list[Outcome] = []
        self._clock = clock
        self._commitment_of = commitment
        self._committee = Committee()
        self._commitments: dict[int, bytes] = {}
        self._ballots: dict[int, Ballot] = {}
        self._state = first_state()

    # ------------------------------------------------------------------ the five phases

    def start(self, sender: int | None = None) -> None:
        """The coordinator opens the first round."""
        require(sender is None, "NotCoordinator", sender)
        require(self._state.phase == Phase.ENROLMENT, "WrongPhase", self._state.phase)
        self.require_enrolled(self.terms.masters)
        self._open(replace(self._state, number=1))

    def submit_update(self, member: int, round: int, position: int, samples: int) -> None:
        """REQUEST: the client drawn at `position` submits an update trained on `samples` samples."""
        self.require_active(member)
        state = self._current(round, Phase.REQUEST)
        require(_stands_at(state.clients, position, member), "NotDrawn", member, position)
        require(position in state.awaited, "AlreadySubmitted", member)
        limit = min(self.samples.get(member, 0), MAX_SAMPLES)
        require(0 < samples <= limit, "SampleCountOutOfRange", samples, limit)
        state = replace(state, awaited=state.awaited - {position}, updates=state.updates | {position})
        self._state = state if state.awaited else next_phase(state, self.terms, self._clock())

    def commit_scores(self, member: int, round: int, position: int, commitment: bytes) -> None:
        """PRE-PREPARE: a master commits to its scores of all updates and of the base model."""
        self.require_active(member)
        state = self._current(round, Phase.PRE_PREPARE)
        _require_master(state, member, position)
        require(position in state.uncommitted, "AlreadyCommitted", member)
        self._commitments[position] = commitment
        state = replace(state, uncommitted=state.uncommitted - {position})
        self._state = state if state.uncommitted else next_phase(state, self.terms, self._clock())

    def reveal_scores(self, member: int, round: int, position: int, words: Sequence[int], salt: bytes) -> None:
        """PREPARE: it reveals them, one word a client and one for the base. The last reveal judges the updates."""
        self.require_active(member)
        state = self._current(round, Phase.PREPARE)
        _require_master(state, member, position)
        require(position in state.unrevealed, "NothingToReveal", member)
        slots, expected = pack(words), slots_for(len(state.clients) + 1)
        require(len(slots) == expected, "WrongScoreCount", len(slots), expected)
        recomputed = self._commitment_of(round, member, slots, salt)
        require(recomputed == self._commitments[position], "CommitmentMismatch", member)
        self._ballots[position] = Ballot(tuple(slots), salt)
        state = replace(state, unrevealed=state.unrevealed - {position})
        if state.unrevealed:
            self._state = state
        else:
            self._judge_and_go_on(next_phase(state, self.terms, self._clock()))

    def propose_model(self, member: int | None, round: int, position: int, model: bytes) -> None:
        """COMMIT: the coordinator, or later a master, posts the aggregate's digest. A master thereby attests it."""
        state = self._current(round, Phase.COMMIT)
        judgement = self._pending_judgement(state)
        require(judgement is None or bool(judgement.accepted), "WrongPhase", Phase.FAILED)
        self._require_proposer(state, member, position)
        state = self._adopt(judgement, state)
        self.candidate = model
        deadline = self._clock() + self.terms.reply_seconds
        attested = NONE if position == COORDINATOR else frozenset({position})
        proposed = state.proposed | {position}
        self._attest(replace(state, phase=Phase.REPLY, deadline=deadline, proposed=proposed, attested=attested))

    def attest_model(self, member: int, round: int, position: int, proposed: frozenset[int], model: bytes) -> None:
        """REPLY: a master that computed the same aggregate attests it. A quorum makes it the global model.

        proposed: the positions that had proposed as of the proposal that is attested, which identify it: a later
        proposal may be of the same model.
        """
        self.require_active(member)
        state = self._current(round, Phase.REPLY)
        _require_master(state, member, position)
        require(position not in state.attested, "AlreadyAttested", member)
        require(proposed == state.proposed, "WrongProposal", bits_of(state.proposed))
        require(model == self.candidate, "WrongModel", self.candidate)
        self._attest(replace(state, attested=state.attested | {position}))

    def advance(self) -> None:
        """View change: moves on a round whose deadline has passed, or a waiting job that has members. Open to all."""
        stored = self._state
        if stored.phase == Phase.WAITING:
            self._reopen(stored)
            return
        state, failed = roll(stored, self.terms, self._clock())
        require(failed or state.phase != stored.phase, "NothingToAdvance")
        self._judge_and_go_on(state, failed)

    def round(self) -> RoundState:
        """The round as of now, every deadline that has passed taken into account."""
        state, failed = roll(self._state, self.terms, self._clock())
        return replace(state, phase=Phase.FAILED) if failed else state

    # ------------------------------------------------------------------ who may act now

    def _current(self, round: int, phase: Phase) -> RoundState:
        """The round, moved on by the clock, if it is the one the caller means and in the phase it means."""
        require(0 != round == self._state.number, "WrongRound", self._state.number)
        state = self.round()
        require(state.phase == phase, "WrongPhase", state.phase)
        return state

    def _require_open(self) -> None:
        require(self._state.phase != Phase.CLOSED, "JobNotOpen", self.job)

    def _require_no_draw_pending(self) -> None:
        require(not draw_pending(self.round(), self._clock()), "DrawPending", self.job)

    def _require_proposer(self, state: RoundState, member: int | None, position: int) -> None:
        """The coordinator at any time; a master after half the time, or once a proposal found no quorum."""
        if position == COORDINATOR:
            require(member is None, "NotCoordinator", member)
        else:
            self.require_active(member)
            _require_master(state, member, position)
            first_half = self._clock() + self.terms.reply_seconds // 2 < state.deadline
            require(bool(state.proposed) or not first_half, "NotYourTurn", member)
        require(position not in state.proposed, "AlreadyProposed", member)

    # ------------------------------------------------------------------ judgement

    def _pending_judgement(self, state: RoundState) -> Judgement | None:
        """The verdicts, if the clock has moved the round past the last reveal since anyone last acted."""
        unjudged = self._state.phase < Phase.COMMIT <= state.phase
        return judge(state, self.terms, self._ballots) if unjudged else None

    def _adopt(self, judgement: Judgement | None, state: RoundState) -> RoundState:
        """Makes verdicts final: they move reputations, and the revealed ballots are hashed into the seed."""
        if judgement is None:
            return state
        self.judgements.append(judgement)
        for position, client in enumerate(state.clients):
            if judgement.medians[position] != Reason.UNSCORED:
                self.pool.learn(client, judgement.points(position))
        for master in sorted(revealed(state)):
            self.seed = chain_seed(self.seed, *self._ballots[master])
        return replace(state, updates=judgement.accepted)

    def _judge_and_go_on(self, state: RoundState, failed: bool = False) -> None:
        state = self._adopt(self._pending_judgement(state), state)
        if failed or not state.updates:
            self._fail(state)
        else:
            self._state = state

    # ------------------------------------------------------------------ the end of a round, and the next

    def _attest(self, state: RoundState) -> None:
        """A quorum of attestations makes the candidate the global model."""
        if len(state.attested) < quorum_of(self.terms.masters):
            self._state = state
            return
        self.model = self.candidate
        self.outcomes.append(Outcome(state.number, state.phase, self.model))
        self._end(replace(state, completed=state.completed + 1))

    def _fail(self, state: RoundState) -> None:
        """The previous model stands. Masters that accepted updates and yet agreed on no aggregate are dismissed."""
        self.outcomes.append(Outcome(state.number, state.phase, None))
        self._end(state, dismissed=state.phase >= Phase.COMMIT and bool(state.updates))

    def _end(self, state: RoundState, dismissed: bool = False) -> None:
        """Silent members leave the draws until they enrol again. Then the next round opens, or the job closes."""
        for position in state.awaited:
            self.pool.leave(state.clients[position])
        if state.phase != Phase.REQUEST:
            for position in state.uncommitted | state.unrevealed:
                self.pool.leave(state.masters[position])
        if state.number < self.terms.rounds:
            self._open(replace(state, number=state.number + 1), dismissed)
        else:
            self._state = replace(state, phase=Phase.CLOSED)

    def _open(self, state: RoundState, dismissed: bool = False) -> None:
        """Election: draws masters and clients, or waits while too few members are enrolled."""
        terms, enrolled = self.terms, len(self.pool.enrolled)
        if dismissed and enrolled < terms.masters:
            self._committee = Committee()
        if enrolled < terms.masters:
            self._state = replace(state, phase=Phase.WAITING, deadline=0, masters=self._committee.members)
            return
        self._committee = elect_masters(
            self.pool, self._committee, state.number, terms.masters, terms.term_rounds, self.seed, dismissed
        )
        masters, count = self._committee.members, clients_of(enrolled, terms.fraction)
        clients = draw_clients(self.pool, masters, state.number, count, self.seed)
        self._state = open_round(state, terms, self._clock(), clients, masters)

    def _reopen(self, state: RoundState) -> None:
        """Opens the round that a job waits with, once members had REQUEST's time to enrol since enough of them had.

        The seed is known: otherwise the first to come back would be the masters of a term.
        """
        if state.deadline == 0:
            self.require_enrolled(self.terms.masters)
        if self.all_enrolled():
            self._open(state)
        elif state.deadline == 0:
            self._state = replace(state, deadline=self._clock() + self.terms.request_seconds)
        else:
            require(self._clock() > state.deadline, "NothingToAdvance")
            self._open(state)


def _require_master(state: RoundState, member: int | None, position: int) -> None:
    require(_stands_at(state.masters, position, member), "NotDrawn", member, position)


def _stands_at(drawn: tuple[int, ...], position: int, member: int | None) -> bool:
    return 0 <= position < len(drawn) and drawn[position] == member


def _check_terms(terms: Terms) -> None:
    seconds = (terms.request_seconds, terms.score_seconds, terms.reveal_seconds, terms.reply_seconds - 1)
    counts = (terms.rounds, terms.fraction, terms.masters, terms.term_rounds, *seconds)
    fits = min(counts) > 0 and terms.masters <= MAX_MASTERS and max(terms.fraction, terms.standard) <= 10_000
    require(fits, "InvalidTerms")
