// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Ballots} from "../../contracts/Ballots.sol";
import {IBallots} from "../../contracts/interfaces/IBallots.sol";
import {IConsortium} from "../../contracts/interfaces/IConsortium.sol";
import {Members} from "./Members.sol";
import {bound, vm} from "./Vm.sol";

/// @notice Half of the members call votes and vote, twice, late, and under new accounts; the others do nothing.
/// @dev Of every vote it knows beforehand whether it counts, and asserts that the contract agrees.
contract BallotsHandler is Members {
    uint256 public constant MEMBERS = 6;
    uint256 private constant CONSPIRATORS = 3;

    Ballots private immutable _ballots = Ballots(hm.ballots());

    // what the books say
    mapping(uint256 ballot => mapping(uint256 member => bool)) private _voted;

    constructor() {
        _found(MEMBERS);
    }

    // ------------------------------------------------------------------ what the fuzzer calls

    function wait(uint256 seed) external {
        vm.warp(vm.getBlockTimestamp() + seed % 4 days);
    }

    function admit(uint256 seed) external {
        uint256 caller = bound(seed, 1, CONSPIRATORS);
        vm.prank(_operator(caller));
        uint256 id = _ballots.proposeAdmission(IConsortium.Organisation(address(0xBAD), bytes32(seed | 1), 0));
        _voted[id][caller] = true;
    }

    function propose(uint256 seed) external {
        (uint256 caller, uint256 concerned) = (bound(seed, 1, CONSPIRATORS), bound(seed >> 8, 1, MEMBERS));
        IBallots.Motion motion = IBallots.Motion(1 + (seed >> 16) % 3);
        vm.prank(_operator(caller));
        try _ballots.proposeMotion(motion, uint16(concerned)) returns (uint256 id) {
            assert(caller != concerned);
            _voted[id][caller] = true;
        } catch {
            assert(caller == concerned);
        }
    }

    /// @notice A vote on one of the last ballots, by a conspirator or under an account that it has given up; now and then
    ///         for another motion than the ballot's.
    function vote(uint256 seed) external {
        uint256 count = _ballots.ballotCount();
        if (count == 0) return;
        uint256 id = count - bound(seed >> 8, 0, count < 4 ? count - 1 : 3);
        uint256 voter = bound(seed, 1, CONSPIRATORS);
        IBallots.Ballot memory b = _ballots.ballot(id);
        bool former = _rotations[voter] != 0 && (seed >> 16) % 4 == 0;
        bool misled = (seed >> 24) % 4 == 0;
        bool counts = !former && !misled && voter != b.member && !_voted[id][voter];
        counts = counts && vm.getBlockTimestamp() <= b.expiresAt;
        bytes32 matter = _matterOf(b.motion, misled ? b.member + 1 : b.member, b.candidate);
        vm.prank(former ? _account(voter, _rotations[voter] - 1) : _operator(voter));
        (bool ok,) = address(_ballots).call(abi.encodeCall(_ballots.vote, (id, matter)));
        assert(ok == counts);
        if (ok) _voted[id][voter] = true;
    }

    function rotate(uint256 seed) external {
        _rotate(bound(seed, 1, CONSPIRATORS));
    }
}
