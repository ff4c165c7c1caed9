// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Rounds} from "./Rounds.sol";
import {ITraining} from "./interfaces/ITraining.sol";
import {Roster} from "./lib/Roster.sol";
import {RoundClock} from "./lib/RoundClock.sol";
import {RoundWord} from "./lib/RoundWord.sol";
import {Scores} from "./lib/Scores.sol";

/// @title Training
/// @notice See {ITraining}. The messages of the protocol; what follows from them is in {Rounds}.
abstract contract Training is ITraining, Rounds {
    using Roster for uint256;
    using RoundClock for RoundWord;

    uint256 private constant MAX_RATIO = 10_000;
    /// @dev The most samples that one update may count for, so that all clients' stay within exact aggregation.
    uint256 private constant MAX_SAMPLES = 1 << 17;

    uint256 private _jobCount;

    // ------------------------------------------------------------------ jobs

    /// @inheritdoc ITraining
    function createJob(
        Terms calldata terms,
        address coordinator,
        bytes32 manifest,
        bytes32 model,
        Blob calldata manifestBlob,
        Blob calldata modelBlob
    ) external returns (uint256 id) {
        uint256 creator = _activeMember().member;
        _checkTerms(terms);
        if (coordinator == address(0)) revert NotCoordinator(coordinator);
        _checkBlob(manifestBlob);
        _checkBlob(modelBlob);
        id = ++_jobCount;
        Job storage j = _jobs[id];
        j.terms = terms;
        j.coordinator = coordinator;
        j.manifest = manifest;
        j.models[0] = model;
        j.seed = manifest;
        j.round = j.round.enter(Phase.Enrolment);
        emit JobCreated(id, coordinator, creator, manifest, model, terms, manifestBlob, modelBlob);
    }

    /// @inheritdoc ITraining
    function publishKey(uint256 job, bytes32 recipient, Blob calldata envelope) external {
        _onlyCoordinator(_jobs[job]);
        _checkBlob(envelope);
        emit JobKeyPublished(job, recipient, envelope);
    }

    /// @inheritdoc ITraining
    function startJob(uint256 job) external {
        Job storage j = _jobs[job];
        _onlyCoordinator(j);
        RoundWord r = j.round;
        if (r.phase() != Phase.Enrolment) revert WrongPhase(r.phase());
        uint256 enrolled = enrolledCount(job);
        if (enrolled < j.terms.masters) revert TooFewEnrolled(enrolled, j.terms.masters);
        _openRound(job, j, r.next(), false);
    }

    /// @inheritdoc ITraining
    function fileReport(uint256 job, bytes32 report) external {
        Job storage j = _jobs[job];
        _onlyCoordinator(j);
        Phase phase = j.round.phase();
        if (phase != Phase.Closed) revert WrongPhase(phase);
        emit ReportFiled(job, report);
    }

    // ------------------------------------------------------------------ the five phases

    /// @inheritdoc ITraining
    function submitUpdate(uint256 job, uint256 round, uint256 position, uint256 samples, Blob calldata blob) external {
        Credential memory caller = _activeMember();
        Job storage j = _jobs[job];
        RoundWord r = _current(job, j, round, Phase.Request);
        uint256 bit = _client(j, r, caller.member, position);
        if (r.awaited() & bit == 0) revert AlreadySubmitted(caller.member);
        uint256 limit = caller.sampleCount < MAX_SAMPLES ? caller.sampleCount : MAX_SAMPLES;
        if (samples == 0 || samples > limit) revert SampleCountOutOfRange(samples, limit);
        _checkBlob(blob);
        r = r.submit(bit);
        if (r.awaited() == 0) r = r.toPrePrepare(block.timestamp, j.terms);
        j.round = r;
        emit UpdateSubmitted(job, round, caller.member, samples, blob);
    }

    /// @inheritdoc ITraining
    function commitScores(uint256 job, uint256 round, uint256 position, bytes32 commitment) external {
        uint256 number = _activeMember().member;
        Job storage j = _jobs[job];
        RoundWord r = _current(job, j, round, Phase.PrePrepare);
        uint256 bit = _master(j, number, position);
        if (r.uncommitted() & bit == 0) revert AlreadyCommitted(number);
        j.ballots[position][0] = uint256(commitment);
        r = r.commit(bit);
        if (r.uncommitted() == 0) r = r.toPrepare(block.timestamp, j.terms);
        j.round = r;
        emit ScoresCommitted(job, round, number, commitment);
    }

    /// @inheritdoc ITraining
    function revealScores(uint256 job, uint256 round, uint256 position, uint256[] calldata scores, bytes32 salt)
        external
    {
        uint256 number = _activeMember().member;
        Job storage j = _jobs[job];
        RoundWord r = _current(job, j, round, Phase.Prepare);
        uint256 bit = _master(j, number, position);
        if (r.unrevealed() & bit == 0) revert NothingToReveal(number);
        uint256 expected = Scores.slotsFor(r.drawn() + 1);
        if (scores.length != expected) revert WrongScoreCount(scores.length, expected);
        uint256[5] storage ballot = j.ballots[position];
        bytes32 opened = keccak256(abi.encode(block.chainid, address(this), job, round, msg.sender, scores, salt));
        if (uint256(opened) != ballot[0]) revert CommitmentMismatch(number);
        ballot[0] = (scores[0] >> 64 << 64) | uint64(uint256(keccak256(abi.encode(salt))));
        for (uint256 i = 1; i < expected; ++i) {
            ballot[i] = scores[i];
        }
        r = r.reveal(bit);
        emit ScoresRevealed(job, round, number, scores);
        if (r.unrevealed() != 0) {
            j.round = r;
            return;
        }
        r = _judge(job, j, r.toCommit(block.timestamp, j.terms));
        if (r.updates() == 0) _fail(job, j, r);
        else j.round = r;
    }

    /// @inheritdoc ITraining
    function proposeModel(uint256 job, uint256 round, uint256 position, bytes32 model, Blob calldata blob) external {
        Job storage j = _jobs[job];
        RoundWord r = _current(job, j, round, Phase.Commit);
        uint256 bit = _proposer(j, r, position);
        _checkBlob(blob);
        r = r.propose(bit).toReply(block.timestamp, j.terms);
        j.models[(r.completed() + 1) % 2] = model;
        emit ModelProposed(job, round, msg.sender, r.proposed(), model, blob);
        if (position == COORDINATOR) {
            j.round = r;
            return;
        }
        emit ModelAttested(job, round, j.masters.memberAt(position), model);
        _attest(job, j, r, bit);
    }

    /// @inheritdoc ITraining
    function attestModel(uint256 job, uint256 round, uint256 position, uint256 proposed, bytes32 model) external {
        uint256 number = _activeMember().member;
        Job storage j = _jobs[job];
        RoundWord r = _current(job, j, round, Phase.Reply);
        uint256 bit = _master(j, number, position);
        if (r.attested() & bit != 0) revert AlreadyAttested(number);
        if (proposed != r.proposed()) revert WrongProposal(r.proposed());
        bytes32 candidate = _candidate(j, r);
        if (model != candidate) revert WrongModel(candidate);
        emit ModelAttested(job, round, number, model);
        _attest(job, j, r, bit);
    }

    /// @inheritdoc ITraining
    function advance(uint256 job) external {
        Job storage j = _jobs[job];
        RoundWord r = j.round;
        if (r.phase() == Phase.Waiting) {
            _reopen(job, j, r);
            return;
        }
        Phase before = r.phase();
        bool failed;
        bool unjudged;
        (r, failed, unjudged) = r.roll(j.terms);
        if (r.phase() == before && !failed) revert NothingToAdvance();
        if (unjudged) r = _judge(job, j, r);
        if (failed || (unjudged && r.updates() == 0)) _fail(job, j, r);
        else j.round = r;
    }

    // ------------------------------------------------------------------ views

    /// @inheritdoc ITraining
    function roundOf(uint256 job) external view returns (Round memory r) {
        (RoundWord rolled, bool failed,) = _jobs[job].round.roll(_jobs[job].terms);
        r = rolled.unpack();
        if (failed) r.phase = Phase.Failed;
    }

    /// @inheritdoc ITraining
    function rosterOf(uint256 job) external view returns (uint256[4] memory clients, uint256 masters) {
        return (_jobs[job].clients, _jobs[job].masters);
    }

    /// @inheritdoc ITraining
    function termsOf(uint256 job) external view returns (Terms memory) {
        return _jobs[job].terms;
    }

    /// @inheritdoc ITraining
    function modelOf(uint256 job) external view returns (bytes32 manifest, bytes32 model, uint256 completed) {
        Job storage j = _jobs[job];
        return (j.manifest, _model(j, j.round), j.round.completed());
    }

    /// @inheritdoc ITraining
    function candidateOf(uint256 job) external view returns (bytes32) {
        return _candidate(_jobs[job], _jobs[job].round);
    }

    /// @inheritdoc ITraining
    function jobCount() external view returns (uint256) {
        return _jobCount;
    }

    // ------------------------------------------------------------------ checks

    function _checkTerms(Terms calldata t) private pure {
        if (t.rounds == 0 || t.termRounds == 0 || t.masters == 0 || t.masters > MAX_MASTERS) revert InvalidTerms();
        if (t.fraction == 0 || t.fraction > MAX_RATIO || t.standard > MAX_RATIO) revert InvalidTerms();
        if (t.requestSeconds == 0 || t.scoreSeconds == 0 || t.revealSeconds == 0 || t.replySeconds < 2) {
            revert InvalidTerms();
        }
    }

    function _checkBlob(Blob calldata blob) private pure {
        if (blob.size == 0 || blob.sha256 == 0 || blob.cid == 0) revert InvalidBlob();
    }
}
