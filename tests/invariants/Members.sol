// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Ballots} from "../../contracts/Ballots.sol";
import {HMChain} from "../../contracts/HMChain.sol";
import {IBallots} from "../../contracts/interfaces/IBallots.sol";
import {IConsortium} from "../../contracts/interfaces/IConsortium.sol";
import {vm} from "./Vm.sol";

/// @notice A consortium, its members' accounts, how a member goes on under another one, and how the others suspend it.
abstract contract Members {
    HMChain public immutable hm = HMChain(vm.deployCode("HMChain.sol:HMChain"));
    mapping(uint256 member => uint256) internal _rotations;

    function _found(uint256 members) internal {
        IConsortium.Organisation[] memory founders = new IConsortium.Organisation[](members);
        for (uint256 i; i < members; ++i) {
            founders[i] = IConsortium.Organisation(_operator(i + 1), bytes32(i + 1), 0);
        }
        hm.found(founders);
        hm.seal();
    }

    function _rotate(uint256 member) internal {
        address previous = _operator(member);
        ++_rotations[member];
        vm.prank(previous);
        hm.announceRotation(_operator(member), bytes32(member));
        vm.prank(_operator(member));
        hm.completeRotation(uint16(member));
    }

    /// @dev The others suspend an active member, or take it back; there are enough of them.
    function _judge(uint256 member) internal {
        IBallots.Motion motion = _isActive(member) ? IBallots.Motion.Suspend : IBallots.Motion.Reinstate;
        Ballots ballots = Ballots(hm.ballots());
        bytes32 matter = _matterOf(motion, uint16(member), IConsortium.Organisation(address(0), 0, 0));
        uint256 id;
        for (uint256 voter = 1; voter <= hm.memberCount(); ++voter) {
            if (voter == member || !_isActive(voter)) continue;
            vm.prank(_operator(voter));
            if (id == 0) id = ballots.proposeMotion(motion, uint16(member));
            else ballots.vote(id, matter);
            if (ballots.ballot(id).carried) return;
        }
        assert(false);
    }

    function _matterOf(IBallots.Motion motion, uint16 member, IConsortium.Organisation memory candidate)
        internal
        pure
        returns (bytes32)
    {
        return keccak256(abi.encode(motion, member, candidate));
    }

    function _isActive(uint256 member) internal view returns (bool) {
        return _memberOf(_operator(member)) == member;
    }

    /// @dev The member that the account acts for, 0 if there is none or it may not act.
    function _memberOf(address account) internal view returns (uint256) {
        (uint256 number, IConsortium.Status status) = hm.memberOf(account);
        return status == IConsortium.Status.Active ? number : 0;
    }

    /// @dev The account that a member acts by now.
    function _operator(uint256 member) internal view returns (address) {
        return _account(member, _rotations[member]);
    }

    /// @dev The account that a member had, or has, after so many rotations.
    function _account(uint256 member, uint256 rotations) internal pure returns (address) {
        return address(uint160((1 + rotations) * 0x10_000 + member));
    }
}
