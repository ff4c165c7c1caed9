"""Executes a recorded ledger again, and says where it fails."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from eth_account import Account
from eth_account.typed_transactions import TypedTransaction
from hexbytes import HexBytes
from web3 import Web3

from coordinator.folder import RunFile
from hmchain.chain import ChainClient
from hmchain.contract import Artifact
from hmchain.embedded import BlockRecord, EmbeddedChain
from hmchain.errors import ChainError, HMChainError, VerificationError


def replay(chain: EmbeddedChain, blocks: Iterable[BlockRecord], run: RunFile) -> None:
    """Executes the blocks in order. Raises VerificationError at the first that does not have its recorded hash."""
    done = 0
    for block in blocks:
        try:
            chain.replay(block)
        except VerificationError as fault:
            round, member = place(chain, block, run)
            raise VerificationError(fault.reason, round, member) from fault
        done += 1
    if not done:
        raise VerificationError("the ledger holds no block")


def place(chain: EmbeddedChain, block: BlockRecord, run: RunFile) -> tuple[int | None, int | None]:
    """Round and member of a block's first readable transaction, as it claims; None for what cannot be read."""
    contract = Web3().eth.contract(abi=Artifact.load().abi)
    for raw in block.transactions:
        try:
            arguments = contract.decode_function_input(_input_of(raw))[1]
            sender = Account.recover_transaction(raw)
            member, _ = ChainClient(chain.web3, None, run.contract).call("memberOf", sender)
        except Exception:  # it was tampered with: that nothing can be read of it is an answer too
            continue
        return arguments.get("round"), member or None
    return None, None


def _input_of(raw: str) -> bytes:
    """The call data of a signed transaction of our type."""
    return bytes(HexBytes(TypedTransaction.from_bytes(HexBytes(raw)).as_dict()["data"]))


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
