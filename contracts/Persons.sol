// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IConsortium} from "./interfaces/IConsortium.sol";
import {IPersons} from "./interfaces/IPersons.sol";

/// @title Persons
/// @notice See {IPersons}. Who may act here: members, of whom the consortium is asked, and persons they vouch for.
abstract contract Persons is IPersons {
    struct Person {
        uint16 voucher;
        Role role;
    }

    /// @dev Addresses up to here are labels of organisations: their member numbers.
    uint160 internal constant LAST_LABEL = type(uint16).max;

    /// @inheritdoc IPersons
    IConsortium public immutable consortium;

    mapping(address person => Person) private _persons;

    constructor(IConsortium consortium_) {
        consortium = consortium_;
    }

    /// @inheritdoc IPersons
    function vouch(address person, Role role) external {
        uint16 member = _activeMember();
        if (uint160(person) <= LAST_LABEL) revert InvalidPerson(person);
        uint256 voucher = _persons[person].voucher;
        if (voucher != 0 && voucher != member) revert AlreadyVouched(person, voucher);
        _persons[person] = Person(member, role);
        emit PersonVouched(member, person, role);
    }

    /// @inheritdoc IPersons
    function withdrawVouch(address person) external {
        (uint256 voucher,) = _requireVouched(person);
        if (msg.sender != person && _activeMember() != voucher && _isActive(voucher)) {
            revert NotVoucher(msg.sender, voucher);
        }
        delete _persons[person];
        emit VouchWithdrawn(voucher, person);
    }

    /// @inheritdoc IPersons
    function personOf(address person) public view returns (uint256 voucher, Role role) {
        return (_persons[person].voucher, _persons[person].role);
    }

    // ------------------------------------------------------------------ for the modules above

    /// @dev Reverts unless a member vouches for the person.
    function _requireVouched(address person) internal view returns (uint256 voucher, Role role) {
        (voucher, role) = personOf(person);
        if (voucher == 0) revert NotVouched(person);
    }

    /// @dev Reverts unless the caller acts for an active member.
    function _activeMember() internal view returns (uint16) {
        (uint256 member, IConsortium.Status status) = consortium.memberOf(msg.sender);
        if (status != IConsortium.Status.Active) revert NotActiveMember(msg.sender);
        return uint16(member); // there are no more
    }

    /// @dev False for a member that never was.
    function _isActive(uint256 number) internal view returns (bool) {
        if (number == 0 || number > consortium.memberCount()) return false;
        return consortium.member(number).status == IConsortium.Status.Active;
    }
}
