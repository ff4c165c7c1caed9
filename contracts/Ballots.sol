// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IBallots} from "./interfaces/IBallots.sol";
import {IConsortium} from "./interfaces/IConsortium.sol";

/// @title Ballots
/// @notice See {IBallots}. The consortium creates it and obeys no one else, so there is nothing to set up and no owner.
contract Ballots is IBallots {
    uint256 public constant BALLOT_SECONDS = 14 days;

    IConsortium public immutable consortium;
    uint256 public ballotCount;

    mapping(uint256 ballot => Ballot) private _ballots;
    mapping(uint256 ballot => mapping(uint256 member => bool)) private _voted;

    constructor(IConsortium consortium_) {
        consortium = consortium_;
    }

    /// @inheritdoc IBallots
    function proposeAdmission(IConsortium.Organisation calldata candidate) external returns (uint256) {
        return _open(Motion.Admit, 0, candidate);
    }

    /// @inheritdoc IBallots
    function proposeMotion(Motion motion, uint16 member) external returns (uint256) {
        if (motion == Motion.Admit) revert WrongMotion(motion);
        consortium.member(member); // reverts for a member that does not exist
        return _open(motion, member, IConsortium.Organisation(address(0), 0, 0));
    }

    /// @inheritdoc IBallots
    function vote(uint256 id, bytes32 matter) external {
        if (id == 0 || id > ballotCount) revert UnknownBallot(id);
        Ballot storage b = _ballots[id];
        if (matter != keccak256(abi.encode(b.motion, b.member, b.candidate))) revert OtherMatter(id);
        _vote(id, _activeMember());
    }

    /// @inheritdoc IBallots
    function quorum() public view returns (uint256) {
        return consortium.activeCount() / 2 + 1;
    }

    /// @inheritdoc IBallots
    function ballot(uint256 id) external view returns (Ballot memory) {
        return _ballots[id];
    }

    function _open(Motion motion, uint16 member, IConsortium.Organisation memory candidate)
        private
        returns (uint256 id)
    {
        if (!consortium.isSealed()) revert NotSealed();
        uint256 voter = _activeMember();
        uint256 expiresAt = block.timestamp + BALLOT_SECONDS;
        id = ++ballotCount;
        _ballots[id] = Ballot(motion, member, 0, uint40(expiresAt), false, uint32(consortium.departures()), candidate);
        emit MotionOpened(id, motion, member, candidate, expiresAt);
        _vote(id, voter);
    }

    function _vote(uint256 id, uint256 voter) private {
        Ballot storage b = _ballots[id];
        if (b.carried || block.timestamp > b.expiresAt) revert BallotClosed(id);
        if (b.departures != consortium.departures()) revert BallotClosed(id);
        if (voter == b.member) revert OwnCase(voter);
        if (_voted[id][voter]) revert AlreadyVoted(id, voter);
        _voted[id][voter] = true;
        uint256 votes = ++b.votes;
        emit VoteCast(id, voter, votes);
        if (votes >= quorum()) _carry(id, b);
    }

    function _carry(uint256 id, Ballot storage b) private {
        b.carried = true;
        emit MotionCarried(id);
        if (b.motion == Motion.Admit) consortium.admit(b.candidate);
        else if (b.motion == Motion.Suspend) consortium.changeStatus(b.member, IConsortium.Status.Suspended);
        else if (b.motion == Motion.Reinstate) consortium.changeStatus(b.member, IConsortium.Status.Active);
        else consortium.changeStatus(b.member, IConsortium.Status.Removed);
    }

    function _activeMember() private view returns (uint256 member) {
        IConsortium.Status status;
        (member, status) = consortium.memberOf(msg.sender);
        if (status != IConsortium.Status.Active) revert NotActiveMember(msg.sender);
    }
}
