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
}
