"""A manifest has one canonical text, and a node refuses one that it cannot reproduce."""

import json

import pytest

from hmchain.errors import UsageError
from hmchain.manifest import MAX_BYTES, Manifest, parse_standard

MANIFEST = Manifest(dataset="pneumoniamnist", channels=1, classes=("normal", "pneumonia"), seed=0)


def test_a_manifest_survives_its_canonical_text() -> None:
    assert Manifest.parse(MANIFEST.canonical()) == MANIFEST


def test_the_canonical_text_is_sorted_compact_ascii() -> None:
    text = MANIFEST.canonical()
    assert text == json.dumps(json.loads(text), sort_keys=True, separators=(",", ":")).encode()


def test_any_difference_changes_the_digest() -> None:
    other = Manifest(dataset="pneumoniamnist", channels=1, classes=("normal", "pneumonia"), seed=1)
    assert MANIFEST.digest() != other.digest()


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b"[" * 50_000,
        b" " * (MAX_BYTES + 1),
        MANIFEST.canonical() + b" ",
        MANIFEST.canonical().replace(b'"seed":0', b'"seed":0,"colour":1'),
        MANIFEST.canonical().replace(b"hmchain-manifest/1", b"hmchain-manifest/9"),
        MANIFEST.canonical().replace(b"fedavg-exact/1", b"median"),
        MANIFEST.canonical().replace(b"scale[-1,1]", b"none"),
    ],
)
def test_what_cannot_be_reproduced_is_refused(text: bytes) -> None:
    with pytest.raises(UsageError):
        Manifest.parse(text)


def test_terms_are_what_the_contract_enforces() -> None:
    terms = MANIFEST.terms()
    assert (terms.rounds, terms.fraction, terms.masters) == (10, 2_500, 4)
    assert (terms.relative, terms.standard) == (True, 2_000)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("absolute:0.7", (False, 7_000)), ("relative:-0.05", (True, 500)), ("relative:0", (True, 0))],
)
def test_a_standard_is_absolute_or_relative(text: str, expected: tuple[bool, int]) -> None:
    assert parse_standard(text) == expected


@pytest.mark.parametrize("text", ["", "0.7", "absolute:", "absolute:1.1", "absolute:nan", "relative:0.1", "best:0.5"])
def test_any_other_standard_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="neither absolute"):
        parse_standard(text)
