// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Roster
/// @notice Member numbers drawn for a round, packed sixteen to a word; number 0 marks an empty position.
/// @dev A caller names its position and the contract checks it: one slot read (2,100 gas) instead of a slot a member,
///      which cost 310,000 gas a round in the prototype.
///      Unchecked throughout, as are {Scores} and {SumTree}: nothing here can leave 256 bits.
library Roster {
    uint256 internal constant PER_WORD = 16;
    uint256 private constant ONES = 0x0001000100010001000100010001000100010001000100010001000100010001;
    uint256 private constant TOPS = 0x8000800080008000800080008000800080008000800080008000800080008000;
    uint256 private constant TOP_FIELD = 0xffff << 240;

    function memberAt(uint256 word, uint256 position) internal pure returns (uint256) {
        unchecked {
            return (word >> ((position % PER_WORD) * 16)) & 0xffff;
        }
    }

    function withMember(uint256 word, uint256 position, uint256 member) internal pure returns (uint256) {
        unchecked {
            uint256 shift = (position % PER_WORD) * 16;
            return (word & ~(uint256(0xffff) << shift)) | (member << shift);
        }
    }

    /// @notice The position of `member` among the first fifteen, or fifteen if it is none of them.
    /// @dev All fields are compared at once, as most often none of them matches: 100 gas instead of 900. In `differ` a
    ///      field that matches is 0, and the lowest such field is the lowest to borrow from its top bit.
    function positionOf(uint256 word, uint256 member) internal pure returns (uint256) {
        unchecked {
            uint256 differ = (word ^ (member * ONES)) | TOP_FIELD;
            uint256 matches = (differ - ONES) & ~differ & TOPS;
            if (matches == 0) return 15;
            uint256 position;
            while ((matches >> (position * 16)) & 0xffff == 0) ++position;
            return position;
        }
    }
}
