// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ITraining} from "../../contracts/interfaces/ITraining.sol";
import {Lots} from "../../contracts/lib/Lots.sol";
import {Register} from "../../contracts/lib/Register.sol";
import {Roster} from "../../contracts/lib/Roster.sol";
import {RoundClock} from "../../contracts/lib/RoundClock.sol";
import {RoundWord} from "../../contracts/lib/RoundWord.sol";
import {Scores} from "../../contracts/lib/Scores.sol";
import {SumTree} from "../../contracts/lib/SumTree.sol";
import {bound} from "./Vm.sol";

/// @notice Each library against the loop that it replaces.
contract LibrariesTest {
    using Lots for Lots.Urn;
    using Register for Register.Book;
    using Register for Register.Urn;
    using SumTree for SumTree.Tree;

    SumTree.Tree private _tree;
    Register.Book private _book;
    uint256[2048] private _weights;
    uint256[] private _members;

    /// @dev Sets weights at scattered members, some of them twice, and twice in one batch.
    function _plant(uint256 seed, uint256 count) private returns (uint256 total) {
        SumTree.Batch memory batch;
        for (uint256 i; i < count; ++i) {
            uint256 draw = uint256(keccak256(abi.encode(seed, i)));
            uint256 index = draw % (draw >> 255 == 0 ? 2048 : 40); // half of them crowd into two leaves
            uint256 weight = (draw >> 128) % 4 == 0 ? 0 : (draw >> 64) % 256;
            if (seed % 2 == 0) _tree.set(index, weight);
            else _tree.change(index, weight, batch);
            _weights[index] = weight;
            _members.push(index);
        }
        _tree.settle(batch);
        for (uint256 i; i < 2048; ++i) {
            total += _weights[i];
        }
    }

    function testFuzz_sumTreeHoldsWhatWasSet(uint256 seed, uint256 point) public {
        uint256 total = _plant(seed, bound(seed >> 8, 1, 60));
        assert(_tree.total() == total);
        if (total != 0) point %= total;
        uint256 start;
        for (uint256 i; i < 2048; ++i) {
            uint256 weight = _weights[i];
            assert(_tree.weightOf(i) == weight);
            if (weight != 0) {
                SumTree.Stretch memory s = _tree.locate(i);
                assert(s.index == i && s.start == start && s.weight == weight);
                if (point >= start && point < start + weight) {
                    s = _tree.find(point);
                    assert(s.index == i && s.start == start && s.weight == weight);
                }
            }
            start += weight;
        }
    }

    function test_sumTreeAtItsFullest() public {
        for (uint256 i; i < 2048; ++i) {
            _tree.set(i, 255);
        }
        assert(_tree.total() == 2048 * 255);
        for (uint256 i; i < 2048; i += 31) {
            assert(_tree.find(i * 255).index == i && _tree.find(i * 255 + 254).index == i);
        }
        for (uint256 i; i < 2048; ++i) {
            _tree.set(i, 0);
        }
        assert(_tree.total() == 0);
    }

    /// @dev The oracle keeps who is left in a list and walks along it.
    function testFuzz_lotsAreDrawnAsFromAListOfWhoIsLeft(uint256 seed) public {
        uint256 remaining = _plant(seed, bound(seed >> 8, 2, 40));
        Lots.Urn memory urn = Lots.fill(_tree, 40);
        uint256 excluded = _members[seed % _members.length];
        urn.exclude(excluded);
        remaining -= _weights[excluded];
        _weights[excluded] = 0;
        for (uint256 turn; remaining != 0; ++turn) {
            assert(urn.remaining == remaining);
            uint256 point = uint256(keccak256(abi.encode(seed, turn))) % remaining;
            uint256 expected;
            while (point >= _weights[expected]) {
                point -= _weights[expected++];
            }
            assert(urn.draw(seed, turn) == expected);
            remaining -= _weights[expected];
            _weights[expected] = 0;
        }
        assert(urn.remaining == 0);
    }

    /// @dev The oracle takes each word by itself: the vote that has the right number of others below it.
    function testFuzz_mediansAreTheLowerMiddleWordByWord(
        uint256[15] memory raw,
        uint256 voters,
        uint256 masters,
        uint256 absent
    ) public pure {
        masters = bound(masters, 1, 15);
        voters = bound(voters, 1, masters);
        uint256[] memory slots = new uint256[](masters);
        for (uint256 m; m < masters; ++m) {
            slots[m] = type(uint256).max; // revealed nothing
            // Few different words in every third, so that ties come up.
            if (m < voters) slots[m] = m % 3 == 0 ? raw[m] & (uint256(0x0001) * (type(uint256).max / 0xffff)) : raw[m];
        }
        uint256 abstained;
        for (uint256 i; i < 12; ++i) {
            if (absent >> i & 1 == 0) continue;
            abstained |= Scores.maskOf(i);
            slots[absent % voters] |= Scores.maskOf(i);
        }
        uint256 medians = Scores.medians(slots, voters, abstained);
        assert(medians % 2 ** 64 == 0);
        for (uint256 i; i < 12; ++i) {
            bool one = absent >> i & 1 != 0;
            uint256 votes = one ? voters - 1 : voters;
            uint256 median = Scores.wordAt(medians, i);
            if (votes == 0) {
                assert(median == 0);
                continue;
            }
            uint256 below;
            uint256 equal;
            for (uint256 m; m < voters; ++m) {
                if (one && m == absent % voters) continue;
                uint256 word = Scores.wordAt(slots[m], i);
                if (word < median) ++below;
                else if (word == median) ++equal;
            }
            assert(below <= (votes - 1) / 2 && (votes - 1) / 2 < below + equal);
        }
    }

    /// @dev The oracle keeps a flag for each member and counts.
    function testFuzz_registerDrawsAsFromAListOfWhoIsIn(uint256 seed) public {
        uint256 count = bound(seed >> 8, 2, 60);
        uint256 size;
        for (uint256 i; i < count; ++i) {
            uint256 draw = uint256(keccak256(abi.encode(seed, i)));
            uint256 member = draw % (draw >> 255 == 0 ? 2048 : 40);
            bool isIn = _weights[member] == 0;
            assert(_book.has(member) != isIn);
            _book.flip(member, isIn);
            _weights[member] = isIn ? 1 : 0;
            size = isIn ? size + 1 : size - 1;
            assert(_book.has(member) == isIn && _book.total() == size);
        }
        assert(!_book.has(2048) && !_book.has(seed | (1 << 255)));
        Register.Urn memory urn = _book.urn();
        for (uint256 i; i < 2; ++i) {
            uint256 excluded = (seed >> (16 * i)) % 40; // in or not
            urn.exclude(excluded);
            size -= _weights[excluded];
            _weights[excluded] = 0;
        }
        for (uint256 turn; size != 0; ++turn) {
            uint256 rank = Register.pointOf(seed, turn, size);
            assert(rank < size--);
            uint256 expected;
            while (rank >= _weights[expected]) {
                rank -= _weights[expected++];
            }
            assert(urn.draw(seed, turn) == expected);
            _weights[expected] = 0;
        }
    }

    /// @dev The oracle looks at one field after the other; the sixteenth is no member's.
    function testFuzz_rostersAreSearchedAsFieldByField(uint256 word, uint256 position, uint256 member) public pure {
        position %= 16;
        if (member % 4 != 0) word &= type(uint256).max / 0xffff; // so that members are there twice
        if (member % 2 == 0) member = Roster.memberAt(word, position);
        member &= 0xffff;
        uint256 expected;
        while (expected < 15 && (word >> (16 * expected)) & 0xffff != member) ++expected;
        assert(Roster.positionOf(word, member) == expected);
        uint256 changed = Roster.withMember(word, position, member);
        for (uint256 i; i < 16; ++i) {
            assert(Roster.memberAt(changed, i) == (i == position ? member : (word >> (16 * i)) & 0xffff));
        }
    }

    function testFuzz_basisPointsAreAtMostTheWhole(uint256 raw) public pure {
        uint256 word = raw % 65_536;
        uint256 points = Scores.basisPoints(word);
        assert(points <= 10_000);
        assert(Scores.isScore(word) == (word >= 256));
        if (word < 256) assert(points == 0);
        else if (word <= 10_256) assert(points == word - 256);
    }

    function testFuzz_roundsPackAndUnpack(uint256 word, uint256 phase) public pure {
        word = (word & ~(uint256(0xff) << 40)) | ((phase % 10) << 40);
        ITraining.Round memory r = RoundWord.wrap(word).unpack();
        uint256 low = uint256(r.number) | (uint256(r.completed) << 16) | (uint256(r.masters) << 32)
            | (uint256(r.phase) << 40) | (uint256(r.deadline) << 48) | (uint256(r.awaited) << 80);
        uint256 high = (uint256(r.updates) << 136) | (uint256(r.uncommitted) << 192) | (uint256(r.unrevealed) << 208)
            | (uint256(r.attested) << 224) | (uint256(r.proposed) << 240);
        assert(low | high == word);
        // Each change touches its own field alone.
        RoundWord next = RoundWord.wrap(word).enter(ITraining.Phase.Commit, uint32(phase));
        assert(next.phase() == ITraining.Phase.Commit && next.deadline() == uint32(phase));
        assert((RoundWord.unwrap(next) ^ word) & ~(uint256(0xff_ffff_ffff) << 40) == 0);
        next = RoundWord.wrap(word).accept(uint56(phase));
        assert(next.updates() == uint56(phase));
        assert((RoundWord.unwrap(next) ^ word) & ~(uint256(type(uint56).max) << 136) == 0);
    }

    function testFuzz_bits(uint256 bits) public pure {
        bits >>= bits % 256;
        uint256 count;
        uint256 lowest = 256;
        for (uint256 i; i < 256; ++i) {
            if (bits & (1 << i) == 0) continue;
            ++count;
            if (lowest == 256) lowest = i;
        }
        assert(RoundClock.ones(bits) == count);
        if (bits != 0) assert(RoundClock.lowest(bits) == lowest);
    }

    function test_quorum() public pure {
        uint8[15] memory expected = [1, 2, 3, 3, 4, 5, 5, 6, 7, 7, 8, 9, 9, 10, 11];
        for (uint256 i; i < 15; ++i) {
            assert(RoundClock.quorumOf(i + 1) == expected[i]);
        }
    }

    function testFuzz_clients(uint256 enrolled, uint256 fraction) public pure {
        enrolled = bound(enrolled, 1, 2047);
        fraction = bound(fraction, 1, 10_000);
        uint256 clients = RoundClock.clientsOf(enrolled, fraction);
        assert(clients >= 1 && clients <= 56 && clients <= enrolled);
        assert(clients == 1 || clients == 56 || clients == enrolled * fraction / 10_000);
    }
}
