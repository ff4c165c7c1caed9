// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title IMasterElection
/// @notice Who is drawn for a round. Members enrol for a job; each round its masters are drawn in proportion to
///         reputation, its clients uniformly. Reputation follows the scores of a member's updates: a higher one is
///         likelier to be elected (the paper's election).
/// @dev The seed of every draw chains the salts that masters revealed. `block.prevrandao` and `blockhash` are not used:
///      Besu's QBFT writes a constant mixHash.
interface IMasterElection {
    /// @notice Why a member left the draws: by its own wish, for its silence in a round, or as it is not active.
    enum Withdrawal {
        Own,
        Silent,
        NotActive
    }

    event MemberEnrolled(uint256 indexed job, uint256 indexed member, uint256 reputation);
    event MemberWithdrawn(uint256 indexed job, uint256 indexed member, Withdrawal reason);

    error AlreadyEnrolled(uint256 job, uint256 member);
    error NotEnrolled(uint256 job, uint256 member);
    /// @notice The seed of the next draw is known, or about to be: nobody may enter or leave before that draw.
    error DrawPending(uint256 job);
    /// @notice The member's number is beyond what the sum tree holds.
    error ElectionFull(uint256 member);
    /// @notice Only a suspended or removed member can be struck.
    error StillActive(uint256 member);

    /// @notice Enters the caller into the draws of a job, also after it was left out for its silence. A member that was
    ///         enrolled before keeps its reputation; a newcomer starts neutral.
    /// @dev Refused while scores are being revealed or a model is being agreed on, and where a job has waited until its
    ///      deadline: the next draw's seed is known then, and who is in the draw must not change any more.
    function enrol(uint256 job) external;

    /// @notice Takes the caller out of the draws. It still owes the running round what it was drawn for.
    function withdraw(uint256 job) external;

    /// @notice Takes a suspended or removed member out of the draws; anyone may call it.
    function strike(uint256 job, uint16 member) external;

    /// @return reputation 1..255, or 0 for a member that never enrolled.
    /// @return enrolled Whether it can be drawn.
    function standing(uint256 job, uint256 member) external view returns (uint256 reputation, bool enrolled);

    /// @return The number of members in the job's draws.
    function enrolledCount(uint256 job) external view returns (uint256);
}
