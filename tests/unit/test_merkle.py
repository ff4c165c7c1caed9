"""Merkle trees: every leaf is proved, nothing else is."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmchain.merkle import Tree, is_proved, record_leaf, root_of

DIGESTS = st.binary(min_size=32, max_size=32)
LEAVES = st.lists(DIGESTS, min_size=1, max_size=40, unique=True)


def naive(leaves: list[bytes]) -> bytes:
    """The root by the definition, from the top: the left subtree is the largest power of two that leaves some over."""
    if len(leaves) == 1:
        return leaves[0]
    size = 1 << ((len(leaves) - 1).bit_length() - 1)
    return sha256(b"\x01" + naive(leaves[:size]) + naive(leaves[size:])).digest()


def test_a_records_leaf_is_of_all_that_names_it_and_of_no_inner_nodes_form() -> None:
    place = (5).to_bytes(8, "big") + (7).to_bytes(8, "big")
    assert record_leaf(b"\2" * 32, b"\3" * 32, 5, 7) == sha256(b"\0" + b"\2" * 32 + b"\3" * 32 + place).digest()


@given(LEAVES)
def test_the_root_is_that_of_the_definition(leaves: list[bytes]) -> None:
    assert root_of(leaves) == naive(leaves)


@given(LEAVES, st.data())
def test_every_leaf_is_proved_at_its_place_and_nowhere_else(leaves: list[bytes], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(leaves) - 1))
    proof, root = Tree(leaves).proof(index), root_of(leaves)
    assert is_proved(leaves[index], index, len(leaves), proof, root)
    other = data.draw(st.integers(0, len(leaves) - 1).filter(lambda i: i != index) | st.just(len(leaves)))
    assert not is_proved(leaves[index], other, len(leaves), proof, root)


@given(LEAVES, DIGESTS, st.data())
def test_nothing_else_is_proved(leaves: list[bytes], foreign: bytes, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(leaves) - 1))
    proof, root, count = Tree(leaves).proof(index), root_of(leaves), len(leaves)
    assert not is_proved(foreign, index, count, proof, root) or foreign == leaves[index]
    assert not is_proved(leaves[index], index, count, [*proof, foreign], root)
    assert not is_proved(leaves[index], index, count, proof[:-1], root) or not proof
    assert not is_proved(leaves[index], -1, count, proof, root)


def test_an_inner_node_is_no_leaf() -> None:
    leaves = [bytes([i]) * 32 for i in range(4)]
    inner = sha256(b"\x01" + leaves[0] + leaves[1]).digest()
    right = sha256(b"\x01" + leaves[2] + leaves[3]).digest()
    assert is_proved(inner, 0, 2, [right], root_of(leaves)), "so the count is part of what is registered"
    assert not is_proved(inner, 0, 4, [right], root_of(leaves))


def test_a_record_s_leaf_binds_all_of_it() -> None:
    made = {record_leaf(b"a" * 32, b"b" * 32, 0, 7), record_leaf(b"b" * 32, b"a" * 32, 0, 7)}
    made |= {record_leaf(b"a" * 32, b"b" * 32, 7, 0), record_leaf(b"a" * 32, b"b" * 32, 0, 8)}
    assert len(made) == 4


def test_there_is_no_tree_of_nothing_and_no_leaf_outside() -> None:
    with pytest.raises(ValueError, match="at least one leaf"):
        root_of([])
    for outside in (-1, 3):
        with pytest.raises(ValueError, match=f"no leaf {outside} among 3"):
            Tree([b"a" * 32] * 3).proof(outside)
