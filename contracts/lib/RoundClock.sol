// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ITraining} from "../interfaces/ITraining.sol";

/// @title RoundClock
/// @notice The round's state machine: what phase the stored facts and the clock amount to.
library RoundClock {
    using RoundClock for ITraining.Round;

    /// @dev As many as leave room for the rest of a round in its slot.
    uint256 internal constant MAX_CLIENTS = 56;

    /// @notice The round as one word: the fields in order, the first in the lowest bits.
    /// @dev By hand, as the compiler reads and writes a struct's slot once for every field (2,000 gas a transaction).
    function pack(ITraining.Round memory r) internal pure returns (uint256 word) {
        word = uint256(r.number) | (uint256(r.completed) << 16) | (uint256(r.masters) << 32);
        word |= (uint256(r.phase) << 40) | (uint256(r.deadline) << 48);
        word |= (uint256(r.awaited) << 80) | (uint256(r.updates) << 136);
        word |= (uint256(r.uncommitted) << 192) | (uint256(r.unrevealed) << 208);
        word |= (uint256(r.attested) << 224) | (uint256(r.proposed) << 240);
    }

    function unpack(uint256 word) internal pure returns (ITraining.Round memory r) {
        r.number = uint16(word);
        r.completed = uint16(word >> 16);
        r.masters = uint8(word >> 32);
        r.phase = ITraining.Phase(uint8(word >> 40));
        r.deadline = uint32(word >> 48);
        r.awaited = uint56(word >> 80);
        r.updates = uint56(word >> 136);
        r.uncommitted = uint16(word >> 192);
        r.unrevealed = uint16(word >> 208);
        r.attested = uint16(word >> 224);
        r.proposed = uint16(word >> 240);
    }

    /// @notice M masters decide by floor(2M/3) + 1.
    function quorumOf(uint256 masters) internal pure returns (uint256) {
        return (2 * masters) / 3 + 1;
    }

    function full(uint256 positions) internal pure returns (uint256) {
        return (uint256(1) << positions) - 1;
    }

    function ones(uint256 bits) internal pure returns (uint256 set) {
        unchecked {
            for (; bits != 0; bits &= bits - 1) ++set;
        }
    }

    /// @notice The position of the lowest set bit; `bits` is not 0.
    function lowest(uint256 bits) internal pure returns (uint256 position) {
        unchecked {
            while (bits & 1 == 0) {
                bits >>= 1;
                ++position;
            }
        }
    }

    /// @notice Clients of a round: a fraction of the enrolled members, at least one.
    function clientsOf(uint256 enrolled, uint256 fraction) internal pure returns (uint256 clients) {
        clients = (enrolled * fraction) / 10_000;
        if (clients == 0) return 1;
        if (clients > MAX_CLIENTS) return MAX_CLIENTS;
    }

    /// @notice Masters, as bits, that committed and revealed.
    function revealed(ITraining.Round memory r) internal pure returns (uint256) {
        return full(r.masters) & ~uint256(r.uncommitted) & ~uint256(r.unrevealed);
    }

    /// @notice How many clients were drawn; positions are filled from 0.
    function drawn(ITraining.Round memory r) internal pure returns (uint256) {
        return ones(uint256(r.awaited) | r.updates);
    }

    /// @notice Moves `r` on through every deadline that has passed.
    /// @return failed Whether the round ended without a model; `r.phase` is then the phase it failed in.
    /// @return unjudged Whether it passed from Prepare to Commit on the way, so that its updates are to be judged.
    function roll(ITraining.Round memory r, ITraining.Terms storage terms)
        internal
        view
        returns (bool failed, bool unjudged)
    {
        if (block.timestamp <= r.deadline || !inRound(r.phase)) return (false, false);
        while (block.timestamp > r.deadline) {
            if (r.phase == ITraining.Phase.Request) {
                if (r.updates == 0) return (true, false);
                r.toPrePrepare(r.deadline, terms);
            } else if (r.phase == ITraining.Phase.PrePrepare) {
                if (ones(full(r.masters) & ~uint256(r.uncommitted)) < quorumOf(r.masters)) return (true, false);
                r.toPrepare(r.deadline, terms);
            } else if (r.phase == ITraining.Phase.Prepare) {
                if (ones(r.revealed()) < quorumOf(r.masters)) return (true, false);
                r.toCommit(r.deadline, terms);
                unjudged = true;
            } else if (r.phase == ITraining.Phase.Reply && r.proposed & full(r.masters) != full(r.masters)) {
                r.toCommit(r.deadline, terms);
            } else {
                return (true, unjudged);
            }
        }
    }

    function inRound(ITraining.Phase phase) internal pure returns (bool) {
        return phase >= ITraining.Phase.Request && phase <= ITraining.Phase.Reply;
    }

    function toPrePrepare(ITraining.Round memory r, uint256 from, ITraining.Terms storage terms) internal view {
        r.phase = ITraining.Phase.PrePrepare;
        r.deadline = uint32(from + terms.scoreSeconds);
    }

    function toPrepare(ITraining.Round memory r, uint256 from, ITraining.Terms storage terms) internal view {
        r.phase = ITraining.Phase.Prepare;
        r.unrevealed = uint16(full(r.masters) & ~uint256(r.uncommitted));
        r.deadline = uint32(from + terms.revealSeconds);
    }

    function toCommit(ITraining.Round memory r, uint256 from, ITraining.Terms storage terms) internal view {
        r.phase = ITraining.Phase.Commit;
        r.deadline = uint32(from + terms.replySeconds);
    }
}
