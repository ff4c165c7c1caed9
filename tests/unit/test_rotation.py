"""Rotating keys: cut short anywhere and done again, a member has the new keys and still reads the old envelopes."""

from __future__ import annotations

import resource
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account

from coordinator import rotation
from coordinator.deploy import found
from coordinator.rotation import NEXT, rotate
from hmchain.chain import ChainClient
from hmchain.embedded import EmbeddedChain
from hmchain.envelope import seal, unseal
from hmchain.errors import ContractError, StorageError, UsageError
from hmchain.history import History
from hmchain.identity import MemberIdentity
from hmchain.ledger import JobFeed
from trainers import keystore
from trainers.config import KeyFiles
from trainers.keystore import ENCRYPTION, LIGHT, OPERATOR, RETIRED

PASSWORD, DEPLOYER = "correct horse", Account.create()


class Cut(Exception):
    """The process ends here."""


class Hospital:
    """A member of a consortium of two, with its keys on disk."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.files = KeyFiles(operator=folder / OPERATOR, encryption=folder / ENCRYPTION)
        self.folder = folder
        self.old = keystore.create(folder, PASSWORD, LIGHT)
        self.chain = EmbeddedChain([DEPLOYER.address, self.old.account.address])
        members = [(self.old.account.address, self.old.encryption.public, b"H".ljust(32, b"\0"))]
        members.append((Account.create().address, b"\1" * 32, b"I".ljust(32, b"\0")))
        self.client, self.deployment = found(self.chain.web3, DEPLOYER, members)

    def history(self) -> History:
        return JobFeed(self.client, self.deployment.block).poll()

    def rotate(self) -> MemberIdentity:
        return rotate(self.chain.web3, self.client.address, self.files, PASSWORD, self.history().member_of)

    def keys(self) -> keystore.Keys:
        return keystore.unlock(self.files.operator, self.files.encryption, PASSWORD)

    def rotations(self) -> int:
        """That were completed."""
        events = self.client.events(0, self.client.head())
        return sum(event.name == "RotationCompleted" for event in events)


@pytest.fixture
def hospital(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hospital:
    monkeypatch.setattr(keystore.create, "__defaults__", (LIGHT,))  # scrypt as hard as it should be takes a second
    return Hospital(tmp_path / "keys")


def has_rotated(hospital: Hospital, new: MemberIdentity) -> bool:
    """On chain and on disk: the new keys in use, the old ones kept, nothing half done."""
    history, keys = hospital.history(), hospital.keys()
    assert (history.members[1], history.keys[1]) == (new.account.address, new.encryption.public)
    assert history.member_of(hospital.old.account.address) is None
    assert keys.identity.account.key == new.account.key
    assert keys.identity.encryption == new.encryption
    assert set(keys.earlier) == {hospital.old.encryption}
    assert unseal(seal(b"old", [hospital.old.encryption.public]), keys.earlier[0]) == b"old"
    assert {path.name for path in hospital.folder.iterdir()} == {OPERATOR, ENCRYPTION, RETIRED}
    return True


# ---------------------------------------------------------------- happy path


def test_a_member_has_new_keys_and_the_old_ones_stay_readable(hospital: Hospital) -> None:
    new = hospital.rotate()
    assert new.account.key != hospital.old.account.key
    assert new.encryption != hospital.old.encryption
    assert has_rotated(hospital, new)
    assert hospital.rotations() == 1
    retired = hospital.folder / RETIRED
    assert {path.name for path in retired.iterdir()} == {f"0001-{OPERATOR}", f"0001-{ENCRYPTION}"}
    kept = keystore.unlock(retired / f"0001-{OPERATOR}", retired / f"0001-{ENCRYPTION}", PASSWORD).identity
    assert kept.account.key == hospital.old.account.key
    for path in hospital.folder.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)


def test_the_new_account_can_act_and_the_old_one_cannot(hospital: Hospital) -> None:
    new = hospital.rotate()
    ChainClient(hospital.chain.web3, new.account, hospital.client.address).transact("commitDataset", b"\1" * 32, 5)
    old = ChainClient(hospital.chain.web3, hospital.old.account, hospital.client.address)
    with pytest.raises(ContractError, match="NotActiveMember"):
        old.transact("commitDataset", b"\2" * 32, 5)


def test_where_gas_has_a_price_the_new_account_gets_half(hospital: Hospital) -> None:
    eth = hospital.chain.web3.eth
    before = eth.get_balance(hospital.old.account.address)
    new = hospital.rotate()
    assert eth.get_balance(new.account.address) == pytest.approx(before / 2, rel=0.01)
    assert eth.get_balance(hospital.old.account.address) == pytest.approx(before / 2, rel=0.01)


def test_the_transfer_to_the_new_account_has_the_tip_that_the_node_wants(hospital: Hospital) -> None:
    hospital.rotate()
    eth = hospital.chain.web3.eth
    blocks = [eth.get_block(number, full_transactions=True) for number in range(eth.block_number + 1)]
    (transfer,) = [each for block in blocks for each in block["transactions"] if each["value"]]
    receipt = eth.get_transaction_receipt(transfer["hash"])
    base = eth.get_block(receipt["blockNumber"])["baseFeePerGas"]
    assert receipt["effectiveGasPrice"] - base == eth.max_priority_fee > 0


def test_a_member_may_rotate_again(hospital: Hospital) -> None:
    first = hospital.rotate()
    second = hospital.rotate()
    assert hospital.keys().identity.account.key == second.account.key
    assert hospital.keys().earlier == (first.encryption, hospital.old.encryption)
    assert hospital.history().members[1] == second.account.address


# ---------------------------------------------------------------- cut short


def instead(original: Callable[..., Any], when: Callable[..., bool]) -> Callable[..., Any]:
    """A function that ends the process where it is called as described."""

    def call(*arguments: Any, **options: Any) -> Any:
        if when(*arguments):
            raise Cut
        return original(*arguments, **options)

    return call


CUTS: dict[str, tuple[Any, str, Callable[..., bool]]] = {
    "before the keys are complete": (keystore, "write_secret", lambda path, data: path.name == ENCRYPTION),
    "before the new account is paid": (rotation, "_pay", lambda *_: True),
    "before the rotation is announced": (ChainClient, "transact", lambda self, call, *_: call == "announceRotation"),
    "before the rotation is complete": (ChainClient, "transact", lambda self, call, *_: call == "completeRotation"),
    "before anything is put in place": (rotation, "_put_in_place", lambda *_: True),
    "before the old keys are kept": (rotation, "write_secret", lambda *_: True),
    "before the old account is kept": (rotation, "write_secret", lambda path, data: path.name.endswith(OPERATOR)),
    "before the account is replaced": (Path, "replace", lambda path, to: path.parent.name == NEXT),
    "before the encryption key is replaced": (
        Path,
        "replace",
        lambda path, to: path.parent.name == NEXT and path.name == ENCRYPTION,
    ),
}


@pytest.mark.parametrize("cut", CUTS)
def test_cut_short_it_is_done_again_with_the_same_keys(
    cut: str, hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, name, when = CUTS[cut]
    with monkeypatch.context() as patched:
        patched.setattr(owner, name, instead(getattr(owner, name), when))
        with pytest.raises(Cut):
            hospital.rotate()
    prepared = hospital.folder / NEXT / OPERATOR
    announced = keystore.address_of(prepared) if prepared.exists() else None
    new = hospital.rotate()
    assert has_rotated(hospital, new)
    assert announced in (new.account.address, None)
    assert hospital.rotations() == 1


@pytest.mark.parametrize("kept", ["announceRotation", "completeRotation"])
def test_where_the_chain_was_set_back_since_the_same_keys_take_over_again(
    kept: str, hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To before the transaction; retired keys of two rotations, of which the second was lost."""
    hospital.rotate()
    lost: list[Any] = []

    def note(client: ChainClient, call: str, *arguments: Any) -> Any:
        if call == kept:
            lost.append(hospital.chain.web3.provider.ethereum_tester.take_snapshot())  # type: ignore[attr-defined]
        return transact(client, call, *arguments)

    transact = ChainClient.transact
    with monkeypatch.context() as patched:
        patched.setattr(ChainClient, "transact", note)
        new = hospital.rotate()
    hospital.chain.web3.provider.ethereum_tester.revert_to_snapshot(lost[0])  # type: ignore[attr-defined]
    assert hospital.history().member_of(new.account.address) is None
    assert hospital.rotate().account.key == new.account.key
    assert hospital.history().member_of(new.account.address) == 1
    assert hospital.keys().identity.account.key == new.account.key
    assert {path.name for path in hospital.folder.iterdir()} == {OPERATOR, ENCRYPTION, RETIRED}


