"""Random messages, right and wrong, and random time: the contract and the plain model never differ, and never stop."""

from __future__ import annotations

from functools import cache

from eth_utils import keccak
from hypothesis import HealthCheck, settings
from hypothesis import Phase as Stage
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from hmchain.rounds import COORDINATOR, Phase, RoundState, Terms
from hmchain.scores import pack
from tests.e2e.side_by_side import REINSTATE, SAMPLES, SUSPEND, Consortium, SideBySide

MEMBERS = 7
MODELS = [keccak(b"aggregate"), keccak(b"another"), b"\0" * 32]
HIGHEST_WORD = 0xFFFF
IN_ROUND = (Phase.REQUEST, Phase.PRE_PREPARE, Phase.PREPARE, Phase.COMMIT, Phase.REPLY)

members = st.integers(1, MEMBERS)
seeds = st.integers(0, 2**16)
picks = st.integers(0, 20)
mostly = st.sampled_from([True, True, True, False])
slips = st.sampled_from([None] * 8 + ["sender", "outsider", "round", "next", "position", "far"])
words = st.one_of(st.integers(256 + 7_000, 256 + 8_000), st.integers(0, 8), st.integers(0, HIGHEST_WORD))
ballots = st.lists(words, min_size=12, max_size=12)


@cache
def consortium() -> Consortium:
    """One for all examples: each gets a job of its own."""
    return Consortium(MEMBERS)


@st.composite
def job_terms(draw: st.DrawFn) -> Terms:
    seconds = [draw(st.integers(60, 200)) for _ in range(4)]
    return Terms(
        rounds=draw(st.integers(2, 5)),
        fraction=draw(st.sampled_from([1, 3_000, 5_000, 10_000])),
        masters=draw(st.sampled_from([1, 2, 3, 3, 4, 4])),
        term_rounds=draw(st.integers(1, 3)),
        relative=draw(st.booleans()),
        standard=draw(st.sampled_from([0, 500, 7_300, 10_000])),
        request_seconds=seconds[0],
        score_seconds=seconds[1],
        reveal_seconds=seconds[2],
        reply_seconds=seconds[3],
    )


