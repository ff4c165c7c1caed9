// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Emitter
/// @notice Emits whatever events it is told to: a long history in seconds, and hostile ones that the real contracts
///         would not emit. For benchmarks and tests; it has no part in a consortium.
contract Emitter {
    struct Entry {
        bytes32[] topics;
        bytes data;
    }

    function emitAll(Entry[] calldata entries) external {
        for (uint256 i; i < entries.length; ++i) {
            bytes32[] calldata topics = entries[i].topics;
            bytes memory data = entries[i].data;
            assembly ("memory-safe") {
                let first := topics.offset
                let start := add(data, 0x20)
                let size := mload(data)
                switch topics.length
                case 1 { log1(start, size, calldataload(first)) }
                case 2 { log2(start, size, calldataload(first), calldataload(add(first, 0x20))) }
                case 3 {
                    log3(
                        start,
                        size,
                        calldataload(first),
                        calldataload(add(first, 0x20)),
                        calldataload(add(first, 0x40))
                    )
                }
                case 4 {
                    log4(
                        start,
                        size,
                        calldataload(first),
                        calldataload(add(first, 0x20)),
                        calldataload(add(first, 0x40)),
                        calldataload(add(first, 0x60))
                    )
                }
            }
        }
    }

    /// @notice As the consortium's contract answers; the events of its Ballots are emitted here, too.
    function ballots() external view returns (address) {
        return address(this);
    }

    /// @notice As the consortium's contract answers where there is one job.
    function jobCount() external pure returns (uint256) {
        return 1;
    }

    /// @notice As it answers for a job that is closed.
    function roundOf(uint256) external pure returns (uint256[12] memory round) {
        round[3] = 9;
    }
}
