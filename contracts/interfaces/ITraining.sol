// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title ITraining
/// @notice Federated jobs and their rounds: the paper's five phases as one state machine.
/// @dev A round's phase is derived from stored facts and the clock, so a round that everybody abandons still ends.
///      History lives in events: a job keeps only its current round and current model in storage.
interface ITraining {
    /// @notice In the order in which a job passes them. Request to Reply are the paper's phases.
    enum Phase {
        None, // no such job
        Enrolment, // members enrol; the coordinator starts the job
        Waiting, // fewer members were enrolled than the job needs masters: for them, then for a deadline
        Request, // drawn clients submit their updates
        PrePrepare, // masters commit to their scores
        Prepare, // masters reveal them
        Commit, // updates are judged; a proposer may post the aggregate
        Reply, // masters attest the aggregate
        Failed, // a deadline passed without quorum: `advance` ends the round
        Closed // all rounds are over
    }

    /// @param rounds How many rounds the job has, failed ones included.
    /// @param fraction Share of the enrolled members drawn as clients, in basis points.
    /// @param masters Masters of a round, M; 3f + 1 tolerates f faults.
    /// @param termRounds Rounds that a committee serves.
    /// @param relative Whether `standard` is a distance below the base model's score or an absolute score.
    /// @param standard The paper's standard value, in basis points.
    /// @param requestSeconds The longest that REQUEST takes; likewise for the other phases. WAITING, once enough members
    ///        are enrolled, goes on for as long.
    struct Terms {
        uint16 rounds;
        uint16 fraction;
        uint8 masters;
        uint8 termRounds;
        bool relative;
        uint16 standard;
        uint24 requestSeconds;
        uint24 scoreSeconds;
        uint24 revealSeconds;
        uint24 replySeconds;
    }

    /// @notice A blob as the chain knows it. The CID is version 1 over sha2-256, its codec follows from the size: raw up
    ///         to 256 KiB, dag-pb above.
    /// @param sha256 Digest of the (encrypted) bytes.
    /// @param cid The multihash digest of its CID.
    /// @param size Bytes, so that a reader can refuse before it fetches.
    struct Blob {
        bytes32 sha256;
        bytes32 cid;
        uint32 size;
    }

    /// @notice The state of a round, in one slot.
    /// @param completed Rounds of the job that ended with a model.
    /// @param masters M, kept here so that an attestation need not read the job's terms.
    /// @param deadline Of the phase, in seconds since 1970. Of Waiting 0 until enough members are enrolled.
    /// @param awaited Bit i: the client at position i was drawn and has not submitted.
    /// @param updates Bit i: that client's update was submitted; after judgement: was accepted.
    /// @param uncommitted Bit i: the master at position i has not committed to its scores.
    /// @param unrevealed Bit i: that master has committed to its scores and not revealed them.
    /// @param attested Bit i: that master has attested the candidate model.
    /// @param proposed Bit i: that master has proposed a model this round; bit 15: the coordinator has.
    struct Round {
        uint16 number;
        uint16 completed;
        uint8 masters;
        Phase phase;
        uint32 deadline;
        uint56 awaited;
        uint56 updates;
        uint16 uncommitted;
        uint16 unrevealed;
        uint16 attested;
        uint16 proposed;
    }

    event JobCreated(
        uint256 indexed job,
        address indexed coordinator,
        uint256 indexed member,
        bytes32 manifest,
        bytes32 model,
        Terms terms,
        Blob manifestBlob,
        Blob modelBlob
    );
    event JobKeyPublished(uint256 indexed job, bytes32 recipient, Blob envelope);
    /// @param base Digest of the global model that the round starts from.
    /// @param masters The committee and `clients` the drawn clients, packed as in {rosterOf}.
    event RoundOpened(
        uint256 indexed job, uint256 indexed round, bytes32 base, uint256 masters, uint256[] clients, uint256 deadline
    );
    event UpdateSubmitted(
        uint256 indexed job, uint256 indexed round, uint256 indexed member, uint256 samples, Blob blob
    );
    event ScoresCommitted(uint256 indexed job, uint256 indexed round, uint256 indexed member, bytes32 commitment);
    event ScoresRevealed(uint256 indexed job, uint256 indexed round, uint256 indexed member, uint256[] scores);
    /// @param accepted Bit i: the update of the client at position i is accepted.
    /// @param standard The score, in basis points, that an update had to reach; 65,535, beyond all, where it is relative
    ///        and the base model has no score.
    /// @param medians Twelve words to a slot (see {Scores}): the median for each client, then for the base model.
    event UpdatesJudged(
        uint256 indexed job, uint256 indexed round, uint256 accepted, uint256 standard, uint256[] medians
    );
    /// @param proposed Who has proposed in this round by now, this proposer included (see {Round}).
    event ModelProposed(
        uint256 indexed job,
        uint256 indexed round,
        address indexed proposer,
        uint256 proposed,
        bytes32 model,
        Blob blob
    );
    event ModelAttested(uint256 indexed job, uint256 indexed round, uint256 indexed member, bytes32 model);
    event RoundFinalized(uint256 indexed job, uint256 indexed round, bytes32 model);
    /// @param phase The phase in which the round failed. The previous model stands.
    event RoundFailed(uint256 indexed job, uint256 indexed round, Phase phase);
    /// @notice A round cannot open: for lack of members, or until all had the time to enrol.
    /// @param deadline 0 while fewer members than needed are enrolled; after it, `advance` opens the round with those who
    ///        are, or says 0 again where too many have left.
    event JobWaiting(uint256 indexed job, uint256 indexed round, uint256 enrolled, uint256 deadline);
    event JobClosed(uint256 indexed job, uint256 completed, bytes32 model);
    event ReportFiled(uint256 indexed job, bytes32 report);

