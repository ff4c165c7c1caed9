"""The protocol in plain Python, as its specification: the happy path, one test per error, one per deadline."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from dataclasses import asdict

import pytest

from hmchain.errors import ContractError, Reason
from hmchain.judgement import NOTHING_PASSES
from hmchain.protocol import Protocol, plain_commitment
from hmchain.rounds import COORDINATOR, MAX_MASTERS, MAX_SAMPLES, Phase, Terms, quorum_of
from hmchain.scores import pack, word_of_score

TERMS = Terms(
    rounds=3,
    fraction=5_000,
    masters=4,
    term_rounds=2,
    relative=True,
    standard=500,
    request_seconds=100,
    score_seconds=50,
    reveal_seconds=50,
    reply_seconds=60,
)
NEW, OTHER = b"n" * 32, b"o" * 32
GOOD = word_of_score(8_000)
SALT = b"s" * 32


class Job(Protocol):
    """A protocol whose clock the test moves, and whose members do what they should."""

    def __init__(self, members: int = 12, **changes: int) -> None:
        self.now = 1_000
        terms = Terms(**{**asdict(TERMS), **changes})
        super().__init__(terms, b"m" * 32, b"0" * 32, lambda: self.now)
        for member in range(1, members + 1):
            self.commit_dataset(member, 100)
            self.enrol(member)

    @property
    def phase(self) -> Phase:
        return self.round().phase

    def submit(self, *positions: int) -> None:
        state = self.round()
        for position in positions or sorted(state.awaited):
            self.submit_update(state.clients[position], state.number, position, 100)

    def words(self, *words: int) -> list[int]:
        """The clients' words, good ones where none are given, and 8,000 basis points for the base."""
        count = len(self.round().clients)
        return [*words, *[GOOD] * (count - len(words)), GOOD]

    def commit(self, *positions: int, words: list[int] | None = None) -> None:
        state = self.round()
        slots = pack(words or self.words())
        for position in positions or sorted(state.uncommitted):
            commitment = plain_commitment(state.number, state.masters[position], slots, SALT)
            self.commit_scores(state.masters[position], state.number, position, commitment)

    def reveal(self, *positions: int, words: list[int] | None = None) -> None:
        state = self.round()
        for position in positions or sorted(state.unrevealed):
            self.reveal_scores(state.masters[position], state.number, position, words or self.words(), SALT)

    def propose(self, position: int = COORDINATOR, model: bytes = NEW) -> None:
        state = self.round()
        sender = None if position == COORDINATOR else state.masters[position]
        self.propose_model(sender, state.number, position, model)

    def attest(self, *positions: int, model: bytes = NEW) -> None:
        state = self.round()
        for position in positions or range(quorum_of(len(state.masters))):
            self.attest_model(state.masters[position], state.number, position, state.proposed, model)

    def deadline_passes(self) -> None:
        self.now = self.round().deadline + 1

    def outsider(self) -> int:
        """A member that was not drawn."""
        state = self.round()
        return min(self.pool.enrolled - set(state.clients) - set(state.masters))

    def play(self, until: Phase) -> Job:
        """By the book up to the beginning of a phase."""
        self.start()
        for step in (self.submit, self.commit, self.reveal, self.propose):
            if self.phase == until:
                break
            step()
        assert self.phase == until
        return self


def refused(error: str, *arguments: object) -> AbstractContextManager[pytest.ExceptionInfo[ContractError]]:
    """A refusal with this error; with these arguments, if there are any."""
    shown = str(ContractError(error, arguments)) if arguments else f"refused: {error}("
    return pytest.raises(ContractError, match=re.escape(shown))


# ------------------------------------------------------------------ the happy path


@pytest.mark.parametrize(("members", "masters"), [(12, 4), (24, 4), (4, 4), (3, 3), (1, 1)])
def test_three_rounds_by_the_book_end_with_three_models(members: int, masters: int) -> None:
    job = Job(members, masters=masters, fraction=10_000 if members < 12 else 5_000, standard=0, relative=False)
    job.start()
    for number in (1, 2, 3):
        assert (job.round().number, job.phase) == (number, Phase.REQUEST)
        job.submit()
        job.commit()
        job.reveal()
        if members == 1:  # its only master may not judge its own update
            continue
        job.propose(model=bytes([number]) * 32)
        job.attest(model=bytes([number]) * 32)
        assert job.model == bytes([number]) * 32
    assert job.phase == Phase.CLOSED
    assert job.round().completed == (0 if members == 1 else 3)


