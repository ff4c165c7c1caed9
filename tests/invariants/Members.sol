// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {HMChain} from "../../contracts/HMChain.sol";
import {IConsortium} from "../../contracts/interfaces/IConsortium.sol";
import {vm} from "./Vm.sol";

/// @notice A consortium, its members' accounts, and how a member goes on under another one.
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

    /// @dev The account that a member acts by now.
    function _operator(uint256 member) internal view returns (address) {
        return _account(member, _rotations[member]);
    }

    /// @dev The account that a member had, or has, after so many rotations.
    function _account(uint256 member, uint256 rotations) internal pure returns (address) {
        return address(uint160((1 + rotations) * 0x10_000 + member));
    }
}
