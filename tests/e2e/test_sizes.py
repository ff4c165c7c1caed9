"""Consortia of 3 to 200 members: three rounds on the real contract, drawn and judged as the plain model does."""

from functools import partial

import pytest
from eth_utils import keccak

from hmchain.rounds import Phase, Terms
from hmchain.scores import word_of_score
from tests.e2e.side_by_side import Consortium, SideBySide

SIZES = {3: (10_000, 3), 4: (5_000, 4), 7: (5_000, 4), 20: (2_500, 4), 100: (1_000, 4), 200: (2_000, 7)}


@pytest.mark.parametrize("size", SIZES)
def test_three_rounds(size: int) -> None:
    fraction, masters = SIZES[size]
    terms = Terms(3, fraction, masters, 2, True, 500, 600, 600, 600, 600)
    consortium = Consortium(size)
    both = SideBySide(consortium, terms, keccak(b"manifest of %d" % size), list(consortium.members))
    assert both.start()
    count = len(both.model.round().clients)
    for number in range(1, terms.rounds + 1):
        model = keccak(b"model %d" % number)
        both.play_round(partial(scores, number, count + 1), model)
        assert both.model.model == model
    both.compare_standing()
    assert both.model.round().phase == Phase.CLOSED
    assert [outcome.phase for outcome in both.model.outcomes] == [Phase.REPLY] * 3
    assert all(0 < len(verdict.accepted) <= count for verdict in both.model.judgements)


def scores(number: int, count: int, master: int) -> list[int]:
    """A master's words of a round: 75 to 93 %, so that some updates fall too far below the base model."""
    return [
        word_of_score(8_000 + 100 * number + (731 * client + 97 * master) % 1_000 - 300 * (client % 3))
        for client in range(count)
    ]
