"""Rotating a hospital's keys: a new operator account and a new encryption key, in two steps on chain.

Cut short anywhere, it is done again with the same keys: they wait in keys/next/ until they are the ones in use. Where
the chain was set back after that, the retired keys hand over to them once more.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from eth_account.signers.local import LocalAccount
from web3 import Web3
from web3.types import Wei

from hmchain.chain import ChainClient
from hmchain.errors import StorageError, UsageError
from hmchain.ethereum import answering, base_fee, fees, wait_for_receipt
from hmchain.files import write_secret
from hmchain.identity import MemberIdentity
from trainers import keystore
from trainers.config import KeyFiles
from trainers.keystore import ENCRYPTION, OPERATOR, RETIRED

NEXT = "next"
TRANSFER_GAS = 21_000  # of a plain transfer of ether


def rotate(
    web3: Web3, contract: str, files: KeyFiles, password: str, member_of: Callable[[str], int | None]
) -> MemberIdentity:
    """Makes new keys (or takes up those of an earlier try) and puts them in the old ones' place.

    Raises UsageError, ChainError, StorageError.
    """
    folder = files.operator.parent / NEXT
    present = keystore.unlock(files.operator, files.encryption, password).identity
    if (folder / ENCRYPTION).exists() and not (folder / OPERATOR).exists():  # cut short while they took their places
        _put_in_place(files, folder)
        return keystore.unlock(files.operator, files.encryption, password).identity
    number = member_of(present.account.address)
    earlier = None if number else _earlier_member(files, password, member_of)
    if earlier is not None:
        _take_over(web3, contract, *earlier, present)
        return present
    new = _next_keys(folder, password)
    if number is not None:
        _take_over(web3, contract, present, number, new)
    elif member_of(new.account.address) is None:
        raise UsageError(f"account {present.account.address} is no member's: there is nothing to rotate")
    _put_in_place(files, folder)
    return new


def _take_over(web3: Web3, contract: str, old: MemberIdentity, number: int, new: MemberIdentity) -> None:
    """Puts new keys in the place of member `number`'s old ones, on chain."""
    _pay(web3, old.account, new.account.address)
    ChainClient(web3, old.account, contract).transact("announceRotation", new.account.address, new.encryption.public)
    ChainClient(web3, new.account, contract).transact("completeRotation", number)


def _earlier_member(
    files: KeyFiles, password: str, member_of: Callable[[str], int | None]
) -> tuple[MemberIdentity, int] | None:
    """Retired keys that are a member's, and its number: the chain has lost the rotation that retired them."""
    for operator in sorted((files.encryption.parent / RETIRED).glob(f"*-{OPERATOR}"), reverse=True):
        number = member_of(keystore.address_of(operator))
        if number is not None:
            encryption = operator.with_name(operator.name.replace(OPERATOR, ENCRYPTION))
            return keystore.unlock(operator, encryption, password).identity, number
    return None


def _next_keys(folder: Path, password: str) -> MemberIdentity:
    """New keys, in a folder that is there with both of them or not at all: they may be on chain already."""
    if folder.exists() and any(folder.iterdir()):
        return keystore.unlock(folder / OPERATOR, folder / ENCRYPTION, password).identity
    draft = folder.with_name(f"{NEXT}.draft")
    try:
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        identity = keystore.create(draft, password)
        draft.replace(folder)
    except OSError as fault:
        raise StorageError(f"cannot make {folder}: {fault.strerror}") from fault
    return identity


def _put_in_place(files: KeyFiles, folder: Path) -> None:
    """What is replaced is kept first. The operator goes before the encryption key, which tells how far it got."""
    retired = files.encryption.parent / RETIRED
    try:
        retired.mkdir(mode=0o700, exist_ok=True)
        if (folder / OPERATOR).exists():
            number = len(list(retired.glob(f"*-{OPERATOR}"))) + 1
            for path, name in ((files.encryption, ENCRYPTION), (files.operator, OPERATOR)):
                write_secret(retired / f"{number:04d}-{name}", path.read_bytes())
            (folder / OPERATOR).replace(files.operator)
        (folder / ENCRYPTION).replace(files.encryption)
        folder.rmdir()
    except OSError as fault:
        raise StorageError(f"cannot put the new keys in place: {fault.strerror}; they are in {folder}") from fault


def _pay(web3: Web3, old: LocalAccount, new: str) -> None:
    """Sends half of the old account's balance to the new one, where gas has a price and the new one has nothing yet."""
    with answering():
        base, held = base_fee(web3), web3.eth.get_balance(old.address)
        if not base or web3.eth.get_balance(Web3.to_checksum_address(new)):
            return
        transfer: dict[str, Any] = {
            "to": new,
            "value": Wei(held // 2),
            "gas": TRANSFER_GAS,
            "nonce": web3.eth.get_transaction_count(old.address),
            "chainId": web3.eth.chain_id,
            **fees(web3, base),
        }
        wait_for_receipt(web3, web3.eth.send_raw_transaction(old.sign_transaction(transfer).raw_transaction))
