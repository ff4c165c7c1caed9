// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Scores
/// @notice A score is a 16-bit word: 256 + basis points (0..10,000), or below 256 the reason why there is none.
/// @dev Reasons sort below every score, so the median of words is at once the median score and, where the median master
///      could not score the update, the reason for its refusal. Twelve words fill the upper 192 bits of a slot; the
///      lower 64 carry the entropy of the revealed salt, which saves a slot of its own (5,000 gas a reveal).
library Scores {
    uint256 internal constant PER_SLOT = 12;
    uint256 private constant FLOOR = 256;
    uint256 private constant SCALE = 10_000;
    uint256 private constant EVEN_WORDS = 0x0000ffff0000ffff0000ffff0000ffff0000ffff0000ffff0000ffff0000ffff;
    uint256 private constant ONES = 0x0000000100000001000000010000000100000001000000010000000100000001;
    uint256 private constant TOPS = 0x8000000080000000800000008000000080000000800000008000000080000000;

    function slotsFor(uint256 count) internal pure returns (uint256) {
        unchecked {
            return (count + PER_SLOT - 1) / PER_SLOT;
        }
    }

    function wordAt(uint256 slot, uint256 index) internal pure returns (uint256) {
        unchecked {
            return (slot >> (64 + (index % PER_SLOT) * 16)) & 0xffff;
        }
    }

    function isScore(uint256 word) internal pure returns (bool) {
        return word >= FLOOR;
    }

    /// @dev A word beyond the scale counts as the top of it: a reputation learnt from more would leave its byte in the
    ///      sum tree.
    function basisPoints(uint256 word) internal pure returns (uint256) {
        if (word < FLOOR) return 0;
        unchecked {
            return word > FLOOR + SCALE ? SCALE : word - FLOOR;
        }
    }

    /// @notice The bits of the word at `index` in its slot.
    function maskOf(uint256 index) internal pure returns (uint256) {
        unchecked {
            return 0xffff << (64 + (index % PER_SLOT) * 16);
        }
    }

    /// @notice The lower medians of `voters` slots, word by word: with at most f of 3f + 1 false, each lies between two
    ///         honest words.
    /// @dev Six words of a slot are compared at once, in fields of twice their width: a round of ten updates and four
    ///      masters is judged for 24,000 gas less than with every word sorted by itself.
    /// @param slots A slot of each ballot. A word that is no vote is all ones, and so comes last.
    /// @param voters How many of the slots vote, at least one.
    /// @param abstained The words, as masks, in which one of the voters has no say. Of no votes the median is 0,
    ///        "unscored".
    function medians(uint256[] memory slots, uint256 voters, uint256 abstained) internal pure returns (uint256) {
        uint256 even = _lowerMedians(slots, 0, voters, abstained);
        uint256 odd = _lowerMedians(slots, 16, voters, abstained);
        return (even | (odd << 16)) >> 64 << 64;
    }

    /// @dev Of every other word, the first at bit `shift`. A selection sort as far as the middle, in a copy.
    function _lowerMedians(uint256[] memory slots, uint256 shift, uint256 voters, uint256 abstained)
        private
        pure
        returns (uint256 middle)
    {
        unchecked {
            uint256 last = (voters - 1) / 2;
            uint256[] memory sorted = new uint256[](slots.length);
            for (uint256 i; i < slots.length; ++i) {
                sorted[i] = (slots[i] >> shift) & EVEN_WORDS;
            }
            for (uint256 i; i <= last; ++i) {
                _least(sorted, i);
            }
            abstained = (abstained >> shift) & EVEN_WORDS;
            uint256 fewer = voters == 1 ? 0 : sorted[voters / 2 - 1];
            return (sorted[last] & ~abstained) | (fewer & abstained);
        }
    }

    /// @dev Brings the least of the words from `first` on to the place `first`, field by field. The top bit of a field
    ///      of `order` survives the subtraction where the word there is not below the other one.
    function _least(uint256[] memory words, uint256 first) private pure {
        assembly ("memory-safe") {
            let p := add(add(words, 0x20), shl(5, first))
            let end := add(add(words, 0x20), shl(5, mload(words)))
            let least := mload(p)
            for { let q := add(p, 0x20) } lt(q, end) { q := add(q, 0x20) } {
                let word := mload(q)
                let order := and(shr(31, sub(or(least, TOPS), word)), ONES)
                let swap := and(xor(least, word), mul(order, 0xffff))
                least := xor(least, swap)
                mstore(q, xor(word, swap))
            }
            mstore(p, least)
        }
    }
}
