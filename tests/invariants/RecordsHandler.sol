// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Records} from "../../contracts/Records.sol";
import {IEmergency} from "../../contracts/interfaces/IEmergency.sol";
import {IPermissions} from "../../contracts/interfaces/IPermissions.sol";
import {IPersons} from "../../contracts/interfaces/IPersons.sol";
import {Members} from "./Members.sol";
import {bound, vm} from "./Vm.sol";

/// @notice Persons and members who say what they may, what they may no longer, and what is not theirs to say.
/// @dev Keeps its own books: of every word it knows beforehand whether it is good, and asserts that the contract agrees.
///      Words are sent by whoever says them, which stands for a signature (tests/contracts has those); acceptances,
///      which members send, are signed.
contract RecordsHandler is Members {
    uint256 internal constant MEMBERS = 3;
    uint256 internal constant PERSONS = 3;
    uint256 internal constant READER = 3; // the person who reads; the others consent and grant
    uint256 internal constant SHARER = 2; // the member whose grant the reader uses as well, where that delegates it
    uint256 internal constant MOST = 32;
    uint256 internal constant PATIENCE = 72 hours;

    struct Case {
        uint256 openedAt;
        uint256 holder;
        uint256 institution;
        bool reviewed;
    }

    Records public immutable records;

    // what the books say
    uint256 public uses;
    mapping(uint256 person => uint256) public voucher;
    mapping(uint256 person => uint256) public accepted;
    mapping(uint256 person => uint256) public purposes;
    mapping(uint256 person => uint40) private _consents;
    mapping(uint256 person => uint256) private _expiry;
    mapping(uint256 person => uint40) private _grants;
    mapping(uint256 person => uint40) private _uses;
    uint40 private _sharedUses;
    mapping(uint256 member => uint256) private _delegated; // until when
    uint256 private _suspended; // at most one member is
    Case[] private _cases;

    constructor() {
        _found(MEMBERS);
        records = Records(vm.deployCode("Records.sol:Records", abi.encode(hm)));
        _begin();
    }

    /// @dev Everybody is vouched for, consents and is granted for a while, so that most readings are about something.
    function _begin() private {
        uint40 deadline = uint40(vm.getBlockTimestamp() + 1 days);
        for (uint256 person = 1; person <= PERSONS; ++person) {
            IPersons.Acceptance memory a = IPersons.Acceptance(account(person), 1, IPersons.Role.Physician, 1, deadline);
            (bytes32 r, bytes32 vs) = _signed(person, a);
            assert(_send(_operator(1), abi.encodeCall(records.vouch, (a, r, vs))));
            (voucher[person], accepted[person]) = (1, 1);
            if (person == READER) continue;
            uint16 said = uint16(1) << uint16(IPermissions.Purpose.EMR);
            IPermissions.Consent memory c = IPermissions.Consent(account(person), 0, said, 1, deadline);
            assert(_send(account(person), abi.encodeCall(records.setConsent, (c, 0, 0))));
            (purposes[person], _consents[person]) = (said, 1);
            IPermissions.Grant memory g = _terms(person);
            (g.nonce, g.expiry) = (1, uint40(vm.getBlockTimestamp() + 100));
            assert(_send(_operator(1), abi.encodeCall(records.setGrant, (g, 0, 0))));
            (_expiry[person], _grants[person]) = (g.expiry, 1);
        }
        assert(_send(_operator(1), abi.encodeCall(records.setGrant, (_shared(), 0, 0))));
    }

    function account(uint256 person) public pure returns (address) {
        return vm.addr(0x20000 + person);
    }

    // ------------------------------------------------------------------ what the fuzzer calls

    function wait(uint256 seed) external {
        vm.warp(vm.getBlockTimestamp() + (seed % 4 == 0 ? seed >> 8 : (seed >> 8) % 60) % 80 hours);
    }

    function vouch(uint256 seed) external {
        (uint256 member, uint256 person) = (bound(seed, 1, MEMBERS), bound(seed >> 8, 1, PERSONS));
        uint256 sender = (seed >> 64) % 4 == 0 ? bound(seed >> 72, 1, MEMBERS) : member;
        uint256 signer = (seed >> 16) % 4 == 0 ? bound(seed >> 80, 1, PERSONS) : person;
        uint40 nonce = uint40(accepted[person] + (seed >> 24) % 2);
        (uint40 deadline, bool late) = _deadline(seed >> 32);
        IPersons.Acceptance memory a =
            IPersons.Acceptance(account(person), uint16(member), IPersons.Role.Physician, nonce, deadline);
        bool good = sender == member && signer == person && !late && nonce == accepted[person] + 1;
        good = good && member != _suspended;
        (bytes32 r, bytes32 vs) = _signed(signer, a);
        assert(_send(_operator(sender), abi.encodeCall(records.vouch, (a, r, vs))) == good);
        if (good) (voucher[person], accepted[person]) = (member, nonce);
    }

    function withdrawVouch(uint256 seed) external {
        if (seed % 4 != 0) return; // so that persons stay for a while
        uint256 person = bound(seed >> 8, 1, PERSONS);
        uint256 member = bound(seed >> 16, 1, MEMBERS);
        bool good = voucher[person] == member || (voucher[person] != 0 && voucher[person] == _suspended);
        good = good && member != _suspended;
        assert(_send(_operator(member), abi.encodeCall(records.withdrawVouch, (account(person)))) == good);
        if (good) voucher[person] = 0;
    }

    function consent(uint256 seed) external {
        uint256 person = bound(seed, 1, PERSONS - 1);
        (address sender, bool own) = _sender(person, seed >> 16);
        uint40 nonce = _consents[person] + uint40((seed >> 24) % 2);
        (uint40 deadline, bool late) = _deadline(seed >> 32);
        uint16 said = uint16((seed >> 40) % 2) << uint16(IPermissions.Purpose.EMR);
        bool good = own && (said == 0 || !late) && nonce == _consents[person] + 1;
        if (voucher[person] == 0 && (said != 0 || nonce == 1)) good = false;
        IPermissions.Consent memory c = IPermissions.Consent(account(person), 0, said, nonce, deadline);
        assert(_send(sender, abi.encodeCall(records.setConsent, (c, 0, 0))) == good);
        if (good) (purposes[person], _consents[person]) = (said, nonce);
    }

    /// @notice The first member grants, over a person's records.
    function grant(uint256 seed) external {
        uint256 person = bound(seed, 1, PERSONS - 1);
        uint256 member = bound(seed >> 8, 1, MEMBERS);
        IPermissions.Grant memory g = _terms(person);
        g.nonce = _grants[person] + 1;
        uint256 span = (seed >> 64) % 2 == 0 ? 100 : 40 hours; // some end while others are still about it
        g.expiry = (seed >> 16) % 3 == 0 ? 0 : uint40(vm.getBlockTimestamp() + (seed >> 24) % span);
        assert(_send(_operator(member), abi.encodeCall(records.setGrant, (g, 0, 0))) == (member == 1));
        if (member == 1) (_expiry[person], _grants[person]) = (g.expiry, g.nonce);
    }

    function read(uint256 seed) external {
        uint256 person = bound(seed, 1, PERSONS - 1);
        (address sender, bool own) = _sender(READER, seed >> 16);
        uint40 use = _uses[person] + uint40((seed >> 24) % 2);
        IPermissions.Grant memory g = _terms(person);
        IPermissions.Access memory a = IPermissions.Access(
            g.granter, g.scope, g.purpose, g.consentOf, g.consentScope, 0, 1, keccak256("request"), use
        );
        bool good = own && voucher[READER] != 0 && purposes[person] != 0 && use == _uses[person] + 1;
        good = good && _expiry[person] > vm.getBlockTimestamp();
        assert(_send(sender, abi.encodeCall(records.logAccess, (a, 0, 0))) == good);
        if (good) (_uses[person], uses) = (use, uses + 1);
    }

    /// @notice A member lets the reader use what it was granted, for a short time or until this very second.
    function delegate(uint256 seed) external {
        uint256 member = bound(seed, 1, MEMBERS);
        uint256 expiry = vm.getBlockTimestamp() + ((seed >> 16) % 2 == 0 ? 0 : (seed >> 24) % 200);
        bytes memory call =
            abi.encodeCall(records.setDelegation, (account(READER), IPermissions.Purpose.EMR, uint40(expiry)));
        bool good = member != _suspended;
        assert(_send(_operator(member), call) == good);
        if (good) _delegated[member] = expiry;
    }

    /// @notice The reader uses what was granted to the second member, if that is who delegated to it.
    function readShared(uint256 seed) external {
        uint256 member = (seed >> 8) % 4 == 0 ? bound(seed, 1, MEMBERS) : SHARER;
        (address sender, bool own) = _sender(READER, seed >> 16);
        uint40 use = _sharedUses + uint40((seed >> 24) % 4); // seldom the last one again
        if (use > _sharedUses + 1) use = _sharedUses + 1;
        IPermissions.Grant memory g = _shared();
        IPermissions.Access memory a = IPermissions.Access(
            g.granter, g.scope, g.purpose, address(0), 0, uint16(member), 1, keccak256("request"), use
        );
        bool good = own && voucher[READER] != 0 && member == SHARER && use == _sharedUses + 1;
        good = good && member != _suspended && _delegated[member] > vm.getBlockTimestamp();
        assert(_send(sender, abi.encodeCall(records.logAccess, (a, 0, 0))) == good);
        if (good) _sharedUses = use;
    }

    /// @notice The others suspend the second or the third member, seldom, and take it back.
    function judge(uint256 seed) external {
        if (_suspended != 0) {
            _judge(_suspended);
            _suspended = 0;
        } else if (seed % 4 == 0) {
            _suspended = bound(seed >> 8, 2, MEMBERS);
            _judge(_suspended);
        }
    }

    function rotate(uint256 seed) external {
        uint256 member = bound(seed, 1, MEMBERS);
        if (member != _suspended) _rotate(member);
    }

    function breakGlass(uint256 seed) external {
        uint256 holder = bound(seed, 1, MEMBERS);
        (uint40 deadline, bool late) = _deadline(seed >> 32);
        uint40 nonce = uint40(_cases.length + (seed >> 24) % 4); // seldom the last one again
        if (nonce > _cases.length + 1) nonce = uint40(_cases.length + 1);
        IEmergency.EmergencyAccess memory e = IEmergency.EmergencyAccess(uint16(holder), 0, 0, 0, nonce, deadline);
        (uint256 count, uint256 oldest) = unreviewed();
        bool overdue = count != 0 && vm.getBlockTimestamp() > oldest + PATIENCE;
        bool good = !late && voucher[READER] != 0 && nonce == _cases.length + 1 && !overdue && count < MOST;
        good = good && voucher[READER] != _suspended && holder != _suspended;
        assert(_send(account(READER), abi.encodeCall(records.breakGlass, (e, 0, 0))) == good);
        if (good) _cases.push(Case(vm.getBlockTimestamp(), holder, voucher[READER], false));
    }

    function review(uint256 seed) external {
        if (_cases.length == 0) return;
        uint256 number = bound(seed, 1, _cases.length);
        uint256 member = bound(seed >> 128, 1, MEMBERS);
        Case storage c = _cases[number - 1];
        bool left = c.holder == _suspended || vm.getBlockTimestamp() > c.openedAt + PATIENCE;
        bool good = !c.reviewed && (member == c.holder || (left && member != c.institution));
        good = good && member != _suspended;
        bytes memory call = abi.encodeCall(records.review, (number, account(READER), true, keccak256("report")));
        assert(_send(_operator(member), call) == good);
        if (good) c.reviewed = true;
    }

    // ------------------------------------------------------------------ the books

    /// @return count Emergencies that nobody has reviewed.
    /// @return oldest When the oldest of them was opened.
    function unreviewed() public view returns (uint256 count, uint256 oldest) {
        for (uint256 i = _cases.length; i != 0; --i) {
            if (!_cases[i - 1].reviewed) (count, oldest) = (count + 1, _cases[i - 1].openedAt);
        }
    }

    function opened() external view returns (uint256) {
        return _cases.length;
    }

    function usesOf(uint256 person) external view returns (uint256 told, uint256 expected) {
        return (records.grantOf(_terms(person)).uses, _uses[person]);
    }

    function _terms(uint256 person) private pure returns (IPermissions.Grant memory) {
        IPermissions.Purpose purpose = IPermissions.Purpose.EMR;
        return IPermissions.Grant(address(1), 0, purpose, account(person), 0, account(READER), 0, 0);
    }

    /// @dev The first member's grant to the second, of records about nobody.
    function _shared() private pure returns (IPermissions.Grant memory) {
        IPermissions.Purpose purpose = IPermissions.Purpose.EMR;
        address reader = address(uint160(SHARER));
        return IPermissions.Grant(address(1), bytes32(uint256(1)), purpose, address(0), 0, reader, type(uint40).max, 1);
    }

    /// @dev One in four words is said by somebody else.
    function _sender(uint256 person, uint256 seed) private pure returns (address, bool own) {
        own = seed % 4 != 0;
        return (own ? account(person) : address(uint160(0x30000)), own);
    }

    /// @dev What a person signs to be vouched for: EIP-712, spelt out here and not taken from the contract.
    function _signed(uint256 person, IPersons.Acceptance memory a) private view returns (bytes32, bytes32) {
        bytes32 domain = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("FL-HMChain Records"),
                keccak256("1"),
                block.chainid,
                address(records)
            )
        );
        bytes32 type_ = keccak256("Acceptance(address person,uint16 member,uint8 role,uint40 nonce,uint40 deadline)");
        bytes32 word = keccak256(abi.encode(type_, a.person, a.member, a.role, a.nonce, a.deadline));
        bytes32 digest = keccak256(abi.encodePacked(bytes2(0x1901), domain, word));
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(0x20000 + person, digest);
        return (r, bytes32(uint256(s) | (uint256(v - 27) << 255)));
    }

    /// @dev Of this very second, of the one before, or far away.
    function _deadline(uint256 seed) private view returns (uint40, bool late) {
        late = seed % 4 == 0;
        uint256 time = vm.getBlockTimestamp();
        return (uint40(late ? time - 1 : seed % 4 == 1 ? time : time + 1 days), late);
    }

    function _send(address sender, bytes memory call) private returns (bool ok) {
        vm.prank(sender);
        (ok,) = address(records).call(call);
    }
}
