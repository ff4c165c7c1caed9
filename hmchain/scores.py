"""Score words, as masters reveal them and the contract stores them (contracts/lib/Scores.sol).

A word has 16 bits. Below 256 it is a Reason why there is no score; 256 + n is a score of n basis points, 0 to 10,000.
Reasons sort below every score, so one median serves both: where the median master could not score an update, the
median is the reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from eth_abi.abi import encode
from eth_utils import keccak

from hmchain.errors import Reason, UsageError

MAX_BASIS_POINTS = 10_000
PER_SLOT = 12

_FLOOR = 256
_WORD_BITS = 16
_WORD_MASK = (1 << _WORD_BITS) - 1
_ENTROPY_BITS = 64  # the contract keeps the salt's entropy below the words


def word_of_score(basis_points: int) -> int:
    """The word of a score in basis points. Raises UsageError outside 0 to 10,000."""
    if not 0 <= basis_points <= MAX_BASIS_POINTS:
        raise UsageError(f"a score of {basis_points} basis points: it must lie in 0 to {MAX_BASIS_POINTS}")
    return _FLOOR + basis_points


def word_of_reason(reason: Reason) -> int:
    """The word that says why there is no score."""
    return int(reason)


def is_score(word: int) -> bool:
    """Whether a word is a score, not a reason."""
    return word >= _FLOOR


def basis_points(word: int) -> int:
    """The score of a word in basis points; a reason is worth 0, and no word more than MAX_BASIS_POINTS."""
    return min(max(word - _FLOOR, 0), MAX_BASIS_POINTS)


def lower_median(words: Iterable[int]) -> int:
    """The lower median, element (n - 1) // 2 in ascending order; of no words it is Reason.UNSCORED.

    With at most f of 3f + 1 words false, it lies between two honest words.
    """
    ascending = sorted(words)
    return ascending[(len(ascending) - 1) // 2] if ascending else int(Reason.UNSCORED)


def slots_for(count: int) -> int:
    """Slots that hold count words."""
    return -(-count // PER_SLOT)


def pack(words: Sequence[int]) -> list[int]:
    """Words as unsigned 256-bit integers: word i at bits 64 + 16 * (i % 12) of integer i // 12, the low 64 bits clear.

    Raises UsageError where a word does not fit in 16 bits.
    """
    slots = [0] * slots_for(len(words))
    for i, word in enumerate(words):
        if not 0 <= word <= _WORD_MASK:
            raise UsageError(f"a score word of {word}: it must fit in 16 bits")
        slots[i // PER_SLOT] |= word << _shift(i)
    return slots


def unpack(slots: Sequence[int], count: int) -> list[int]:
    """The first count words of what pack made, whatever the low 64 bits hold. Raises UsageError if there are fewer."""
    if not 0 <= count <= len(slots) * PER_SLOT:
        raise UsageError(f"{count} score words do not fit in {len(slots)} packed integers")
    return [slots[i // PER_SLOT] >> _shift(i) & _WORD_MASK for i in range(count)]


def commitment_of(
    chain_id: int, contract: str, job: int, round: int, sender: str, slots: Sequence[int], salt: bytes
) -> bytes:
    """A master's commitment to its scores (32 bytes). It is bound to chain, contract, job, round and sender, so that a
    copied commitment cannot be opened.

    contract and sender are addresses (0x and 40 hex digits), slots packed words, salt has 32 bytes.
    """
    types = ["uint256", "address", "uint256", "uint256", "address", "uint256[]", "bytes32"]
    return keccak(encode(types, [chain_id, contract, job, round, sender, list(slots), salt]))


def chain_seed(seed: bytes, slots: Sequence[int], salt: bytes) -> bytes:
    """The seed of the next draws after one more revealed ballot.

    The ballot's first slot, with the low 64 bits of its salt's hash in the place below the words, is hashed into seed.
    """
    entropy = int.from_bytes(keccak(salt)) % (1 << _ENTROPY_BITS)
    first_slot = slots[0] >> _ENTROPY_BITS << _ENTROPY_BITS | entropy
    return keccak(seed + first_slot.to_bytes(32))


def _shift(index: int) -> int:
    return _ENTROPY_BITS + _WORD_BITS * (index % PER_SLOT)
