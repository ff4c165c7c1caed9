"""An Ethereum chain inside this process (eth-tester over py-evm) that can be written down and executed again.

Everything that a block hash depends on is fixed: genesis, timestamps and mixHash (which the stock backend draws at
random). So a ledger file, one line a block, is tamper-evident: whoever executes it again gets the same block hashes, or
finds the first block that was tampered with.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

from eth.abc import BlockAPI, ReceiptAPI, SignedTransactionAPI
from eth.constants import ZERO_ADDRESS
from eth.exceptions import TransactionNotFound as EVMTransactionNotFound
from eth_tester import EthereumTester, PyEVMBackend
from eth_tester.backends.pyevm.serializers import serialize_transaction, serialize_transaction_receipt
from eth_tester.exceptions import TransactionFailed, TransactionNotFound, ValidationError
from eth_utils import ValidationError as InvalidTransaction
from eth_utils import decode_hex, encode_hex, to_canonical_address, to_checksum_address
from web3 import EthereumTesterProvider, Web3
from web3.types import RPCEndpoint, RPCResponse

from hmchain.errors import VerificationError
from hmchain.jsontext import parse

GENESIS_TIME = 1_735_689_600  # 2025-01-01T00:00:00Z; the chain keeps its own time, at least one second a block
GAS_LIMIT = 30_000_000
MIX_HASH = b"\0" * 32  # Besu's QBFT writes a constant one too
MOST_TOGETHER = 10  # transactions in a block: each may claim half of the gas limit, so all have to fit into the other
BALANCE = 10**24  # wei for each account at genesis; gas is free in a consortium, but py-evm wants it covered


@dataclass(frozen=True)
class BlockRecord:
    """What it takes to execute a block again, and the hash that must result. Transactions are raw, in hex."""

    number: int
    timestamp: int
    hash: str
    transactions: tuple[str, ...]

    def to_json(self) -> str:
        """One line of a ledger file."""
        return json.dumps(vars(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, line: str) -> BlockRecord:
        """Raises VerificationError for a line that to_json would not have written."""
        try:
            fields = parse(line)
            record = cls(**{**fields, "transactions": tuple(fields["transactions"])})
            canonical = record._is_plain() and record.to_json() == line
        except (ValueError, TypeError, KeyError):
            canonical = False
        if not canonical:
            raise VerificationError(f"the ledger holds a line that is no block: {line[:60]!r}")
        return record

    def _is_plain(self) -> bool:
        """Whether numbers are numbers and hex is written in the one way that we write it."""
        numbers = type(self.number) is type(self.timestamp) is int
        return numbers and all(encode_hex(decode_hex(text)) == text for text in (self.hash, *self.transactions))


class _Backend(PyEVMBackend):
    """The stock backend with a pool, a constant mixHash, and transactions looked up in py-evm's own index.

    What is sent waits in the pool until somebody asks for a receipt, and so shares a block and its state root, which
    takes as long as to execute a transaction. The stock backend mines each at once; it searches the chain backwards for
    a transaction, so that reading the events of 1,300 blocks took five minutes.
    """

    def __init__(self, genesis_parameters: dict[str, Any], genesis_state: dict[Any, Any]) -> None:
        super().__init__(genesis_parameters, genesis_state)
        self._pool: list[SignedTransactionAPI] = []
        self._last: tuple[bytes, Sequence[ReceiptAPI]] = b"", ()

    def send_raw_transaction(self, raw_transaction: bytes) -> bytes:
        """Takes a transaction into the pool. Returns its hash. Raises InvalidTransaction."""
        transaction = self.decode(raw_transaction)
        if transaction in self._pool:
            raise InvalidTransaction("already known")
        if len(self._pool) == MOST_TOGETHER or any(other.sender == transaction.sender for other in self._pool):
            self.mine_pool()
        vm = self.chain.get_vm()
        transaction.validate()
        vm.validate_transaction_against_header(self.chain.header, transaction)
        vm.state.validate_transaction(transaction)
        self._pool.append(transaction)
        return bytes(transaction.hash)

    def decode(self, raw: bytes) -> SignedTransactionAPI:
        """A signed transaction from its bytes. Raises whatever rlp and py-evm raise for what is none."""
        transaction: SignedTransactionAPI = self.chain.get_vm().get_transaction_builder().decode(raw)
        return transaction

    def mine_pool(self) -> None:
        """Mines a block of what is in the pool, if there is anything."""
        if self._pool:
            self.mine_blocks()

    def mine_blocks(self, num_blocks: int = 1, coinbase: bytes = ZERO_ADDRESS) -> tuple[bytes, ...]:
        pool, self._pool = self._pool, []
        return self.mine(pool, coinbase), *(self.mine([], coinbase) for _ in range(num_blocks - 1))

    def mine(self, transactions: Sequence[SignedTransactionAPI], coinbase: bytes = ZERO_ADDRESS) -> bytes:
        """Mines one block of these transactions. Returns its hash. Raises InvalidTransaction."""
        done, _, _ = self.chain.mine_all(transactions, coinbase=coinbase, mix_hash=MIX_HASH, blob_gas_used=0)
        self.next_block_at(done.imported_block.header.timestamp + 1)
        return bytes(done.imported_block.hash)

    def next_block_at(self, timestamp: int) -> None:
        """py-evm would take the wall clock where that is ahead."""
        self.chain.header = self.chain.header.copy(timestamp=timestamp)

    def get_transaction_by_hash(self, transaction_hash: bytes) -> dict[str, Any]:
        block, index = self._locate(transaction_hash)
        return dict(serialize_transaction(block, block.transactions[index], index, False))

    def get_transaction_receipt(self, transaction_hash: bytes) -> dict[str, Any]:
        self.mine_pool()
        block, index = self._locate(transaction_hash)
        receipts, vm = self._receipts(block), self.chain.get_vm()
        receipt = serialize_transaction_receipt(block, receipts, block.transactions[index], index, False, vm)
        earlier = sum(len(other.logs) for other in receipts[:index])
        for log in receipt["logs"]:
            log["log_index"] += earlier  # eth-tester counts a transaction's logs, nodes a block's
        return dict(receipt)

    def _receipts(self, block: BlockAPI) -> Sequence[ReceiptAPI]:
        """A block's receipts. Those of the last one are kept, as each of its transactions is asked about in turn."""
        if self._last[0] != block.hash:
            self._last = block.hash, block.get_receipts(self.chain.chaindb)
        return self._last[1]

    def _locate(self, transaction_hash: bytes) -> tuple[Any, int]:
        try:
            number, index = self.chain.get_canonical_transaction_index(transaction_hash)
        except EVMTransactionNotFound as fault:
            raise TransactionNotFound(f"no transaction {encode_hex(transaction_hash)}") from fault
        return self.chain.get_canonical_block_by_number(number), index


