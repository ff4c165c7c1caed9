"""Signed answers: what is read is what was written, and only the answers of members to one query are added."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmchain.errors import UsageError, VerificationError
from hmchain.record import canonical
from tests.unit.small_hospital import CONSORTIUM, OPERATORS, Chain, history, signed
from trainers.services.answers import FORMAT, Answer, Total, check, query_digest, summed

ANSWER = signed({"total": 12, "rest": None})
CELLS = st.dictionaries(st.from_regex(r"[a-z0-9 ]{1,20}", fullmatch=True), st.none() | st.integers(0, 10**6))


def checked(*answers: Answer, service: str = "cohort") -> Any:
    return check(answers, service, CONSORTIUM, history(), Chain())


def at(answer: Answer, **changes: Any) -> Answer:
    """The same with another place, signed by the member that it then names."""
    place = replace(answer.place, **changes)
    return replace(answer, place=place).signed(OPERATORS.get(place.member, OPERATORS[1]))


@given(CELLS)
@settings(max_examples=30, deadline=None)
def test_an_answer_survives_its_file_and_its_signature_with_it(cells: dict[str, int | None]) -> None:
    answer = signed(cells)
    assert answer.signer() == OPERATORS[1].address
    assert b"\n" not in answer.encode()[:-1]


def test_it_is_read_as_it_was_written_for_its_owners_eyes(tmp_path: Path) -> None:
    ANSWER.write(tmp_path / "answer.json")
    assert Answer.read(tmp_path / "answer.json") == ANSWER
    assert (tmp_path / "answer.json").stat().st_mode & 0o077 == 0
    assert checked(Answer.read(tmp_path / "answer.json")) == {"title": "q"}


@pytest.mark.parametrize(
    "change",
    [
        {"format": "hmchain-answer/2"},
        {"cells": {"total": -1}},
        {"cells": {"total": 1.0}},
        {"cells": {"total": True}},
        {"cells": {"a\tb": 1}},
        {"cells": {"": 1}},
        {"cells": []},
        {"query": []},
        {"query_digest": "00" * 32},
        {"member": "1"},
        {"block": 2**60},
        {"signature": "zz"},
        {"signature": "AB" * 65},
        {"service": 1},
        {"surprise": 1},
    ],
    ids=str,
)
def test_a_file_that_no_one_of_us_would_write_is_refused(change: dict[str, Any], tmp_path: Path) -> None:
    content = ANSWER._content() | change
    (tmp_path / "file").write_bytes(canonical(content) + b"\n")
    with pytest.raises(UsageError, match=f"file is not a {FORMAT} file"):
        Answer.read(tmp_path / "file")


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", ANSWER.encode()[:-1], b" " + ANSWER.encode()])
def test_another_spelling_is_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(UsageError):
        Answer.read(tmp_path / "file")


TAMPERED: dict[str, Callable[[Answer], Answer]] = {
    "count": lambda a: replace(a, cells={**a.cells, "total": 13}),
    "suppressed cell": lambda a: replace(a, cells={**a.cells, "rest": 0}),
    "threshold": lambda a: replace(a, threshold=6),
    "block": lambda a: replace(a, place=replace(a.place, block=11, block_hash=Chain().block(11).hash)),
    "member": lambda a: replace(a, place=replace(a.place, member=2)),
    "query": lambda a: replace(a, query={"title": "other"}),
}


@pytest.mark.parametrize("what", TAMPERED)
def test_an_answer_that_was_changed_is_not_its_members(what: str) -> None:
    with pytest.raises(VerificationError, match="not signed by that member's operator, or was changed since"):
        checked(TAMPERED[what](ANSWER))


def test_a_signature_that_is_none_is_refused() -> None:
    with pytest.raises(VerificationError, match="signature is none"):
        checked(replace(ANSWER, signature=b"\xff" * 65))


def test_answers_to_another_query_or_of_another_service_do_not_add_up() -> None:
    with pytest.raises(UsageError, match="member 2 answers another query than member 1"):
        checked(ANSWER, signed({"total": 7}, 2, query={"title": "another"}))
    with pytest.raises(UsageError, match="an answer is one of 'alleles', not of 'cohort'"):
        checked(signed({"total": 7}, service="alleles"))
    assert query_digest("cohort", {}) != query_digest("alleles", {})


@pytest.mark.parametrize("change", [{"chain_id": 1}, {"contract": "0x" + "00" * 20}], ids=str)
def test_an_answer_of_another_deployment_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(VerificationError, match="of another deployment"):
        checked(at(ANSWER, **change))


@pytest.mark.parametrize("change", [{"block": 6}, {"block": 21}, {"block_hash": "0x" + "00" * 32}], ids=str)
def test_an_answer_as_of_a_block_that_is_not_there_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(VerificationError, match="names a block that this chain does not have"):
        checked(at(ANSWER, **change))


def test_only_active_members_answer_and_only_by_their_present_operator() -> None:
    with pytest.raises(VerificationError, match="no active member of this number"):
        checked(at(ANSWER, member=9))
    suspended = history()
    suspended.active.discard(1)
    with pytest.raises(VerificationError, match="no active member of this number"):
        check([ANSWER], "cohort", CONSORTIUM, suspended, Chain())
    rotated = history()
    rotated.members[1], rotated.retired = OPERATORS[3].address, {OPERATORS[1].address: 1}
    with pytest.raises(VerificationError, match="not signed by that member's operator"):
        check([ANSWER], "cohort", CONSORTIUM, rotated, Chain())


def test_no_hospital_counts_twice_and_none_at_all_is_no_sum() -> None:
    with pytest.raises(UsageError, match="more than one answer of member 1"):
        checked(ANSWER, signed({"total": 20}))
    with pytest.raises(UsageError, match="no answers"):
        checked()


def test_totals_add_what_was_told_and_count_who_kept_a_cell_back() -> None:
    answers = [signed({"a": 5, "b": None}), signed({"a": 7, "b": 9}, 2), signed({"a": None, "b": None, "c": 6}, 3)]
    assert checked(*answers) == {"title": "q"}
    assert summed(answers) == {"a": Total(12, 2, 1, 4), "b": Total(9, 1, 2, 8), "c": Total(6, 1, 0, 0)}
