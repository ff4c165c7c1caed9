"""The canonical record: one encoding, one identity, and no other bytes pass for it."""

from __future__ import annotations

import json
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmchain import record as module
from hmchain.errors import DataError
from hmchain.jsontext import MAX_BRACKETS
from hmchain.record import Code, Kind, Record, canonical

HEART_RATE, PULSE = Code("http://loinc.org", "8867-4", "Heart rate"), Code("http://snomed.info/sct", "364075005")
RECORD = Record(
    kind=Kind.CLINICAL,
    type="observation",
    subject="ab" * 16,
    time="2016-12-14T13:55:57Z",
    codes=(HEART_RATE, PULSE),
    value={"quantity": {"value": "44", "unit": "/min"}},
    source="fhir-r4",
    detail={"status": "final"},
    attachment=b"\0\n\xff",
)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
mappings = st.dictionaries(texts, plain, max_size=4)
records = st.builds(
    Record,
    kind=st.sampled_from(Kind),
    type=texts,
    subject=texts,
    time=texts,
    codes=st.lists(st.builds(Code, texts, texts, texts), max_size=3).map(tuple),
    value=mappings,
    source=texts,
    detail=mappings | st.dictionaries(texts, st.floats(allow_nan=False, allow_infinity=False), max_size=2),
    attachment=st.binary(max_size=20),
)


def header(**changes: Any) -> bytes:
    """The header of RECORD with other content, canonical all the same."""
    return canonical(json.loads(RECORD.encode().partition(b"\n")[0]) | changes)


# ---------------------------------------------------------------- the encoding


@given(records)
def test_a_record_survives_its_bytes(item: Record) -> None:
    data = item.encode()
    again = Record.decode(data)
    assert again == item
    assert [code.display for code in again.codes] == [code.display for code in item.codes]
    assert again.encode() == data
    assert again.identity() == item.identity()


def test_the_bytes_are_canonical_json_a_line_break_and_the_attachment() -> None:
    assert (
        RECORD.encode()
        == (
            '{"codes":[["http://loinc.org","8867-4","Heart rate"],["http://snomed.info/sct","364075005",""]],'
            '"detail":{"status":"final"},"kind":"clinical","source":"fhir-r4","subject":"' + "ab" * 16 + '",'
            '"time":"2016-12-14T13:55:57Z","type":"observation","value":{"quantity":{"unit":"/min","value":"44"}}}\n'
        ).encode()
        + b"\0\n\xff"
    )


def test_text_is_utf8_and_not_escaped() -> None:
    assert "Käse 🧀".encode() in replace(RECORD, value={"a": "Käse 🧀"}).encode()


@given(records, st.data())
def test_no_other_bytes_are_the_same_record(item: Record, data: st.DataObject) -> None:
    """Whatever byte of the header is altered: it is refused, or it is another record."""
    whole = item.encode()
    end = whole.index(b"\n")
    at = data.draw(st.integers(0, end - 1))
    other = whole[:at] + bytes([data.draw(st.integers(0, 255).filter(lambda b: b != whole[at]))]) + whole[at + 1 :]
    try:
        read = Record.decode(other)
    except DataError:
        return
    assert read.encode() == other != whole


# ---------------------------------------------------------------- the identity


@pytest.mark.parametrize(
    "change",
    [
        {"source": "hl7v2"},
        {"detail": {}},
        {"detail": {"float": 0.1}},
        {"codes": (PULSE, HEART_RATE)},
        {"codes": (HEART_RATE, PULSE, HEART_RATE)},
        {"codes": (replace(HEART_RATE, display="Herzfrequenz"), PULSE)},
        {"value": {"quantity": {"unit": "/min", "value": "44"}}},
    ],
    ids=str,
)
def test_what_only_the_source_says_is_no_part_of_the_identity(change: dict[str, Any]) -> None:
    assert replace(RECORD, **change).identity() == RECORD.identity()


@pytest.mark.parametrize(
    "change",
    [
        {"kind": Kind.RESEARCH},
        {"type": "vital-sign"},
        {"subject": ""},
        {"time": "2016-12-14"},
        {"codes": (HEART_RATE,)},
        {"codes": (HEART_RATE, replace(PULSE, system=""))},
        {"value": {"quantity": {"value": "44.0", "unit": "/min"}}},
        {"value": {"quantity": {"value": 44, "unit": "/min"}}},
        {"attachment": b""},
        {"attachment": b"\0\n\xfe"},
    ],
    ids=str,
)
def test_another_fact_has_another_identity(change: dict[str, Any]) -> None:
    assert replace(RECORD, **change).identity() != RECORD.identity()


def test_an_identity_is_the_same_in_every_process_and_version() -> None:
    """Vaults keep what follows from it: with another, whatever is imported again would be kept twice."""
    codes = tuple(Code("http://loinc.org", code, "in words") for code in ("8867-4", "718-7", "59408-5", "2708-6"))
    fact = (
        '{"attachment":"","codes":[["http://loinc.org","2708-6"],["http://loinc.org","59408-5"],'
        '["http://loinc.org","718-7"],["http://loinc.org","8867-4"]],"kind":"clinical","subject":"'
        + "ab" * 16
        + '","time":"2016-12-14T13:55:57Z","type":"observation","value":{"quantity":{"unit":"/min","value":"44"}}}'
    )
    record = replace(RECORD, codes=codes, attachment=b"")
    assert record.identity() == sha256(b"hmchain/record/1" + fact.encode()).digest()


