"""A hospital's keys on disk: whoever has the password has them, other tools' files included, and nobody else."""

from __future__ import annotations

import json
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from hypothesis import given, settings
from hypothesis import strategies as st

from hmchain.envelope import new_identity, seal, unseal
from hmchain.errors import StorageError, UsageError
from hmchain.files import write_secret
from hmchain.identity import MemberIdentity
from trainers.keystore import ENCRYPTION, LIGHT, OPERATOR, RETIRED, Keys, address_of, create, read_password, unlock

PASSWORD = "correct horse"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, MemberIdentity]:
    """A folder of keys, made once; tests that change something copy it."""
    folder = tmp_path_factory.mktemp("keys")
    return folder, create(folder, PASSWORD, LIGHT)


@pytest.fixture
def keys(made: tuple[Path, MemberIdentity], tmp_path: Path) -> Path:
    return Path(shutil.copytree(made[0], tmp_path / "keys"))


def opened(folder: Path, password: str = PASSWORD) -> Keys:
    return unlock(folder / OPERATOR, folder / ENCRYPTION, password)


def locked(secret: bytes, kdf: str = "scrypt") -> dict[str, Any]:
    return dict(Account.encrypt(secret, PASSWORD, kdf=kdf, iterations=LIGHT))  # type: ignore[arg-type]


# ---------------------------------------------------------------- happy path


def test_keys_survive_their_files(made: tuple[Path, MemberIdentity]) -> None:
    folder, identity = made
    found = opened(folder)
    assert found.identity.account.key == identity.account.key
    assert found.identity.encryption == identity.encryption
    assert found.identity.salt_secret == identity.salt_secret
    assert found.identities == (identity.encryption,)
    assert unseal(seal(b"hello", [identity.encryption.public]), found.identity.encryption) == b"hello"


def test_the_files_are_web3_secret_storage_for_their_owner_alone(made: tuple[Path, MemberIdentity]) -> None:
    folder, identity = made
    assert {path.name for path in folder.iterdir()} == {OPERATOR, ENCRYPTION}
    for path in folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        content = json.loads(path.read_text())
        assert content["version"] == 3
        assert (content["crypto"]["cipher"], content["crypto"]["kdf"]) == ("aes-128-ctr", "scrypt")
    assert Account.decrypt(json.loads((folder / OPERATOR).read_text()), PASSWORD) == identity.account.key


def test_no_secret_is_in_the_files_or_shown(made: tuple[Path, MemberIdentity]) -> None:
    folder, identity = made
    secrets = (identity.account.key.hex(), identity.encryption.raw().hex(), identity.encryption.secret, PASSWORD)
    shown = repr(opened(folder)) + "".join(path.read_text() for path in folder.iterdir())
    assert not [secret for secret in secrets if secret.removeprefix("0x").lower() in shown.lower()]


def test_the_account_is_read_without_the_password(made: tuple[Path, MemberIdentity]) -> None:
    folder, identity = made
    assert address_of(folder / OPERATOR) == identity.account.address


def test_two_folders_have_nothing_in_common(made: tuple[Path, MemberIdentity], tmp_path: Path) -> None:
    other = create(tmp_path, PASSWORD, LIGHT)
    assert other.account.key != made[1].account.key
    assert other.encryption != made[1].encryption
    assert other.salt_secret != made[1].salt_secret


def test_the_salt_secret_comes_from_the_operator_key_alone(keys: Path, made: tuple[Path, MemberIdentity]) -> None:
    """Whoever restores the operator key from a backup can reveal what it committed to."""
    write_secret(keys / ENCRYPTION, json.dumps(locked(new_identity().raw())).encode())
    assert opened(keys).identity.salt_secret == made[1].salt_secret
    assert made[1].salt_secret not in (bytes(made[1].account.key), b"")


@pytest.mark.parametrize("kdf", ["pbkdf2", "scrypt"])
def test_a_keystore_of_another_tool_opens(kdf: str, keys: Path) -> None:
    account = Account.create()
    content = locked(bytes(account.key), kdf)
    content["Crypto"] = content.pop("crypto")  # as early geth wrote it
    write_secret(keys / OPERATOR, json.dumps(content).encode())
    assert opened(keys).identity.account.key == account.key
    assert address_of(keys / OPERATOR) == account.address


