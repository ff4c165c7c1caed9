// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Register
/// @notice Up to 2,048 members that are in or out, one bit each, and draws among those that are in: each is as likely
///         as any other.
/// @dev A {SumTree} of ones takes a byte for each and sums above them: among a hundred members a draw here reads two
///      slots instead of six, and a round of ten clients opens for 45,000 gas less.
library Register {
    uint256 internal constant CAPACITY = 2048;
    uint256 private constant WORDS = 8;
    uint256 private constant ONES_32 = 0x0000000100000001000000010000000100000001000000010000000100000001;

    /// @param counts How many bits are set in each word, eight 32-bit fields.
    struct Book {
        uint256 counts;
        uint256[WORDS] words;
    }

    /// @notice A copy in memory that draws take members out of.
    struct Urn {
        uint256 counts;
        uint256[WORDS] words;
    }

    /// @notice Whether a member is in. Any number may be asked for.
    function has(Book storage book, uint256 member) internal view returns (bool) {
        return member < CAPACITY && (book.words[member / 256] >> (member % 256)) & 1 != 0;
    }

    function total(Book storage book) internal view returns (uint256) {
        return _total(book.counts);
    }

    /// @notice Puts a member in that is out, or out that is in.
    function flip(Book storage book, uint256 member, bool isIn) internal {
        unchecked {
            book.words[member / 256] ^= 1 << (member % 256);
            uint256 one = 1 << ((member / 256) * 32);
            book.counts = isIn ? book.counts + one : book.counts - one;
        }
    }

    function urn(Book storage book) internal view returns (Urn memory u) {
        uint256 counts = book.counts;
        u.counts = counts;
        unchecked {
            for (uint256 i; counts != 0; counts >>= 32) {
                if (counts & 0xffffffff != 0) u.words[i] = book.words[i];
                ++i;
            }
        }
    }

    /// @notice Takes a member out, if it is in.
    function exclude(Urn memory u, uint256 member) internal pure {
        unchecked {
            uint256 word = member / 256;
            uint256 bits = u.words[word];
            if ((bits >> (member % 256)) & 1 == 0) return;
            u.words[word] = bits ^ (1 << (member % 256));
            u.counts -= 1 << (word * 32);
        }
    }

    /// @notice Draws a member and takes it out. The caller makes sure that one is left.
    function draw(Urn memory u, uint256 seed, uint256 turn) internal pure returns (uint256 member) {
        unchecked {
            uint256 counts = u.counts;
            uint256 rank = pointOf(seed, turn, _total(counts));
            uint256 word;
            // Two calls of `select`, so that the compiler does not inline it into a function that is short of stack,
            // where it would compute the sums again at each step (1,000 gas a draw).
            if (rank < counts & 0xffffffff) {
                member = select(u.words[0], rank);
            } else {
                for (uint256 size; (size = (counts >> (word * 32)) & 0xffffffff) <= rank; ++word) {
                    rank -= size;
                }
                member = word * 256 + select(u.words[word], rank);
            }
            u.words[word] ^= 1 << (member % 256);
            u.counts = counts - (1 << (word * 32));
        }
    }

    /// @notice The point below `size` that a seed gives on the given turn: keccak256(abi.encode(seed, turn)) % size.
    /// @dev In scratch space: 60 gas instead of 200.
    function pointOf(uint256 seed, uint256 turn, uint256 size) internal pure returns (uint256) {
        bytes32 hash;
        assembly ("memory-safe") {
            mstore(0, seed)
            mstore(0x20, turn)
            hash := keccak256(0, 0x40)
        }
        return uint256(hash) % size;
    }

    /// @notice The position of the set bit that has `rank` set bits below it. There is one.
    /// @dev Counts the bits in fields of 2, 4, 8 and 16, then goes back down, each step passing over a field if the bit
    ///      looked for lies behind it: first among the running sums of the sixteen widest fields, which come from one
    ///      multiplication, then in ever narrower ones. In assembly, for steps without branches (600 gas each draw).
    function select(uint256 bits, uint256 rank) internal pure returns (uint256 offset) {
        assembly ("memory-safe") {
            function pass(start, left, fields, width) -> end, rest {
                let count := and(shr(start, fields), sub(shl(width, 1), 1))
                let behind := iszero(lt(left, count))
                end := add(start, mul(width, behind))
                rest := sub(left, mul(count, behind))
            }
            let twos := sub(bits, and(shr(1, bits), div(not(0), 3)))
            let fours := add(and(twos, div(not(0), 5)), and(shr(2, twos), div(not(0), 5)))
            let eights := and(add(fours, shr(4, fours)), div(not(0), 17))
            let sums := mul(and(add(eights, shr(8, eights)), div(not(0), 257)), div(not(0), 0xffff))
            sums := shl(16, sums) // in each field, what lies before it
            for { let step := 128 } gt(step, 8) { step := shr(1, step) } {
                let below := gt(and(shr(add(offset, step), sums), 0xffff), rank)
                offset := add(offset, mul(step, iszero(below)))
            }
            rank := sub(rank, and(shr(offset, sums), 0xffff))
            offset, rank := pass(offset, rank, eights, 8)
            offset, rank := pass(offset, rank, fours, 4)
            offset, rank := pass(offset, rank, twos, 2)
            offset, rank := pass(offset, rank, bits, 1)
        }
    }

    function _total(uint256 counts) private pure returns (uint256) {
        unchecked {
            return (counts * ONES_32) >> 224;
        }
    }
}