def test_members_of_a_small_consortium_are_clients_and_masters_at_once() -> None:
    job = Job(3, masters=3, fraction=10_000).play(Phase.REQUEST)
    assert set(job.round().clients) == set(job.round().masters) == {1, 2, 3}


def test_clients_are_a_fraction_of_the_enrolled_and_no_masters() -> None:
    state = Job(12).play(Phase.REQUEST).round()
    assert len(state.clients) == 6
    assert len(state.masters) == 4
    assert not set(state.clients) & set(state.masters)


def test_a_phase_ends_as_soon_as_everyone_has_spoken() -> None:
    job = Job().play(Phase.REQUEST)
    job.submit()
    assert (job.phase, job.round().deadline) == (Phase.PRE_PREPARE, job.now + 50)
    job.commit()
    assert (job.phase, job.round().deadline) == (Phase.PREPARE, job.now + 50)
    job.reveal()
    assert (job.phase, job.round().deadline) == (Phase.COMMIT, job.now + 60)
    job.propose()
    assert (job.phase, job.round().deadline) == (Phase.REPLY, job.now + 60)


@pytest.mark.parametrize(("masters", "quorum"), [(1, 1), (3, 3), (4, 3), (7, 5)])
def test_a_quorum_of_attestations_makes_the_model(masters: int, quorum: int) -> None:
    job = Job(20, masters=masters).play(Phase.REPLY)
    job.attest(*range(quorum - 1)) if quorum > 1 else None
    assert job.model == b"0" * 32
    job.attest(quorum - 1)
    assert job.model == NEW


def test_a_master_that_proposes_attests_its_model_thereby() -> None:
    job = Job(20, masters=1).play(Phase.COMMIT)
    job.now += 30
    job.propose(0)
    assert job.model == NEW


# ------------------------------------------------------------------ judgement


def judged(job: Job, *ballots: list[int]) -> Job:
    """A round judged by these ballots, one a master."""
    job.play(Phase.PRE_PREPARE)
    for position, words in enumerate(ballots):
        job.commit(position, words=words)
    for position, words in enumerate(ballots):
        job.reveal(position, words=words)
    return job


def test_the_lower_median_of_the_masters_decides() -> None:
    job = Job()
    low, high = word_of_score(7_499), word_of_score(9_000)
    rows = [[low, low, high], [low, low, high], [high, high, low], [low, high, high]]
    judged(job, *([*row, GOOD, GOOD, GOOD, GOOD] for row in rows))
    verdict = job.judgements[-1]
    assert verdict.medians[:3] == (low, low, high)
    assert verdict.accepted == job.round().updates == {2, 3, 4, 5}


@pytest.mark.parametrize(
    ("relative", "standard", "base", "expected"),
    [
        (True, 500, word_of_score(8_000), 7_500),
        (True, 500, word_of_score(400), 0),
        (True, 500, int(Reason.UNAVAILABLE), NOTHING_PASSES),
        (False, 500, word_of_score(8_000), 500),
    ],
)
def test_the_standard_is_absolute_or_a_distance_below_the_base(
    relative: bool, standard: int, base: int, expected: int
) -> None:
    job = Job(relative=relative, standard=standard)
    judged(job, *([[GOOD] * 6 + [base]] * 4))
    assert (job.judgements[-1].standard, job.judgements[-1].base) == (expected, base)


def test_an_update_that_just_reaches_the_standard_is_accepted() -> None:
    job = Job(relative=False, standard=7_000)
    judged(job, *([[word_of_score(7_000), word_of_score(6_999)] + [GOOD] * 5] * 4))
    assert job.judgements[-1].accepted == {0, 2, 3, 4, 5}


def test_a_reason_is_a_refusal_even_where_the_standard_is_0() -> None:
    job = Job(relative=False, standard=0)
    judged(job, *([[int(Reason.NOT_FINITE), word_of_score(0)] + [GOOD] * 5] * 4))
    assert job.judgements[-1].medians[0] == Reason.NOT_FINITE
    assert job.judgements[-1].accepted == {1, 2, 3, 4, 5}


