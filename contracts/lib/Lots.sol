// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Register} from "./Register.sol";
import {SumTree} from "./SumTree.sol";

/// @title Lots
/// @notice Draws without replacement from a sum tree, exactly and without writing to it.
/// @dev Members lie on a line, each as long as its weight. Those already taken are kept as sorted stretches; a draw
///      takes a point on the line as if they were cut out and skips over them. `count` draws cost `count` searches:
///      nothing is rejected and drawn again, so the cost does not depend on luck.
library Lots {
    using SumTree for SumTree.Tree;

    /// @param tree The slot of the tree that is drawn from.
    /// @param taken Stretches no longer on the line, ascending, each `start << 16 | weight`.
    /// @param size How many of `taken` are in use.
    /// @param remaining The length of what is left of the line.
    struct Urn {
        bytes32 tree;
        uint256[] taken;
        uint256 size;
        uint256 remaining;
    }

    function fill(SumTree.Tree storage tree, uint256 capacity) internal view returns (Urn memory urn) {
        bytes32 slot;
        assembly ("memory-safe") {
            slot := tree.slot
        }
        urn.tree = slot;
        urn.taken = new uint256[](capacity);
        urn.remaining = tree.total();
    }

    function exclude(Urn memory urn, uint256 index) internal view {
        _take(urn, _tree(urn).locate(index));
    }

    function draw(Urn memory urn, uint256 seed, uint256 turn) internal view returns (uint256 index) {
        uint256 point = Register.pointOf(seed, turn, urn.remaining);
        SumTree.Stretch memory s = _tree(urn).find(_skip(urn, point));
        _take(urn, s);
        return s.index;
    }

    /// @dev Where the `point` of what remains lies on the whole line. In assembly, as is the insertion below: bounds
    ///      checks would add 15,000 gas to the draw of ten clients.
    function _skip(Urn memory urn, uint256 point) private pure returns (uint256 onLine) {
        (uint256[] memory taken, uint256 size) = (urn.taken, urn.size);
        onLine = point;
        assembly ("memory-safe") {
            let p := add(taken, 0x20)
            for { let end := add(p, shl(5, size)) } lt(p, end) { p := add(p, 0x20) } {
                let stretch := mload(p)
                if lt(onLine, shr(16, stretch)) { break }
                onLine := add(onLine, and(stretch, 0xffff))
            }
        }
    }

    function _take(Urn memory urn, SumTree.Stretch memory s) private pure {
        if (s.weight == 0) return;
        (uint256[] memory taken, uint256 size) = (urn.taken, urn.size);
        uint256 stretch = (s.start << 16) | s.weight;
        assert(size < taken.length);
        assembly ("memory-safe") {
            let first := add(taken, 0x20)
            let p := add(first, shl(5, size))
            for {} gt(p, first) { p := sub(p, 0x20) } {
                let left := mload(sub(p, 0x20))
                if iszero(gt(left, stretch)) { break }
                mstore(p, left)
            }
            mstore(p, stretch)
        }
        urn.size = size + 1;
        urn.remaining -= s.weight;
    }

    function _tree(Urn memory urn) private pure returns (SumTree.Tree storage tree) {
        bytes32 slot = urn.tree;
        assembly ("memory-safe") {
            tree.slot := slot
        }
    }
}