class ProtocolMachine(RuleBasedStateMachine):
    """Contract and model take every step together; SideBySide compares answers and views after each."""

    @initialize(terms=job_terms(), enrolled=st.sets(members, min_size=4), seed=seeds, started=mostly)
    def create(self, terms: Terms, enrolled: set[int], seed: int, started: bool) -> None:
        self.consortium = consortium()
        self.both = SideBySide(self.consortium, terms, keccak(b"manifest %d" % seed), sorted(enrolled))
        self.secrets: dict[tuple[int, int], tuple[list[int], bytes]] = {}
        if started:
            self.both.start()

    @precondition(lambda self: self.state.phase == Phase.CLOSED)
    @rule(terms=job_terms(), enrolled=st.sets(members, min_size=4), seed=seeds)
    def create_another(self, terms: Terms, enrolled: set[int], seed: int) -> None:
        self.both.compare_standing()
        self.create(terms, enrolled - self.consortium.suspended, seed, started=False)

    @property
    def state(self) -> RoundState:
        return self.both.model.round()

    @invariant()
    def views_agree(self) -> None:
        self.both.compare_round()

    # ------------------------------------------------------------------ whose turn it is acts, so that rounds go on

    @precondition(lambda self: self.state.phase in IN_ROUND)
    @rule(ballot=ballots, silent=st.sampled_from([None] * 5 + [0, 1]))
    def those_awaited_act(self, ballot: list[int], silent: int | None) -> None:
        state = self.state
        masters = set(range(len(state.masters)))
        if state.phase == Phase.REQUEST:
            for position in sorted(state.awaited - {silent}):
                self.both.submit(state.clients[position], state.number, position)
        elif state.phase == Phase.PRE_PREPARE:
            for position in sorted(state.uncommitted - {silent}):
                needed = len(state.clients) + 1
                self._commit(state.masters[position], state.number, position, (ballot[position:] + ballot)[:needed])
        elif state.phase == Phase.PREPARE:
            for position in sorted(state.unrevealed - {silent}):
                self._reveal(state.masters[position], state.number, position)
        elif state.phase == Phase.REPLY:
            for position in sorted(masters - state.attested - {silent}):
                self.both.attest(
                    state.masters[position], state.number, position, state.proposed, self.both.model.candidate
                )
        elif COORDINATOR not in state.proposed:
            self.both.propose(None, state.number, COORDINATOR, MODELS[0])
        elif masters - state.proposed:
            position = max(masters - state.proposed)
            self.both.propose(state.masters[position], state.number, position, MODELS[1])

    @precondition(lambda self: self.state.phase in IN_ROUND)
    @rule(ballot=ballots)
    def all_awaited_act(self, ballot: list[int]) -> None:
        self.those_awaited_act(ballot, None)

    @precondition(lambda self: self.state.phase in (Phase.ENROLMENT, Phase.WAITING))
    @rule(late=st.integers(0, 2))
    def all_are_back(self, late: int) -> None:
        self._enrol_all(late)
        self.both.start() if self.state.phase == Phase.ENROLMENT else self.both.advance()

    # ------------------------------------------------------------------ one message, right or wrong, in its turn or not

    @rule(pick=picks, slip=slips, odd=picks, ballot=ballots, out_of_turn=st.sampled_from([None] * 6 + list(IN_ROUND)))
    def message(self, pick: int, slip: str | None, odd: int, ballot: list[int], out_of_turn: Phase | None) -> None:
        phase = out_of_turn or self.state.phase
        if phase == Phase.REQUEST:
            self._submit(pick, slip, odd)
        elif phase == Phase.PRE_PREPARE:
            who = self._who(self.state.masters, self.state.uncommitted, pick, slip)
            self._commit(*who, self._sized(ballot, odd), copied=odd % 7 == 6)
        elif phase == Phase.PREPARE:
            self._reveal(*self._who(self.state.masters, self.state.unrevealed, pick, slip), odd)
        elif phase == Phase.COMMIT:
            self._propose(pick, slip, odd)
        elif phase == Phase.REPLY:
            due = frozenset(range(len(self.state.masters))) - self.state.attested
            model = MODELS[odd % 3] if odd > 15 else self.both.model.candidate
            proposed = self.state.proposed ^ {odd % 4} if odd % 5 == 4 else self.state.proposed
            self.both.attest(*self._who(self.state.masters, due, pick, slip), proposed, model)
        else:
            self.both.start(None if odd > 2 else 1)

    # ------------------------------------------------------------------ time

    @rule(
        kind=st.sampled_from(["moments", "moments", "half", "just", "past", "far past"]),
        margin=st.integers(-3, 3),
        then=st.sampled_from([None, None, 0, 1]),
    )
    def time_passes(self, kind: str, margin: int, then: int | None) -> None:
        left = self.state.deadline - self.consortium.now()
        half = left - self.both.model.terms.reply_seconds // 2
        waits = {"moments": 3, "half": half, "just": left, "past": left + 5, "far past": left + 600}
        self.consortium.travel(waits[kind] + margin)
        if then is not None:
            self.both.advance(then)

    # ------------------------------------------------------------------ coming and going

    @rule(
        member=members,
        sender=st.integers(0, MEMBERS),
        how=st.sampled_from(["enrol", "enrol", "withdraw", "strike", "vote"]),
    )
    def come_or_go(self, member: int, sender: int, how: str) -> None:
        if how == "vote":
            self._suspend_or_reinstate(member)
        elif how == "strike":
            self.both.strike(sender, min(self.consortium.suspended, default=member))
        else:
            (self.both.enrol if how == "enrol" else self.both.withdraw)(sender)

    def _suspend_or_reinstate(self, member: int) -> None:
        suspended = self.consortium.suspended
        if suspended:
            (member,) = suspended
            self.consortium.vote(REINSTATE, member)
            self.both.model.reinstate(member)
        else:
            self.consortium.vote(SUSPEND, member)
            self.both.model.suspend(member)

    # ------------------------------------------------------------------ helpers

    def _who(self, drawn: tuple[int, ...], due: frozenset[int], pick: int, slip: str | None) -> tuple[int, int, int]:
        """Sender, round and position of a message: somebody whose turn it is, but for the slip."""
        everybody = set(range(len(drawn)))
        places = sorted(due & everybody if pick < 16 else everybody) or sorted(everybody) or [0]
        position, number = places[pick % len(places)], self.state.number
        sender = drawn[position] if position < len(drawn) else 1
        if slip == "sender":
            sender = sender % MEMBERS + 1
        elif slip == "outsider":
            sender = 0
        elif slip in ("round", "next"):
            number = 0 if slip == "round" else number + 1
        elif slip in ("position", "far"):
            position = position + 1 if slip == "position" else 15 + 50 * (pick % 3)
        return sender, number, position

    def _sized(self, ballot: list[int], odd: int) -> list[int]:
        """As long as it has to be, mostly; twelve words fill a slot, so that words nobody asked for are no fault."""
        return {18: [], 19: ballot + ballot, 20: ballot}.get(odd, ballot[: len(self.state.clients) + 1])

    def _submit(self, pick: int, slip: str | None, odd: int) -> None:
        samples = {18: 0, 19: SAMPLES + 1}.get(odd, SAMPLES - odd)
        self.both.submit(*self._who(self.state.clients, self.state.awaited, pick, slip), samples)

    def _commit(self, sender: int, number: int, position: int, ballot: list[int], copied: bool = False) -> None:
        salt = keccak(b"salt %d %d" % (number, sender))
        author = sender % MEMBERS + 1 if copied else sender
        if self.both.commit(sender, number, position, self.both.commitment(number, author, pack(ballot), salt)):
            self.secrets[number, position] = (ballot, salt)

    def _reveal(self, sender: int, number: int, position: int, odd: int = 0) -> None:
        ballot, salt = self.secrets.get((number, position), (self._sized([300] * 12, 0), b"\0" * 32))
        if odd == 18:
            salt = keccak(salt)
        elif odd == 19 and ballot:
            ballot = [ballot[0] ^ 1, *ballot[1:]]
        elif odd == 20:
            ballot = ballot + [300] * 12
        self.both.reveal(sender, number, position, ballot, salt)

    def _propose(self, pick: int, slip: str | None, odd: int) -> None:
        sender: int | None
        sender, number, position = self._who(self.state.masters, frozenset(), pick, slip)
        if odd % 2:
            sender = sender if slip == "sender" else None
            position = position if slip == "position" else COORDINATOR
        self.both.propose(sender, number, position, MODELS[odd % 3])

    # ------------------------------------------------------------------ the end

    def teardown(self) -> None:
        """Time and `advance` close every job, once enough members are enrolled again."""
        for member in list(self.consortium.suspended):
            self.consortium.vote(REINSTATE, member)
            self.both.model.reinstate(member)
        if self.state.phase == Phase.ENROLMENT:
            self._enrol_all()
            self.both.start()
        for _ in range(4 * self.both.model.terms.rounds + 8):
            if self.state.phase == Phase.CLOSED:
                break
            if self.state.phase == Phase.WAITING:
                self._enrol_all()
            else:
                self.consortium.travel(self.state.deadline + 2 - self.consortium.now())
            self.both.advance()
        assert self.state.phase == Phase.CLOSED
        self.both.compare_standing()

    def _enrol_all(self, late: int = 0) -> None:
        """All active members, but for so many of those that are not enrolled."""
        absent = self.consortium.members.keys() - self.consortium.suspended - self.both.model.pool.enrolled
        for member in sorted(absent)[late:]:
            self.both.enrol(member)


