// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title IMasterElection
/// @notice Who is drawn. Members enrol for a job; each round its masters are drawn by reputation, its clients
///         uniformly. Reputation is the memory of scores: higher ones are likelier to be elected (the paper's election).
/// @dev The seed of every draw chains the salts that masters revealed. `block.prevrandao` and `blockhash` are not used:
///      Besu's QBFT writes a constant mixHash.
interface IMasterElection {
    enum Withdrawal {
        Own,
        Silent,
        NotActive
    }

    event MemberEnrolled(uint256 indexed job, uint256 indexed member, uint256 reputation);
    event MemberWithdrawn(uint256 indexed job, uint256 indexed member, Withdrawal reason);

    error AlreadyEnrolled(uint256 job, uint256 member);
    error NotEnrolled(uint256 job, uint256 member);
    error DrawPending(uint256 job);
    error ElectionFull(uint256 member);
    error StillActive(uint256 member);

    /// @notice Enters the caller into the draws of a job. Not while scores are being revealed or a model is agreed on:
    ///         then the next draw's seed is known, and who else is in the draw must not change any more. Also the sign of
    ///         life after which a member that was left out for its silence is drawn again. Its reputation is what it was;
    ///         a newcomer starts neutral.
    function enrol(uint256 job) external;

    /// @notice Takes the caller out of the draws; a running round still expects what it was drawn for.
    function withdraw(uint256 job) external;

    /// @notice Takes a suspended or removed member out of the draws; anyone may call it.
    function strike(uint256 job, uint16 member) external;

    /// @return reputation 1..255, or 0 for a member that never enrolled.
    /// @return enrolled Whether it can be drawn.
    function standing(uint256 job, uint256 member) external view returns (uint256 reputation, bool enrolled);

    function enrolledCount(uint256 job) external view returns (uint256);
}
