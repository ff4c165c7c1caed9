"""The draws: masters by reputation, clients uniformly, the same for everyone who knows the seed."""

from collections import Counter

import pytest
from eth_utils import keccak
from hypothesis import given
from hypothesis import strategies as st

from hmchain.election import HIGHEST, NEUTRAL, Committee, Pool, draw_clients, elect_masters

NOBODY = Committee()


def pool_of(*members: int, **reputation: int) -> Pool:
    """Members enrolled; reputation as m3=200."""
    pool = Pool()
    for member in members:
        pool.enrol(member)
    pool.reputation.update({int(name[1:]): value for name, value in reputation.items()})
    return pool


def seed_of(number: int) -> bytes:
    return keccak(b"seed %d" % number)


def elect(pool: Pool, outgoing: Committee = NOBODY, round: int = 1, count: int = 3, term: int = 2) -> Committee:
    return elect_masters(pool, outgoing, round, count, term, seed_of(round))


# ------------------------------------------------------------------ reputation


def test_a_newcomer_starts_neutral_and_a_returner_as_it_left() -> None:
    pool = pool_of(1)
    assert pool.reputation[1] == NEUTRAL
    pool.learn(1, 10_000)
    pool.leave(1)
    pool.enrol(1)
    assert pool.reputation[1] == 160


@pytest.mark.parametrize(
    ("old", "points", "new"), [(128, 10_000, 160), (128, 0, 96), (1, 0, 1), (2, 0, 2), (255, 10_000, 255)]
)
def test_reputation_moves_a_quarter_of_the_way_to_the_score(old: int, points: int, new: int) -> None:
    pool = pool_of(1, m1=old)
    pool.learn(1, points)
    assert pool.reputation[1] == new


@given(st.integers(1, HIGHEST), st.lists(st.integers(0, 10_000)))
def test_reputation_stays_within_1_to_255(old: int, scores: list[int]) -> None:
    pool = pool_of(1, m1=old)
    for points in scores:
        pool.learn(1, points)
    assert 1 <= pool.reputation[1] <= HIGHEST


def test_leaving_the_draws_does_not_dodge_a_score() -> None:
    pool = pool_of(1)
    pool.leave(1)
    pool.learn(1, 0)
    assert pool.reputation[1] == 96
    assert not pool.enrolled


# ------------------------------------------------------------------ masters


def test_a_point_falls_on_the_member_whose_stretch_of_the_line_holds_it() -> None:
    """By hand: numbers ascending, each as long as its reputation, the drawn one cut out."""
    pool, seed = pool_of(9, 4, 7, m4=10, m7=200, m9=30), seed_of(3)
    number = keccak(seed + (3).to_bytes(32) + (0).to_bytes(32))
    line = [4] * 10 + [7] * 200 + [9] * 30
    drawn = []
    for turn in range(3):
        drawn.append(line[int.from_bytes(keccak(number + turn.to_bytes(32))) % len(line)])
        line = [member for member in line if member != drawn[-1]]
    assert elect_masters(pool, NOBODY, 3, 3, 1, seed) == Committee(tuple(drawn), 3)


def test_everybody_draws_the_same() -> None:
    assert elect(pool_of(*range(1, 30))) == elect(pool_of(*range(29, 0, -1)))


def test_a_committee_serves_its_term() -> None:
    pool = pool_of(*range(1, 30))
    first = elect(pool)
    assert elect(pool, first, round=2) == first
    assert elect(pool, first, round=3).since == 3


def test_the_outgoing_committee_sits_an_election_out() -> None:
    pool = pool_of(*range(1, 7))
    first = elect(pool)
    assert set(elect(pool, first, round=3).members) == set(range(1, 7)) - set(first.members)


def test_unless_the_consortium_is_too_small_for_two_committees() -> None:
    pool = pool_of(*range(1, 6))
    first = elect(pool)
    again = [set(elect_masters(pool, first, 3, 3, 2, seed_of(i)).members) for i in range(20)]
    assert any(members & set(first.members) for members in again)


def test_a_master_that_left_is_replaced_at_its_position_for_the_rest_of_the_term() -> None:
    pool = pool_of(*range(1, 7))
    first = elect(pool)
    pool.leave(first.members[1])
    second = elect(pool, first, round=2)
    assert second.since == 1
    assert (second.members[0], second.members[2]) == (first.members[0], first.members[2])
    assert second.members[1] in pool.enrolled - set(first.members)


def test_a_dismissed_committee_is_elected_anew_in_the_middle_of_its_term() -> None:
    pool = pool_of(*range(1, 7))
    first = elect(pool)
    second = elect_masters(pool, first, 2, 3, 2, seed_of(2), dismissed=True)
    assert second.since == 2
    assert not set(second.members) & set(first.members)


def test_higher_reputation_is_likelier_to_be_elected() -> None:
    pool = pool_of(*range(1, 5), m1=250, m2=125, m3=75, m4=50)
    wins = Counter(elect_masters(pool, NOBODY, 1, 1, 1, seed_of(i)).members[0] for i in range(2_000))
    assert chi_square(wins, {member: weight / 500 for member, weight in pool.reputation.items()}) < 16.3


# ------------------------------------------------------------------ clients


def test_clients_are_no_masters_while_there_are_enough_others() -> None:
    pool = pool_of(*range(1, 8))
    for i in range(50):
        clients = draw_clients(pool, (2, 3, 5), 1, 4, seed_of(i))
        assert sorted(clients) == [1, 4, 6, 7]


def test_else_a_member_may_be_both() -> None:
    pool = pool_of(*range(1, 7))
    drawn = [set(draw_clients(pool, (2, 3, 5), 1, 4, seed_of(i))) for i in range(50)]
    assert all(len(clients) == 4 for clients in drawn)
    assert any(clients & {2, 3, 5} for clients in drawn)


def test_everybody_is_a_client_when_all_are_drawn() -> None:
    assert sorted(draw_clients(pool_of(1, 2, 3), (1, 2, 3), 1, 3, seed_of(1))) == [1, 2, 3]


def test_clients_are_drawn_uniformly_whatever_their_reputation() -> None:
    pool = pool_of(*range(1, 11), m1=255, m2=1)
    drawn = Counter(client for i in range(1_000) for client in draw_clients(pool, (), 1, 3, seed_of(i)))
    assert chi_square(drawn, dict.fromkeys(range(1, 11), 1 / 10)) < 27.9


def test_the_rounds_and_the_two_draws_of_a_round_are_independent() -> None:
    pool, seed = pool_of(*range(1, 200)), seed_of(1)
    draws = {draw_clients(pool, (), round, 5, seed) for round in range(1, 50)}
    draws |= {elect_masters(pool, NOBODY, round, 5, 1, seed).members for round in range(1, 50)}
    assert len(draws) == 98


def chi_square(observed: Counter[int], expected: dict[int, float]) -> float:
    """The limits above are exceeded by chance once in a thousand times; seeds are fixed."""
    total = observed.total()
    return sum((observed[k] - total * share) ** 2 / (total * share) for k, share in expected.items())
