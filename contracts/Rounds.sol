// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {MasterElection} from "./MasterElection.sol";
import {ITraining} from "./interfaces/ITraining.sol";
import {Roster} from "./lib/Roster.sol";
import {RoundClock} from "./lib/RoundClock.sol";
import {Scores} from "./lib/Scores.sol";

/// @title Rounds
/// @notice What happens inside a round: who may act now, how updates are judged, how a round ends and the next opens.
abstract contract Rounds is ITraining, MasterElection {
    using Roster for uint256;
    using RoundClock for Round;
    using RoundClock for uint256;
    using Scores for uint256;

    /// @dev Everything a round writes is overwritten by the next one (5,000 gas a slot instead of 22,100).
    struct Job {
        Terms terms;
        address coordinator;
        bytes32 manifest;
        bytes32[2] models; // the global model at completed % 2, the candidate to replace it in the other
        bytes32 seed;
        uint256 round; // see RoundClock.unpack
        uint256 masters;
        uint256[4] clients; // drawn this round, sixteen to a word
        uint256[6][15] ballots; // by master position: the commitment in slot 0, then the scores
    }

    /// @dev A judgement in the making, in memory.
    struct Panel {
        uint256[] members; // the masters that revealed
        uint256[] ballots; // what they revealed, `slots` of them each
        uint256[] words; // scratch for medians
        uint256[] medians;
        uint256 slots;
        uint256 standard;
        uint256 accepted;
    }

    uint256 internal constant COORDINATOR = 15;

    mapping(uint256 job => Job) internal _jobs;

    // ------------------------------------------------------------------ who may act now

    /// @dev The job's round, moved on by the clock, if it is the one the caller means and in the phase it means.
    function _current(uint256 job, Job storage j, uint256 round, Phase phase) internal returns (Round memory r) {
        r = j.round.unpack();
        if (r.number != round || round == 0) revert WrongRound(r.number);
        (bool failed, bool unjudged) = r.roll(j.terms);
        if (failed) revert WrongPhase(Phase.Failed);
        if (r.phase != phase) revert WrongPhase(r.phase);
        if (unjudged) {
            _judge(job, j, r);
            if (r.updates == 0) revert WrongPhase(Phase.Failed);
        }
    }

    /// @dev The bit of the client drawn at `position`, if that is `number`.
    function _client(Job storage j, Round memory r, uint256 number, uint256 position)
        internal
        view
        returns (uint256 bit)
    {
        if (position >= RoundClock.MAX_CLIENTS) revert NotDrawn(number, position);
        bit = 1 << position;
        if ((uint256(r.awaited) | r.updates) & bit == 0) revert NotDrawn(number, position);
        if (j.clients[position / Roster.PER_WORD].memberAt(position) != number) revert NotDrawn(number, position);
    }

    /// @dev The bit of the master elected at `position`, if that is `number`.
    function _master(Job storage j, uint256 number, uint256 position) internal view returns (uint256) {
        if (position >= MAX_MASTERS || j.masters.memberAt(position) != number) revert NotDrawn(number, position);
        return 1 << position;
    }

    /// @dev The bit of the proposer, if it is its turn: the coordinator's for half the time, then any master's.
    function _proposer(Job storage j, Round memory r, uint256 position) internal view returns (uint256 bit) {
        if (position == COORDINATOR) {
            _onlyCoordinator(j);
            bit = 1 << COORDINATOR;
        } else {
            bit = _master(j, _activeMember().member, position);
            bool firstHalf = block.timestamp + j.terms.replySeconds / 2 < r.deadline;
            if (r.proposed == 0 && firstHalf) revert NotYourTurn(msg.sender);
        }
        if (r.proposed & bit != 0) revert AlreadyProposed(msg.sender);
    }

    function _onlyCoordinator(Job storage j) internal view {
        if (msg.sender != j.coordinator) revert NotCoordinator(msg.sender);
    }

    function _requireOpen(uint256 job) internal view override {
        Phase phase = _jobs[job].round.unpack().phase;
        if (phase == Phase.None || phase == Phase.Closed) revert JobNotOpen(job);
    }

    // ------------------------------------------------------------------ judgement

    /// @dev Takes the median of every update, accepts those that reach the standard, moves reputations and the seed.
    ///      `r.updates` is narrowed from submitted to accepted.
    function _judge(uint256 job, Job storage j, Round memory r) internal {
        uint256 count = r.drawn();
        Panel memory panel = _panel(j, r, count);
        uint256 base = _median(panel, count, 0);
        panel.standard = _standard(j, base);
        for (uint256 i; i < count; ++i) {
            uint256 number = j.clients[i / Roster.PER_WORD].memberAt(i);
            uint256 median = r.updates & (1 << i) == 0 ? 0 : _median(panel, i, number);
            uint256 points = median.basisPoints();
            if (!median.isScore() || points < panel.standard) points = 0;
            else panel.accepted |= 1 << i;
            _learn(job, number, points);
        }
        r.updates = uint56(panel.accepted);
        emit UpdatesJudged(job, r.number, panel.accepted, panel.standard, panel.medians);
    }

    /// @dev The job's standard value: absolute, or so far below what the base model scores.
    function _standard(Job storage j, uint256 base) private view returns (uint256 standard) {
        standard = j.terms.standard;
        if (!j.terms.relative) return standard;
        uint256 points = base.basisPoints();
        return points > standard ? points - standard : 0;
    }

    /// @dev Collects the revealed ballots in order of position, and chains their entropy into the seed.
    function _panel(Job storage j, Round memory r, uint256 count) private returns (Panel memory panel) {
        uint256 revealed = r.revealed();
        uint256 committee = j.masters;
        bytes32 seed = j.seed;
        panel.slots = Scores.slotsFor(count + 1);
        panel.members = new uint256[](RoundClock.ones(revealed));
        panel.medians = new uint256[](panel.slots);
        panel.words = new uint256[](panel.members.length);
        panel.ballots = new uint256[](panel.members.length * panel.slots);
        uint256 next;
        for (uint256 i; i < MAX_MASTERS; ++i) {
            if (revealed & (1 << i) == 0) continue;
            uint256[6] storage ballot = j.ballots[i];
            for (uint256 k; k < panel.slots; ++k) {
                panel.ballots[next * panel.slots + k] = ballot[k];
            }
            seed = keccak256(abi.encode(seed, panel.ballots[next * panel.slots]));
            panel.members[next++] = committee.memberAt(i);
        }
        j.seed = seed;
    }

    /// @dev The median of what the panel says of the client at `index`, which it notes down; nobody's word on its own
    ///      update counts.
    function _median(Panel memory panel, uint256 index, uint256 author) private pure returns (uint256 median) {
        uint256[] memory words = panel.words;
        uint256 slot = index / Scores.PER_SLOT;
        uint256 count;
        unchecked {
            for (uint256 m; m < words.length; ++m) {
                if (panel.members[m] == author) continue;
                words[count++] = panel.ballots[m * panel.slots + slot].wordAt(index);
            }
        }
        median = Scores.median(words, count);
        panel.medians[slot] = panel.medians[slot].withWord(index, median);
    }

    // ------------------------------------------------------------------ the end of a round, and the next

    /// @dev Counts an attestation; the one that completes the quorum makes the candidate the global model.
    function _attest(uint256 job, Job storage j, Round memory r, uint256 bit) internal {
        r.attested |= uint16(bit);
        if (RoundClock.ones(r.attested) < RoundClock.quorumOf(r.masters)) {
            j.round = r.pack();
            return;
        }
        ++r.completed;
        emit RoundFinalized(job, r.number, _model(j, r));
        _end(job, j, r, false);
    }

    function _model(Job storage j, Round memory r) internal view returns (bytes32) {
        return j.models[r.completed % 2];
    }

    function _candidate(Job storage j, Round memory r) internal view returns (bytes32) {
        return j.models[(r.completed + 1) % 2];
    }

    /// @dev Ends a round without a model: the previous one stands. A committee that had accepted updates in hand and
    ///      agreed on no aggregate is dismissed.
    function _fail(uint256 job, Job storage j, Round memory r) internal {
        emit RoundFailed(job, r.number, r.phase);
        _end(job, j, r, r.phase >= Phase.Commit && r.updates != 0);
    }

    function _end(uint256 job, Job storage j, Round memory r, bool dismissed) private {
        for (uint256 bits = r.awaited; bits != 0; bits &= bits - 1) {
            uint256 position = RoundClock.lowest(bits);
            _bench(job, j.clients[position / Roster.PER_WORD].memberAt(position));
        }
        uint256 silent = r.phase == Phase.Request ? 0 : uint256(r.uncommitted) | r.unrevealed;
        for (; silent != 0; silent &= silent - 1) {
            _bench(job, j.masters.memberAt(RoundClock.lowest(silent)));
        }
        if (r.number < j.terms.rounds) {
            ++r.number;
            _openRound(job, j, r, dismissed);
            return;
        }
        r.phase = Phase.Closed;
        j.round = r.pack();
        emit JobClosed(job, r.completed, _model(j, r));
    }

    /// @dev Draws masters and clients and opens round `r.number`, or waits while too few members are enrolled.
    function _openRound(uint256 job, Job storage j, Round memory r, bool dismissed) internal {
        Terms storage terms = j.terms;
        uint256 enrolled = enrolledCount(job);
        if (enrolled < terms.masters) {
            if (dismissed) j.masters = 0;
            r.phase = Phase.Waiting;
            j.round = r.pack();
            emit JobWaiting(job, r.number, enrolled);
            return;
        }
        uint256 seed = _seed(j.seed, r.number, 0);
        uint256 term = dismissed ? 0 : terms.termRounds;
        uint256 masters = _electMasters(job, j.masters, r.number, terms.masters, term, seed);
        if (masters != j.masters) j.masters = masters;
        uint256 count = RoundClock.clientsOf(enrolled, terms.fraction);
        uint256[] memory clients = _drawClients(job, masters, terms.masters, count, _seed(j.seed, r.number, 1));
        for (uint256 i; i < clients.length; ++i) {
            j.clients[i] = clients[i];
        }
        r.phase = Phase.Request;
        r.masters = terms.masters;
        r.deadline = uint32(block.timestamp + terms.requestSeconds);
        r.awaited = uint56(RoundClock.full(count));
        r.updates = 0;
        r.uncommitted = uint16(RoundClock.full(terms.masters));
        r.unrevealed = r.attested = r.proposed = 0;
        j.round = r.pack();
        emit RoundOpened(job, r.number, _model(j, r), masters, clients, r.deadline);
    }

    function _seed(bytes32 seed, uint256 round, uint256 purpose) private pure returns (uint256) {
        return uint256(keccak256(abi.encode(seed, round, purpose)));
    }
}
