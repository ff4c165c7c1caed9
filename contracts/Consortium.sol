// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Ballots} from "./Ballots.sol";
import {IConsortium} from "./interfaces/IConsortium.sol";

/// @title Consortium
/// @notice See {IConsortium}.
abstract contract Consortium is IConsortium {
    /// @dev What every transaction of a member needs, in the one slot that its operator account leads to.
    struct Credential {
        uint16 member;
        Status status;
        uint32 sampleCount;
    }

    struct Profile {
        address operator;
        bytes32 encryptionKey;
        bytes32 datasetRoot;
    }

    struct Rotation {
        address operator;
        bytes32 encryptionKey;
    }

    uint256 private constant MAX_MEMBERS = type(uint16).max;

    /// @dev Votes live in a contract of their own: in this one they would not fit (EIP-170).
    Ballots private immutable _ballots = new Ballots(this);

    address private _founder = msg.sender;
    uint16 private _memberCount;
    uint16 private _activeCount;
    uint32 private _departures;

    mapping(address operator => Credential) private _credentials;
    mapping(uint256 member => Profile) private _profiles;
    mapping(uint256 member => Rotation) private _rotations;

    // ------------------------------------------------------------------ founding

    /// @inheritdoc IConsortium
    function found(Organisation[] calldata founders) external {
        _onlyFounder();
        for (uint256 i; i < founders.length; ++i) {
            _admit(founders[i]);
        }
    }

    /// @inheritdoc IConsortium
    function seal() external {
        _onlyFounder();
        if (_memberCount == 0) revert NoMembers();
        _founder = address(0);
        emit ConsortiumSealed(_memberCount);
    }

    // ------------------------------------------------------------------ by vote

    /// @inheritdoc IConsortium
    function admit(Organisation calldata organisation) external {
        _onlyBallots();
        _admit(organisation);
    }

    /// @inheritdoc IConsortium
    function changeStatus(uint16 number, Status next) external {
        _onlyBallots();
        Status status = _statusOf(number);
        bool fits = next == Status.Active ? status == Status.Suspended : status != next && status != Status.Removed;
        if (!fits || status == Status.None) revert WrongStatus(number, status);
        if (next != Status.Active) ++_departures;
        if (status == Status.Active) --_activeCount;
        if (next == Status.Active) ++_activeCount;
        _credentials[_profiles[number].operator].status = next;
        emit MemberStatusChanged(number, next);
    }

    // ------------------------------------------------------------------ a member's own affairs

    /// @inheritdoc IConsortium
    function announceRotation(address operator, bytes32 encryptionKey) external {
        Credential memory caller = _activeMember();
        if (operator == address(0) || encryptionKey == 0) revert InvalidOrganisation();
        if (operator != msg.sender) _requireFree(operator);
        _rotations[caller.member] = Rotation(operator, encryptionKey);
        emit RotationAnnounced(caller.member, operator, encryptionKey);
    }

    /// @inheritdoc IConsortium
    function completeRotation(uint16 number) external {
        Rotation memory next = _rotations[number];
        if (next.operator == address(0)) revert NoRotation(number);
        if (next.operator != msg.sender) revert NotRotationTarget(msg.sender);
        Profile storage profile = _profiles[number];
        address previous = profile.operator;
        Credential memory credential = _credentials[previous];
        if (credential.status != Status.Active) revert WrongStatus(number, credential.status);
        delete _rotations[number];
        if (next.operator != previous) {
            _requireFree(next.operator);
            delete _credentials[previous];
            _credentials[next.operator] = credential;
            profile.operator = next.operator;
        }
        profile.encryptionKey = next.encryptionKey;
        emit RotationCompleted(number, next.operator, next.encryptionKey);
    }

    /// @inheritdoc IConsortium
    function commitDataset(bytes32 root, uint32 sampleCount) external {
        uint256 number = _activeMember().member;
        _profiles[number].datasetRoot = root;
        _credentials[msg.sender].sampleCount = sampleCount;
        emit DatasetCommitted(number, root, sampleCount);
    }

    // ------------------------------------------------------------------ views

    /// @inheritdoc IConsortium
    function ballots() external view returns (address) {
        return address(_ballots);
    }

    /// @inheritdoc IConsortium
    function departures() external view returns (uint256) {
        return _departures;
    }

    /// @inheritdoc IConsortium
    function isSealed() external view returns (bool) {
        return _founder == address(0);
    }

    /// @inheritdoc IConsortium
    function memberCount() external view returns (uint256) {
        return _memberCount;
    }

    /// @inheritdoc IConsortium
    function activeCount() public view returns (uint256) {
        return _activeCount;
    }

    /// @inheritdoc IConsortium
    function memberOf(address operator) external view returns (uint256, Status) {
        Credential memory credential = _credentials[operator];
        return (credential.member, credential.status);
    }

    /// @inheritdoc IConsortium
    function member(uint256 number) external view returns (Member memory) {
        Profile memory p = _profiles[number];
        if (p.operator == address(0)) revert UnknownMember(number);
        Credential memory c = _credentials[p.operator];
        return Member(p.operator, c.status, c.sampleCount, p.encryptionKey, p.datasetRoot);
    }

    // ------------------------------------------------------------------ for the modules above

    /// @dev Reverts unless the caller acts for an active member.
    function _activeMember() internal view returns (Credential memory credential) {
        credential = _credentials[msg.sender];
        if (credential.status != Status.Active) revert NotActiveMember(msg.sender);
    }

    /// @dev Whether the account acts for a member that is suspended or removed.
    function _isBarred(address account) internal view returns (bool) {
        return _credentials[account].status > Status.Active;
    }

    function _statusOf(uint256 number) internal view returns (Status) {
        return _credentials[_profiles[number].operator].status;
    }

    // ------------------------------------------------------------------ checks and changes

    function _onlyFounder() private view {
        if (_founder == address(0)) revert AlreadySealed();
        if (msg.sender != _founder) revert NotFounder(msg.sender);
    }

    function _onlyBallots() private view {
        if (msg.sender != address(_ballots)) revert NotBallots(msg.sender);
    }

    function _admit(Organisation calldata o) private {
        if (o.operator == address(0) || o.encryptionKey == 0) revert InvalidOrganisation();
        if (_memberCount == MAX_MEMBERS) revert ConsortiumFull();
        _requireFree(o.operator);
        uint16 number = ++_memberCount;
        ++_activeCount;
        _credentials[o.operator] = Credential(number, Status.Active, 0);
        _profiles[number] = Profile(o.operator, o.encryptionKey, 0);
        emit MemberAdmitted(number, o.operator, o.encryptionKey, o.name);
    }

    function _requireFree(address operator) private view {
        if (_credentials[operator].member != 0) revert OperatorInUse(operator);
    }
}