TestProtocolMachine = ProtocolMachine.TestCase
TestProtocolMachine.settings = settings(
    max_examples=10,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    phases=[Stage.generate],  # to shrink a failure takes minutes; add Stage.shrink for that
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def test_a_job_that_waits_draws_from_those_who_came_in_time() -> None:
    """Every way in which it waits, goes on, or waits again."""
    town = consortium()
    both = SideBySide(town, Terms(4, 10_000, 2, 1, False, 0, 100, 100, 100, 100), keccak(b"manifest"), (1, 2, 3))

    def outage(*back: int) -> None:
        town.travel(both.model.round().deadline + 2 - town.now())
        assert both.advance()
        assert all(both.enrol(member) for member in back)

    def enough() -> None:
        assert both.advance()
        assert not both.advance(), "not before the deadline"

    def late() -> None:
        town.travel(both.model.round().deadline + 1 - town.now())
        assert not both.enrol(7)
        assert not both.withdraw(1)
        assert both.advance()

    both.start()
    outage(1)
    assert not both.advance(), "too few"
    assert both.enrol(2)
    enough()
    assert both.withdraw(2)
    late()
    assert both.model.round().deadline == 0, "too few again"
    assert both.enrol(2)
    enough()
    assert both.enrol(3)
    late()
    assert sorted(both.model.round().clients) == [1, 2, 3]
    outage(1, 2)
    enough()
    assert all(both.enrol(member) for member in range(3, MEMBERS + 1))
    assert both.advance(), "all are back"
    assert sorted(both.model.round().clients) == [*range(1, MEMBERS + 1)]


def test_a_word_beyond_the_scale_is_worth_its_top() -> None:
    terms = Terms(2, 4_000, 1, 1, False, 0, 100, 100, 100, 100)
    both = SideBySide(consortium(), terms, keccak(b"manifest"), range(1, MEMBERS + 1))
    both.start()
    both.play_round(lambda master: [0xFFFF] * (len(both.model.round().clients) + 1), MODELS[0])
    both.compare_standing()
