"""Makes a hospital's folder, as `hmchain init` does: keys, configuration, and the card for the other members."""

from __future__ import annotations

import json
import re
import secrets
import shutil
from importlib.resources import files
from pathlib import Path

from hmchain.card import Card
from hmchain.errors import StorageError, UsageError
from hmchain.files import write_whole
from trainers import keystore
from trainers.config import FILE

CARD, KEYS = "member.json", "keys"


def create(
    folder: Path, name: str, password: str, password_file: Path | None = None, work: int = keystore.WORK
) -> Card:
    """Makes the folder, completely or not at all. Returns the card. work is scrypt's N.

    Raises UsageError where the folder exists and is not empty, or name or password cannot be used; StorageError.
    """
    if not password:
        raise UsageError("the password is empty")
    if not folder.name:
        raise UsageError(f"{folder} is where you are: name a new folder")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} exists and is not empty")
    draft = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")
    try:
        draft.mkdir(parents=True, mode=0o700)
        (draft / KEYS).mkdir(mode=0o700)
        identity = keystore.create(draft / KEYS, password, work)
        card = Card(name, identity.account.address, identity.encryption.public)
        card.write(draft / CARD)
        write_whole(draft / FILE, configuration(name, password_file).encode())
        draft.replace(folder)
    except OSError as fault:
        raise StorageError(f"cannot make {folder}: {fault.strerror}") from fault
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return card


def configuration(name: str, password_file: Path | None = None, **changes: str) -> str:
    """The text of a commented hospital.toml. `changes` are values to set, as TOML, by key."""
    text = files("trainers").joinpath(FILE).read_text(encoding="utf8")
    line = '# password_file = "password"         # where it is not asked for on a terminal'
    if password_file is not None:
        line = f"password_file = {json.dumps(str(password_file.resolve()))}"
    values = {"{name}": json.dumps(name, ensure_ascii=False), "{password_file}": line}
    text = re.sub(r"\{name\}|\{password_file\}", lambda found: values[found[0]], text)
    for key, value in changes.items():
        start = text.index(f"\n{key} = ") + 1
        text = text[:start] + f"{key} = {value}" + text[text.index("\n", start) :]
    return text