class Provider(EthereumTesterProvider):
    """eth-tester made to answer like a real node: what it raises becomes a JSON-RPC error (codes of EIP-1474).

    So no other module has to know, or load, eth-tester to talk to a chain.
    """

    def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        try:
            if method == "eth_sendRawTransaction":  # eth-tester would mine a block for it
                backend = cast(EthereumTester, self.ethereum_tester).backend
                sent = backend.send_raw_transaction(decode_hex(params[0]))
                return {"jsonrpc": "2.0", "id": 1, "result": encode_hex(sent)}
            return super().make_request(method, params)
        except TransactionFailed as fault:
            return _error(3, "execution reverted", encode_hex(_revert_data(fault)))
        except ValidationError as fault:
            return _error(-32602, str(fault))
        except InvalidTransaction as fault:
            return _error(-32003, str(fault))


def _error(code: int, message: str, data: str | None = None) -> RPCResponse:
    error = {"code": code, "message": message} | ({} if data is None else {"data": data})
    return cast(RPCResponse, {"jsonrpc": "2.0", "id": 1, "error": error})


def _revert_data(fault: TransactionFailed) -> bytes:
    """The revert data in an error of eth-tester's: the repr of bytes, perhaps after web3's text; empty without any."""
    text = str(fault).removeprefix("execution reverted: ")
    return bytes(ast.literal_eval(text)) if text[:2] in ("b'", 'b"') else b""


class EmbeddedChain:
    """A chain that mines what was sent once somebody asks for a receipt. Genesis gives `accounts` a balance."""

    def __init__(self, accounts: Sequence[str]) -> None:
        self.accounts = sorted({to_checksum_address(account) for account in accounts})
        state = {
            to_canonical_address(account): {"balance": BALANCE, "nonce": 0, "code": b"", "storage": {}}
            for account in self.accounts
        }
        parameters = PyEVMBackend.generate_genesis_params(
            overrides={"timestamp": GENESIS_TIME, "gas_limit": GAS_LIMIT, "mix_hash": MIX_HASH}
        )
        self._backend = _Backend(genesis_parameters=parameters, genesis_state=state)
        self._backend.next_block_at(GENESIS_TIME + 1)
        self._tester = EthereumTester(self._backend)
        self.web3 = Web3(Provider(self._tester))
        # A call without an account would come from one of eth-tester's own, which has no balance in this genesis.
        self.web3.eth.default_account = to_checksum_address(self.accounts[0])

    def travel(self, seconds: int) -> None:
        """Lets `seconds` pass, at least one: mines an empty block that much later than the latest."""
        self._backend.mine_pool()
        self._backend.next_block_at(self._backend.chain.get_canonical_head().timestamp + seconds)
        self._backend.mine_blocks()

    def wait_until(self, deadline: int) -> None:
        """Lets time pass until after `deadline`, in seconds since 1970."""
        self.travel(max(1, deadline + 1 - int(self._backend.chain.get_canonical_head().timestamp)))

    def blocks(self, after: int = 0) -> Iterator[BlockRecord]:
        """The blocks after number `after`, in order."""
        self._backend.mine_pool()
        chain = self._backend.chain
        for number in range(after + 1, chain.get_canonical_head().block_number + 1):
            block = chain.get_canonical_block_by_number(number)
            yield BlockRecord(
                number=number,
                timestamp=block.header.timestamp,
                hash=encode_hex(block.hash),
                transactions=tuple(encode_hex(transaction.encode()) for transaction in block.transactions),
            )

    def replay(self, record: BlockRecord) -> None:
        """Executes a recorded block. Raises VerificationError if it does not give the recorded hash."""
        chain = self._backend.chain
        if record.number != chain.get_canonical_head().block_number + 1:
            raise VerificationError(f"the ledger goes from block {record.number - 1} to {record.number}")
        try:
            self._backend.next_block_at(record.timestamp)
            block_hash = self._backend.mine([self._backend.decode(decode_hex(raw)) for raw in record.transactions])
        except Exception as fault:  # py-evm, rlp and eth-keys have no common base for "this is no valid transaction"
            raise VerificationError(f"block {record.number} cannot be executed: {type(fault).__name__}") from fault
        if encode_hex(block_hash) != record.hash:
            raise VerificationError(f"block {record.number} has another hash than the ledger says")
