"""Executes a recorded ledger again, and says where it fails."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from eth_account import Account
from eth_account.typed_transactions import TypedTransaction
from eth_utils import to_canonical_address
from hexbytes import HexBytes
from web3 import Web3

from coordinator.folder import RunFile
from hmchain.chain import ChainClient
from hmchain.contract import Artifact
from hmchain.embedded import BlockRecord, EmbeddedChain
from hmchain.errors import ChainError, HMChainError, VerificationError

OTHER_CONTRACT = "the contract on the chain is not the one that this version of hmchain carries"


def replay(chain: EmbeddedChain, blocks: Iterable[BlockRecord], run: RunFile) -> None:
    """Executes the blocks in order. Raises VerificationError at the first that does not have its recorded hash, or that
    holds what no run sends.
    """
    bytecode, done, created = Artifact.load().bytecode, 0, False
    for block in blocks:
        try:
            _check_calls(block, to_canonical_address(run.contract), bytecode, created)
            chain.replay(block)
        except VerificationError as fault:
            round, member = place(chain, block, run)
            raise VerificationError(fault.reason, round, member) from fault
        done += 1
        created = created or bool(chain.web3.eth.get_code(Web3.to_checksum_address(run.contract)))
    if not done:
        raise VerificationError("the ledger holds no block")


def _check_calls(block: BlockRecord, contract: bytes, bytecode: bytes, created: bool) -> None:
    """Checks that a block's transactions call the run's contract, or create one of our bytecode. To execute any other
    code could take as long as whoever wrote it likes: a line of some hundred bytes can name many seconds of work.

    What nobody created could be one that the EVM itself has, such as for pairings on curves, which take a second each.

    Raises VerificationError.
    """
    for raw in block.transactions:
        try:
            called, data = _call_of(raw)
        except Exception as fault:  # eth-account, rlp and pydantic have no common base for "this is no transaction"
            raise VerificationError(f"block {block.number} holds what is no transaction of a run") from fault
        if not called and data != bytecode:
            raise VerificationError(OTHER_CONTRACT)
        if called not in (b"", contract):
            raise VerificationError(f"block {block.number} calls another contract than the run's")
        if called and not created:
            raise VerificationError(f"block {block.number} calls the run's contract, which is not there yet")


def place(chain: EmbeddedChain, block: BlockRecord, run: RunFile) -> tuple[int | None, int | None]:
    """Round and member of a block's first readable transaction, as it claims, the member only where it is alone; None
    for what cannot be read.
    """
    contract = Web3().eth.contract(abi=Artifact.load().abi)
    for raw in block.transactions:
        try:
            arguments = contract.decode_function_input(_call_of(raw)[1])[1]
            sender = Account.recover_transaction(raw)
            member, _ = ChainClient(chain.web3, None, run.contract).call("memberOf", sender)
        except Exception:  # it was tampered with: that nothing can be read of it is an answer too
            continue
        return arguments.get("round"), (member or None) if len(block.transactions) == 1 else None
    return None, None


def _call_of(raw: str) -> tuple[bytes, bytes]:
    """The address that a signed transaction of our type calls, empty where it creates a contract, and its data."""
    fields = TypedTransaction.from_bytes(HexBytes(raw)).as_dict()
    return bytes(fields["to"]), bytes(fields["data"])


@contextmanager
def explain(what: str, round: int | None = None) -> Iterator[None]:
    """Turns what hostile content makes our code raise into VerificationError(what): a finding, not a defect of ours."""
    try:
        yield
    except VerificationError:
        raise
    except ChainError:
        raise
    except (HMChainError, LookupError, TypeError, ValueError, AttributeError) as fault:
        raise VerificationError(f"{what} ({type(fault).__name__}: {fault})", round=round) from fault