def test_nobodys_word_on_its_own_update_counts() -> None:
    job = Job(3, masters=3, fraction=10_000, relative=False, standard=5_000)
    job.play(Phase.PRE_PREPARE)
    state = job.round()
    boasts = [[GOOD if client == master else 256 for client in state.clients] + [GOOD] for master in state.masters]
    for position, words in enumerate(boasts):
        job.commit(position, words=words)
    for position, words in enumerate(boasts):
        job.reveal(position, words=words)
    assert job.judgements[-1].medians == (256, 256, 256)
    assert job.outcomes[-1] == (1, Phase.COMMIT, None)


def test_the_update_of_the_only_master_is_unscored() -> None:
    job = judged(Job(1, masters=1, fraction=10_000), [GOOD, GOOD])
    assert job.judgements[-1].medians == (Reason.UNSCORED,)
    assert not job.judgements[-1].accepted


def test_a_round_that_accepts_no_update_fails_and_keeps_its_masters() -> None:
    job = judged(Job(), *([[Reason.UNREADABLE] * 6 + [GOOD]] * 4))
    assert job.outcomes == [(1, Phase.COMMIT, None)]
    assert (job.round().number, job.phase) == (2, Phase.REQUEST)
    assert job._committee.since == 1


def test_scores_become_reputation_and_who_was_not_scored_keeps_its_own() -> None:
    job = Job()
    job.play(Phase.REQUEST)
    clients = job.round().clients
    job.submit(0, 1, 2, 3, 4)
    job.deadline_passes()
    words = [word_of_score(10_000), word_of_score(5_000)] + [GOOD] * 5
    job.commit(words=words)
    job.reveal(words=words)
    assert [job.pool.reputation[client] for client in clients] == [160, 96, 147, 147, 147, 128]
    assert all(job.pool.reputation[member] == 128 for member in job.pool.enrolled - set(clients))


def test_the_salts_revealed_stir_the_seed_in_order_of_position() -> None:
    one, other = Job().play(Phase.PREPARE), Job().play(Phase.PREPARE)
    before = one.seed
    one.reveal(0, 1, 2, 3)
    other.reveal(3, 1, 2, 0)
    assert before != one.seed == other.seed


# ------------------------------------------------------------------ deadlines


def test_request_goes_on_with_the_updates_that_came_and_leaves_the_silent_out() -> None:
    job = Job().play(Phase.REQUEST)
    silent = job.round().clients[5]
    job.submit(0, 1, 2, 3, 4)
    job.deadline_passes()
    assert (job.phase, job.round().awaited) == (Phase.PRE_PREPARE, frozenset({5}))
    assert silent in job.pool.enrolled
    job.commit()
    job.reveal()
    assert 5 not in job.judgements[-1].accepted
    job.propose()
    job.attest()
    assert silent not in job.pool.enrolled


def test_request_without_any_update_fails() -> None:
    job = Job(20, fraction=1_000).play(Phase.REQUEST)
    clients = set(job.round().clients)
    job.deadline_passes()
    assert job.phase == Phase.FAILED
    job.advance()
    assert job.outcomes == [(1, Phase.REQUEST, None)]
    assert (job.round().number, job.phase) == (2, Phase.REQUEST)
    assert not clients & job.pool.enrolled


@pytest.mark.parametrize(("masters", "quorum"), [(1, 1), (3, 3), (4, 3), (7, 5)])
def test_pre_prepare_goes_on_with_a_quorum_of_commitments(masters: int, quorum: int) -> None:
    for commitments, phase in ((quorum, Phase.PREPARE), (quorum - 1, Phase.FAILED)):
        job = Job(20, masters=masters).play(Phase.PRE_PREPARE)
        job.commit(*range(commitments)) if commitments else None
        job.deadline_passes() if job.phase == Phase.PRE_PREPARE else None
        assert job.phase == phase


