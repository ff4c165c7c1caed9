// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IConsortium} from "./interfaces/IConsortium.sol";
import {IPersons} from "./interfaces/IPersons.sol";
import {Typed} from "./lib/Typed.sol";

/// @title Persons
/// @notice See {IPersons}. Who may act: members, for which the consortium is asked, and the persons they vouch for.
abstract contract Persons is IPersons {
    struct Person {
        uint16 voucher;
        Role role;
        uint40 accepted;
    }

    /// @dev Addresses up to here are labels of organisations: their member numbers.
    uint160 internal constant LAST_LABEL = type(uint16).max;

    bytes32 private constant ACCEPTANCE =
        keccak256("Acceptance(address person,uint16 member,uint8 role,uint40 nonce,uint40 deadline)");

    /// @inheritdoc IPersons
    IConsortium public immutable consortium;

    mapping(address person => Person) private _persons;

    constructor(IConsortium consortium_) {
        consortium = consortium_;
    }

    /// @inheritdoc IPersons
    function vouch(Acceptance calldata a, bytes32 r, bytes32 vs) external {
        uint16 member = _activeMember();
        if (a.member != member) revert NotVoucher(msg.sender, a.member);
        if (uint160(a.person) <= LAST_LABEL) revert InvalidPerson(a.person);
        Typed.requireSigner(Typed.hashCall(ACCEPTANCE, 5), r, vs, a.person);
        _requireInTime(a.deadline);
        Person memory before = _persons[a.person];
        if (a.nonce != uint256(before.accepted) + 1) revert WrongAcceptance(a.nonce, uint256(before.accepted) + 1);
        _persons[a.person] = Person(member, a.role, a.nonce);
        if (before.voucher != 0 && before.voucher != member) emit VouchWithdrawn(before.voucher, a.person);
        emit PersonVouched(member, a.person, a.role);
    }

    /// @inheritdoc IPersons
    function withdrawVouch(address person) external {
        (uint256 voucher,) = _requireVouched(person);
        if (msg.sender != person && _activeMember() != voucher && _isActive(voucher)) {
            revert NotVoucher(msg.sender, voucher);
        }
        (_persons[person].voucher, _persons[person].role) = (0, Role.Physician);
        emit VouchWithdrawn(voucher, person);
    }

    /// @inheritdoc IPersons
    function personOf(address person) public view returns (uint256 voucher, Role role) {
        return (_persons[person].voucher, _persons[person].role);
    }

    /// @inheritdoc IPersons
    function acceptances(address person) external view returns (uint256) {
        return _persons[person].accepted;
    }

    // ------------------------------------------------------------------ for the modules above

    /// @dev Reverts once the deadline of what was signed has passed.
    function _requireInTime(uint256 deadline) internal view {
        if (block.timestamp > deadline) revert WordExpired(deadline);
    }

    /// @dev Reverts unless a member vouches for the person.
    function _requireVouched(address person) internal view returns (uint256 voucher, Role role) {
        (voucher, role) = personOf(person);
        if (voucher == 0) revert NotVouched(person);
    }

    /// @dev Reverts unless the caller acts for an active member.
    function _activeMember() internal view returns (uint16) {
        (uint256 member, IConsortium.Status status) = consortium.memberOf(msg.sender);
        if (status != IConsortium.Status.Active) revert NotActiveMember(msg.sender);
        return uint16(member); // the consortium has no higher numbers
    }

    /// @dev False for a number that no member has.
    function _isActive(uint256 number) internal view returns (bool) {
        if (number == 0 || number > consortium.memberCount()) return false;
        return consortium.member(number).status == IConsortium.Status.Active;
    }
}