def test_a_password_may_hold_any_text(tmp_path: Path) -> None:
    create(tmp_path, "pass wörter 🔑", LIGHT)
    opened(tmp_path, "pass wörter 🔑")


# ---------------------------------------------------------------- retired keys


def test_retired_keys_stay_readable_the_newest_first(keys: Path) -> None:
    earlier = [new_identity() for _ in range(3)]
    (keys / RETIRED).mkdir()
    for number, identity in enumerate(earlier, start=1):
        write_secret(keys / RETIRED / f"{number:04d}-{ENCRYPTION}", json.dumps(locked(identity.raw())).encode())
        write_secret(keys / RETIRED / f"{number:04d}-{OPERATOR}", json.dumps(locked(identity.raw())).encode())
    found = opened(keys)
    assert found.earlier == tuple(reversed(earlier))
    assert found.identities == (found.identity.encryption, *found.earlier)


def test_a_retired_key_under_another_password_is_named(keys: Path) -> None:
    (keys / RETIRED).mkdir()
    path = keys / RETIRED / f"0001-{ENCRYPTION}"
    content = Account.encrypt(new_identity().raw(), "an older one", kdf="scrypt", iterations=LIGHT)
    write_secret(path, json.dumps(content).encode())
    with pytest.raises(UsageError, match=rf"the password does not open the retired encryption key {path}"):
        opened(keys)


# ---------------------------------------------------------------- what is refused


def test_the_wrong_password_opens_nothing(made: tuple[Path, MemberIdentity]) -> None:
    for password in ("", "correct horsf", PASSWORD + " ", PASSWORD.upper()):
        with pytest.raises(UsageError, match=r"^the password does not open the operator's keystore ") as caught:
            opened(made[0], password)
        assert "correct" not in str(caught.value)


def test_two_keys_under_two_passwords_are_told_apart(keys: Path) -> None:
    content = Account.encrypt(new_identity().raw(), "another", kdf="scrypt", iterations=LIGHT)
    write_secret(keys / ENCRYPTION, json.dumps(content).encode())
    with pytest.raises(UsageError, match="the password does not open the encryption key"):
        opened(keys)


