"""One account's client of a consortium's Records contract, which is proved to be the right one first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from eth_abi.abi import encode
from eth_account.signers.local import LocalAccount
from web3 import Web3

from hmchain.chain import ChainClient, insist
from hmchain.consortium import Consortium
from hmchain.contract import Artifact, Receipt
from hmchain.errors import ChainError, UsageError
from hmchain.ethereum import find_deployment
from hmchain.feed import Feed
from hmchain.history import ACTIVE
from hmchain.permits import KIND_NUMBERS
from hmchain.record import Kind
from hmchain.trail import Trail

# A batch to register: kind, number of records, their Merkle root, and the contract's Blob (history.blob_to_abi).
Unregistered = tuple[Kind, int, bytes, tuple[bytes, bytes, int]]


def artifact() -> Artifact:
    """The Records contract that this package carries."""
    return Artifact.load("Records")


def deploy(web3: Web3, account: LocalAccount, consortium: Consortium) -> str:
    """Deploys a Records contract that asks this consortium who is a member. Returns the transaction's hash.

    Raises ChainError.
    """
    carried = artifact()
    bound = Artifact(carried.abi, carried.bytecode + _argument(consortium), carried.runtime)
    _, receipt = ChainClient.deploy(web3, account, bound)
    return receipt.transaction


def require_records(consortium: Consortium) -> None:
    """Raises UsageError where the consortium has no Records contract."""
    if not consortium.records:
        raise UsageError("this consortium has no Records contract yet: hmchain records deploy")


@dataclass(frozen=True)
class Registry:
    """One account's client of the Records contract, and its events as a Trail. members: a client of HMChain."""

    client: ChainClient
    feed: Feed[Trail]
    members: ChainClient

    @classmethod
    def open(cls, web3: Web3, account: LocalAccount | None, consortium: Consortium) -> Registry:
        """The consortium's registry; without an account only to read.

        Raises UsageError where the consortium has none, ChainError where the chain has another contract.
        """
        require_records(consortium)
        found = find_deployment(web3, consortium.records)
        if found is None:
            raise ChainError(f"this chain has no transaction {consortium.records} that created a contract")
        if found.bytecode != artifact().bytecode + _argument(consortium):
            raise ChainError(f"contract {found.address} is not the Records contract of this consortium")
        client = ChainClient(web3, account, found.address, artifact())
        members = ChainClient(web3, None, consortium.contract)
        return cls(client, Feed(client, found.block, Trail, wary=True), members)

    def trail(self) -> Trail:
        """All that has happened to records, up to date. Raises ChainError."""
        return self.feed.poll()

    def is_active(self, member: int) -> bool:
        """Whether a member is neither suspended nor removed. Raises ContractError for an unknown one, ChainError."""
        return bool(self.members.call("member", member)[1] == ACTIVE)

    def register(self, *batches: Unregistered) -> list[int]:
        """Registers batches in one transaction. Returns their indices. Raises ContractError, ChainError."""
        calls = [("registerBatch", (KIND_NUMBERS[kind], count, root, blob)) for kind, count, root, blob in batches]
        told = [event for event in self.transact_all(calls).events if event.name == "BatchRegistered"]
        if len(told) != len(batches):
            raise ChainError("the chain's node gives a receipt that lacks BatchRegistered")
        return [int(event.args["index"]) for event in told]

    def transact(self, function: str, *arguments: object) -> Receipt:
        """Sends a transaction; the trail then reaches at least its block. Raises ContractError, ChainError."""
        receipt = insist(lambda: self.client.transact(function, *arguments))
        self.feed.took(receipt)
        return receipt

    def transact_all(self, calls: Sequence[tuple[str, Sequence[object]]]) -> Receipt:
        """Sends several calls, (function, arguments) each, as one transaction: all take effect, or none."""
        if len(calls) == 1:
            ((function, arguments),) = calls
            return self.transact(function, *arguments)
        return self.transact("together", [self.client.encode(function, *arguments) for function, arguments in calls])


def _argument(consortium: Consortium) -> bytes:
    return encode(["address"], [consortium.contract])
