// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ITraining} from "../interfaces/ITraining.sol";
import {RoundWord} from "./RoundWord.sol";

/// @title RoundClock
/// @notice The round's state machine: what phase the stored facts and the clock amount to.
library RoundClock {
    using RoundClock for RoundWord;

    /// @dev As many as leave room for the rest of a round in its slot.
    uint256 internal constant MAX_CLIENTS = 56;

    /// @notice M masters decide by floor(2M/3) + 1.
    function quorumOf(uint256 masterCount) internal pure returns (uint256) {
        unchecked {
            return (2 * masterCount) / 3 + 1;
        }
    }

    function full(uint256 positions) internal pure returns (uint256) {
        unchecked {
            return (uint256(1) << positions) - 1;
        }
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
    function revealed(RoundWord r) internal pure returns (uint256) {
        return full(r.masters()) & ~r.uncommitted() & ~r.unrevealed();
    }

    /// @notice How many clients were drawn; positions are filled from 0.
    function drawn(RoundWord r) internal pure returns (uint256) {
        return ones(r.awaited() | r.updates());
    }

    /// @notice Moves `r` on through every deadline that has passed.
    /// @return rolled The round as of now.
    /// @return failed Whether the round ended without a model; the phase is then the one it failed in.
    /// @return unjudged Whether it passed from Prepare to Commit on the way, so that its updates are to be judged.
    function roll(RoundWord r, ITraining.Terms storage terms)
        internal
        view
        returns (RoundWord rolled, bool failed, bool unjudged)
    {
        if (block.timestamp <= r.deadline() || !inRound(r.phase())) return (r, false, false);
        while (block.timestamp > r.deadline()) {
            if (r.phase() == ITraining.Phase.Request) {
                if (r.updates() == 0) return (r, true, false);
                r = r.toPrePrepare(r.deadline(), terms);
            } else if (r.phase() == ITraining.Phase.PrePrepare) {
                if (ones(full(r.masters()) & ~r.uncommitted()) < quorumOf(r.masters())) return (r, true, false);
                r = r.toPrepare(r.deadline(), terms);
            } else if (r.phase() == ITraining.Phase.Prepare) {
                if (ones(r.revealed()) < quorumOf(r.masters())) return (r, true, false);
                r = r.toCommit(r.deadline(), terms);
                unjudged = true;
            } else if (r.phase() == ITraining.Phase.Reply && r.proposed() & full(r.masters()) != full(r.masters())) {
                r = r.toCommit(r.deadline(), terms);
            } else {
                return (r, true, unjudged);
            }
        }
        return (r, false, unjudged);
    }

    function inRound(ITraining.Phase phase_) internal pure returns (bool) {
        return phase_ >= ITraining.Phase.Request && phase_ <= ITraining.Phase.Reply;
    }

    function open(RoundWord r, uint256 masters, uint256 clients, ITraining.Terms storage terms)
        internal
        view
        returns (RoundWord)
    {
        r = r.renew(masters, full(clients), full(masters));
        return r.enter(ITraining.Phase.Request, block.timestamp + terms.requestSeconds);
    }

    function toPrePrepare(RoundWord r, uint256 from, ITraining.Terms storage terms) internal view returns (RoundWord) {
        return r.enter(ITraining.Phase.PrePrepare, from + terms.scoreSeconds);
    }

    function toPrepare(RoundWord r, uint256 from, ITraining.Terms storage terms) internal view returns (RoundWord) {
        r = r.expect(full(r.masters()) & ~r.uncommitted());
        return r.enter(ITraining.Phase.Prepare, from + terms.revealSeconds);
    }

    function toCommit(RoundWord r, uint256 from, ITraining.Terms storage terms) internal view returns (RoundWord) {
        return r.enter(ITraining.Phase.Commit, from + terms.replySeconds);
    }

    function toReply(RoundWord r, uint256 from, ITraining.Terms storage terms) internal view returns (RoundWord) {
        return r.enter(ITraining.Phase.Reply, from + terms.replySeconds);
    }
}
