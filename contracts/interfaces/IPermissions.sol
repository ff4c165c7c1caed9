// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title IPermissions
/// @notice Who may read what, what for and until when, and the log of who did. Persons consent and grant; organisations
///         grant what they keep, and delegate to persons what was granted to them. Each can be taken back at any time.
/// @dev Consents, grants and requests are EIP-712 typed data of the domain ("FL-HMChain Records", "1", chain id, this
///      contract), sent by anyone with a compact signature (EIP-2098); zeros in place of one mean the caller itself.
///      An organisation's label is its member number as an address; nobody has a key for it, its operator sends what it
///      says. A scope is a salted hash: what it covers is known to the holder, and nobody learns it from the chain.
interface IPermissions {
    /// @notice The paper's services, then care itself, then emergencies, which neither consent nor grant can name: see
    ///         {IEmergency}.
    enum Purpose {
        EHR,
        EMR,
        ClinicalResearch,
        Biomedical,
        Neuroscience,
        Genome,
        Imaging,
        Treatment,
        Emergency
    }

    /// @param purposes Bit p: purpose p. 0 withdraws the consent.
    /// @param nonce One more than that of the person's last consent for this scope.
    /// @param deadline The last second in which the signature is accepted; withdrawing a consent is never too late.
    struct Consent {
        address person;
        bytes32 scope;
        uint16 purposes;
        uint40 nonce;
        uint40 deadline;
    }

    /// @param granter A person, or the label of an organisation, which grants what it keeps itself.
    /// @param consentOf In an organisation's grant: the person whose records they are, 0 where they are about nobody.
    ///        The grant works only while that person consents, for `consentScope`, to its purpose.
    /// @param reader A person, or the label of an organisation.
    /// @param expiry The grant works before this time; 0, or any time in the past, revokes it.
    /// @param nonce One more than that of the last grant of these terms: all of the above but the expiry.
    struct Grant {
        address granter;
        bytes32 scope;
        Purpose purpose;
        address consentOf;
        bytes32 consentScope;
        address reader;
        uint40 expiry;
        uint40 nonce;
    }

    /// @notice A request to read, signed by the reader.
    /// @param institution 0: the grant was made to the reader. Else the number of the organisation that it was made to.
    /// @param holder Number of the member that keeps the records and is asked for their keys.
    /// @param request SHA-256 of the document that says which records, and to which key theirs are to be sealed.
    /// @param use Number of this use of the grant, so that a signature works once.
    struct Access {
        address granter;
        bytes32 scope;
        Purpose purpose;
        address consentOf;
        bytes32 consentScope;
        uint16 institution;
        uint16 holder;
        bytes32 request;
        uint40 use;
    }

    /// @notice What has become of a grant.
    /// @param number Grants are numbered from 1 without gaps, and so are the uses of each.
    struct GrantState {
        uint64 number;
        uint40 expiry;
        uint40 uses;
        uint40 nonce;
    }

    event ConsentChanged(address indexed person, bytes32 indexed scope, uint256 purposes, uint256 nonce);
    event GrantChanged(
        uint256 number,
        address indexed granter,
        address indexed reader,
        bytes32 indexed scope,
        Purpose purpose,
        address consentOf,
        bytes32 consentScope,
        uint256 expiry,
        uint256 nonce
    );
    event DelegationChanged(uint256 indexed member, address indexed staff, Purpose indexed purpose, uint256 expiry);
    /// @param number The grant's; scope, consent and institution are those of its terms.
    event Accessed(
        uint256 number,
        uint256 indexed holder,
        address indexed reader,
        address indexed granter,
        Purpose purpose,
        bytes32 request,
        uint256 use
    );
    event KeysReleased(uint256 indexed number, uint256 indexed holder, uint256 use, bytes32 envelope);

    error WrongNonce(uint256 nonce, uint256 expected);
    error InvalidPurposes(uint256 purposes);
    error InvalidTerms();
    error UnknownGrant(bytes32 key);
    error GrantOver(uint256 number, uint256 expiry);
    error WrongUse(uint256 use, uint256 expected);
    error WrongHolder(uint256 holder, address granter);
    error NoConsent(address person, bytes32 scope, Purpose purpose);
    error NoDelegation(uint256 member, address staff, Purpose purpose);

    /// @notice Sets the purposes that a person consents to for a scope, in place of those before. Giving a consent needs
    ///         a voucher, and so does a person's first word on a scope, whatever it is; withdrawing one does not.
    function setConsent(Consent calldata consent, bytes32 r, bytes32 vs) external;

    /// @notice Makes, prolongs or revokes a grant. A person needs a voucher to grant, none to revoke. A grant outlives
    ///         the voucher of its granter, but cannot be used once its reader has none.
    function setGrant(Grant calldata grant, bytes32 r, bytes32 vs) external returns (uint256 number);

    /// @notice Lets a person use what is granted to the caller's organisation for a purpose, before `expiry`; 0 ends
    ///         it. While the organisation is not active, the delegation is of no use.
    function setDelegation(address staff, Purpose purpose, uint40 expiry) external;

    /// @notice Logs a use of a grant that is valid now. A holder answers only what is logged.
    function logAccess(Access calldata request, bytes32 r, bytes32 vs) external;

    /// @notice The caller, an active member, says that it has put keys into an envelope for the reader. Whose answer
    ///         counts follows from who was asked.
    /// @param envelope SHA-256 of the envelope, and so its CID.
    function releaseKeys(uint256 number, uint256 use, bytes32 envelope) external;

    function consentOf(address person, bytes32 scope) external view returns (uint256 purposes, uint256 nonce);

    /// @notice The state of the grant of these terms, number 0 if there is none; expiry and nonce are not looked at.
    function grantOf(Grant calldata grant) external view returns (GrantState memory);

    function grantCount() external view returns (uint256);

    /// @return expiry Until when; also of a delegation that ended because the organisation is not active.
    function delegationOf(uint256 member, address staff, Purpose purpose) external view returns (uint256 expiry);
}
