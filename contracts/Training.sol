// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Rounds} from "./Rounds.sol";
import {ITraining} from "./interfaces/ITraining.sol";
import {RoundClock} from "./lib/RoundClock.sol";
import {Scores} from "./lib/Scores.sol";

/// @title Training
/// @notice See {ITraining}. The messages of the protocol; what they set in motion is in {Rounds}.
abstract contract Training is ITraining, Rounds {
    using RoundClock for Round;
    using RoundClock for uint256;

    uint256 private constant MAX_RATIO = 10_000;

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
        Round memory r;
        r.phase = Phase.Enrolment;
        j.round = r.pack();
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
        Round memory r = j.round.unpack();
        if (r.phase != Phase.Enrolment) revert WrongPhase(r.phase);
        uint256 enrolled = enrolledCount(job);
        if (enrolled < j.terms.masters) revert TooFewEnrolled(enrolled, j.terms.masters);
        r.number = 1;
        _openRound(job, j, r, false);
    }

    /// @inheritdoc ITraining
    function fileReport(uint256 job, bytes32 report) external {
        Job storage j = _jobs[job];
        _onlyCoordinator(j);
        Phase phase = j.round.unpack().phase;
        if (phase != Phase.Closed) revert WrongPhase(phase);
        emit ReportFiled(job, report);
    }

    // ------------------------------------------------------------------ the five phases

    /// @inheritdoc ITraining
    function submitUpdate(uint256 job, uint256 round, uint256 position, uint256 samples, Blob calldata blob) external {
        Credential memory caller = _activeMember();
        Job storage j = _jobs[job];
        Round memory r = _current(job, j, round, Phase.Request);
        uint256 bit = _client(j, r, caller.member, position);
        if (r.awaited & bit == 0) revert AlreadySubmitted(caller.member);
        if (samples == 0 || samples > caller.sampleCount) revert SampleCountOutOfRange(samples, caller.sampleCount);
        _checkBlob(blob);
        r.awaited ^= uint56(bit);
        r.updates |= uint56(bit);
        if (r.awaited == 0) r.toPrePrepare(block.timestamp, j.terms);
        j.round = r.pack();
        emit UpdateSubmitted(job, round, caller.member, samples, blob);
    }

    /// @inheritdoc ITraining
    function commitScores(uint256 job, uint256 round, uint256 position, bytes32 commitment) external {
        uint256 number = _activeMember().member;
        Job storage j = _jobs[job];
        Round memory r = _current(job, j, round, Phase.PrePrepare);
        uint256 bit = _master(j, number, position);
        if (r.uncommitted & bit == 0) revert AlreadyCommitted(number);
        r.uncommitted ^= uint16(bit);
        j.ballots[position][0] = uint256(commitment);
        if (r.uncommitted == 0) r.toPrepare(block.timestamp, j.terms);
        j.round = r.pack();
        emit ScoresCommitted(job, round, number, commitment);
    }

    /// @inheritdoc ITraining
    function revealScores(uint256 job, uint256 round, uint256 position, uint256[] calldata scores, bytes32 salt)
        external
    {
        uint256 number = _activeMember().member;
        Job storage j = _jobs[job];
        Round memory r = _current(job, j, round, Phase.Prepare);
        uint256 bit = _master(j, number, position);
        if (r.unrevealed & bit == 0) revert NothingToReveal(number);
        uint256 expected = Scores.slotsFor(r.drawn() + 1);
        if (scores.length != expected) revert WrongScoreCount(scores.length, expected);
        uint256[6] storage ballot = j.ballots[position];
        bytes32 opened = keccak256(abi.encode(block.chainid, address(this), job, round, msg.sender, scores, salt));
        if (uint256(opened) != ballot[0]) revert CommitmentMismatch(number);
        ballot[0] = (scores[0] >> 64 << 64) | uint64(uint256(keccak256(abi.encode(salt))));
        for (uint256 i = 1; i < expected; ++i) {
            ballot[i] = scores[i];
        }
        r.unrevealed ^= uint16(bit);
        emit ScoresRevealed(job, round, number, scores);
        if (r.unrevealed != 0) {
            j.round = r.pack();
            return;
        }
        r.toCommit(block.timestamp, j.terms);
        _judge(job, j, r);
        if (r.updates == 0) _fail(job, j, r);
        else j.round = r.pack();
    }

    /// @inheritdoc ITraining
    function proposeModel(uint256 job, uint256 round, uint256 position, bytes32 model, Blob calldata blob) external {
        Job storage j = _jobs[job];
        Round memory r = _current(job, j, round, Phase.Commit);
        uint256 bit = _proposer(j, r, position);
        _checkBlob(blob);
        r.proposed |= uint16(bit);
        r.attested = 0;
        r.phase = Phase.Reply;
        r.deadline = uint32(block.timestamp + j.terms.replySeconds);
        j.models[(r.completed + 1) % 2] = model;
        emit ModelProposed(job, round, msg.sender, model, blob);
        if (position == COORDINATOR) j.round = r.pack();
        else _attest(job, j, r, bit);
    }

    /// @inheritdoc ITraining
    function attestModel(uint256 job, uint256 round, uint256 position, bytes32 model) external {
        uint256 number = _activeMember().member;
        Job storage j = _jobs[job];
        Round memory r = _current(job, j, round, Phase.Reply);
        uint256 bit = _master(j, number, position);
        if (r.attested & bit != 0) revert AlreadyAttested(number);
        bytes32 candidate = _candidate(j, r);
        if (model != candidate) revert WrongModel(candidate);
        emit ModelAttested(job, round, number, model);
        _attest(job, j, r, bit);
    }

    /// @inheritdoc ITraining
    function advance(uint256 job) external {
        Job storage j = _jobs[job];
        Round memory r = j.round.unpack();
        if (r.phase == Phase.Waiting) {
            uint256 enrolled = enrolledCount(job);
            if (enrolled < j.terms.masters) revert TooFewEnrolled(enrolled, j.terms.masters);
            _openRound(job, j, r, false);
            return;
        }
        Phase before = r.phase;
        (bool failed, bool unjudged) = r.roll(j.terms);
        if (r.phase == before && !failed) revert NothingToAdvance();
        if (unjudged) _judge(job, j, r);
        if (failed || (unjudged && r.updates == 0)) _fail(job, j, r);
        else j.round = r.pack();
    }

    // ------------------------------------------------------------------ views

    /// @inheritdoc ITraining
    function roundOf(uint256 job) external view returns (Round memory r) {
        r = _jobs[job].round.unpack();
        (bool failed,) = r.roll(_jobs[job].terms);
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
        Round memory r = j.round.unpack();
        return (j.manifest, _model(j, r), r.completed);
    }

    /// @inheritdoc ITraining
    function candidateOf(uint256 job) external view returns (bytes32) {
        return _candidate(_jobs[job], _jobs[job].round.unpack());
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
