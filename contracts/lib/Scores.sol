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

    function slotsFor(uint256 count) internal pure returns (uint256) {
        return (count + PER_SLOT - 1) / PER_SLOT;
    }

    function wordAt(uint256 slot, uint256 index) internal pure returns (uint256) {
        return (slot >> (64 + (index % PER_SLOT) * 16)) & 0xffff;
    }

    function withWord(uint256 slot, uint256 index, uint256 word) internal pure returns (uint256) {
        return slot | (word << (64 + (index % PER_SLOT) * 16));
    }

    function isScore(uint256 word) internal pure returns (bool) {
        return word >= FLOOR;
    }

    function basisPoints(uint256 word) internal pure returns (uint256) {
        return word < FLOOR ? 0 : word - FLOOR;
    }

    /// @notice The lower median: with at most f of 3f + 1 words false it lies between two honest words.
    /// @dev Insertion sort of `count` words, at most fifteen. None at all gives 0, "unscored". In assembly, as the
    ///      compiler's bounds checks double its cost (11,000 gas in a round of ten updates and four masters).
    function median(uint256[] memory words, uint256 count) internal pure returns (uint256 middle) {
        if (count == 0) return 0;
        assembly ("memory-safe") {
            let first := add(words, 0x20)
            let end := add(first, shl(5, count))
            for { let p := add(first, 0x20) } lt(p, end) { p := add(p, 0x20) } {
                let word := mload(p)
                let q := p
                for {} gt(q, first) { q := sub(q, 0x20) } {
                    let left := mload(sub(q, 0x20))
                    if iszero(gt(left, word)) { break }
                    mstore(q, left)
                }
                mstore(q, word)
            }
            middle := mload(add(first, shl(5, shr(1, sub(count, 1)))))
        }
    }
}
