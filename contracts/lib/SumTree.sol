// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title SumTree
/// @notice Weights of up to 2,048 members with their sums, so that a draw in proportion to weight, and a change of one
///         weight, touch few words however many members there are.
/// @dev Words 0..3 hold sixteen 16-bit sums each; words 4..67 hold the 32 one-byte weights of each of those sums.
///      One byte a weight, not one slot: a round that changes ten weights among a hundred members writes five slots
///      (25,000 gas) instead of ten and their sums (60,000). All running sums of a word come from one multiplication,
///      and the search in them halves: a find costs about 1,000 gas instead of 4,000 for a loop over the fields.
library SumTree {
    uint256 internal constant CAPACITY = 2048;
    uint256 private constant BRANCHES = 4;
    uint256 private constant ONES_32 = 0x0000000100000001000000010000000100000001000000010000000100000001;
    uint256 private constant ONES_16 = 0x0001000100010001000100010001000100010001000100010001000100010001;
    uint256 private constant EVEN_16 = 0x0000ffff0000ffff0000ffff0000ffff0000ffff0000ffff0000ffff0000ffff;
    uint256 private constant EVEN_8 = 0x00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff;

    struct Tree {
        uint256[BRANCHES] branches;
        uint256[64] leaves;
    }

    /// @notice One member's stretch of the line 0..total, on which members lie in order of their number.
    struct Stretch {
        uint256 index;
        uint256 start;
        uint256 weight;
    }

    /// @notice Changes of sums that are not written yet: a round's changes are added up and written once.
    struct Batch {
        uint256[BRANCHES] deltas;
    }

    function set(Tree storage tree, uint256 index, uint256 weight) internal {
        Batch memory batch;
        change(tree, index, weight, batch);
        settle(tree, batch);
    }

    /// @notice Changes one weight and leaves its sum to `settle`.
    function change(Tree storage tree, uint256 index, uint256 weight, Batch memory batch) internal {
        // Wrapping is meant: adding (weight - old) modulo 2^256 moves a field up or down. No field leaves its bits: 32
        // weights of 255 sum to less than 2^13.
        unchecked {
            uint256 leaf = tree.leaves[index / 32];
            uint256 shift = (index % 32) * 8;
            uint256 delta = weight - ((leaf >> shift) & 0xff);
            if (delta == 0) return;
            tree.leaves[index / 32] = leaf + (delta << shift);
            batch.deltas[index / 512] += delta << (((index / 32) % 16) * 16);
        }
    }

    /// @notice Writes what changes did to the sums.
    function settle(Tree storage tree, Batch memory batch) internal {
        unchecked {
            for (uint256 i; i < BRANCHES; ++i) {
                if (batch.deltas[i] != 0) tree.branches[i] += batch.deltas[i];
            }
        }
    }

    function weightOf(Tree storage tree, uint256 index) internal view returns (uint256) {
        unchecked {
            return (tree.leaves[index / 32] >> ((index % 32) * 8)) & 0xff;
        }
    }

    function total(Tree storage tree) internal view returns (uint256 sum) {
        unchecked {
            for (uint256 i; i < BRANCHES; ++i) {
                sum += _sumOf(tree.branches[i]);
            }
        }
    }

    /// @notice The member whose stretch holds `point`. The caller keeps `point` below `total`.
    function find(Tree storage tree, uint256 point) internal view returns (Stretch memory s) {
        unchecked {
            uint256 branch = tree.branches[0];
            for (uint256 sum; (sum = _sumOf(branch)) <= point - s.start; branch = tree.branches[s.index]) {
                s.start += sum;
                ++s.index;
            }
            (uint256 field, uint256 before) = _search(_pairs16(branch) * ONES_32, branch, 16, point - s.start);
            s.start += before;
            s.index = s.index * 16 + field;
            uint256 leaf = tree.leaves[s.index];
            (field, before) = _search(_pairs8(leaf) * ONES_16, leaf, 8, point - s.start);
            s.start += before;
            s.index = s.index * 32 + field;
            s.weight = (leaf >> (field * 8)) & 0xff;
        }
    }

    /// @notice Where a member lies; an absent one has weight 0.
    function locate(Tree storage tree, uint256 index) internal view returns (Stretch memory s) {
        unchecked {
            for (uint256 i; i < index / 512; ++i) {
                s.start += _sumOf(tree.branches[i]);
            }
            uint256 branch = tree.branches[index / 512];
            uint256 leaf = tree.leaves[index / 32];
            s.index = index;
            s.weight = (leaf >> ((index % 32) * 8)) & 0xff;
            s.start += _before(_pairs16(branch) * ONES_32, branch, 16, (index / 32) % 16)
                + _before(_pairs8(leaf) * ONES_16, leaf, 8, index % 32);
        }
    }

    /// @dev Sums of neighbouring fields, in half as many fields of twice the width, where running sums have room.
    function _pairs16(uint256 branch) private pure returns (uint256) {
        unchecked {
            return (branch & EVEN_16) + ((branch >> 16) & EVEN_16);
        }
    }

    function _pairs8(uint256 leaf) private pure returns (uint256) {
        unchecked {
            return (leaf & EVEN_8) + ((leaf >> 8) & EVEN_8);
        }
    }

    function _sumOf(uint256 branch) private pure returns (uint256) {
        unchecked {
            return (_pairs16(branch) * ONES_32) >> 224;
        }
    }

    /// @dev The first of the fields of `word`, `bits` wide, whose running sum passes `point`, and the sum before it.
    ///      `running` holds the running sums of pairs of fields.
    function _search(uint256 running, uint256 word, uint256 bits, uint256 point)
        private
        pure
        returns (uint256 field, uint256 before)
    {
        unchecked {
            uint256 mask = (1 << (2 * bits)) - 1;
            for (uint256 step = 128 / bits; step > 1; step /= 2) {
                if ((running >> ((field + step - 2) * bits)) & mask <= point) field += step;
            }
            before = _before(running, word, bits, field);
            uint256 even = (word >> (field * bits)) & ((1 << bits) - 1);
            if (point - before >= even) {
                before += even;
                ++field;
            }
        }
    }

    /// @dev The sum of the fields before `field`.
    function _before(uint256 running, uint256 word, uint256 bits, uint256 field) private pure returns (uint256 sum) {
        unchecked {
            if (field > 1) sum = (running >> ((field / 2 - 1) * 2 * bits)) & ((1 << (2 * bits)) - 1);
            if (field % 2 == 1) sum += (word >> ((field - 1) * bits)) & ((1 << bits) - 1);
        }
    }
}
