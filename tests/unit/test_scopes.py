"""Scopes: what a label covers, what stands for it on chain, and that nothing stands for two labels."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmchain import scopes
from hmchain.errors import UsageError
from hmchain.record import Kind
from hmchain.scopes import checked, commitment, decided, falls_under, labels_of, salt_from, scope_of

SALT, LEAF = b"\7" * 32, b"\xab" * 32
GOOD = ["all", "kind:clinical", "kind:research", "kind:behaviour", "type:a", "type:step-count", f"record:{LEAF.hex()}"]
BAD = [
    "",
    "All",
    "all ",
    "all\n",
    "kind:",
    "kind:financial",
    "kind:clinical,kind:research",
    "type:",
    "type:Observation",
    "type:two words",
    "type:-a",
    "type:1a",
    "type:" + "a" * 65,
    "record:" + "a" * 63,
    "record:" + "A" * 64,
    "record:" + "a" * 64 + "\n",
    "everything",
]

labels = st.sampled_from(GOOD) | st.from_regex(r"type:[a-z][a-z0-9-]{0,63}", fullmatch=True)


@pytest.mark.parametrize("label", GOOD)
def test_labels(label: str) -> None:
    assert checked(label) == label
    assert scope_of(SALT, label) == sha256(b"hmchain/scope/1" + SALT + label.encode()).digest()


@pytest.mark.parametrize("label", BAD)
def test_what_is_no_label(label: str) -> None:
    with pytest.raises(UsageError, match="is no scope: all, kind:clinical"):
        scope_of(SALT, label)


def test_a_fault_shows_a_part_of_a_long_label_on_one_line() -> None:
    with pytest.raises(UsageError) as caught:
        checked("x\n" * 10_000)
    assert len(str(caught.value)) < 200
    assert "\n" not in str(caught.value)


@given(st.binary(min_size=32, max_size=32), labels, st.binary(max_size=120), labels)
def test_a_scope_stands_for_one_label_under_one_salt(salt: bytes, label: str, other_salt: bytes, other: str) -> None:
    """Without a salt of one length, "all" would pass for any type that ends in it."""
    scope = scope_of(salt, label)
    whole = salt + label.encode()
    for alias in ("all", label[1:], other):
        cut = whole.removesuffix(alias.encode())
        if (cut, alias) != (salt, label) and len(cut) < len(whole):
            with pytest.raises(UsageError):
                scope_of(cut, alias)
    try:
        assert (scope_of(other_salt, other) == scope) == ((salt, label) == (other_salt, other))
    except UsageError:
        assert len(other_salt) != 32


def test_a_type_that_ends_in_all_is_not_all() -> None:
    for salt, label in ((SALT + b"type:f", "all"), (SALT[:-1], "all"), (b"", "all"), (SALT * 2, "all")):
        with pytest.raises(UsageError, match="a salt has 32 bytes"):
            scope_of(salt, label)
    with pytest.raises(UsageError, match="a salt has 32 bytes"):
        commitment(SALT + b"4", "711")


def test_salts_are_a_secrets_own_and_do_not_show_it() -> None:
    assert salt_from(b"a" * 32) == salt_from(b"a" * 32) != salt_from(b"b" * 32)
    assert len(salt_from(b"a")) == 32
    assert salt_from(b"a" * 32) != b"a" * 32
    assert commitment(SALT, "x") not in (commitment(SALT, "y"), commitment(b"\1" * 32, "x"))
    assert commitment(SALT, "all") != scope_of(SALT, "all"), "a text is no scope"
    assert commitment(SALT, "x") == sha256(b"hmchain/text/1" + SALT + b"x").digest()


# ---------------------------------------------------------------- which label decides


def test_the_labels_of_a_record_begin_with_the_most_specific() -> None:
    told = ["record:" + LEAF.hex(), "type:imaging", "kind:clinical", "all"]
    assert list(labels_of(Kind.CLINICAL, "imaging", LEAF)) == told


@pytest.mark.parametrize("type", ["", "12-lead", "Imaging", "a" * 65, "im_aging", "all\n"])
def test_a_record_of_a_type_that_no_label_can_name_falls_under_the_others(type: str) -> None:
    """One odd record must not be in the way of what is asked of the others."""
    names = list(labels_of(Kind.CLINICAL, type, LEAF))
    assert names == ["record:" + LEAF.hex(), "kind:clinical", "all"]
    assert all(checked(name) for name in names)


def test_a_record_falls_under_its_own_labels_only() -> None:
    facts = Kind.CLINICAL, "imaging", LEAF
    for label in ("all", "kind:clinical", "type:imaging", "record:" + LEAF.hex()):
        assert falls_under(label, *facts)
    for label in ("kind:research", "type:image", "type:imaging-study", "record:" + "00" * 32, "imaging", ""):
        assert not falls_under(label, *facts)


@pytest.mark.parametrize(
    ("said", "decides"),
    [
        ({}, None),
        ({"all": "A"}, "A"),
        ({"all": "A", "kind:clinical": "K"}, "K"),
        ({"all": "A", "kind:clinical": "K", "type:imaging": "T"}, "T"),
        ({"all": "A", "kind:clinical": "K", "type:imaging": "T", "record:" + LEAF.hex(): "R"}, "R"),
        ({"all": "A", "type:imaging": frozenset()}, frozenset()),  # withdrawn for a type is withdrawn
        ({"kind:research": "K", "type:other": "T", "record:" + "00" * 32: "R"}, None),
    ],
    ids=str,
)
def test_the_most_specific_label_ever_spoken_of_decides(said: dict[str, object], decides: object) -> None:
    assert decided(Kind.CLINICAL, "imaging", LEAF, said.get) == decides


def test_the_module_offers_all() -> None:
    assert scopes.ALL == "all"
