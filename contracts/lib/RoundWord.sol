// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ITraining} from "../interfaces/ITraining.sol";

/// @dev {ITraining.Round} as the one word it is stored in: its fields in order, the first in the lowest bits. They are
///      read and changed in place; as a struct in memory they cost each transaction 1,260 gas more.
type RoundWord is uint256;

using RoundFields for RoundWord global;

/// @title RoundFields
/// @notice The fields of a round and the ways they change.
library RoundFields {
    uint256 private constant COMPLETED = 16;
    uint256 private constant MASTERS = 32;
    uint256 private constant PHASE = 40;
    uint256 private constant DEADLINE = 48;
    uint256 private constant AWAITED = 80;
    uint256 private constant UPDATES = 136;
    uint256 private constant UNCOMMITTED = 192;
    uint256 private constant UNREVEALED = 208;
    uint256 private constant ATTESTED = 224;
    uint256 private constant PROPOSED = 240;

    // ------------------------------------------------------------------ fields

    function number(RoundWord r) internal pure returns (uint256) {
        return uint16(RoundWord.unwrap(r));
    }

    function completed(RoundWord r) internal pure returns (uint256) {
        return uint16(RoundWord.unwrap(r) >> COMPLETED);
    }

    function masters(RoundWord r) internal pure returns (uint256) {
        return uint8(RoundWord.unwrap(r) >> MASTERS);
    }

    function phase(RoundWord r) internal pure returns (ITraining.Phase) {
        return ITraining.Phase(uint8(RoundWord.unwrap(r) >> PHASE));
    }

    function deadline(RoundWord r) internal pure returns (uint256) {
        return uint32(RoundWord.unwrap(r) >> DEADLINE);
    }

    function awaited(RoundWord r) internal pure returns (uint256) {
        return uint56(RoundWord.unwrap(r) >> AWAITED);
    }

    function updates(RoundWord r) internal pure returns (uint256) {
        return uint56(RoundWord.unwrap(r) >> UPDATES);
    }

    function uncommitted(RoundWord r) internal pure returns (uint256) {
        return uint16(RoundWord.unwrap(r) >> UNCOMMITTED);
    }

    function unrevealed(RoundWord r) internal pure returns (uint256) {
        return uint16(RoundWord.unwrap(r) >> UNREVEALED);
    }

    function attested(RoundWord r) internal pure returns (uint256) {
        return uint16(RoundWord.unwrap(r) >> ATTESTED);
    }

    function proposed(RoundWord r) internal pure returns (uint256) {
        return uint16(RoundWord.unwrap(r) >> PROPOSED);
    }

    /// @notice The same facts as the interface shows them.
    function unpack(RoundWord r) internal pure returns (ITraining.Round memory) {
        return ITraining.Round(
            uint16(r.number()),
            uint16(r.completed()),
            uint8(r.masters()),
            r.phase(),
            uint32(r.deadline()),
            uint56(r.awaited()),
            uint56(r.updates()),
            uint16(r.uncommitted()),
            uint16(r.unrevealed()),
            uint16(r.attested()),
            uint16(r.proposed())
        );
    }

    // ------------------------------------------------------------------ facts; `bit` is new

    function submit(RoundWord r, uint256 bit) internal pure returns (RoundWord) {
        return RoundWord.wrap(RoundWord.unwrap(r) ^ (bit << AWAITED) ^ (bit << UPDATES));
    }

    function commit(RoundWord r, uint256 bit) internal pure returns (RoundWord) {
        return RoundWord.wrap(RoundWord.unwrap(r) ^ (bit << UNCOMMITTED));
    }

    function reveal(RoundWord r, uint256 bit) internal pure returns (RoundWord) {
        return RoundWord.wrap(RoundWord.unwrap(r) ^ (bit << UNREVEALED));
    }

    function propose(RoundWord r, uint256 bit) internal pure returns (RoundWord) {
        return _put(RoundWord.wrap(RoundWord.unwrap(r) ^ (bit << PROPOSED)), ATTESTED, type(uint16).max, 0);
    }

    function attest(RoundWord r, uint256 bit) internal pure returns (RoundWord) {
        return RoundWord.wrap(RoundWord.unwrap(r) | (bit << ATTESTED));
    }

    /// @notice Narrows `updates` from submitted to accepted.
    function accept(RoundWord r, uint256 bits) internal pure returns (RoundWord) {
        return _put(r, UPDATES, type(uint56).max, bits);
    }

    /// @dev There are no more rounds, completed or not, than sixteen bits count.
    function complete(RoundWord r) internal pure returns (RoundWord) {
        return RoundWord.wrap(RoundWord.unwrap(r) + (1 << COMPLETED));
    }

    function next(RoundWord r) internal pure returns (RoundWord) {
        return RoundWord.wrap(RoundWord.unwrap(r) + 1);
    }

    /// @notice What carries over to a new round: its number and how many were completed before.
    function renew(RoundWord r, uint256 masterCount, uint256 awaited_, uint256 uncommitted_)
        internal
        pure
        returns (RoundWord)
    {
        uint256 word = uint32(RoundWord.unwrap(r)) | (masterCount << MASTERS);
        return RoundWord.wrap(word | (awaited_ << AWAITED) | (uncommitted_ << UNCOMMITTED));
    }

    function enter(RoundWord r, ITraining.Phase phase_) internal pure returns (RoundWord) {
        return _put(r, PHASE, type(uint8).max, uint256(phase_));
    }

    function enter(RoundWord r, ITraining.Phase phase_, uint256 until) internal pure returns (RoundWord) {
        return _put(r, PHASE, type(uint40).max, uint256(phase_) | (uint256(uint32(until)) << (DEADLINE - PHASE)));
    }

    function expect(RoundWord r, uint256 unrevealed_) internal pure returns (RoundWord) {
        return _put(r, UNREVEALED, type(uint16).max, unrevealed_);
    }

    function _put(RoundWord r, uint256 shift, uint256 mask, uint256 value) private pure returns (RoundWord) {
        return RoundWord.wrap((RoundWord.unwrap(r) & ~(mask << shift)) | (value << shift));
    }
}
