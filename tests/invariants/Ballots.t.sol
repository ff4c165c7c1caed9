// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {HMChain} from "../../contracts/HMChain.sol";
import {BallotsHandler} from "./BallotsHandler.sol";
import {vm} from "./Vm.sol";

/// @notice What holds of membership where half of the members conspire, and nobody else has a vote to spare for them.
contract BallotsTest {
    BallotsHandler private _handler;

    function setUp() external {
        _handler = BallotsHandler(vm.deployCode("BallotsHandler.sol:BallotsHandler"));
    }

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(_handler);
    }

    function invariant_halfOfTheMembersChangeNothing() external view {
        HMChain hm = _handler.hm();
        assert(hm.memberCount() == _handler.MEMBERS() && hm.activeCount() == _handler.MEMBERS());
        assert(hm.departures() == 0);
    }
}