def test_a_disk_that_is_full_when_keys_are_kept_leaves_them_usable(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = rotation._put_in_place

    def on_a_full_disk(*arguments: Any) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
        try:
            put(*arguments)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    with monkeypatch.context() as patched:
        patched.setattr(rotation, "_put_in_place", on_a_full_disk)
        with pytest.raises(StorageError):
            hospital.rotate()
    assert hospital.keys().identity.account.key == hospital.old.account.key
    assert has_rotated(hospital, hospital.rotate())


# ---------------------------------------------------------------- what is refused


def test_who_is_no_member_has_nothing_to_rotate(hospital: Hospital, tmp_path: Path) -> None:
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    identity = keystore.create(stranger, PASSWORD, LIGHT)
    files = KeyFiles(operator=stranger / OPERATOR, encryption=stranger / ENCRYPTION)
    with pytest.raises(UsageError, match=f"account {identity.account.address} is no member's: there is nothing to rot"):
        rotate(hospital.chain.web3, hospital.client.address, files, PASSWORD, hospital.history().member_of)
    assert keystore.unlock(files.operator, files.encryption, PASSWORD).identity.account.key == identity.account.key


def test_the_wrong_password_rotates_nothing(hospital: Hospital) -> None:
    with pytest.raises(UsageError, match="does not open"):
        rotate(hospital.chain.web3, hospital.client.address, hospital.files, "wrong", hospital.history().member_of)
    assert {path.name for path in hospital.folder.iterdir()} == {OPERATOR, ENCRYPTION}


def test_a_folder_that_cannot_be_written_to_is_one_line(hospital: Hospital, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(hospital.folder, elsewhere)
    (elsewhere / f"{NEXT}.draft").write_text("in the way")
    files = KeyFiles(operator=elsewhere / OPERATOR, encryption=elsewhere / ENCRYPTION)
    with pytest.raises(StorageError, match=rf"^cannot make .*{NEXT}: File exists$"):
        rotate(hospital.chain.web3, hospital.client.address, files, PASSWORD, hospital.history().member_of)


def test_cut_short_before_the_empty_folder_is_gone_it_can_still_be_done_again(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(Path, "rmdir", instead(Path.rmdir, lambda path: path.name == rotation.NEXT))
        with pytest.raises(Cut):
            hospital.rotate()
    new = hospital.keys().identity
    assert hospital.rotate().account.key == new.account.key or hospital.rotations() == 2
