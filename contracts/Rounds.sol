// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {MasterElection} from "./MasterElection.sol";
import {ITraining} from "./interfaces/ITraining.sol";
import {Roster} from "./lib/Roster.sol";
import {RoundClock} from "./lib/RoundClock.sol";
import {RoundWord} from "./lib/RoundWord.sol";
import {Scores} from "./lib/Scores.sol";
import {SumTree} from "./lib/SumTree.sol";

/// @title Rounds
/// @notice What happens inside a round: who may act now, how updates are judged, how a round ends and the next opens.
abstract contract Rounds is ITraining, MasterElection {
    using Roster for uint256;
    using RoundClock for RoundWord;
    using Scores for uint256;
    using SumTree for SumTree.Tree;

    /// @dev Everything a round writes is overwritten by the next one (5,000 gas a slot instead of 22,100).
    struct Job {
        Terms terms;
        address coordinator;
        bytes32 manifest;
        bytes32[2] models; // the global model at completed % 2, the candidate to replace it in the other
        bytes32 seed;
        RoundWord round;
        uint256 masters;
        uint256[4] clients; // drawn this round, sixteen to a word
        uint256[5][15] ballots; // by master position: the scores, which replace the commitment in slot 0
    }

    uint256 internal constant COORDINATOR = 15;

    mapping(uint256 job => Job) internal _jobs;

    // ------------------------------------------------------------------ who may act now

    /// @dev The job's round, moved on by the clock, if its number and phase are those that the caller expects.
    function _current(uint256 job, Job storage j, uint256 round, Phase phase) internal returns (RoundWord r) {
        bool failed;
        bool unjudged;
        r = j.round;
        if (r.number() != round || round == 0) revert WrongRound(r.number());
        (r, failed, unjudged) = r.roll(j.terms);
        if (failed) revert WrongPhase(Phase.Failed);
        if (r.phase() != phase) revert WrongPhase(r.phase());
        if (unjudged) {
            r = _judge(job, j, r);
            if (r.updates() == 0) revert WrongPhase(Phase.Failed);
        }
    }

    /// @dev The bit of the client drawn at `position`, if that is `number`.
    function _client(Job storage j, RoundWord r, uint256 number, uint256 position)
        internal
        view
        returns (uint256 bit)
    {
        if (position >= RoundClock.MAX_CLIENTS) revert NotDrawn(number, position);
        bit = 1 << position;
        if ((r.awaited() | r.updates()) & bit == 0) revert NotDrawn(number, position);
        if (j.clients[position / Roster.PER_WORD].memberAt(position) != number) revert NotDrawn(number, position);
    }

    /// @dev The bit of the master elected at `position`, if that is `number`.
    function _master(Job storage j, uint256 number, uint256 position) internal view returns (uint256) {
        if (position >= MAX_MASTERS || j.masters.memberAt(position) != number) revert NotDrawn(number, position);
        return 1 << position;
    }

    /// @dev The bit of the proposer, if it is its turn: the coordinator's for half the time, then any master's.
    function _proposer(Job storage j, RoundWord r, uint256 position) internal view returns (uint256 bit) {
        if (position == COORDINATOR) {
            _onlyCoordinator(j);
            bit = 1 << COORDINATOR;
        } else {
            bit = _master(j, _activeMember().member, position);
            bool firstHalf = block.timestamp + j.terms.replySeconds / 2 < r.deadline();
            if (r.proposed() == 0 && firstHalf) revert NotYourTurn(msg.sender);
        }
        if (r.proposed() & bit != 0) revert AlreadyProposed(msg.sender);
    }

    /// @dev The coordinator need not be a member, but a suspended or removed member cannot coordinate.
    function _onlyCoordinator(Job storage j) internal view {
        if (msg.sender != j.coordinator || _isBarred(msg.sender)) revert NotCoordinator(msg.sender);
    }

    function _requireOpen(uint256 job) internal view override {
        Phase phase = _jobs[job].round.phase();
        if (phase == Phase.None || phase == Phase.Closed) revert JobNotOpen(job);
    }

    /// @dev By the clock, and not as stored: the first reveal is in the mempool before it is in a block. A round that
    ///      has failed makes the next draw as soon as anyone calls `advance`, and so does a job that has waited.
    function _requireNoDrawPending(uint256 job) internal view override {
        (RoundWord r, bool failed,) = _jobs[job].round.roll(_jobs[job].terms);
        if (failed || (r.phase() >= Phase.Prepare && r.phase() <= Phase.Reply)) revert DrawPending(job);
        if (r.phase() == Phase.Waiting && r.deadline() != 0 && block.timestamp > r.deadline()) revert DrawPending(job);
    }

    // ------------------------------------------------------------------ judgement

    /// @dev Takes the median of every update, accepts those that reach the standard, moves reputations and the seed.
    ///      `updates` is narrowed from submitted to accepted. Unchecked, like all of the judgement: its numbers are
    ///      counts of members and positions of bits (10,000 gas in a round of ten updates).
    function _judge(uint256 job, Job storage j, RoundWord r) internal returns (RoundWord) {
        uint256 count = r.drawn();
        uint256[] memory clients = _clients(j, count);
        uint256[] memory medians = _medians(j, r, clients, count);
        uint256 standard = _standard(j, medians[count / Scores.PER_SLOT].wordAt(count));
        uint256 accepted;
        Pool storage pool = _pools[job];
        SumTree.Batch memory batch;
        unchecked {
            for (uint256 i; i < count; ++i) {
                uint256 median = medians[i / Scores.PER_SLOT].wordAt(i);
                if (median == 0) continue; // nobody else scored it: it is not accepted, and its author keeps its standing
                uint256 points = median.basisPoints();
                if (!median.isScore() || points < standard) points = 0;
                else accepted |= 1 << i;
                _learn(pool, clients[i / Roster.PER_WORD].memberAt(i), points, batch);
            }
        }
        pool.reputation.settle(batch);
        emit UpdatesJudged(job, r.number(), accepted, standard, medians);
        return r.accept(accepted);
    }

    function _clients(Job storage j, uint256 count) private view returns (uint256[] memory words) {
        unchecked {
            words = new uint256[]((count + Roster.PER_WORD - 1) / Roster.PER_WORD);
            for (uint256 i; i < words.length; ++i) {
                words[i] = j.clients[i];
            }
        }
    }

    /// @dev The job's standard value: absolute, or so far below what the base model scores. Where the base has no score
    ///      there is nothing to be relative to, and no update passes.
    function _standard(Job storage j, uint256 base) private view returns (uint256 standard) {
        standard = j.terms.standard;
        if (!j.terms.relative) return standard;
        if (!base.isScore()) return type(uint16).max;
        uint256 points = base.basisPoints();
        return points > standard ? points - standard : 0;
    }

    /// @dev The medians of what was revealed, in slots like the ballots: one for each client, then the base model's.
    ///      Of a client that submitted nothing it is 0, "unscored".
    function _medians(Job storage j, RoundWord r, uint256[] memory clients, uint256 count)
        private
        returns (uint256[] memory medians)
    {
        uint256 revealed = r.revealed();
        uint256[] memory slots = new uint256[](r.masters());
        medians = new uint256[](Scores.slotsFor(count + 1));
        unchecked {
            for (uint256 k; k < medians.length; ++k) {
                _collect(j, revealed, k, slots);
                if (k == 0) _chain(j, revealed, slots);
                (uint256 judged, uint256 abstained) = _abstain(j.masters, revealed, r.updates(), k, clients, slots);
                if (k + 1 == medians.length) judged |= Scores.maskOf(count);
                medians[k] = Scores.medians(slots, RoundClock.ones(revealed), abstained) & judged;
            }
        }
    }

    /// @dev Removes from slot `k` the scores that masters gave their own updates: those do not count.
    /// @return judged The words of this slot that are about an update.
    /// @return abstained Those of them in which a master has no say.
    function _abstain(
        uint256 masters,
        uint256 revealed,
        uint256 updates,
        uint256 k,
        uint256[] memory clients,
        uint256[] memory slots
    ) private pure returns (uint256 judged, uint256 abstained) {
        unchecked {
            uint256 i = k * Scores.PER_SLOT;
            for (uint256 bits = (updates >> i) & RoundClock.full(Scores.PER_SLOT); bits != 0; bits >>= 1) {
                if (bits & 1 != 0) {
                    uint256 mask = Scores.maskOf(i);
                    judged |= mask;
                    uint256 author = masters.positionOf(clients[i / Roster.PER_WORD].memberAt(i));
                    if (revealed & (1 << author) != 0) {
                        slots[author] |= mask;
                        abstained |= mask;
                    }
                }
                ++i;
            }
        }
    }

    /// @dev Slot `k` of every revealed ballot; of a master that revealed none, all ones.
    function _collect(Job storage j, uint256 revealed, uint256 k, uint256[] memory slots) private view {
        unchecked {
            for (uint256 i; i < slots.length; ++i) {
                slots[i] = revealed & (1 << i) == 0 ? type(uint256).max : j.ballots[i][k];
            }
        }
    }

    /// @dev Chains the entropy of the revealed ballots into the seed, in order of position.
    function _chain(Job storage j, uint256 revealed, uint256[] memory slots) private {
        bytes32 seed = j.seed;
        unchecked {
            for (uint256 i; i < slots.length; ++i) {
                if (revealed & (1 << i) != 0) seed = keccak256(abi.encode(seed, slots[i]));
            }
        }
        j.seed = seed;
    }

    // ------------------------------------------------------------------ the end of a round, and the next

    /// @dev Counts an attestation; the one that completes the quorum makes the candidate the global model.
    function _attest(uint256 job, Job storage j, RoundWord r, uint256 bit) internal {
        r = r.attest(bit);
        if (RoundClock.ones(r.attested()) < RoundClock.quorumOf(r.masters())) {
            j.round = r;
            return;
        }
        r = r.complete();
        emit RoundFinalized(job, r.number(), _model(j, r));
        _end(job, j, r, false);
    }

    function _model(Job storage j, RoundWord r) internal view returns (bytes32) {
        return j.models[r.completed() % 2];
    }

    function _candidate(Job storage j, RoundWord r) internal view returns (bytes32) {
        return j.models[(r.completed() + 1) % 2];
    }

    /// @dev Ends a round without a model: the previous one stands. A committee that had accepted updates in hand and
    ///      agreed on no aggregate is dismissed.
    function _fail(uint256 job, Job storage j, RoundWord r) internal {
        emit RoundFailed(job, r.number(), r.phase());
        _end(job, j, r, r.phase() >= Phase.Commit && r.updates() != 0);
    }

    function _end(uint256 job, Job storage j, RoundWord r, bool dismissed) private {
        for (uint256 bits = r.awaited(); bits != 0; bits &= bits - 1) {
            uint256 position = RoundClock.lowest(bits);
            _bench(job, j.clients[position / Roster.PER_WORD].memberAt(position));
        }
        uint256 silent = r.phase() == Phase.Request ? 0 : r.uncommitted() | r.unrevealed();
        for (; silent != 0; silent &= silent - 1) {
            _bench(job, j.masters.memberAt(RoundClock.lowest(silent)));
        }
        if (r.number() < j.terms.rounds) {
            _openRound(job, j, r.next(), dismissed);
            return;
        }
        j.round = r.enter(Phase.Closed);
        emit JobClosed(job, r.completed(), _model(j, r));
    }

    /// @dev Draws masters and clients and opens round `r.number`, or waits while too few members are enrolled.
    function _openRound(uint256 job, Job storage j, RoundWord r, bool dismissed) internal {
        Terms storage terms = j.terms;
        uint256 enrolled = enrolledCount(job);
        if (enrolled < terms.masters) {
            if (dismissed) j.masters = 0;
            j.round = r.enter(Phase.Waiting, 0);
            emit JobWaiting(job, r.number(), enrolled, 0);
            return;
        }
        uint256 seed = _seed(j.seed, r.number(), 0);
        uint256 term = dismissed ? 0 : terms.termRounds;
        uint256 masters = _electMasters(job, j.masters, r.number(), terms.masters, term, seed);
        if (masters != j.masters) j.masters = masters;
        uint256 count = RoundClock.clientsOf(enrolled, terms.fraction);
        uint256[] memory clients = _drawClients(job, masters, terms.masters, count, _seed(j.seed, r.number(), 1));
        for (uint256 i; i < clients.length; ++i) {
            j.clients[i] = clients[i];
        }
        r = r.open(terms.masters, count, terms);
        j.round = r;
        emit RoundOpened(job, r.number(), _model(j, r), masters, clients, r.deadline());
    }

    /// @dev Opens the round that a job waits with, once the members had REQUEST's time to enrol since enough of them
    ///      had, or all have. The seed is known: otherwise the first M to come back would be the masters of a term.
    function _reopen(uint256 job, Job storage j, RoundWord r) internal {
        uint256 until = r.deadline();
        uint256 enrolled = enrolledCount(job);
        if (until == 0 && enrolled < j.terms.masters) revert TooFewEnrolled(enrolled, j.terms.masters);
        bool complete = enrolled >= activeCount();
        if (!complete && block.timestamp <= until) revert NothingToAdvance();
        if (complete || until != 0) {
            _openRound(job, j, r, false);
            return;
        }
        until = block.timestamp + j.terms.requestSeconds;
        j.round = r.enter(Phase.Waiting, until);
        emit JobWaiting(job, r.number(), enrolled, until);
    }

    function _seed(bytes32 seed, uint256 round, uint256 purpose) private pure returns (uint256) {
        return uint256(keccak256(abi.encode(seed, round, purpose)));
    }
}
