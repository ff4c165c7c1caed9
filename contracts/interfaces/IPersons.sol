// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IConsortium} from "./IConsortium.sol";

/// @title IPersons
/// @notice Accounts of persons. One member of the consortium at a time vouches for a person and its role, and never
///         without that person's signed acceptance: no member can claim an account first and keep another from it.
///         What persons sign may be sent by anyone.
/// @dev A vouch stands until it is withdrawn, also when its member is suspended: then every active member may withdraw
///      it. (Asking the consortium at every access would take 5,000 gas more, and an access over its budget.)
interface IPersons {
    enum Role {
        Physician,
        Pharmacist,
        Radiologist,
        LaboratoryTechnician,
        Researcher,
        Patient
    }

    /// @notice A person accepts to be vouched for: EIP-712 typed data of the domain that {IPermissions} names.
    /// @param member Number of the member that may vouch for it.
    /// @param nonce One more than how often the person has accepted before.
    /// @param deadline The last second in which the signature is accepted.
    struct Acceptance {
        address person;
        uint16 member;
        Role role;
        uint40 nonce;
        uint40 deadline;
    }

    event PersonVouched(uint256 indexed member, address indexed person, Role role);
    /// @param member Whose vouch ended, whoever withdrew it.
    event VouchWithdrawn(uint256 indexed member, address indexed person);

    error NotActiveMember(address caller);
    error InvalidPerson(address person);
    error WrongAcceptance(uint256 nonce, uint256 expected);
    /// @notice The deadline of what was signed has passed.
    error WordExpired(uint256 deadline);
    error NotVouched(address person);
    error NotVoucher(address caller, uint256 voucher);

    /// @notice The caller, an active member, vouches for a person that has accepted it. This ends the vouch of another
    ///         member, if there is one; the same member may vouch again, to give the person another role.
    function vouch(Acceptance calldata acceptance, bytes32 r, bytes32 vs) external;

    /// @notice Ends a vouch: the voucher, the person itself, or any active member where the voucher is not active.
    function withdrawVouch(address person) external;

    /// @notice The contract that says who is a member.
    function consortium() external view returns (IConsortium);

    /// @return voucher Number of the member that vouches for the person; 0: none, and `role` means nothing.
    function personOf(address person) external view returns (uint256 voucher, Role role);

    /// @return accepted How often the person has accepted to be vouched for.
    function acceptances(address person) external view returns (uint256 accepted);
}
