// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {HMChain} from "../../contracts/HMChain.sol";
import {IConsortium} from "../../contracts/interfaces/IConsortium.sol";
import {ITraining} from "../../contracts/interfaces/ITraining.sol";
import {bound, vm} from "./Vm.sol";

/// @notice The largest round there is, 56 clients and fifteen masters with the last numbers that the draws hold, against
///         a judgement that takes each update by itself.
contract LargestRoundTest {
    uint256 private constant JOB = 1;
    uint256 private constant LAST = 2047;
    uint256 private constant MASTERS = 15;
    uint256 private constant CLIENTS = 56;
    uint256 private constant QUORUM = 11;
    uint256 private constant MARGIN = 500;

    HMChain private _hm;
    uint256[4] private _clients;
    uint256 private _masters;

    function setUp() external {
        _hm = HMChain(vm.deployCode("HMChain.sol:HMChain"));
        uint256 before = LAST - MASTERS - CLIENTS;
        // the founder's slot holds the count of members above the address: of those before, there is only the number
        vm.store(address(_hm), 0, bytes32(uint256(vm.load(address(_hm), 0)) | (before << 160)));
        IConsortium.Organisation[] memory founders = new IConsortium.Organisation[](MASTERS + CLIENTS);
        for (uint256 i; i < founders.length; ++i) {
            founders[i] = IConsortium.Organisation(_operator(before + 1 + i), bytes32(i + 1), 0);
        }
        _hm.found(founders);
        ITraining.Terms memory terms =
            ITraining.Terms(2, 10_000, uint8(MASTERS), 1, true, uint16(MARGIN), 100, 100, 100, 100);
        vm.prank(_operator(LAST));
        _hm.createJob(terms, address(this), 0, 0, _blob(), _blob());
    }

    /// @notice Some clients and masters stay silent, and all but a few members may be both at once.
    /// forge-config: default.fuzz.runs = 20
    function testFuzz_theLargestRoundIsJudgedAsOneByOne(uint256 seed) external {
        uint256 enrolled = bound(seed, CLIENTS, MASTERS + CLIENTS);
        for (uint256 number = LAST; number > LAST - enrolled; --number) {
            vm.prank(_operator(number));
            _hm.commitDataset(0, 1);
            vm.prank(_operator(number));
            _hm.enrol(JOB);
        }
        _hm.startJob(JOB);
        (_clients, _masters) = _hm.rosterOf(JOB);
        _checkDraw(enrolled);
        uint256 submitted = _request(seed);
        uint256 revealed = _score(seed);
        if (revealed != (1 << MASTERS) - 1) {
            vm.warp(vm.getBlockTimestamp() + 101);
            _hm.advance(JOB);
        }
        _checkJudgement(seed, submitted, revealed);
    }

    function _checkDraw(uint256 enrolled) private view {
        bool[LAST + 1] memory seen;
        for (uint256 i; i < CLIENTS; ++i) {
            uint256 number = _client(i);
            assert(number > LAST - enrolled && number <= LAST && !seen[number]);
            seen[number] = true;
        }
        bool[LAST + 1] memory again;
        for (uint256 i; i < MASTERS; ++i) {
            uint256 number = _master(i);
            assert(number > LAST - enrolled && number <= LAST && !again[number]);
            assert(enrolled < MASTERS + CLIENTS || !seen[number]);
            again[number] = true;
        }
    }

    function _request(uint256 seed) private returns (uint256 submitted) {
        for (uint256 i; i < CLIENTS; ++i) {
            if (_luck(seed, 0, i) % 8 == 0) continue;
            submitted |= 1 << i;
            vm.prank(_operator(_client(i)));
            _hm.submitUpdate(JOB, 1, i, 1, _blob());
        }
        vm.warp(vm.getBlockTimestamp() + 101);
    }

    function _score(uint256 seed) private returns (uint256 revealed) {
        uint256 silent = MASTERS - bound(seed >> 16, QUORUM, MASTERS);
        for (uint256 i = silent / 2; i < MASTERS; ++i) {
            address master = _operator(_master(i));
            bytes memory opening =
                abi.encode(block.chainid, address(_hm), JOB, uint256(1), master, _ballot(seed, i), bytes32(i));
            vm.prank(master);
            _hm.commitScores(JOB, 1, i, keccak256(opening));
        }
        if (silent / 2 != 0) vm.warp(vm.getBlockTimestamp() + 101);
        for (uint256 i = silent; i < MASTERS; ++i) {
            revealed |= 1 << i;
            vm.prank(_operator(_master(i)));
            _hm.revealScores(JOB, 1, i, _ballot(seed, i), bytes32(i));
        }
    }

    function _checkJudgement(uint256 seed, uint256 submitted, uint256 revealed) private view {
        uint256 base = _median(seed, CLIENTS, 0, revealed);
        uint256 accepted;
        for (uint256 i; i < CLIENTS; ++i) {
            uint256 word = submitted >> i & 1 == 0 ? 0 : _median(seed, i, _client(i), revealed);
            uint256 points = word < 256 ? 0 : word > 10_256 ? 10_000 : word - 256;
            uint256 needed = base > 10_256 ? 10_000 : base - 256;
            needed = needed > MARGIN ? needed - MARGIN : 0;
            if (base < 256 || word < 256 || points < needed) points = 0;
            else accepted |= 1 << i;
            (uint256 reputation,) = _hm.standing(JOB, _client(i));
            assert(reputation == (word == 0 ? 128 : (3 * 128 + points * 255 / 10_000 + 2) / 4));
        }
        ITraining.Round memory r = _hm.roundOf(JOB);
        if (accepted == 0) assert(r.number == 2);
        else assert(r.number == 1 && r.phase == ITraining.Phase.Commit && r.updates == accepted);
    }

    /// @dev The lower median of the words on one update, of the base model where `author` is 0.
    function _median(uint256 seed, uint256 position, uint256 author, uint256 revealed) private view returns (uint256) {
        uint256[] memory words = new uint256[](MASTERS);
        uint256 count;
        for (uint256 i; i < MASTERS; ++i) {
            if (revealed >> i & 1 == 0 || _master(i) == author) continue;
            uint256 word = _word(seed, i, position);
            uint256 place = count++;
            for (; place != 0 && words[place - 1] > word; --place) {
                words[place] = words[place - 1];
            }
            words[place] = word;
        }
        return words[(count - 1) / 2];
    }

    function _ballot(uint256 seed, uint256 master) private pure returns (uint256[] memory slots) {
        slots = new uint256[](5);
        for (uint256 i; i <= CLIENTS; ++i) {
            slots[i / 12] |= _word(seed, master, i) << (64 + 16 * (i % 12));
        }
    }

    /// @dev Near one another, apart from what is far out; of every fifth update all over the place.
    function _word(uint256 seed, uint256 master, uint256 position) private pure returns (uint256) {
        uint256 luck = _luck(seed, 1 + master, position);
        if (position % 5 == 1) return luck % 65_536;
        if (luck % 16 == 0) return luck >> 240;
        return 256 + 8_000 + (luck >> 8) % 1_000;
    }

    function _luck(uint256 seed, uint256 purpose, uint256 position) private pure returns (uint256) {
        return uint256(keccak256(abi.encode(seed, purpose, position)));
    }

    function _client(uint256 position) private view returns (uint256) {
        return _clients[position / 16] >> (position % 16 * 16) & 0xffff;
    }

    function _master(uint256 position) private view returns (uint256) {
        return _masters >> (position * 16) & 0xffff;
    }

    function _operator(uint256 number) private pure returns (address) {
        return address(uint160(0x10_000 + number));
    }

    function _blob() private pure returns (ITraining.Blob memory) {
        return ITraining.Blob(bytes32(uint256(1)), bytes32(uint256(2)), 3);
    }
}
