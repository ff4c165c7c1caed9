// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title SumTree
/// @notice Weights of up to 2,048 members with their running totals, so that a draw in proportion to weight, and a change
///         of one weight, touch three words however many members there are.
/// @dev Word 0 is the root. It and words 1..8 hold eight 32-bit sums each; words 9..72 hold 32 one-byte weights each.
///      One byte a weight, not one slot: a round that changes ten weights among a hundred members writes six slots
///      (30,000 gas) instead of ten and their sums (60,000). All running sums of a word come from one multiplication,
///      and the search in them halves: a find costs about 1,200 gas instead of 4,000 for a loop over the fields.
library SumTree {
    uint256 internal constant CAPACITY = 2048;
    uint256 private constant BRANCHES = 1;
    uint256 private constant LEAVES = 9;
    uint256 private constant ONES_32 = 0x0000000100000001000000010000000100000001000000010000000100000001;
    uint256 private constant ONES_16 = 0x0001000100010001000100010001000100010001000100010001000100010001;
    uint256 private constant EVEN_BYTES = 0x00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff;

    struct Tree {
        uint256[73] words;
    }

    /// @notice One member's stretch of the line 0..total, on which members lie in order of their number.
    struct Stretch {
        uint256 index;
        uint256 start;
        uint256 weight;
    }

    function set(Tree storage tree, uint256 index, uint256 weight) internal {
        // Wrapping is meant: adding (weight - old) modulo 2^256 moves a field up or down. No field can leave its 32
        // bits, as 2,048 weights of 255 sum to less than 2^20.
        unchecked {
            uint256 leaf = tree.words[LEAVES + index / 32];
            uint256 shift = (index % 32) * 8;
            uint256 delta = weight - ((leaf >> shift) & 0xff);
            if (delta == 0) return;
            tree.words[LEAVES + index / 32] = leaf + (delta << shift);
            tree.words[BRANCHES + index / 256] += delta << (((index / 32) % 8) * 32);
            tree.words[0] += delta << ((index / 256) * 32);
        }
    }

    function weightOf(Tree storage tree, uint256 index) internal view returns (uint256) {
        return (tree.words[LEAVES + index / 32] >> ((index % 32) * 8)) & 0xff;
    }

    function total(Tree storage tree) internal view returns (uint256) {
        unchecked {
            return (tree.words[0] * ONES_32) >> 224;
        }
    }

    /// @notice The member whose stretch holds `point`. The caller keeps `point` below `total`.
    function find(Tree storage tree, uint256 point) internal view returns (Stretch memory s) {
        unchecked {
            (uint256 field, uint256 before) = _search(tree.words[0] * ONES_32, 8, 32, point);
            uint256 start = before;
            uint256 index = field;
            (field, before) = _search(tree.words[BRANCHES + index] * ONES_32, 8, 32, point - start);
            start += before;
            index = index * 8 + field;
            uint256 leaf = tree.words[LEAVES + index];
            (field, before) = _search(_pairs(leaf) * ONES_16, 16, 16, point - start);
            start += before;
            field *= 2;
            uint256 even = (leaf >> (field * 8)) & 0xff;
            if (point - start >= even) {
                start += even;
                ++field;
            }
            s.index = index * 32 + field;
            s.start = start;
            s.weight = (leaf >> (field * 8)) & 0xff;
        }
    }

    /// @notice Where a member lies; an absent one has weight 0.
    function locate(Tree storage tree, uint256 index) internal view returns (Stretch memory s) {
        unchecked {
            uint256 leaf = tree.words[LEAVES + index / 32];
            uint256 shift = (index % 32) * 8;
            s.index = index;
            s.weight = (leaf >> shift) & 0xff;
            s.start = _before(tree.words[0] * ONES_32, index / 256, 32)
                + _before(tree.words[BRANCHES + index / 256] * ONES_32, (index / 32) % 8, 32)
                + _before(_pairs(leaf) * ONES_16, (index % 32) / 2, 16);
            if (index % 2 == 1) s.start += (leaf >> (shift - 8)) & 0xff;
        }
    }

    /// @dev Sums of neighbouring bytes, in sixteen 16-bit fields.
    function _pairs(uint256 leaf) private pure returns (uint256) {
        unchecked {
            return (leaf & EVEN_BYTES) + ((leaf >> 8) & EVEN_BYTES);
        }
    }

    /// @dev `running` holds in each field the sum of the fields up to it. The first field whose sum passes `point`,
    ///      and the sum before it.
    function _search(uint256 running, uint256 fields, uint256 bits, uint256 point)
        private
        pure
        returns (uint256 field, uint256 before)
    {
        unchecked {
            uint256 mask = (1 << bits) - 1;
            for (uint256 step = fields / 2; step != 0; step /= 2) {
                if ((running >> ((field + step - 1) * bits)) & mask <= point) field += step;
            }
            before = _before(running, field, bits);
        }
    }

    function _before(uint256 running, uint256 field, uint256 bits) private pure returns (uint256) {
        unchecked {
            return field == 0 ? 0 : (running >> ((field - 1) * bits)) & ((1 << bits) - 1);
        }
    }
}
