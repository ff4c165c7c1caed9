"""Score words: a reason below 256, or 256 + basis points."""

import statistics

import pytest
from eth_utils import keccak
from hypothesis import given
from hypothesis import strategies as st

from hmchain.errors import Reason, UsageError
from hmchain.scores import (
    basis_points,
    chain_seed,
    commitment_of,
    is_score,
    lower_median,
    pack,
    unpack,
    word_of_reason,
    word_of_score,
)

WORDS = st.integers(0, 0xFFFF)


@given(st.integers(0, 10_000))
def test_a_score_survives_its_word(score: int) -> None:
    assert basis_points(word_of_score(score)) == score
    assert word_of_score(score) == 256 + score


@pytest.mark.parametrize("word", [256 + 10_001, 0xFFFF])
def test_a_word_beyond_the_scale_is_worth_its_top(word: int) -> None:
    assert basis_points(word) == 10_000


@pytest.mark.parametrize("score", [-1, 10_001])
def test_a_score_outside_0_to_10000_is_refused(score: int) -> None:
    with pytest.raises(UsageError):
        word_of_score(score)


@pytest.mark.parametrize("reason", Reason)
def test_a_reason_is_worth_nothing_and_sorts_below_every_score(reason: Reason) -> None:
    assert basis_points(word_of_reason(reason)) == 0
    assert word_of_reason(reason) == reason < word_of_score(0)
    assert is_score(word_of_score(0))
    assert not is_score(word_of_reason(reason))


def test_the_median_of_no_words_is_unscored() -> None:
    assert lower_median([]) == Reason.UNSCORED


@given(st.lists(WORDS, min_size=1))
def test_the_median_is_the_lower_one(words: list[int]) -> None:
    assert lower_median(words) == statistics.median_low(words)


@given(st.integers(0, 4), st.data())
def test_f_false_words_in_3f_plus_1_cannot_leave_the_honest_range(f: int, data: st.DataObject) -> None:
    honest = data.draw(st.lists(WORDS, min_size=2 * f + 1, max_size=2 * f + 1))
    false = data.draw(st.lists(WORDS, min_size=f, max_size=f))
    assert min(honest) <= lower_median(honest + false) <= max(honest)


@given(st.lists(WORDS, max_size=100), st.integers(0, 2**64 - 1))
def test_words_survive_packing_and_the_entropy_below_them(words: list[int], entropy: int) -> None:
    slots = pack(words)
    assert len(slots) == (len(words) + 11) // 12
    assert all(0 <= slot < 2**256 for slot in slots)
    assert unpack([slot | entropy for slot in slots], len(words)) == words


def test_word_i_lies_above_the_entropy_at_bits_16_times_i() -> None:
    assert pack([0xABCD, 0x0001]) == [0x0001ABCD << 64]
    assert pack([0] * 11 + [0xFFFF, 7]) == [0xFFFF << 240, 7 << 64]


@pytest.mark.parametrize("word", [-1, 0x10000])
def test_a_word_beyond_16_bits_cannot_be_packed(word: int) -> None:
    with pytest.raises(UsageError):
        pack([word])


@pytest.mark.parametrize("count", [-1, 13])
def test_more_words_than_there_are_cannot_be_unpacked(count: int) -> None:
    with pytest.raises(UsageError):
        unpack([0], count)


BALLOT = (1337, "0x" + "aa" * 20, 1, 2, "0x" + "bb" * 20, (5 << 64,), b"s" * 32)
OTHERWISE = (1, "0x" + "ab" * 20, 2, 3, "0x" + "ba" * 20, (6 << 64,), b"t" * 32)


@pytest.mark.parametrize("part", range(len(BALLOT)))
def test_a_commitment_is_bound_to_each_of_its_parts(part: int) -> None:
    changed = (*BALLOT[:part], OTHERWISE[part], *BALLOT[part + 1 :])
    assert commitment_of(*changed) != commitment_of(*BALLOT)  # type: ignore[arg-type]


def test_the_seed_takes_the_words_and_64_bits_of_the_salt() -> None:
    seed, salt = b"\1" * 32, b"\2" * 32
    slot = 5 << 64 | int.from_bytes(keccak(salt)[-8:])
    assert chain_seed(seed, pack([5]), salt) == keccak(seed + slot.to_bytes(32))
    assert chain_seed(seed, [5 << 64 | 99], salt) == chain_seed(seed, pack([5]), salt)
    assert chain_seed(seed, pack([5]), b"\3" * 32) != chain_seed(seed, pack([5]), salt)
