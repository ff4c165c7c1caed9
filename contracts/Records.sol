// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Emergency} from "./Emergency.sol";
import {Permissions} from "./Permissions.sol";
import {Persons} from "./Persons.sol";
import {Registry} from "./Registry.sol";
import {IConsortium} from "./interfaces/IConsortium.sol";

/// @title Records
/// @notice Health records of one consortium: who is who ({Persons}), what exists ({Registry}), who may read it
///         ({Permissions}) and who had to ({Emergency}). Deployed beside HMChain, which it asks for membership;
///         there is no owner and nothing to set up.
contract Records is Registry, Permissions, Emergency {
    constructor(IConsortium consortium_) Persons(consortium_) {}

    /// @notice Several calls as one transaction of the same sender: all of them, or none. A relay saves the 21,000 gas
    ///         that each transaction costs for itself.
    function together(bytes[] calldata calls) external {
        for (uint256 i; i < calls.length; ++i) {
            (bool done, bytes memory answer) = address(this).delegatecall(calls[i]);
            if (done) continue;
            assembly ("memory-safe") {
                revert(add(answer, 0x20), mload(answer))
            }
        }
    }
}
