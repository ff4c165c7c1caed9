// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Ballots} from "../../contracts/Ballots.sol";
import {ITraining} from "../../contracts/interfaces/ITraining.sol";
import {Members} from "./Members.sol";
import {bound, vm} from "./Vm.sol";

/// @notice A consortium whose members, and some who are none, do their part, too late, twice, or in somebody else's place.
/// @dev Keeps its own books: of every call it knows beforehand whether it is allowed, and asserts that the contract
///      agrees; of the model it knows who attested it.
contract Handler is Members {
    uint256 internal constant JOB = 1;
    uint32 internal constant SAMPLES = 100;
    uint256 internal constant COORDINATOR_POSITION = 15;
    address internal constant COORDINATOR = address(0xC0);

    uint256 public immutable size;
    uint256 public immutable masters;
    uint256 private immutable _quorum;

    // what the books say
    bytes32 public model = keccak256("first model");
    uint256 public completed;
    bytes32 private _candidate;
    uint256 private _proposals;
    uint256 private _votes;
    mapping(uint256 proposal => mapping(uint256 member => bool)) private _attested;
    mapping(uint256 round => mapping(uint256 position => bytes32)) private _committed;
    mapping(uint256 round => mapping(uint256 position => uint256)) private _scoreSeeds;
    mapping(bytes32 act => bool) private _done;
    uint256 private _number = 1;
    bool private _waiting;
    uint256 private _waitsUntil;

    constructor(uint256 size_, ITraining.Terms memory terms) {
        size = size_;
        masters = terms.masters;
        _quorum = masters - (masters - 1) / 3; // M = 3f + 1 + (0, 1 or 2) tolerates f
        _found(size_);
        ITraining.Blob memory blob = _blob();
        vm.prank(_operator(1));
        hm.createJob(terms, COORDINATOR, keccak256("manifest"), model, blob, blob);
        for (uint256 i = 1; i <= size_; ++i) {
            vm.prank(_operator(i));
            hm.commitDataset(bytes32(i), SAMPLES);
            vm.prank(_operator(i));
            hm.enrol(JOB);
        }
        vm.prank(COORDINATOR);
        hm.startJob(JOB);
        _observe(false);
    }

    // ------------------------------------------------------------------ what the fuzzer calls

    /// @notice The next few steps that the round needs, each by whom it needs.
    function play(uint256 seed) external {
        for (uint256 i = bound(seed, 1, 12); i != 0; --i) {
            seed = _hash(seed);
            _next(seed);
        }
    }

    /// @notice A few messages out of turn: from anyone, for any position, or once more from whom it is.
    function intrude(uint256 seed) external {
        for (uint256 i; i < 4; ++i) {
            seed = _hash(seed);
            _intrude(seed);
        }
    }

    function wait(uint256 seed) external {
        uint256 time = vm.getBlockTimestamp();
        uint256 deadline = hm.roundOf(JOB).deadline;
        uint256 kind = (seed >> 16) % 8;
        if (kind == 0) vm.warp(time + (seed >> 32) % 700);
        else if (kind == 2 && deadline > time) vm.warp(deadline);
        else if ((kind == 1 || _waitsUntil != 0) && deadline >= time) vm.warp(deadline + 1);
        else vm.warp(time + 1 + (seed >> 32) % 30);
    }

    function advance(uint256 seed) external {
        _advance(address(uint160(seed)));
    }

    /// @notice One member enrols, or everyone that can.
    function enrol(uint256 seed) external {
        uint256 first = bound(seed, 1, size);
        uint256 last = (seed >> 16) % 2 == 0 ? first : size;
        for (uint256 number = first; number <= last; ++number) {
            (, bool enrolled) = hm.standing(JOB, number);
            bool open = _drawsOpen();
            bool ok = _send(_operator(number), abi.encodeCall(hm.enrol, (JOB)));
            bool role = _isActive(number) && !enrolled && hm.roundOf(JOB).phase != ITraining.Phase.Closed;
            assert(ok == (role && open));
            _observe(false);
        }
    }

    function depart(uint256 seed) external {
        uint256 number = bound(seed, 1, size);
        (, bool enrolled) = hm.standing(JOB, number);
        bool active = _isActive(number);
        bool own = (seed >> 16) % 2 == 0;
        bool open = _drawsOpen();
        bool ok = own
            ? _send(_operator(number), abi.encodeCall(hm.withdraw, (JOB)))
            : _send(address(uint160(seed)), abi.encodeCall(hm.strike, (JOB, uint16(number))));
        bool role = enrolled && active == own;
        assert(ok == (role && open));
        _observe(false);
    }

    /// @notice The others suspend a member, or take it back.
    function judge(uint256 seed) external {
        uint256 number = bound(seed, 1, size);
        bool active = _isActive(number);
        if (active && hm.activeCount() * 2 <= size) return;
        Ballots ballots = Ballots(hm.ballots());
        if (ballots.quorum() + (active ? 1 : 0) > hm.activeCount()) return;
        _judge(number);
        assert(_isActive(number) != active);
        _observe(false);
    }

    /// @notice A member goes on under another account; the one before is nobody's.
    function rotate(uint256 seed) external {
        uint256 number = bound(seed, 1, size);
        if ((seed >> 16) % 8 != 0 || !_isActive(number)) return; // seldom: what it committed to, it cannot reveal
        address previous = _operator(number);
        _rotate(number);
        assert(_isActive(number) && _memberOf(previous) == 0);
        _observe(false);
    }

    // ------------------------------------------------------------------ one message, with what the books say of it

    function _next(uint256 seed) private {
        ITraining.Round memory r = hm.roundOf(JOB);
        (uint256[4] memory clients, uint256 committee) = hm.rosterOf(JOB);
        uint256 position;
        if (r.phase == ITraining.Phase.Request) {
            position = _pick(r.awaited, seed);
            _submit(_operator(_at(clients[position / 16], position)), r.number, position, SAMPLES);
        } else if (r.phase == ITraining.Phase.PrePrepare) {
            position = _pick(r.uncommitted, seed);
            _commit(_operator(_at(committee, position)), r.number, position, seed);
        } else if (r.phase == ITraining.Phase.Prepare) {
            // derived by the clock, `unrevealed` holds already who committed
            position = _pick(r.unrevealed, seed);
            _reveal(_operator(_at(committee, position)), r.number, position, 0, true);
        } else if (r.phase == ITraining.Phase.Commit) {
            bool first = r.proposed >> COORDINATOR_POSITION == 0;
            position = first ? COORDINATOR_POSITION : seed % masters;
            address sender = first ? COORDINATOR : _operator(_at(committee, position));
            _propose(sender, r.number, position, bytes32(seed));
        } else if (r.phase == ITraining.Phase.Reply) {
            position = _pick(((1 << masters) - 1) & ~uint256(r.attested), seed);
            _attest(_operator(_at(committee, position)), r.number, position, r.proposed, _candidate);
        } else if (r.phase != ITraining.Phase.Closed) {
            _advance(_operator(1));
        }
    }

    function _intrude(uint256 seed) private {
        ITraining.Round memory r = hm.roundOf(JOB);
        uint256 luck = _hash(seed);
        uint256 kind = (seed >> 16) % 10;
        if (kind >= 5) kind = (uint256(r.phase) + 2) % 5; // half of the time what the phase is about
        address sender = seed % 8 == 0 ? address(uint160(seed >> 96)) : _operator(bound(seed >> 24, 1, size));
        if (seed % 8 == 1) sender = COORDINATOR;
        uint256 position = luck % 4 == 0 ? luck : luck % 16;
        if ((seed >> 8) % 2 == 0) {
            (uint256[4] memory clients, uint256 committee) = hm.rosterOf(JOB);
            position = luck % masters;
            sender = _operator(_at(kind == 0 ? clients[0] : committee, position));
        }
        uint256 round = (luck >> 16) % 6 == 0 ? (luck >> 24) % 4 : r.number;
        if (kind == 0) _submit(sender, round, position, (luck >> 32) % 103);
        else if (kind == 1) _commit(sender, round, position, luck);
        else if (kind == 2) _reveal(sender, round, position, luck, luck % 2 == 0);
        else if (kind == 3) _propose(sender, round, position, bytes32(luck));
        else {
            uint256 proposed = r.proposed;
            // as it was before a proposal, or never
            if ((luck >> 192) % 2 == 0) proposed ^= 1 << ((luck >> 200) % 16);
            _attest(sender, round, position, proposed, luck % 5 == 0 ? bytes32(luck) : _candidate);
        }
    }

    function _submit(address sender, uint256 round, uint256 position, uint256 samples) private {
        ITraining.Round memory r = hm.roundOf(JOB);
        (uint256[4] memory clients,) = hm.rosterOf(JOB);
        uint256 number = _memberOf(sender);
        bool drawn = position < 56 && (uint256(r.awaited) | r.updates) >> position & 1 == 1
            && _at(clients[position / 16 % 4], position) == number;
        bool allowed = number != 0 && r.phase == ITraining.Phase.Request && round == r.number && drawn
            && _isNew("submit", round, position) && samples != 0 && samples <= SAMPLES;
        bool ok = _send(sender, abi.encodeCall(hm.submitUpdate, (JOB, round, position, samples, _blob())));
        assert(ok == allowed);
        if (ok) _note("submit", round, position);
        _observe(false);
    }

    function _commit(address sender, uint256 round, uint256 position, uint256 seed) private {
        ITraining.Round memory r = hm.roundOf(JOB);
        bool allowed = r.phase == ITraining.Phase.PrePrepare && _isMaster(r, sender, round, position)
            && _isNew("commit", round, position);
        bytes32 sealed_ = _commitment(sender, round, _scores(r, seed), _salt(seed));
        bool ok = _send(sender, abi.encodeCall(hm.commitScores, (JOB, round, position, sealed_)));
        assert(ok == allowed);
        if (ok) {
            _note("commit", round, position);
            _committed[round][position] = sealed_;
            _scoreSeeds[round][position] = seed;
        }
        _observe(false);
    }

    function _reveal(address sender, uint256 round, uint256 position, uint256 seed, bool truly) private {
        ITraining.Round memory r = hm.roundOf(JOB);
        if (truly) seed = _scoreSeeds[round][position];
        uint256[] memory scores = _scores(r, seed);
        bool allowed = r.phase == ITraining.Phase.Prepare && _isMaster(r, sender, round, position)
            && _isNew("reveal", round, position)
            && _commitment(sender, round, scores, _salt(seed)) == _committed[round][position];
        bool ok = _send(sender, abi.encodeCall(hm.revealScores, (JOB, round, position, scores, _salt(seed))));
        assert(ok == allowed);
        if (ok) _note("reveal", round, position);
        _observe(false);
    }

    function _propose(address sender, uint256 round, uint256 position, bytes32 next) private {
        ITraining.Round memory r = hm.roundOf(JOB);
        bool coordinator = position == COORDINATOR_POSITION;
        bool role = coordinator ? sender == COORDINATOR && round == r.number : _isMaster(r, sender, round, position);
        bool allowed = r.phase == ITraining.Phase.Commit && role && _isNew("propose", round, position);
        if (!coordinator && r.proposed == 0) {
            allowed = allowed && vm.getBlockTimestamp() + hm.termsOf(JOB).replySeconds / 2 >= r.deadline;
        }
        bool ok = _send(sender, abi.encodeCall(hm.proposeModel, (JOB, round, position, next, _blob())));
        // Refused all the same where the clock alone led to Commit and the judgement then accepts nothing.
        assert(allowed || !ok);
        if (ok) {
            _note("propose", round, position);
            ++_proposals;
            _candidate = next;
            _votes = 0;
            if (!coordinator) _vote(_memberOf(sender));
        }
        _observe(ok);
    }

    function _attest(address sender, uint256 round, uint256 position, uint256 proposed, bytes32 which) private {
        ITraining.Round memory r = hm.roundOf(JOB);
        uint256 number = _memberOf(sender);
        bool allowed = r.phase == ITraining.Phase.Reply && _isMaster(r, sender, round, position)
            && !_attested[_proposals][number] && which == _candidate && proposed == r.proposed;
        bool ok = _send(sender, abi.encodeCall(hm.attestModel, (JOB, round, position, proposed, which)));
        assert(ok == allowed);
        if (ok) _vote(number);
        _observe(ok);
    }

    function _advance(address sender) private {
        uint256 deadline = hm.roundOf(JOB).deadline;
        ITraining.Phase before = hm.roundOf(JOB).phase;
        bool mayReopen = deadline == 0
            ? hm.enrolledCount(JOB) >= masters
            : vm.getBlockTimestamp() > deadline || hm.enrolledCount(JOB) >= hm.activeCount();
        bool ok = _send(sender, abi.encodeCall(hm.advance, (JOB)));
        if (before == ITraining.Phase.Failed) assert(ok);
        if (before == ITraining.Phase.Closed) assert(!ok);
        if (before == ITraining.Phase.Waiting) assert(ok == mayReopen);
        if (before == ITraining.Phase.Request) assert(!ok && vm.getBlockTimestamp() <= deadline);
        _observe(false);
    }

    // ------------------------------------------------------------------ the books

    /// @dev After every call: the model has changed only if a quorum wanted it, and who was drawn could be drawn.
    function _observe(bool maybeFinal) private {
        (, bytes32 now_, uint256 count) = hm.modelOf(JOB);
        if (count == completed) {
            assert(now_ == model);
        } else {
            assert(maybeFinal && count == completed + 1 && _votes == _quorum && now_ == _candidate);
            completed = count;
            model = now_;
            ++_proposals;
            _votes = 0;
        }
        ITraining.Round memory r = hm.roundOf(JOB);
        assert(r.number >= _number && r.completed == completed);
        if (r.number != _number || (_waiting && r.phase == ITraining.Phase.Request)) {
            if (r.number != _number) assert(r.number == _number + 1);
            if (r.phase == ITraining.Phase.Request) _checkDraw(r);
        }
        if (_waiting) _checkWait(r);
        _number = r.number;
        _waiting = r.phase == ITraining.Phase.Waiting;
        _waitsUntil = _waiting ? r.deadline : 0;
    }

    /// @dev Who came back first waited for the others: for all of them, or as long as REQUEST takes.
    function _checkWait(ITraining.Round memory r) private view {
        if (r.phase == ITraining.Phase.Request) {
            bool late = _waitsUntil != 0 && vm.getBlockTimestamp() > _waitsUntil;
            assert(late || hm.enrolledCount(JOB) >= hm.activeCount());
        } else if (r.deadline != _waitsUntil && r.deadline != 0) {
            assert(_waitsUntil == 0 && r.deadline == vm.getBlockTimestamp() + hm.termsOf(JOB).requestSeconds);
        }
    }

    function _checkDraw(ITraining.Round memory r) private view {
        (uint256[4] memory clients, uint256 committee) = hm.rosterOf(JOB);
        uint256 seenMasters;
        uint256 seenClients;
        uint256 count;
        for (uint256 i; i < masters; ++i) {
            uint256 number = _at(committee, i);
            (, bool enrolled) = hm.standing(JOB, number);
            assert(enrolled && seenMasters >> number & 1 == 0);
            seenMasters |= 1 << number;
        }
        for (; r.awaited >> count != 0; ++count) {
            uint256 number = _at(clients[count / 16], count);
            (, bool enrolled) = hm.standing(JOB, number);
            assert(enrolled && seenClients >> number & 1 == 0);
            seenClients |= 1 << number;
        }
        if (hm.enrolledCount(JOB) >= masters + count) assert(seenMasters & seenClients == 0);
    }

    function _vote(uint256 number) private {
        assert(!_attested[_proposals][number]);
        _attested[_proposals][number] = true;
        ++_votes;
    }

    function _isMaster(ITraining.Round memory r, address sender, uint256 round, uint256 position)
        private
        view
        returns (bool)
    {
        (, uint256 committee) = hm.rosterOf(JOB);
        uint256 number = _memberOf(sender);
        return number != 0 && round == r.number && position < masters && _at(committee, position) == number;
    }

    /// @dev Nobody enters or leaves the draws while a seed is on the table.
    function _drawsOpen() private view returns (bool) {
        ITraining.Phase phase = hm.roundOf(JOB).phase;
        uint256 deadline = hm.roundOf(JOB).deadline;
        if (phase == ITraining.Phase.Waiting) return deadline == 0 || vm.getBlockTimestamp() <= deadline;
        return phase != ITraining.Phase.Failed && (phase < ITraining.Phase.Prepare || phase > ITraining.Phase.Reply);
    }

    function _isNew(bytes32 act, uint256 round, uint256 position) private view returns (bool) {
        return !_done[keccak256(abi.encode(act, round, position))];
    }

    function _note(bytes32 act, uint256 round, uint256 position) private {
        _done[keccak256(abi.encode(act, round, position))] = true;
    }

    // ------------------------------------------------------------------ small change

    function _send(address sender, bytes memory data) private returns (bool ok) {
        vm.prank(sender);
        (ok,) = address(hm).call(data);
    }

    /// @dev Most masters score alike and well; now and then one is mistaken, malicious or absurd.
    function _scores(ITraining.Round memory r, uint256 seed) private pure returns (uint256[] memory slots) {
        uint256 count = 1;
        for (uint256 bits = uint256(r.awaited) | r.updates; bits != 0; bits >>= 1) {
            ++count;
        }
        slots = new uint256[]((count + 11) / 12);
        for (uint256 i; i < count; ++i) {
            uint256 luck = _hash(seed + i);
            uint256 word = 256 + 8_000 + luck % 1_000;
            if (luck % 16 == 0) word = (luck >> 8) % 256;
            else if (luck % 16 == 1) word = 65_535;
            else if (luck % 16 == 2) word = (luck >> 8) % 65_536;
            slots[i / 12] |= word << (64 + 16 * (i % 12));
        }
    }

    function _commitment(address sender, uint256 round, uint256[] memory scores, bytes32 salt)
        private
        view
        returns (bytes32)
    {
        return keccak256(abi.encode(block.chainid, address(hm), JOB, round, sender, scores, salt));
    }

    function _salt(uint256 seed) private pure returns (bytes32) {
        return bytes32(_hash(~seed));
    }

    function _pick(uint256 bits, uint256 seed) private pure returns (uint256 position) {
        position = seed % 56;
        while (bits >> position & 1 == 0) {
            position = (position + 1) % 56;
        }
    }

    function _at(uint256 word, uint256 position) private pure returns (uint256) {
        return word >> (position % 16 * 16) & 0xffff;
    }

    function _blob() private pure returns (ITraining.Blob memory) {
        return ITraining.Blob(bytes32(uint256(1)), bytes32(uint256(2)), 3);
    }

    function _hash(uint256 seed) private pure returns (uint256) {
        return uint256(keccak256(abi.encode(seed)));
    }
}