# ---------------------------------------------------------------- what cannot be written


@pytest.mark.parametrize("field", ["value", "detail"])
@pytest.mark.parametrize(
    "content",
    [
        float("nan"),
        float("inf"),
        b"bytes",
        "\ud800",
        {1, 2},
        object(),
        {"\udfff": 1},
        {1: "one", "1": "one"},
        10**5000,
        [[]] * MAX_BRACKETS,
        "{" * MAX_BRACKETS,
    ],
    ids=lambda content: type(content).__name__,
)
def test_what_json_has_no_word_for_is_refused_before_anything_is_sealed(field: str, content: object) -> None:
    with pytest.raises(DataError):
        replace(RECORD, **{field: {"x": content}}).encode()


def test_a_text_of_nobodys_alphabet_is_refused_in_every_field() -> None:
    for name in ("type", "subject", "time", "source"):
        with pytest.raises(DataError):
            replace(RECORD, **{name: "\udc80"}).encode()
    with pytest.raises(DataError):
        replace(RECORD, codes=(Code("\udc80", ""),)).identity()


def test_what_is_nested_too_deep_is_refused() -> None:
    deep: Any = []
    for _ in range(MAX_BRACKETS):
        deep = [deep]
    with pytest.raises(DataError):
        replace(RECORD, value={"x": deep}).encode()


def test_whatever_can_be_written_can_be_read() -> None:
    """The reader's limit on brackets holds for the writer: no record is sealed that nobody could open."""
    spare = MAX_BRACKETS - RECORD.encode().count(b"[") - RECORD.encode().count(b"{") - 1
    most = replace(RECORD, value={"quantity": {"value": "44"}, "x": [[]] * spare})
    assert Record.decode(most.encode()) == most
    with pytest.raises(DataError, match="could not be read again"):
        replace(most, value={**most.value, "y": []}).encode()


def test_a_record_has_its_largest_size(monkeypatch: pytest.MonkeyPatch) -> None:
    size = len(RECORD.encode())
    monkeypatch.setattr(module, "MAX_RECORD_BYTES", size)
    assert Record.decode(RECORD.encode()) == RECORD
    larger = replace(RECORD, attachment=RECORD.attachment + b"x")
    with pytest.raises(DataError, match=r"larger than is allowed"):
        larger.encode()
    with pytest.raises(DataError):
        Record.decode(RECORD.encode() + b"x")


def test_a_header_has_its_largest_size(monkeypatch: pytest.MonkeyPatch) -> None:
    data = RECORD.encode()
    monkeypatch.setattr(module, "MAX_HEADER_BYTES", data.index(b"\n") - 1)
    with pytest.raises(DataError, match=r"larger than is allowed"):
        RECORD.encode()
    with pytest.raises(DataError, match="no header"):
        Record.decode(data)


# ---------------------------------------------------------------- what is not a record


@given(st.binary(max_size=80))
@settings(max_examples=50)
def test_other_bytes_are_no_record_and_raise_nothing_else(data: bytes) -> None:
    with pytest.raises(DataError, match=r"^not a record: "):
        Record.decode(data)
    with pytest.raises(DataError, match=r"^not a record: "):
        Record.decode(data + b"\n")


@pytest.mark.parametrize(
    "content",
    [
        b"null",
        b"[]",
        b"{}",
        b"7",
        b"[" * 100_000,
        b'{"a":' * 5_000,
        header(kind="financial"),
        header(kind=["clinical"]),
        header(type=7),
        header(subject=None),
        header(codes=None),
        header(codes={"abc": 1}),
        header(codes=[["s", "c"]]),
        header(codes=[["s", "c", "d", "e"]]),
        header(codes=[["s", "c", 7]]),
        header(codes=["scd"]),
        header(value=[]),
        header(value=None),
        header(detail="x"),
        header(more=1),
        header().replace(b'"detail":{"status":"final"},', b""),
    ],
    ids=lambda content: content[:60],
)
def test_another_header_is_refused(content: bytes) -> None:
    with pytest.raises(DataError, match=r"^not a record: "):
        Record.decode(content + b"\n")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'","time"', b'", "time"'),
        (b"{", b" {"),
        (b'"44"', b'"\\u0034\\u0034"'),
        (b'"final"', b"1.0e0"),
        (b'"final"', b"NaN"),
        (b'"final"', b"1e999"),
        (b'"final"', b'"\\ud800"'),
        (b'"final"', b"9" * 5_000),
        (b'"status"', b'"status":1,"status"'),
        (b'"kind":"clinical",', b""),
        (b"}\n", b"}\r\n"),
        (b'{"codes"', b'\xef\xbb\xbf{"codes"'),
    ],
    ids=lambda part: part[:30],
)
def test_the_same_content_in_another_spelling_is_refused(old: bytes, new: bytes) -> None:
    data = RECORD.encode()
    assert old in data
    with pytest.raises(DataError):
        Record.decode(data.replace(old, new, 1))
