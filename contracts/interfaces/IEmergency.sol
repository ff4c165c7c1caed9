// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title IEmergency
/// @notice Emergency access ("breaking the glass"): a physician or pharmacist of an active member reads at once, for a
///         reason, without consent or grant. It is logged for good and must be reviewed, by the holder of the records
///         or, after `REVIEW_SECONDS` without a review, by other members.
/// @dev Those two roles decide on treatment and on medication; the others can wait for a grant.
interface IEmergency {
    enum Verdict {
        Open,
        Upheld,
        Rejected
    }

    /// @notice What the reader signs: typed data of the domain that {IPermissions} names.
    /// @param holder Number of the member that keeps the records.
    /// @param subject Salted commitment to whose records they are.
    /// @param reason SHA-256 of the reason, salted as well.
    /// @param request SHA-256 of the request document, as in {IPermissions.Access}.
    /// @param nonce One more than the emergencies that this reader has opened before.
    /// @param deadline The last second in which the signature is accepted.
    struct EmergencyAccess {
        uint16 holder;
        bytes32 subject;
        bytes32 reason;
        bytes32 request;
        uint40 nonce;
        uint40 deadline;
    }

    /// @param older Number of the reader's unreviewed emergency before this one; 0: none. `newer` likewise.
    /// @param institution Number of the member that vouched for the reader when it was opened.
    struct Case {
        uint40 openedAt;
        uint16 holder;
        Verdict verdict;
        uint40 older;
        uint40 newer;
        uint16 institution;
    }

    /// @notice A reader's emergencies in one slot.
    /// @param opened How many there ever were.
    /// @param unreviewed How many of them nobody has reviewed yet.
    /// @param oldest Number of the oldest of those; 0: none.
    /// @param newest Of the newest.
    /// @param since When the oldest was opened.
    struct Docket {
        uint40 opened;
        uint40 unreviewed;
        uint40 oldest;
        uint40 newest;
        uint40 since;
    }

    event GlassBroken(
        uint256 indexed number,
        uint256 indexed holder,
        address indexed reader,
        bytes32 subject,
        bytes32 reason,
        bytes32 request
    );
    event EmergencyReviewed(
        uint256 indexed number, uint256 indexed reviewer, address indexed reader, bool upheld, bytes32 report
    );
    event EmergencyKeysReleased(uint256 indexed number, uint256 indexed holder, bytes32 envelope);

    error NotClinical(address reader);
    error MemberNotActive(uint256 member);
    error WrongEmergencyNonce(uint256 nonce, uint256 expected);
    error TooManyUnreviewed(address reader, uint256 unreviewed);
    error ReviewOverdue(address reader, uint256 number, uint256 since);
    error UnknownEmergency(uint256 number, address reader);
    error AlreadyReviewed(uint256 number);
    error OwnEmergency(address reader);
    error NotReviewer(uint256 member, uint256 holder);

    /// @notice Opens an emergency. Refused for a reader with one that is unreviewed after `REVIEW_SECONDS`, or with
    ///         `MAX_UNREVIEWED` unreviewed ones.
    function breakGlass(EmergencyAccess calldata emergency, bytes32 r, bytes32 vs) external returns (uint256 number);

    /// @notice Reviews an emergency, once. The holder may at any time; any other active member, except the one that
    ///         vouched for the reader, may if the holder is not active or `REVIEW_SECONDS` are over; the reader never.
    /// @param report SHA-256 of the reviewer's report.
    function review(uint256 number, address reader, bool upheld, bytes32 report) external;

    /// @notice Like {IPermissions.releaseKeys}, for an emergency.
    function releaseEmergencyKeys(uint256 number, bytes32 envelope) external;

    /// @notice Emergencies are numbered from 1 without gaps.
    function emergencyCount() external view returns (uint256);

    /// @return All zeros where this reader opened no such emergency, whose verdict then means nothing.
    function emergencyOf(address reader, uint256 number) external view returns (Case memory);
    function docketOf(address reader) external view returns (Docket memory);
}
