"""What a node remembers across restarts: one small file, and a lock that keeps a second node off it.

The chain is the truth; the file has only what the chain cannot know: a signed transaction that may not have reached it,
and the score words behind a commitment, without which it could not be revealed.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eth_account import Account
from eth_utils import decode_hex, encode_hex

from hmchain.consortium import Consortium
from hmchain.errors import StorageError, UsageError
from hmchain.files import read_secret, write_secret
from hmchain.jsontext import parse, whole

FORMAT = "hmchain-node/1"


@dataclass
class NodeState:
    """A node's state file. It is the ChainClient's Outbox, and holds the ballots of every job."""

    path: Path
    consortium: Consortium
    outbox: tuple[int, bytes] | None = None
    ballots: dict[str, list[int]] = field(default_factory=dict)  # score words by "job/round"

    @classmethod
    def open(cls, path: Path, consortium: Consortium) -> NodeState:
        """Reads the file, if there is one. Raises UsageError where it belongs to another deployment, or is damaged."""
        if not path.exists():
            return cls(path, consortium)
        try:
            content = parse(read_secret(path, "the node's state"))
            if content["format"] != FORMAT:
                raise UsageError(f"{path} is not a {FORMAT} file but {content['format']!r:.60}")
            told = content["format"], content["chain_id"], content["contract"]
            outbox = content["outbox"]
            noted = None if outbox is None else (whole(outbox["nonce"]), _transaction(outbox["raw"]))
            ballots = {_round_key(key): list(map(whole, words)) for key, words in content["ballots"].items()}
        except (ValueError, KeyError, TypeError, AttributeError) as fault:
            raise UsageError(f"{path} is damaged; without it (move it away) a running round may be missed") from fault
        if told != (FORMAT, consortium.chain_id, consortium.contract):
            raise UsageError(f"{path} belongs to contract {told[2]} on chain {told[1]}, not to the one configured")
        return cls(path, consortium, noted, ballots)

    def noted(self) -> tuple[int, bytes] | None:
        """See Outbox."""
        return self.outbox

    def note(self, nonce: int, raw: bytes) -> None:
        """See Outbox."""
        self._save(outbox=(nonce, raw))

    def clear(self) -> None:
        """See Outbox."""
        self._save(outbox=None)

    def ballots_of(self, job: int) -> MutableMapping[int, list[int]]:
        """The score words of a job by round, as a mapping whose changes are on disk once they are made."""
        return _Ballots(self, job)

    def keep(self, ballots: dict[str, list[int]]) -> None:
        """Replaces the ballots. Raises StorageError."""
        self._save(ballots=ballots)

    def _save(self, **changes: Any) -> None:
        """Writes the changes to disk before they are made in memory. Raises StorageError; then nothing has changed."""
        outbox, ballots = changes.get("outbox", self.outbox), changes.get("ballots", self.ballots)
        content = {
            "format": FORMAT,
            "chain_id": self.consortium.chain_id,
            "contract": self.consortium.contract,
            "outbox": outbox and {"nonce": outbox[0], "raw": encode_hex(outbox[1])},
            "ballots": ballots,
        }
        write_secret(self.path, json.dumps(content, indent=1).encode() + b"\n")
        self.outbox, self.ballots = outbox, ballots


def _transaction(text: str) -> bytes:
    """A signed transaction. Raises ValueError for any other bytes: no chain would ever take them."""
    raw = decode_hex(text)
    try:
        Account.recover_transaction(raw)
    except Exception as fault:  # rlp and eth_account have many for bytes that are not what they expect
        raise ValueError("no signed transaction") from fault
    return raw


def _round_key(key: str) -> str:
    """A ballot's key. Raises ValueError for one that is not "job/round"."""
    if not re.fullmatch(r"[0-9]+/[0-9]+", key):
        raise ValueError(f"{key!r} names no round")
    return key


class _Ballots(MutableMapping[int, list[int]]):
    """One job's part of the ballots."""

    def __init__(self, state: NodeState, job: int) -> None:
        self._state = state
        self._prefix = f"{job}/"

    def __getitem__(self, round: int) -> list[int]:
        return self._state.ballots[f"{self._prefix}{round}"]

    def __setitem__(self, round: int, words: list[int]) -> None:
        self._state.keep({**self._state.ballots, f"{self._prefix}{round}": words})

    def __delitem__(self, round: int) -> None:
        key = f"{self._prefix}{round}"
        if key not in self._state.ballots:
            raise KeyError(round)
        self._state.keep({name: words for name, words in self._state.ballots.items() if name != key})

    def __iter__(self) -> Iterator[int]:
        return (
            int(key.removeprefix(self._prefix)) for key in list(self._state.ballots) if key.startswith(self._prefix)
        )

    def __len__(self) -> int:
        return sum(1 for _ in self)


@contextmanager
def sole_use(path: Path) -> Iterator[None]:
    """Locks a node's state for this process. Raises UsageError where another process has it, StorageError."""
    lock = path.with_name(f"{path.name}.lock")
    try:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as fault:
        raise StorageError(f"cannot use {lock}: {fault.strerror}") from fault
    with _locked(handle, path):
        yield


@contextmanager
def sole_account(keystore: Path) -> Iterator[None]:
    """Locks an account for this process: a node with another configuration, and so another state, may have it.

    The lock is on the keystore itself, as nothing may be writable beside it. Raises UsageError where another process
    has it; a keystore that cannot be opened is left to whoever reads it.
    """
    try:
        handle = os.open(keystore, os.O_RDONLY)
    except OSError:
        yield
        return
    with _locked(handle, keystore, needed=False):
        yield


@contextmanager
def _locked(handle: int, path: Path, needed: bool = True) -> Iterator[None]:
    """Holds the lock on an open file, and closes it. Raises UsageError where another process holds it.

    needed: also where there can be no lock, as on NFS on what is only read.
    """
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as fault:
            if not (needed or isinstance(fault, BlockingIOError)):
                yield
                return
            raise UsageError(f"another process uses {path}: a hospital runs one node") from None
        yield
    finally:
        os.close(handle)
