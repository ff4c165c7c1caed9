// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice The few of forge's cheatcodes that these tests use.
/// @dev Contracts are made by `deployCode`: `new` would have each contract here carry, and the compiler optimise again,
///      those that it makes.
interface Vm {
    function deployCode(string calldata artifact) external returns (address);
    function deployCode(string calldata artifact, bytes calldata arguments) external returns (address);
    function addr(uint256 key) external pure returns (address);
    function prank(address sender) external;
    function sign(uint256 key, bytes32 digest) external pure returns (uint8 v, bytes32 r, bytes32 s);
    function warp(uint256 timestamp) external;
    function getBlockTimestamp() external view returns (uint256);
    function load(address target, bytes32 slot) external view returns (bytes32);
    function store(address target, bytes32 slot, bytes32 value) external;
}

Vm constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

function bound(uint256 x, uint256 low, uint256 high) pure returns (uint256) {
    return low + x % (high - low + 1);
}
