// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Typed
/// @notice Typed data that persons sign (EIP-712), in the domain of this chain and of the contract that asks.
/// @dev Signatures are compact (EIP-2098): `vs` is s with the parity of the point in its top bit, which leaves no room
///      for the high s of a signature's second form.
library Typed {
    bytes32 private constant DOMAIN =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
    bytes32 private constant NAME = keccak256("FL-HMChain Records");
    bytes32 private constant VERSION = keccak256("1");

    error InvalidSignature(bytes32 digest);
    error WrongSigner(address signer, address expected);

    /// @notice Hash of a word and of the words that the present call's arguments begin with. Of a type's hash and a
    ///         static struct that is the first argument, it is EIP-712's hash of the struct.
    /// @dev Taken as they lie in the calldata. Reading a field reverts where its word has bits too many, so who reads
    ///      all fields has hashed what he read. (Encoding them anew takes 600 gas more.)
    function hashCall(bytes32 head, uint256 words) internal pure returns (bytes32 hash) {
        assembly ("memory-safe") {
            let p := mload(0x40)
            mstore(p, head)
            calldatacopy(add(p, 0x20), 4, shl(5, words))
            hash := keccak256(p, shl(5, add(words, 1)))
        }
    }

    /// @notice Reverts unless `expected` signed, or sends it itself.
    function requireSigner(bytes32 hash, bytes32 r, bytes32 vs, address expected) internal view {
        address signer_ = signer(hash, r, vs);
        if (signer_ != expected) revert WrongSigner(signer_, expected);
    }

    /// @notice Who signed. In place of a signature, zeros stand for the caller: who sends it himself need not sign.
    function signer(bytes32 hash, bytes32 r, bytes32 vs) internal view returns (address) {
        return r | vs == 0 ? msg.sender : recover(digestOf(hash), r, vs);
    }

    /// @notice EIP-712's digest of a struct in the domain of this chain and contract.
    /// @dev The domain is hashed anew each time, so that it is right on both sides of a fork of the chain. (By
    ///      abi.encode it takes 270 gas more.)
    function digestOf(bytes32 hash) internal view returns (bytes32 digest) {
        (bytes32 domain, bytes32 name, bytes32 version) = (DOMAIN, NAME, VERSION);
        assembly ("memory-safe") {
            let p := mload(0x40)
            mstore(p, domain)
            mstore(add(p, 0x20), name)
            mstore(add(p, 0x40), version)
            mstore(add(p, 0x60), chainid())
            mstore(add(p, 0x80), address())
            domain := keccak256(p, 0xa0)
            mstore(p, hex"1901")
            mstore(add(p, 0x02), domain)
            mstore(add(p, 0x22), hash)
            digest := keccak256(p, 0x42)
        }
    }

    /// @notice The account whose signature this is; never the zero address, as which `ecrecover` reads nonsense.
    function recover(bytes32 digest, bytes32 r, bytes32 vs) internal pure returns (address signer_) {
        signer_ = ecrecover(digest, 27 + uint8(uint256(vs) >> 255), r, vs << 1 >> 1);
        if (signer_ == address(0)) revert InvalidSignature(digest);
    }
}