@pytest.mark.parametrize(("masters", "quorum"), [(1, 1), (3, 3), (4, 3), (7, 5)])
def test_prepare_goes_on_with_a_quorum_of_reveals(masters: int, quorum: int) -> None:
    for reveals, phase in ((quorum, Phase.COMMIT), (quorum - 1, Phase.FAILED)):
        job = Job(20, masters=masters).play(Phase.PREPARE)
        job.reveal(*range(reveals)) if reveals else None
        job.deadline_passes() if job.phase == Phase.PREPARE else None
        assert job.phase == phase


@pytest.mark.parametrize("silent", ["in PRE-PREPARE", "in PREPARE"])
def test_silent_masters_are_left_out_and_replaced(silent: str) -> None:
    job = Job(20).play(Phase.PRE_PREPARE)
    committee = job.round().masters
    if silent == "in PRE-PREPARE":
        job.commit(0, 1, 2)
        job.deadline_passes()
        job.reveal()
    else:
        job.commit()
        job.reveal(0, 1, 2)
        job.deadline_passes()
    job.propose()
    job.attest(0, 1, 2)
    assert committee[3] not in job.pool.enrolled
    assert job.round().masters[:3] == committee[:3]
    assert job.round().masters[3] in job.pool.enrolled - set(committee)


def test_after_prepare_has_timed_out_whoever_acts_first_has_the_updates_judged() -> None:
    for act in (Job.propose, Job.advance):
        job = Job().play(Phase.PREPARE)
        job.reveal(0, 1, 2)
        job.deadline_passes()
        assert not job.judgements
        act(job)
        assert job.judgements[-1].accepted == frozenset(range(6))
        before = job.seed, dict(job.pool.reputation)
        if job.phase == Phase.COMMIT:
            job.propose()
        job.attest()
        assert len(job.judgements) == 1, "once, whoever acts after that"
        assert (job.seed, job.pool.reputation) == before


def test_after_prepare_has_timed_out_a_proposal_of_nothing_accepted_meets_a_failed_round() -> None:
    job = Job().play(Phase.PRE_PREPARE)
    words = [Reason.UNAVAILABLE] * 6 + [GOOD]
    job.commit(words=words)
    job.reveal(0, 1, 2, words=words)
    job.deadline_passes()
    with refused("WrongPhase", Phase.FAILED):
        job.propose()
    assert not job.judgements
    job.advance()
    assert job.outcomes == [(1, Phase.COMMIT, None)]


def test_commit_without_a_proposal_fails_and_dismisses_the_committee() -> None:
    job = Job(20).play(Phase.COMMIT)
    committee = set(job.round().masters)
    job.deadline_passes()
    job.advance()
    assert job.outcomes == [(1, Phase.COMMIT, None)]
    assert not committee & set(job.round().masters)
    assert committee <= job.pool.enrolled


def test_reply_without_a_quorum_returns_to_commit_for_another_proposal() -> None:
    job = Job().play(Phase.REPLY)
    job.attest(0, 1)
    job.deadline_passes()
    assert (job.phase, job.round().proposed) == (Phase.COMMIT, frozenset({COORDINATOR}))
    job.propose(2, OTHER)
    assert job.round().attested == {2}
    job.attest(0, 1, model=OTHER)
    assert job.model == OTHER


def test_reply_fails_once_every_master_has_proposed_in_vain() -> None:
    job = Job(20).play(Phase.REPLY)
    for position in range(4):
        job.deadline_passes()
        job.propose(position, OTHER)
    job.deadline_passes()
    assert job.phase == Phase.FAILED
    job.advance()
    assert job.outcomes == [(1, Phase.REPLY, None)]
    assert job.model == b"0" * 32


def test_several_deadlines_may_pass_at_once() -> None:
    job = Job().play(Phase.PREPARE)
    job.reveal(0, 1, 2)
    job.now += 10_000
    assert job.phase == Phase.FAILED
    job.advance()
    assert job.outcomes == [(1, Phase.COMMIT, None)]
    assert job.judgements[-1].accepted == frozenset(range(6))
    assert job.round().deadline == job.now + 100


def test_the_deadline_itself_is_still_in_time() -> None:
    job = Job().play(Phase.REQUEST)
    job.now = job.round().deadline
    job.submit()
    assert job.phase == Phase.PRE_PREPARE