def test_an_empty_password_makes_no_keys(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the password is empty"):
        create(tmp_path, "", LIGHT)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_gets_no_keys(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot write"):
        create(tmp_path / "nowhere", PASSWORD, LIGHT)


@pytest.mark.parametrize("name", [OPERATOR, ENCRYPTION])
def test_a_key_that_others_can_read_is_refused(name: str, keys: Path) -> None:
    (keys / name).chmod(0o640)
    with pytest.raises(UsageError, match=r"can be read by others \(mode 0640\)"):
        opened(keys)


@pytest.mark.parametrize("name", [OPERATOR, ENCRYPTION])
def test_a_key_that_is_not_there_is_named(name: str, keys: Path) -> None:
    (keys / name).unlink()
    with pytest.raises(UsageError, match=rf"{name} cannot be read: No such file"):
        opened(keys)


def crypto(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda content: content["crypto"].update(changes)


def kdfparams(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda content: content["crypto"]["kdfparams"].update(changes)


DAMAGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "no version": lambda c: c.pop("version"),
    "another version": lambda c: c.update(version=2),
    "no crypto": lambda c: c.pop("crypto"),
    "crypto is a text": lambda c: c.update(crypto="x"),
    "crypto is a list": lambda c: c.update(crypto=[]),
    "no kdf": lambda c: c["crypto"].pop("kdf"),
    "another kdf": crypto(kdf="argon2"),
    "kdf is a list": crypto(kdf=[]),
    "no kdfparams": lambda c: c["crypto"].pop("kdfparams"),
    "kdfparams is null": crypto(kdfparams=None),
    "no salt": lambda c: c["crypto"]["kdfparams"].pop("salt"),
    "salt is no hex": kdfparams(salt="zz"),
    "salt is null": kdfparams(salt=None),
    "n is a text": kdfparams(n="4096"),
    "n is no power of two": kdfparams(n=4095),
    "n is zero": kdfparams(n=0),
    "no mac": lambda c: c["crypto"].pop("mac"),
    "mac is a number": crypto(mac=7),
    "ciphertext is null": crypto(ciphertext=None),
    "no iv": lambda c: c["crypto"]["cipherparams"].pop("iv"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("name", [OPERATOR, ENCRYPTION])
def test_a_damaged_key_is_refused_in_one_line(
    name: str, damage: Callable[[dict[str, Any]], object], keys: Path
) -> None:
    content = json.loads((keys / name).read_text())
    damage(content)
    write_secret(keys / name, json.dumps(content).encode())
    with pytest.raises(UsageError, match=rf"{name} is no Web3 Secret Storage file$"):
        opened(keys)


@pytest.mark.parametrize("part", ["ciphertext", "mac"])
def test_a_key_with_a_flipped_bit_does_not_open(part: str, keys: Path) -> None:
    content = json.loads((keys / OPERATOR).read_text())
    text = content["crypto"][part]
    content["crypto"][part] = f"{int(text[0], 16) ^ 1:x}{text[1:]}"
    write_secret(keys / OPERATOR, json.dumps(content).encode())
    with pytest.raises(UsageError, match="does not open"):
        opened(keys)


@given(st.binary(max_size=60) | st.sampled_from([b"[]", b"null", b"7", b"{}", b"[" * 99_999]))
@settings(max_examples=25, deadline=None)
def test_other_bytes_are_refused_and_nothing_else_is_raised(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "no_key.json"
    write_secret(path, data)
    with pytest.raises(UsageError, match="is no Web3 Secret Storage file"):
        unlock(path, path, PASSWORD)
    with pytest.raises(UsageError, match=r"is no Web3 Secret Storage file|names no account"):
        address_of(path)


@pytest.mark.parametrize("address", [None, 7, "", "0x12", "z" * 40, ["0x" + "11" * 20]], ids=repr)
def test_a_keystore_that_names_no_account_is_refused(address: object, keys: Path) -> None:
    """Some tools leave it out, for privacy; the account is then known only with the password."""
    content = json.loads((keys / OPERATOR).read_text())
    write_secret(keys / OPERATOR, json.dumps(content | {"address": address}).encode())
    with pytest.raises(UsageError, match="names no account"):
        address_of(keys / OPERATOR)
    opened(keys)


# ---------------------------------------------------------------- the password's file


@pytest.mark.parametrize(
    ("content", "password"),
    [
        (b"x", "x"),
        (b"x\n", "x"),
        (b"x\r\n", "x"),
        (b"x\n\n", "x\n"),
        (b" x ", " x "),
        ("schlüssel\n".encode(), "schlüssel"),
    ],
)
def test_the_password_is_the_files_text_without_its_last_line_break(
    content: bytes, password: str, tmp_path: Path
) -> None:
    write_secret(tmp_path / "password", content)
    assert read_password(tmp_path / "password") == password


@pytest.mark.parametrize(
    ("content", "why"), [(b"", "is empty"), (b"\n", "is empty"), (b"\r\n", "is empty"), (b"\xff\xfe", "is not text")]
)
def test_a_file_without_a_password_is_refused(content: bytes, why: str, tmp_path: Path) -> None:
    write_secret(tmp_path / "password", content)
    with pytest.raises(UsageError, match=why):
        read_password(tmp_path / "password")


def test_a_password_that_others_can_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("x")
    (tmp_path / "password").chmod(0o644)
    with pytest.raises(UsageError, match=r"the password file .* can be read by others"):
        read_password(tmp_path / "password")


def test_a_keystore_that_opens_to_another_key_than_it_names_is_refused(tmp_path: Path) -> None:
    """The format's MAC leaves the IV out, so a damaged one gives another key and no error."""
    create(tmp_path, "correct horse", LIGHT)
    content = json.loads((tmp_path / OPERATOR).read_text())
    iv = content["crypto"]["cipherparams"]["iv"]
    content["crypto"]["cipherparams"]["iv"] = f"{int(iv[0], 16) ^ 1:x}{iv[1:]}"
    write_secret(tmp_path / OPERATOR, json.dumps(content).encode())
    with pytest.raises(UsageError, match="is no Web3 Secret Storage file"):
        unlock(tmp_path / OPERATOR, tmp_path / ENCRYPTION, "correct horse")
