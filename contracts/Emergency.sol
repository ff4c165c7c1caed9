// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Persons} from "./Persons.sol";
import {IEmergency} from "./interfaces/IEmergency.sol";
import {Typed} from "./lib/Typed.sol";

/// @title Emergency
/// @notice See {IEmergency}.
/// @dev A reader's unreviewed emergencies are a linked list in order of time: whichever is reviewed next, the oldest
///      that is left is known without a search.
abstract contract Emergency is IEmergency, Persons {
    uint256 public constant REVIEW_SECONDS = 72 hours;
    uint256 public constant MAX_UNREVIEWED = 32;

    bytes32 private constant EMERGENCY_ACCESS = keccak256(
        "EmergencyAccess(uint16 holder,bytes32 subject,bytes32 reason,bytes32 request,uint40 nonce,uint40 deadline)"
    );

    uint40 private _emergencyCount;
    mapping(address reader => Docket) private _dockets;
    mapping(address reader => mapping(uint256 number => Case)) private _cases;

    /// @inheritdoc IEmergency
    function breakGlass(EmergencyAccess calldata e, bytes32 r, bytes32 vs) external returns (uint256) {
        address reader = Typed.signer(Typed.hashCall(EMERGENCY_ACCESS, 6), r, vs);
        _requireInTime(e.deadline);
        uint16 institution = _requireClinical(reader);
        if (!_isActive(e.holder)) revert MemberNotActive(e.holder);
        Docket memory d = _dockets[reader];
        if (e.nonce != uint256(d.opened) + 1) revert WrongEmergencyNonce(e.nonce, uint256(d.opened) + 1);
        if (d.unreviewed == MAX_UNREVIEWED) revert TooManyUnreviewed(reader, d.unreviewed);
        bool overdue = d.oldest != 0 && block.timestamp > d.since + REVIEW_SECONDS;
        if (overdue) revert ReviewOverdue(reader, d.oldest, d.since);
        uint40 number = ++_emergencyCount;
        uint40 now_ = uint40(block.timestamp);
        _cases[reader][number] = Case(now_, e.holder, Verdict.Open, d.newest, 0, institution);
        if (d.newest == 0) (d.oldest, d.since) = (number, now_);
        else _cases[reader][d.newest].newer = number;
        _dockets[reader] = Docket(e.nonce, d.unreviewed + 1, d.oldest, number, d.since);
        emit GlassBroken(number, e.holder, reader, e.subject, e.reason, e.request);
        return number;
    }

    /// @inheritdoc IEmergency
    function review(uint256 number, address reader, bool upheld, bytes32 report) external {
        Case memory c = _cases[reader][number];
        if (c.openedAt == 0) revert UnknownEmergency(number, reader);
        if (c.verdict != Verdict.Open) revert AlreadyReviewed(number);
        if (msg.sender == reader) revert OwnEmergency(reader);
        uint256 reviewer = _activeMember();
        if (reviewer != c.holder && !_mayStepIn(reviewer, c)) revert NotReviewer(reviewer, c.holder);
        _unlink(reader, c);
        (c.verdict, c.older, c.newer) = (upheld ? Verdict.Upheld : Verdict.Rejected, 0, 0);
        _cases[reader][number] = c;
        emit EmergencyReviewed(number, reviewer, reader, upheld, report);
    }

    /// @inheritdoc IEmergency
    function releaseEmergencyKeys(uint256 number, bytes32 envelope) external {
        emit EmergencyKeysReleased(number, _activeMember(), envelope);
    }

    // ------------------------------------------------------------------ views

    /// @inheritdoc IEmergency
    function emergencyCount() external view returns (uint256) {
        return _emergencyCount;
    }

    /// @inheritdoc IEmergency
    function emergencyOf(address reader, uint256 number) external view returns (Case memory) {
        return _cases[reader][number];
    }

    /// @inheritdoc IEmergency
    function docketOf(address reader) external view returns (Docket memory) {
        return _dockets[reader];
    }

    // ------------------------------------------------------------------ checks and changes

    /// @return institution Number of the member that vouches for the reader.
    function _requireClinical(address reader) private view returns (uint16 institution) {
        (uint256 voucher, Role role) = _requireVouched(reader);
        if (role != Role.Physician && role != Role.Pharmacist) revert NotClinical(reader);
        if (!_isActive(voucher)) revert MemberNotActive(voucher);
        return uint16(voucher); // the consortium has no higher numbers
    }

    /// @dev Whether a member that is not the holder may review: the holder is not active, or its time is over.
    function _mayStepIn(uint256 reviewer, Case memory c) private view returns (bool) {
        if (reviewer == c.institution) return false;
        return block.timestamp > c.openedAt + REVIEW_SECONDS || !_isActive(c.holder);
    }

    /// @dev Joins the neighbours of a case that leaves the list.
    function _unlink(address reader, Case memory c) private {
        Docket memory d = _dockets[reader];
        if (c.older == 0) (d.oldest, d.since) = (c.newer, _cases[reader][c.newer].openedAt);
        else _cases[reader][c.older].newer = c.newer;
        if (c.newer == 0) d.newest = c.older;
        else _cases[reader][c.newer].older = c.older;
        --d.unreviewed;
        _dockets[reader] = d;
    }
}