def test_a_job_waits_for_members_and_goes_on_when_they_are_back() -> None:
    job = Job(4, fraction=2_500).play(Phase.REQUEST)
    job.deadline_passes()
    job.advance()
    assert job.phase == Phase.WAITING
    with refused("TooFewEnrolled", 3, 4):
        job.advance()
    job.enrol(min({1, 2, 3, 4} - job.pool.enrolled))
    job.advance()
    assert (job.round().number, job.phase) == (2, Phase.REQUEST)


def job_with_enough() -> Job:
    """A job that waits for members, has four of six, and needs four."""
    job = Job(6, fraction=10_000).play(Phase.REQUEST)
    job.deadline_passes()
    job.advance()
    for member in (1, 2, 3, 4):
        job.enrol(member)
    job.advance()
    assert (job.phase, job.round().deadline) == (Phase.WAITING, job.now + TERMS.request_seconds)
    return job


def test_who_comes_back_first_waits_for_the_others_until_a_deadline() -> None:
    job = job_with_enough()
    job.now = job.round().deadline
    with refused("NothingToAdvance"):
        job.advance()
    job.enrol(5)
    job.deadline_passes()
    for change in (lambda: job.enrol(6), lambda: job.withdraw(1), lambda: job.strike(1)):
        with refused("DrawPending", 1):
            change()
    job.advance()
    assert (job.phase, sorted(job.round().clients)) == (Phase.REQUEST, [1, 2, 3, 4, 5])


def test_nobody_waits_once_all_are_back_and_too_few_have_no_deadline() -> None:
    job = job_with_enough()
    job.enrol(5)
    job.suspend(6)
    job.advance()
    assert (job.phase, sorted(job.round().clients)) == (Phase.REQUEST, [1, 2, 3, 4, 5])
    job = job_with_enough()
    job.withdraw(1)
    job.deadline_passes()
    job.advance()
    assert (job.phase, job.round().deadline) == (Phase.WAITING, 0)
    with refused("TooFewEnrolled", 3, 4):
        job.advance()


def test_a_job_that_everybody_abandons_still_ends() -> None:
    job = Job(20, fraction=1_000).play(Phase.REQUEST)
    for _ in range(3):
        job.deadline_passes()
        job.advance()
    assert job.phase == Phase.CLOSED
    assert job.model == b"0" * 32


# ------------------------------------------------------------------ election


def test_a_committee_serves_its_term_and_then_cools_down() -> None:
    job = Job(20).play(Phase.REPLY)
    committees = [job.round().masters]
    job.attest()
    for _ in range(2):
        committees.append(job.round().masters)
        job.submit()
        job.commit()
        job.reveal()
        job.propose()
        job.attest()
    assert committees[0] == committees[1]
    assert not set(committees[1]) & set(committees[2])


def test_a_member_that_withdraws_is_still_expected_this_round() -> None:
    job = Job().play(Phase.REQUEST)
    client = job.round().clients[0]
    job.withdraw(client)
    job.submit()
    assert job.phase == Phase.PRE_PREPARE
    assert client not in job.pool.enrolled


def test_a_suspended_member_is_struck_out_and_cannot_act() -> None:
    job = Job().play(Phase.REQUEST)
    client = job.round().clients[0]
    job.suspend(client)
    job.strike(client)
    with refused("NotActiveMember", client):
        job.submit()
    job.reinstate(client)
    job.submit()
    assert client not in job.pool.enrolled


# ------------------------------------------------------------------ one test per error


def test_terms_that_go_to_their_limits() -> None:
    Job(masters=MAX_MASTERS, fraction=10_000, standard=10_000, reply_seconds=2)


@pytest.mark.parametrize(
    "changes",
    [
        {"rounds": 0},
        {"fraction": 0},
        {"fraction": 10_001},
        {"masters": 0},
        {"masters": 16},
        {"term_rounds": 0},
        {"standard": 10_001},
        {"request_seconds": 0},
        {"score_seconds": 0},
        {"reveal_seconds": 0},
        {"reply_seconds": 1},
    ],
)
def test_terms_that_cannot_work(changes: dict[str, int]) -> None:
    with refused("InvalidTerms"):
        Job(**changes)


