// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title IConsortium
/// @notice Who is a member. Organisations found the consortium together and from then on admit, suspend, reinstate and
///         remove one another by vote ({IBallots}); nobody owns it.
/// @dev Members are numbered from 1 in order of admission; a number is never reused.
interface IConsortium {
    enum Status {
        None,
        Active,
        Suspended,
        Removed
    }

    /// @param operator The account that acts for the organisation.
    /// @param encryptionKey Its X25519 public key (RFC 7748), to which keys are sealed.
    /// @param name For people to read, UTF-8 padded with zeros; nothing depends on it. It has a fixed length because
    ///        strings in storage would take the contract over the size limit (EIP-170).
    struct Organisation {
        address operator;
        bytes32 encryptionKey;
        bytes32 name;
    }

    struct Member {
        address operator;
        Status status;
        uint32 sampleCount;
        bytes32 encryptionKey;
        bytes32 datasetRoot;
    }

    event ConsortiumSealed(uint256 members);
    event MemberAdmitted(uint256 indexed member, address indexed operator, bytes32 encryptionKey, bytes32 name);
    event MemberStatusChanged(uint256 indexed member, Status status);
    event RotationAnnounced(uint256 indexed member, address operator, bytes32 encryptionKey);
    event RotationCompleted(uint256 indexed member, address indexed operator, bytes32 encryptionKey);
    event DatasetCommitted(uint256 indexed member, bytes32 root, uint256 sampleCount);

    /// @notice Only the deploying account may found and seal.
    error NotFounder(address caller);
    error AlreadySealed();
    error NoMembers();
    error NotBallots(address caller);
    error NotActiveMember(address caller);
    error UnknownMember(uint256 member);
    error OperatorInUse(address operator);
    error InvalidOrganisation();
    error ConsortiumFull();
    error WrongStatus(uint256 member, Status status);
    error NoRotation(uint256 member);
    /// @notice The rotation names another account as the next operator.
    error NotRotationTarget(address caller);

    /// @notice Adds founding members; only the deploying account, only before `seal`.
    function found(Organisation[] calldata founders) external;

    /// @notice Ends the founding for good. The deploying account has no rights from here on.
    function seal() external;

    /// @notice Admits an organisation. Only by a carried motion.
    function admit(Organisation calldata organisation) external;

    /// @notice Suspends, reinstates or removes a member. Only by a carried motion.
    function changeStatus(uint16 member, Status status) external;

    /// @notice First step of a rotation: the present operator names the next operator account and X25519 key (either
    ///         may stay the same).
    function announceRotation(address operator, bytes32 encryptionKey) external;

    /// @notice Second step: the named operator account takes over, which proves that somebody has its key.
    function completeRotation(uint16 member) external;

    /// @notice Commits to the records that the caller trains on: a salted Merkle root, and their number, which caps the
    ///         sample count of its updates.
    function commitDataset(bytes32 root, uint32 sampleCount) external;

    /// @notice The contract that holds the votes; the only one that may change membership.
    function ballots() external view returns (address);

    /// @notice How often any member was suspended or removed. A ballot is closed when this number changes.
    function departures() external view returns (uint256);

    function isSealed() external view returns (bool);
    function memberCount() external view returns (uint256);
    function activeCount() external view returns (uint256);
    function memberOf(address operator) external view returns (uint256 member, Status status);
    function member(uint256 number) external view returns (Member memory);
}
