// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title MerkleProof
/// @notice Roots over SHA-256: inner = SHA-256(0x01 || left || right), and an odd node moves up as it is.
/// @dev A node without a neighbour takes no step of the proof, hence position and count. Whoever makes a leaf hashes it
///      behind 0x00, so that no inner node passes for one (RFC 6962, 2.1).
library MerkleProof {
    /// @notice Whether `leaf` is the one at `position` of `count` under `root`. A proof has no step too many.
    function holds(bytes32 root, uint256 count, bytes32 leaf, uint256 position, bytes32[] calldata proof)
        internal
        pure
        returns (bool)
    {
        if (position >= count) return false;
        bytes32 node = leaf;
        uint256 step;
        for (uint256 last = count - 1; last != 0; last >>= 1) {
            bool right = position & 1 == 1;
            if (right || position != last) {
                if (step == proof.length) return false;
                bytes32 other = proof[step++];
                node = right ? _inner(other, node) : _inner(node, other);
            }
            position >>= 1;
        }
        return step == proof.length && node == root;
    }

    function _inner(bytes32 left, bytes32 right) private pure returns (bytes32) {
        return sha256(abi.encodePacked(bytes1(0x01), left, right));
    }
}
