"""member.json: what a hospital hands to the others, and what they refuse to take from it."""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmchain.card import FORMAT, NAME_BYTES, Card
from hmchain.envelope import Identity, format_recipient
from hmchain.errors import StorageError, UsageError

OPERATOR, KEY = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", Identity.from_raw(b"\7" * 32).public
CARD = Card("Klinikum Süd", OPERATOR, KEY)
CONTENT = {"format": FORMAT, "name": "H", "operator": OPERATOR, "encryption": format_recipient(KEY)}
NAMES = st.text(min_size=1).filter(lambda name: name.isprintable() and len(name.encode()) <= NAME_BYTES)


@given(name=NAMES)
@settings(max_examples=25, deadline=None)
def test_a_card_survives_its_file(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    path = tmp_path_factory.getbasetemp() / "card.json"
    Card(name, OPERATOR, KEY).write(path)
    assert Card.read(path) == Card(name, OPERATOR, KEY)


def test_a_card_is_readable_and_has_the_key_as_age_writes_it(tmp_path: Path) -> None:
    CARD.write(tmp_path / "member.json")
    text = (tmp_path / "member.json").read_text(encoding="utf8")
    assert json.loads(text) == CONTENT | {"name": "Klinikum Süd"}
    assert "Klinikum Süd" in text


def test_the_contract_gets_the_name_in_32_bytes() -> None:
    assert CARD.to_abi() == (OPERATOR, KEY, "Klinikum Süd".encode().ljust(32, b"\0"))
    assert len(Card("x" * 32, OPERATOR, KEY).to_abi()[2]) == NAME_BYTES


@pytest.mark.parametrize(
    "name", ["", "x" * 33, "ü" * 17, "a\nb", "a\0", "\x1b[31mred", "a\N{LINE SEPARATOR}b"], ids=repr
)
def test_a_name_that_the_contract_or_a_terminal_could_not_show_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="1 to 32 bytes of printable text") as caught:
        Card(name, OPERATOR, KEY)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("key", [bytes(32), b"\1" * 31, b""], ids=len)
def test_a_key_that_cannot_be_encrypted_to_is_refused(key: bytes) -> None:
    with pytest.raises(UsageError, match="encryption key of H is no X25519 key"):
        Card("H", OPERATOR, key)


@pytest.mark.parametrize(
    "change",
    [
        {"format": "hmchain-member/2"},
        {"format": None},
        {"name": 7},
        {"name": None},
        {"name": ["H"]},
        {"name": "\ud800"},
        {"operator": OPERATOR.lower()},
        {"operator": OPERATOR[:-1]},
        {"operator": OPERATOR[2:]},
        {"operator": 5},
        {"operator": [OPERATOR]},
        {"operator": None},
        {"encryption": KEY.hex()},
        {"encryption": 5},
        {"encryption": None},
    ],
    ids=str,
)
def test_a_file_with_another_value_is_refused(change: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "member.json").write_text(json.dumps(CONTENT | change))
    with pytest.raises(UsageError) as caught:
        Card.read(tmp_path / "member.json")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("key", CONTENT)
def test_a_file_without_one_of_its_keys_is_refused(key: str, tmp_path: Path) -> None:
    (tmp_path / "member.json").write_text(json.dumps({k: v for k, v in CONTENT.items() if k != key}))
    with pytest.raises(UsageError, match=rf"member\.json is not a {FORMAT} file"):
        Card.read(tmp_path / "member.json")


@given(st.binary(max_size=200) | st.text(string.printable).map(str.encode))
@settings(deadline=None)
def test_other_bytes_are_refused_and_nothing_else_is_raised(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "no card"
    path.write_bytes(data)
    with pytest.raises(UsageError):
        Card.read(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"the member's card .* cannot be read: No such file"):
        Card.read(tmp_path / "member.json")
    with pytest.raises(StorageError, match="cannot write"):
        CARD.write(tmp_path / "nowhere" / "member.json")
