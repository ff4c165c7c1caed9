// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Persons} from "./Persons.sol";
import {IRegistry} from "./interfaces/IRegistry.sol";
import {ITraining} from "./interfaces/ITraining.sol";
import {MerkleProof} from "./lib/MerkleProof.sol";

/// @title Registry
/// @notice See {IRegistry}.
abstract contract Registry is IRegistry, Persons {
    uint256 private _entryCount;
    mapping(uint256 index => bytes32) private _hashes;

    /// @inheritdoc IRegistry
    function registerBatch(Kind kind, uint32 count, bytes32 root, ITraining.Blob calldata blob)
        external
        returns (uint256 index)
    {
        uint256 holder = _activeMember();
        if (count == 0 || root == 0) revert EmptyBatch();
        if (blob.size == 0 || blob.sha256 == 0 || blob.cid == 0) revert InvalidBlob();
        bytes32 previous = _hashes[_entryCount];
        index = ++_entryCount;
        _hashes[index] = sha256(abi.encode(index, previous, block.timestamp, holder, kind, count, root, blob));
        emit BatchRegistered(index, holder, kind, previous, block.timestamp, count, root, blob);
    }

    /// @inheritdoc IRegistry
    function eraseRecord(Entry calldata entry, bytes32 leaf, uint256 position, bytes32[] calldata proof) external {
        if (_activeMember() != entry.holder) revert NotHolder(msg.sender, entry.holder);
        if (!isEntry(entry)) revert UnknownEntry(entry.index);
        if (!_holdsLeaf(entry, leaf, position, proof)) revert UnknownLeaf(entry.index, leaf);
        emit RecordErased(entry.index, entry.holder, leaf);
    }

    /// @inheritdoc IRegistry
    function entryCount() external view returns (uint256) {
        return _entryCount;
    }

    /// @inheritdoc IRegistry
    function entryHash(uint256 index) external view returns (bytes32) {
        return _hashes[index];
    }

    /// @inheritdoc IRegistry
    function isLeaf(Entry calldata entry, bytes32 leaf, uint256 position, bytes32[] calldata proof)
        external
        view
        returns (bool)
    {
        return isEntry(entry) && _holdsLeaf(entry, leaf, position, proof);
    }

    /// @inheritdoc IRegistry
    function isEntry(Entry calldata entry) public view returns (bool) {
        return _hashes[entry.index] == sha256(abi.encode(entry));
    }

    function _holdsLeaf(Entry calldata entry, bytes32 leaf, uint256 position, bytes32[] calldata proof)
        private
        pure
        returns (bool)
    {
        return MerkleProof.holds(entry.root, entry.count, leaf, position, proof);
    }
}
