// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IConsortium} from "./IConsortium.sol";

/// @title IBallots
/// @notice How membership changes: any active member opens a motion, active members vote for it, and the vote that
///         completes the quorum carries it out at once.
interface IBallots {
    enum Motion {
        Admit,
        Suspend,
        Reinstate,
        Remove
    }

    /// @param member The member concerned; 0 for an admission.
    /// @param departures {IConsortium.departures} when the ballot was opened. The next departure closes it: votes of
    ///        members that were removed since must not count in a smaller electorate.
    /// @param candidate The organisation to admit; empty for other motions.
    struct Ballot {
        Motion motion;
        uint16 member;
        uint16 votes;
        uint40 expiresAt;
        bool carried;
        uint32 departures;
        IConsortium.Organisation candidate;
    }

    event MotionOpened(
        uint256 indexed ballot,
        Motion indexed motion,
        uint256 indexed member,
        IConsortium.Organisation candidate,
        uint256 expiresAt
    );
    event VoteCast(uint256 indexed ballot, uint256 indexed member, uint256 votes);
    event MotionCarried(uint256 indexed ballot);

    error NotSealed();
    error NotActiveMember(address caller);
    error UnknownBallot(uint256 ballot);
    /// @notice The ballot is about something else than the vote.
    error OtherMatter(uint256 ballot);
    error BallotClosed(uint256 ballot);
    error AlreadyVoted(uint256 ballot, uint256 member);
    /// @notice Nobody votes on itself.
    error OwnCase(uint256 member);
    /// @notice Admissions are opened by `proposeAdmission`.
    error WrongMotion(Motion motion);

    /// @notice Opens a motion to admit an organisation, with the caller's own vote for it.
    function proposeAdmission(IConsortium.Organisation calldata candidate) external returns (uint256 ballot);

    /// @notice Opens a motion to suspend, reinstate or remove a member, with the caller's own vote for it.
    function proposeMotion(Motion motion, uint16 member) external returns (uint256 ballot);

    /// @notice Votes for a motion. It is carried by the votes of more than half of the active members. The member
    ///         concerned has no vote and is counted all the same: if it were not, half of the members could expel the
    ///         others one by one.
    /// @param matter keccak256(abi.encode(motion, member, candidate)) of what the caller votes for. A number alone would
    ///        not say: a node can show another motion under it, and it goes to another motion where the chain is set back.
    function vote(uint256 ballot, bytes32 matter) external;

    /// @notice Votes that a motion needs now.
    function quorum() external view returns (uint256);

    /// @return All zeros where there is no such ballot: of one that there is, `expiresAt` is not 0.
    function ballot(uint256 id) external view returns (Ballot memory);
    function ballotCount() external view returns (uint256);
}
