// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IEmergency} from "../../contracts/interfaces/IEmergency.sol";
import {RecordsHandler} from "./RecordsHandler.sol";
import {vm} from "./Vm.sol";

/// @notice What holds of persons, grants and emergencies after any sequence of words. What holds of each word,
///         {RecordsHandler} asserts.
contract RecordsTest {
    RecordsHandler private _handler;

    function setUp() external {
        _handler = RecordsHandler(vm.deployCode("RecordsHandler.sol:RecordsHandler"));
    }

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(_handler);
    }

    function invariant_ofRecords() external view {
        for (uint256 person = 1; person <= 3; ++person) {
            (uint256 voucher,) = _handler.records().personOf(_handler.account(person));
            assert(voucher == _handler.voucher(person));
            assert(_handler.records().acceptances(_handler.account(person)) == _handler.accepted(person));
        }
        for (uint256 person = 1; person <= 2; ++person) {
            (uint256 purposes,) = _handler.records().consentOf(_handler.account(person), 0);
            assert(purposes == _handler.purposes(person));
            (uint256 told, uint256 expected) = _handler.usesOf(person);
            assert(told == expected);
        }
        IEmergency.Docket memory docket = _handler.records().docketOf(_handler.account(3));
        (uint256 count, uint256 oldest) = _handler.unreviewed();
        assert(docket.opened == _handler.opened() && docket.unreviewed == count && docket.since == oldest);
    }
}
