// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ITraining} from "./ITraining.sol";

/// @title IRegistry
/// @notice Which records exist and since when: batches of records of a kind, each an entry of a hash chain that only
///         grows (the paper's Algorithm 1). Nothing in it says whose a record is.
interface IRegistry {
    enum Kind {
        Clinical,
        Research,
        Behaviour
    }

    /// @param index From 1, without gaps.
    /// @param previous Hash of the entry before; 0 for the first.
    /// @param timestamp Of the block that holds it.
    /// @param holder Number of the member that keeps the records.
    /// @param count Records in the batch.
    /// @param root Merkle root of their leaves; see {MerkleProof}.
    /// @param blob Their ciphertexts, one after the other.
    struct Entry {
        uint256 index;
        bytes32 previous;
        uint256 timestamp;
        uint256 holder;
        Kind kind;
        uint256 count;
        bytes32 root;
        ITraining.Blob blob;
    }

    /// @notice All of an entry, so that its hash, and with it the whole chain, can be computed from events alone.
    event BatchRegistered(
        uint256 indexed index,
        uint256 indexed holder,
        Kind indexed kind,
        bytes32 previous,
        uint256 timestamp,
        uint256 count,
        bytes32 root,
        ITraining.Blob blob
    );
    event RecordErased(uint256 indexed index, uint256 indexed holder, bytes32 leaf);

    error EmptyBatch();
    error InvalidBlob();
    error UnknownEntry(uint256 index);
    error UnknownLeaf(uint256 index, bytes32 leaf);
    error NotHolder(address caller, uint256 holder);

    /// @notice Registers a batch of records that the caller, an active member, keeps.
    function registerBatch(Kind kind, uint32 count, bytes32 root, ITraining.Blob calldata blob)
        external
        returns (uint256 index);

    /// @notice Says for good that a record's key is destroyed, and with it the record. Holder only.
    /// @param position Where the leaf stands in its batch, from 0.
    /// @param proof The sibling nodes on its way up to the root, lowest first (see {MerkleProof}).
    function eraseRecord(Entry calldata entry, bytes32 leaf, uint256 position, bytes32[] calldata proof) external;

    function entryCount() external view returns (uint256);

    /// @notice SHA-256 of the ABI encoding of the entry: its ten words. 0 where there is none.
    function entryHash(uint256 index) external view returns (bytes32);

    /// @notice Whether this is the registered entry.
    function isEntry(Entry calldata entry) external view returns (bool);

    /// @notice Whether this is the registered entry, and the leaf is in its batch at this position.
    function isLeaf(Entry calldata entry, bytes32 leaf, uint256 position, bytes32[] calldata proof)
        external
        view
        returns (bool);
}
