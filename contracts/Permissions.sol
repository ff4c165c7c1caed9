// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Persons} from "./Persons.sol";
import {IConsortium} from "./interfaces/IConsortium.sol";
import {IPermissions} from "./interfaces/IPermissions.sol";
import {Typed} from "./lib/Typed.sol";

/// @title Permissions
/// @notice See {IPermissions}.
abstract contract Permissions is IPermissions, Persons {
    struct ConsentState {
        uint16 purposes;
        uint40 nonce;
    }

    /// @dev Keeps the operator that delegated: while it still acts for the organisation, one call to the consortium
    ///      tells whether that is active (6,000 gas less than by its number).
    struct Delegation {
        address operator;
        uint40 expiry;
    }

    bytes32 private constant CONSENT =
        keccak256("Consent(address person,bytes32 scope,uint16 purposes,uint40 nonce,uint40 deadline)");
    bytes32 private constant GRANT = keccak256(
        "Grant(address granter,bytes32 scope,uint8 purpose,address consentOf,bytes32 consentScope,"
        "address reader,uint40 expiry,uint40 nonce)"
    );
    bytes32 private constant ACCESS = keccak256(
        "Access(address granter,bytes32 scope,uint8 purpose,address consentOf,bytes32 consentScope,"
        "uint16 institution,uint16 holder,bytes32 request,uint40 use)"
    );

    uint64 private _grantCount;
    mapping(address person => mapping(bytes32 scope => ConsentState)) private _consents;
    mapping(bytes32 key => GrantState) private _grants;
    mapping(uint256 member => mapping(address staff => mapping(Purpose => Delegation))) private _delegations;

    // ------------------------------------------------------------------ giving and taking back

    /// @inheritdoc IPermissions
    function setConsent(Consent calldata c, bytes32 r, bytes32 vs) external {
        Typed.requireSigner(Typed.hashCall(CONSENT, 5), r, vs, c.person);
        if (c.purposes >= 1 << uint256(Purpose.Emergency)) revert InvalidPurposes(c.purposes);
        _requireNext(c.nonce, _consents[c.person][c.scope].nonce);
        if (c.purposes != 0) _requireInTime(c.deadline);
        if (c.purposes != 0 || c.nonce == 1) _requireVouched(c.person);
        _consents[c.person][c.scope] = ConsentState(c.purposes, c.nonce);
        emit ConsentChanged(c.person, c.scope, c.purposes, c.nonce);
    }

    /// @inheritdoc IPermissions
    function setGrant(Grant calldata g, bytes32 r, bytes32 vs) external returns (uint256) {
        _checkTerms(g);
        bytes32 key = _keyFor(g.reader);
        GrantState memory state = _grants[key];
        _requireNext(g.nonce, state.nonce);
        if (_isOrganisation(g.granter)) {
            if (_activeMember() != uint160(g.granter)) revert Typed.WrongSigner(msg.sender, g.granter);
        } else {
            Typed.requireSigner(Typed.hashCall(GRANT, 8), r, vs, g.granter);
            if (g.expiry > block.timestamp || g.nonce == 1) _requireVouched(g.granter);
        }
        if (g.nonce == 1) state.number = ++_grantCount;
        (state.expiry, state.nonce) = (g.expiry, g.nonce);
        _grants[key] = state;
        emit GrantChanged(
            state.number, g.granter, g.reader, g.scope, g.purpose, g.consentOf, g.consentScope, g.expiry, g.nonce
        );
        return state.number;
    }

    /// @inheritdoc IPermissions
    function setDelegation(address staff, Purpose purpose, uint40 expiry) external {
        uint256 member = _activeMember();
        _delegations[member][staff][purpose] = Delegation(msg.sender, expiry);
        emit DelegationChanged(member, staff, purpose, expiry);
    }

    // ------------------------------------------------------------------ reading

    /// @inheritdoc IPermissions
    function logAccess(Access calldata a, bytes32 r, bytes32 vs) external {
        address reader = Typed.signer(Typed.hashCall(ACCESS, 9), r, vs);
        _requireVouched(reader);
        if (a.institution != 0) _requireDelegation(a.institution, reader, a.purpose);
        if (a.consentOf != address(0)) _requireConsent(a.consentOf, a.consentScope, a.purpose);
        if (_isOrganisation(a.granter) && a.holder != uint160(a.granter)) revert WrongHolder(a.holder, a.granter);
        bytes32 key = _keyFor(a.institution == 0 ? reader : address(uint160(a.institution)));
        GrantState storage grant = _grants[key];
        uint256 number = grant.number;
        if (number == 0) revert UnknownGrant(key);
        if (grant.expiry <= block.timestamp) revert GrantOver(number, grant.expiry);
        uint256 expected = uint256(grant.uses) + 1;
        if (a.use != expected) revert WrongUse(a.use, expected);
        grant.uses = a.use;
        emit Accessed(number, a.holder, reader, a.granter, a.purpose, a.request, a.use);
    }

    /// @inheritdoc IPermissions
    function releaseKeys(uint256 number, uint256 use, bytes32 envelope) external {
        emit KeysReleased(number, _activeMember(), use, envelope);
    }

    // ------------------------------------------------------------------ views

    /// @inheritdoc IPermissions
    function consentOf(address person, bytes32 scope) external view returns (uint256 purposes, uint256 nonce) {
        ConsentState memory state = _consents[person][scope];
        return (state.purposes, state.nonce);
    }

    /// @inheritdoc IPermissions
    function grantOf(Grant calldata g) external view returns (GrantState memory) {
        return _grants[_keyFor(g.reader)];
    }

    /// @inheritdoc IPermissions
    function grantCount() external view returns (uint256) {
        return _grantCount;
    }

    /// @inheritdoc IPermissions
    function delegationOf(uint256 member, address staff, Purpose purpose) external view returns (uint256) {
        return _delegations[member][staff][purpose].expiry;
    }

    // ------------------------------------------------------------------ checks

    /// @dev A person's own grant is its consent. One grant has one spelling.
    function _checkTerms(Grant calldata g) private pure {
        if (g.purpose == Purpose.Emergency) revert InvalidPurposes(1 << uint256(Purpose.Emergency));
        if (g.reader == address(0)) revert InvalidTerms();
        if (g.consentOf == address(0)) {
            if (g.consentScope != 0) revert InvalidTerms();
        } else if (!_isOrganisation(g.granter)) {
            revert InvalidTerms();
        }
    }

    function _requireNext(uint256 nonce, uint256 last) private pure {
        if (nonce != last + 1) revert WrongNonce(nonce, last + 1);
    }

    function _requireConsent(address person, bytes32 scope, Purpose purpose) private view {
        uint256 purposes = _consents[person][scope].purposes;
        if (purposes & (1 << uint256(purpose)) == 0) revert NoConsent(person, scope, purpose);
    }

    function _requireDelegation(uint256 member, address staff, Purpose purpose) private view {
        Delegation memory d = _delegations[member][staff][purpose];
        if (d.expiry <= block.timestamp) revert NoDelegation(member, staff, purpose);
        (uint256 number, IConsortium.Status status) = consortium.memberOf(d.operator);
        bool active = number == member ? status == IConsortium.Status.Active : _isActive(member);
        if (!active) revert NoDelegation(member, staff, purpose);
    }

    /// @dev The grant to `reader` on the terms that the call begins with: of granter, scope, purpose and consent.
    function _keyFor(address reader) private pure returns (bytes32) {
        return Typed.hashCall(bytes32(uint256(uint160(reader))), 5);
    }

    function _isOrganisation(address party) private pure returns (bool) {
        return uint160(party) <= LAST_LABEL;
    }
}
