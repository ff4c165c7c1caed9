// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IConsortium} from "./IConsortium.sol";

/// @title IPersons
/// @notice Accounts of persons. A member of the consortium vouches for a person and its role, one member at a time;
///         what persons say is signed and may be sent by anyone.
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

    event PersonVouched(uint256 indexed member, address indexed person, Role role);
    /// @param member Whose vouch ended, whoever withdrew it.
    event VouchWithdrawn(uint256 indexed member, address indexed person);

    error NotActiveMember(address caller);
    error InvalidPerson(address person);
    error AlreadyVouched(address person, uint256 voucher);
    error NotVouched(address person);
    error NotVoucher(address caller, uint256 voucher);

    /// @notice The caller, an active member, vouches for a person; again, to give it another role.
    function vouch(address person, Role role) external;

    /// @notice Ends a vouch: the voucher, the person itself, or any active member where the voucher is not active.
    function withdrawVouch(address person) external;

    /// @notice The contract that says who is a member.
    function consortium() external view returns (IConsortium);

    /// @return voucher Number of the member that vouches for the person; 0: none, and `role` means nothing.
    function personOf(address person) external view returns (uint256 voucher, Role role);
}
