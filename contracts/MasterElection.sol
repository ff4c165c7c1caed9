// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Consortium} from "./Consortium.sol";
import {IMasterElection} from "./interfaces/IMasterElection.sol";
import {Lots} from "./lib/Lots.sol";
import {Register} from "./lib/Register.sol";
import {Roster} from "./lib/Roster.sol";
import {SumTree} from "./lib/SumTree.sol";

/// @title MasterElection
/// @notice See {IMasterElection}.
abstract contract MasterElection is IMasterElection, Consortium {
    using Lots for Lots.Urn;
    using Register for Register.Book;
    using Register for Register.Urn;
    using Roster for uint256;
    using SumTree for SumTree.Tree;

    /// @dev The reputation of a member that leaves the draws is kept in `retained`.
    struct Pool {
        Register.Book enrolled;
        SumTree.Tree reputation;
        mapping(uint256 member => uint256) retained;
    }

    uint256 private constant NEUTRAL = 128;
    uint256 private constant HIGHEST = 255;
    /// @dev A committee word holds at most fifteen masters; its top sixteen bits hold the round its term began.
    uint256 internal constant MAX_MASTERS = 15;
    uint256 private constant TERM_SHIFT = 240;

    mapping(uint256 job => Pool) internal _pools;

    // ------------------------------------------------------------------ entering and leaving the draws

    /// @inheritdoc IMasterElection
    function enrol(uint256 job) external {
        uint256 number = _activeMember().member;
        _requireOpen(job);
        _requireNoDrawPending(job);
        if (number >= Register.CAPACITY) revert ElectionFull(number);
        Pool storage pool = _pools[job];
        if (pool.enrolled.has(number)) revert AlreadyEnrolled(job, number);
        uint256 reputation = pool.retained[number];
        if (reputation == 0) reputation = NEUTRAL;
        pool.enrolled.flip(number, true);
        pool.reputation.set(number, reputation);
        emit MemberEnrolled(job, number, reputation);
    }

    /// @inheritdoc IMasterElection
    function withdraw(uint256 job) external {
        _requireNoDrawPending(job);
        uint256 number = _activeMember().member;
        if (!_isEnrolled(job, number)) revert NotEnrolled(job, number);
        _leave(job, number, Withdrawal.Own);
    }

    /// @inheritdoc IMasterElection
    function strike(uint256 job, uint16 number) external {
        _requireNoDrawPending(job);
        if (!_isEnrolled(job, number)) revert NotEnrolled(job, number);
        if (_statusOf(number) == Status.Active) revert StillActive(number);
        _leave(job, number, Withdrawal.NotActive);
    }

    /// @inheritdoc IMasterElection
    function standing(uint256 job, uint256 number) external view returns (uint256 reputation, bool enrolled) {
        Pool storage pool = _pools[job];
        enrolled = _isEnrolled(job, number);
        reputation = enrolled ? pool.reputation.weightOf(number) : pool.retained[number];
    }

    /// @inheritdoc IMasterElection
    function enrolledCount(uint256 job) public view returns (uint256) {
        return _pools[job].enrolled.total();
    }

    // ------------------------------------------------------------------ for the round

    /// @dev Takes a member that stayed silent out of the draws until it enrols again.
    function _bench(uint256 job, uint256 number) internal {
        if (_isEnrolled(job, number)) _leave(job, number, Withdrawal.Silent);
    }

    /// @dev Moves a member's reputation a quarter of the way to its score, also after it has left the draws. The caller
    ///      settles the batch.
    function _learn(Pool storage pool, uint256 number, uint256 basisPoints, SumTree.Batch memory batch) internal {
        uint256 old = pool.reputation.weightOf(number);
        bool enrolled = old != 0;
        if (!enrolled) old = pool.retained[number];
        uint256 next;
        unchecked {
            next = (3 * old + (basisPoints * HIGHEST) / 10_000 + 2) / 4; // of small numbers: nothing can overflow
        }
        if (next == 0) next = 1;
        if (enrolled) pool.reputation.change(number, next, batch);
        else pool.retained[number] = next;
    }

    /// @dev The masters of a round. A committee serves `term` rounds; a master that left the draws is replaced at its
    ///      position. The outgoing committee sits the next election out, unless the consortium is too small for two
    ///      committees. The caller made sure that at least `count` members are enrolled.
    function _electMasters(uint256 job, uint256 committee, uint256 round, uint256 count, uint256 term, uint256 seed)
        internal
        view
        returns (uint256 elected)
    {
        bool fresh = committee == 0 || round - (committee >> TERM_SHIFT) >= term;
        if (!fresh && _allEnrolled(job, committee, count)) return committee;
        Pool storage pool = _pools[job];
        Lots.Urn memory urn = Lots.fill(pool.reputation, 2 * count);
        bool coolDown = fresh && pool.enrolled.total() >= 2 * count;
        elected = (fresh ? round : committee >> TERM_SHIFT) << TERM_SHIFT;
        for (uint256 i; i < count; ++i) {
            uint256 number = committee.memberAt(i);
            if ((fresh && !coolDown) || !_isEnrolled(job, number)) continue;
            urn.exclude(number);
            if (!fresh) elected = elected.withMember(i, number);
        }
        for (uint256 i; i < count; ++i) {
            if (elected.memberAt(i) == 0) elected = elected.withMember(i, urn.draw(seed, i));
        }
    }

    function _allEnrolled(uint256 job, uint256 committee, uint256 count) private view returns (bool) {
        unchecked {
            for (uint256 i; i < count; ++i) {
                if (!_isEnrolled(job, committee.memberAt(i))) return false;
            }
        }
        return true;
    }

    /// @dev The clients of a round: `count` distinct members, none of them a master while there are enough others.
    function _drawClients(uint256 job, uint256 masters, uint256 masterCount, uint256 count, uint256 seed)
        internal
        view
        returns (uint256[] memory words)
    {
        Pool storage pool = _pools[job];
        Register.Urn memory urn = pool.enrolled.urn();
        unchecked {
            if (pool.enrolled.total() >= count + masterCount) {
                for (uint256 i; i < masterCount; ++i) {
                    urn.exclude(masters.memberAt(i));
                }
            }
            words = new uint256[]((count + Roster.PER_WORD - 1) / Roster.PER_WORD);
            for (uint256 i; i < count; ++i) {
                uint256 member = urn.draw(seed, i);
                words[i / Roster.PER_WORD] |= member << ((i % Roster.PER_WORD) * 16);
            }
        }
    }

    /// @dev Reverts while the seed of the job's next draw is known but not yet drawn from. Implemented in {Rounds}.
    function _requireNoDrawPending(uint256 job) internal view virtual;

    /// @dev Reverts unless the job takes members. Implemented in {Rounds}.
    function _requireOpen(uint256 job) internal view virtual;

    function _isEnrolled(uint256 job, uint256 number) private view returns (bool) {
        return _pools[job].enrolled.has(number);
    }

    function _leave(uint256 job, uint256 number, Withdrawal reason) private {
        Pool storage pool = _pools[job];
        pool.retained[number] = pool.reputation.weightOf(number);
        pool.reputation.set(number, 0);
        pool.enrolled.flip(number, false);
        emit MemberWithdrawn(job, number, reason);
    }
}