def test_not_active_member() -> None:
    job = Job()
    job.suspend(1)
    for call in (job.enrol, job.withdraw):
        with refused("NotActiveMember", 1):
            call(1)
    job = Job().play(Phase.COMMIT)
    with refused("NotActiveMember"):
        job.propose_model(None, 1, 0, NEW)
    for phase, act in (
        (Phase.REQUEST, Job.submit),
        (Phase.PRE_PREPARE, Job.commit),
        (Phase.PREPARE, Job.reveal),
        (Phase.REPLY, Job.attest),
    ):
        job = Job().play(phase)
        drawn = job.round().clients if phase == Phase.REQUEST else job.round().masters
        job.suspend(drawn[0])
        with refused("NotActiveMember", drawn[0]):
            act(job, 0)


def test_already_enrolled() -> None:
    with refused("AlreadyEnrolled", 1, 5):
        Job().enrol(5)


def test_not_enrolled() -> None:
    job = Job()
    job.withdraw(5)
    with refused("NotEnrolled", 1, 5):
        job.withdraw(5)
    with refused("NotEnrolled", 1, 5):
        job.strike(5)


def test_election_full() -> None:
    with refused("ElectionFull", 2_048):
        Job().enrol(2_048)


def test_still_active() -> None:
    with refused("StillActive", 5):
        Job().strike(5)


def test_job_not_open() -> None:
    job = Job(20, rounds=1).play(Phase.REPLY)
    job.attest()
    with refused("JobNotOpen", 1):
        job.enrol(21)


def test_not_coordinator() -> None:
    with refused("NotCoordinator"):
        Job().start(1)
    job = Job().play(Phase.COMMIT)
    with refused("NotCoordinator"):
        job.propose_model(job.round().masters[0], 1, COORDINATOR, NEW)


def test_too_few_enrolled() -> None:
    with refused("TooFewEnrolled", 3, 4):
        Job(3).start()


def test_wrong_phase() -> None:
    job = Job().play(Phase.REQUEST)
    with refused("WrongPhase", Phase.REQUEST):
        job.start()
    for act in (job.commit, job.reveal, job.propose, job.attest):
        with refused("WrongPhase", Phase.REQUEST):
            act(0) if act != job.propose else act()
    job.submit()
    with refused("WrongPhase", Phase.PRE_PREPARE):
        job.submit(0)
    job.deadline_passes()
    with refused("WrongPhase", Phase.FAILED):
        job.commit()


def test_wrong_round() -> None:
    job = Job()
    with refused("WrongRound", 0):
        job.submit_update(1, 0, 0, 100)
    job.play(Phase.REQUEST)
    for number in (0, 2):
        with refused("WrongRound", 1):
            job.submit_update(job.round().clients[0], number, 0, 100)


def test_not_drawn() -> None:
    job = Job(20).play(Phase.REQUEST)
    stranger, clients = job.outsider(), job.round().clients
    for member, position in (
        *((stranger, 0), (clients[0], 1), (clients[0], 56)),
        *((clients[-1], -1), (clients[-1], len(clients))),
    ):
        with refused("NotDrawn", member, position):
            job.submit_update(member, 1, position, 100)
    job.submit()
    master, *_, last = job.round().masters
    for member, position in ((stranger, 0), (master, 1), (master, 15), (last, -1)):
        with refused("NotDrawn", member, position):
            job.commit_scores(member, 1, position, SALT)
    job.commit()
    with refused("NotDrawn", stranger, 0):
        job.reveal_scores(stranger, 1, 0, job.words(), SALT)
    job.reveal()
    with refused("NotDrawn", stranger, 0):
        job.propose_model(stranger, 1, 0, NEW)
    job.propose()
    with refused("NotDrawn", stranger, 0):
        job.attest_model(stranger, 1, 0, frozenset({COORDINATOR}), NEW)


def test_already_submitted() -> None:
    job = Job().play(Phase.REQUEST)
    job.submit(0)
    with refused("AlreadySubmitted", job.round().clients[0]):
        job.submit(0)


@pytest.mark.parametrize("samples", [0, 101])
def test_sample_count_out_of_range(samples: int) -> None:
    job = Job().play(Phase.REQUEST)
    with refused("SampleCountOutOfRange", samples, 100):
        job.submit_update(job.round().clients[0], 1, 0, samples)


def test_already_committed() -> None:
    job = Job().play(Phase.PRE_PREPARE)
    job.commit(0)
    with refused("AlreadyCommitted", job.round().masters[0]):
        job.commit(0)