    error InvalidTerms();
    /// @notice A blob's digest, CID or size is 0.
    error InvalidBlob();
    error NotCoordinator(address caller);
    error JobNotOpen(uint256 job);
    error TooFewEnrolled(uint256 enrolled, uint256 needed);
    /// @param phase The phase that the job is in, as of now.
    error WrongPhase(Phase phase);
    /// @param round The round that the job is in.
    error WrongRound(uint256 round);
    /// @notice The member was not drawn at this position.
    error NotDrawn(uint256 member, uint256 position);
    error AlreadySubmitted(uint256 member);
    error AlreadyCommitted(uint256 member);
    error AlreadyAttested(uint256 member);
    /// @param limit The number that the member committed to, or the most that any update may count for.
    error SampleCountOutOfRange(uint256 samples, uint256 limit);
    /// @notice The master committed to nothing, or has revealed already.
    error NothingToReveal(uint256 member);
    /// @notice Scores and salt do not open the master's commitment.
    error CommitmentMismatch(uint256 member);
    error WrongScoreCount(uint256 slots, uint256 expected);
    /// @notice The first half of the phase is the coordinator's.
    error NotYourTurn(address proposer);
    error AlreadyProposed(address proposer);
    /// @param candidate The digest that was proposed.
    error WrongModel(bytes32 candidate);
    /// @param proposed Who has proposed by now; the attestation was for an earlier proposal.
    error WrongProposal(uint256 proposed);
    error NothingToAdvance();

    /// @notice Creates a job; any active member may, and names its coordinator (the paper's server).
    /// @param manifest SHA-256 of the canonical manifest, whose bytes are `manifestBlob`.
    /// @param model SHA-256 of the initial model's canonical plaintext, sealed in `modelBlob`.
    function createJob(
        Terms calldata terms,
        address coordinator,
        bytes32 manifest,
        bytes32 model,
        Blob calldata manifestBlob,
        Blob calldata modelBlob
    ) external returns (uint256 job);

    /// @notice Publishes the envelope that holds the job's key, sealed to every participant. Coordinator only.
    /// @param recipient The X25519 public key that the job's blobs are sealed to from here on.
    function publishKey(uint256 job, bytes32 recipient, Blob calldata envelope) external;

    /// @notice Opens the first round. Coordinator only.
    function startJob(uint256 job) external;

    /// @notice REQUEST: the caller, drawn at `position`, submits its update.
    function submitUpdate(uint256 job, uint256 round, uint256 position, uint256 samples, Blob calldata blob) external;

    /// @notice PRE-PREPARE: a master commits to its scores of all updates.
    /// @param commitment keccak256(abi.encode(chainid, this contract, job, round, caller, scores, salt)).
    function commitScores(uint256 job, uint256 round, uint256 position, bytes32 commitment) external;

    /// @notice PREPARE: a master reveals its scores. The last reveal judges the updates; after the deadline, `advance`
    ///         or the first proposal does.
    /// @param scores Twelve words to a slot (see {Scores}), one for each client in order of position, then one for the
    ///        base model.
    function revealScores(uint256 job, uint256 round, uint256 position, uint256[] calldata scores, bytes32 salt)
        external;

    /// @notice COMMIT: posts the aggregate of the accepted updates. The coordinator may at once; any master after half
    ///         the time, or after a proposal that found no quorum. Each proposer may once a round.
    /// @param position The master's position, or 15 for the coordinator.
    function proposeModel(uint256 job, uint256 round, uint256 position, bytes32 model, Blob calldata blob) external;

    /// @notice REPLY: a master that recomputed the same aggregate attests it. A quorum makes it the global model.
    /// @param proposed As in {ModelProposed}: an attestation is for that proposal and its blob, and does not count for a
    ///        later proposal of the same model, whose blob nobody may have.
    function attestModel(uint256 job, uint256 round, uint256 position, uint256 proposed, bytes32 model) external;

    /// @notice Moves on a round whose deadline has passed. Where a job waits for members, and has enough, sets the deadline
    ///         until which the others may enrol; after that, or once all active members are enrolled, opens the round.
    ///         Open to all.
    function advance(uint256 job) external;

    /// @notice Files the digest of the run's report, in place of an earlier one, once the job is closed. Coordinator
    ///         only.
    function fileReport(uint256 job, bytes32 report) external;

    /// @notice The current round as of now: what a transaction sent now would meet. Where the clock alone led to Commit,
    ///         `updates` are not judged yet, and the transaction may find that none is accepted.
    function roundOf(uint256 job) external view returns (Round memory);

    /// @notice Who was drawn for the current round: member numbers in order of position, sixteen to a word. Of `clients`
    ///         only the positions that `roundOf` has in `awaited` or `updates` mean anything; the top sixteen bits of
    ///         `masters` hold the round in which the committee's term began.
    function rosterOf(uint256 job) external view returns (uint256[4] memory clients, uint256 masters);

    function termsOf(uint256 job) external view returns (Terms memory);

    /// @notice The job's manifest, its current global model, and how many rounds ended with a model.
    function modelOf(uint256 job) external view returns (bytes32 manifest, bytes32 model, uint256 completed);

    /// @notice The model that was last proposed; it means something in REPLY only.
    function candidateOf(uint256 job) external view returns (bytes32 model);
    function jobCount() external view returns (uint256);
}
