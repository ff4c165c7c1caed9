// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {HMChain} from "../../contracts/HMChain.sol";
import {IConsortium} from "../../contracts/interfaces/IConsortium.sol";
import {IMasterElection} from "../../contracts/interfaces/IMasterElection.sol";
import {ITraining} from "../../contracts/interfaces/ITraining.sol";
import {Handler} from "./Handler.sol";
import {vm} from "./Vm.sol";

/// @notice What holds of a job after any sequence of calls. What holds of each call, {Handler} asserts.
abstract contract JobInvariants {
    struct FuzzSelector {
        address addr;
        bytes4[] selectors;
    }

    uint256 private constant JOB = 1;

    Handler internal handler;
    HMChain private _hm;

    function _start(uint256 size, ITraining.Terms memory terms) internal {
        handler = Handler(vm.deployCode("Handler.sol:Handler", abi.encode(size, terms)));
        _hm = handler.hm();
    }

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(handler);
    }

    /// @notice Half of the calls carry the round on, the others disturb it.
    function targetSelectors() external view returns (FuzzSelector[] memory targets) {
        targets = new FuzzSelector[](1);
        bytes4[] memory selectors = new bytes4[](8);
        selectors[0] = Handler.play.selector;
        selectors[1] = Handler.intrude.selector;
        selectors[2] = Handler.wait.selector;
        selectors[3] = Handler.advance.selector;
        selectors[4] = Handler.enrol.selector;
        selectors[5] = Handler.depart.selector;
        selectors[6] = Handler.judge.selector;
        selectors[7] = Handler.rotate.selector;
        targets[0] = FuzzSelector(address(handler), selectors);
    }

    /// @notice One campaign for all of them: forge would run one for each.
    function invariant_ofTheJob() external {
        _theModelIsTheLastOneThatAQuorumAttested();
        _reputationsAndCountsStayInRange();
        _theRoundIsConsistent();
        _thereIsAWayOut();
    }

    function _theModelIsTheLastOneThatAQuorumAttested() private view {
        (, bytes32 model, uint256 completed) = _hm.modelOf(JOB);
        assert(model == handler.model() && completed == handler.completed());
    }

    function _reputationsAndCountsStayInRange() private view {
        uint256 enrolledCount;
        for (uint256 number = 1; number <= handler.size(); ++number) {
            (uint256 reputation, bool enrolled) = _hm.standing(JOB, number);
            assert(reputation >= 1 && reputation <= 255);
            if (enrolled) ++enrolledCount;
        }
        assert(_hm.enrolledCount(JOB) == enrolledCount);
        (uint256 nobody,) = _hm.standing(JOB, 0);
        (uint256 next,) = _hm.standing(JOB, handler.size() + 1);
        assert(nobody == 0 && next == 0);
    }

    function _theRoundIsConsistent() private view {
        ITraining.Round memory r = _hm.roundOf(JOB);
        assert(r.number >= 1 && r.number <= _hm.termsOf(JOB).rounds);
        assert(r.completed <= r.number);
        assert(r.awaited & r.updates == 0 && r.uncommitted & r.unrevealed == 0);
        assert((uint256(r.uncommitted) | r.unrevealed | r.attested) >> handler.masters() == 0);
        assert(r.phase >= ITraining.Phase.Waiting);
    }

    /// @notice From anywhere, time and `advance` lead to the end, or to a job that waits for members it does not have.
    function _thereIsAWayOut() private {
        uint256 bound = 2 * uint256(_hm.termsOf(JOB).rounds) + 4;
        for (uint256 steps; steps < bound; ++steps) {
            ITraining.Round memory r = _hm.roundOf(JOB);
            if (r.phase == ITraining.Phase.Closed) return;
            bool waits = r.phase == ITraining.Phase.Waiting && r.deadline == 0;
            if (waits && _hm.enrolledCount(JOB) < handler.masters()) return;
            if (!waits && vm.getBlockTimestamp() <= r.deadline) vm.warp(r.deadline + 10_000);
            _hm.advance(JOB);
        }
        assert(false);
    }
}

/// @notice The recommended shape: M = 3f + 1, and members enough for clients of their own.
contract FourMastersOfNineTest is JobInvariants {
    function setUp() external {
        _start(9, ITraining.Terms(9, 3_400, 4, 2, false, 5_000, 100, 100, 100, 100));
    }
}

/// @notice Three hospitals, all of them masters and clients at once.
contract ThreeOfThreeTest is JobInvariants {
    function setUp() external {
        _start(3, ITraining.Terms(9, 10_000, 3, 1, true, 500, 100, 100, 100, 100));
    }
}

/// @notice One master, whom nobody contradicts.
contract OneMasterTest is JobInvariants {
    function setUp() external {
        _start(4, ITraining.Terms(9, 5_000, 1, 3, true, 0, 100, 100, 100, 2));
    }
}

/// @notice Limits that an embedded chain is too slow to reach.
contract LimitsTest {
    function test_theDrawsHoldTwoThousandAndFortySevenMembers() external {
        HMChain hm = HMChain(vm.deployCode("HMChain.sol:HMChain"));
        IConsortium.Organisation[] memory founders = new IConsortium.Organisation[](2048);
        for (uint256 i; i < 2048; ++i) {
            founders[i] = IConsortium.Organisation(address(uint160(i + 1)), bytes32(i + 1), 0);
        }
        hm.found(founders);
        ITraining.Blob memory blob = ITraining.Blob(bytes32(uint256(1)), bytes32(uint256(1)), 1);
        ITraining.Terms memory terms = ITraining.Terms(9, 10_000, 1, 1, false, 0, 1, 1, 1, 2);
        vm.prank(address(1));
        hm.createJob(terms, address(1), 0, 0, blob, blob);
        vm.prank(address(2047));
        hm.enrol(1);
        (, bool enrolled) = hm.standing(1, 2047);
        assert(enrolled && hm.enrolledCount(1) == 1);
        vm.prank(address(2048));
        try hm.enrol(1) {
            assert(false);
        } catch (bytes memory reason) {
            assert(keccak256(reason) == keccak256(abi.encodeWithSelector(IMasterElection.ElectionFull.selector, 2048)));
        }
    }

    function test_aConsortiumHoldsSixtyFiveThousand() external {
        HMChain hm = HMChain(vm.deployCode("HMChain.sol:HMChain"));
        IConsortium.Organisation[] memory founders = new IConsortium.Organisation[](1);
        founders[0] = IConsortium.Organisation(address(1), bytes32(uint256(1)), 0);
        uint256 slot0 = uint256(vm.load(address(hm), 0));
        vm.store(address(hm), 0, bytes32(slot0 | (uint256(0xfffe) << 160)));
        assert(hm.memberCount() == 0xfffe); // the founder's slot holds the count above the address
        hm.found(founders);
        assert(hm.memberCount() == 0xffff);
        founders[0].operator = address(2);
        try hm.found(founders) {
            assert(false);
        } catch (bytes memory reason) {
            assert(keccak256(reason) == keccak256(abi.encodeWithSelector(IConsortium.ConsortiumFull.selector)));
        }
    }
}