def test_nothing_to_reveal() -> None:
    job = Job().play(Phase.PRE_PREPARE)
    job.commit(0, 1, 2)
    job.deadline_passes()
    job.reveal(0)
    for position in (0, 3):
        with refused("NothingToReveal", job.round().masters[position]):
            job.reveal(position)


def test_wrong_score_count() -> None:
    job = Job().play(Phase.PREPARE)
    for words, slots in (([], 0), ([GOOD] * 13, 2)):
        with refused("WrongScoreCount", slots, 1):
            job.reveal_scores(job.round().masters[0], 1, 0, words, SALT)


def test_commitment_mismatch() -> None:
    job = Job().play(Phase.PREPARE)
    master = job.round().masters[0]
    for words, salt in ((job.words(), b"x" * 32), (job.words(GOOD + 1), SALT)):
        with refused("CommitmentMismatch", master):
            job.reveal_scores(master, 1, 0, words, salt)


def test_a_copied_commitment_opens_nothing() -> None:
    job = Job().play(Phase.PRE_PREPARE)
    state = job.round()
    commitment = plain_commitment(1, state.masters[0], pack(job.words()), SALT)
    for position, master in enumerate(state.masters):
        job.commit_scores(master, 1, position, commitment)
    job.reveal(0)
    with refused("CommitmentMismatch", state.masters[1]):
        job.reveal(1)


def test_not_your_turn() -> None:
    job = Job().play(Phase.COMMIT)
    job.now = job.round().deadline - 31
    with refused("NotYourTurn", job.round().masters[0]):
        job.propose(0)
    job.now += 1
    job.propose(0)


def test_already_proposed() -> None:
    job = Job().play(Phase.REPLY)
    job.deadline_passes()
    with refused("AlreadyProposed"):
        job.propose(COORDINATOR, OTHER)
    job.propose(0)
    job.deadline_passes()
    with refused("AlreadyProposed"):
        job.propose(0)


def test_already_attested() -> None:
    job = Job().play(Phase.REPLY)
    job.attest(0)
    with refused("AlreadyAttested", job.round().masters[0]):
        job.attest(0)


def test_wrong_proposal() -> None:
    """An attestation is of one proposal: a later one may be of the same model, and its blob nowhere."""
    job = Job().play(Phase.REPLY)
    master, first = job.round().masters[1], job.round().proposed
    job.deadline_passes()
    job.propose(0)
    with refused("WrongProposal", 1 << COORDINATOR | 1):
        job.attest_model(master, 1, 1, first, NEW)
    job.attest_model(master, 1, 1, first | {0}, NEW)


def test_wrong_model() -> None:
    job = Job().play(Phase.REPLY)
    with refused("WrongModel", NEW):
        job.attest(0, model=OTHER)


def test_nothing_to_advance() -> None:
    job = Job()
    with refused("NothingToAdvance"):
        job.advance()
    job.start()
    with refused("NothingToAdvance"):
        job.advance()


def test_a_refusal_changes_nothing() -> None:
    job = Job().play(Phase.PREPARE)
    job.reveal(0, 1, 2)
    job.deadline_passes()
    before = (job.round(), job.seed, dict(job.pool.reputation))
    with refused("NotYourTurn"):
        job.propose(0)
    assert (job.round(), job.seed, job.pool.reputation) == before


def test_nobody_enters_or_leaves_while_the_next_draws_seed_is_known() -> None:
    job = Job().play(Phase.PREPARE)
    for act in (job.enrol, job.withdraw, job.strike):
        with pytest.raises(ContractError) as refusal:
            act(1)
        assert refusal.value.name == "DrawPending"


def test_an_update_weighs_at_most_what_exact_aggregation_allows() -> None:
    job = Job().play(Phase.REQUEST)
    client = job.round().clients[0]
    job.commit_dataset(client, 2**31)
    with pytest.raises(ContractError) as refusal:
        job.submit_update(client, 1, 0, MAX_SAMPLES + 1)
    assert refusal.value.arguments == (MAX_SAMPLES + 1, MAX_SAMPLES)
    job.submit_update(client, 1, 0, MAX_SAMPLES)
