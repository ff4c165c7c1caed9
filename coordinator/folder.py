"""A run's folder: what `run` writes and `verify` reads.

    run.json        where chain and blobs are, and what was run
    ledger.jsonl    the embedded chain: its genesis accounts, then one block a line
    blobs/<cid>     everything that crossed between parties, sealed
    job.key         the job's reading key, for auditors; readable by its owner only
    summary.json  metrics.jsonl  curves.png     the report, whose digest is on chain
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from coordinator.report import write_text
from hmchain.embedded import BlockRecord, EmbeddedChain
from hmchain.envelope import Identity
from hmchain.errors import StorageError, UsageError, VerificationError

FORMAT = "hmchain-run/1"
RUN, LEDGER, KEY, BLOBS = "run.json", "ledger.jsonl", "job.key", "blobs"
MAX_LINE = 64 * 1024 * 1024


@dataclass(frozen=True)
class RunFile:
    """run.json. chain is "embedded" or a URL; blobs "blobs" (inside the folder) or where they are."""

    chain: str
    chain_id: int
    contract: str
    deployment: str  # hash of the transaction that created the contract
    job: int
    blobs: str
    dataset: str
    dataset_digest: str
    format: str = FORMAT

    def write(self, folder: Path) -> None:
        """Raises StorageError."""
        write_text(folder / RUN, json.dumps(asdict(self), indent=2, sort_keys=True) + "\n")

    @classmethod
    def read(cls, folder: Path) -> RunFile:
        """Raises UsageError where there is no run, VerificationError where there is no sense in it."""
        try:
            content = json.loads((folder / RUN).read_text())
            run = cls(**content)
        except FileNotFoundError as fault:
            raise UsageError(f"{folder} holds no run with a chain ({RUN} is missing)") from fault
        except OSError as fault:
            raise StorageError(f"cannot read {folder / RUN}: {fault.strerror}") from fault
        except (ValueError, TypeError) as fault:
            raise VerificationError(f"{RUN} is not readable: it is not what a run writes") from fault
        kinds: dict[str, type] = {"chain_id": int, "job": int}
        if run.format != FORMAT or any(type(v) is not kinds.get(k, str) for k, v in asdict(run).items()):
            raise VerificationError(f"{RUN} is not a {FORMAT} file")
        return run


class LedgerFile:
    """ledger.jsonl, written as the run goes."""

    def __init__(self, folder: Path, chain: EmbeddedChain) -> None:
        self._path = folder / LEDGER
        self._chain = chain
        self._written = 0
        self._append(json.dumps({"accounts": chain.accounts}, separators=(",", ":")))

    def extend(self) -> None:
        """Writes the blocks mined since the last time. Raises StorageError."""
        for record in self._chain.blocks(after=self._written):
            self._append(record.to_json())
            self._written = record.number

    def _append(self, line: str) -> None:
        try:
            with self._path.open("a") as file:
                file.write(line + "\n")
        except OSError as fault:
            raise StorageError(f"cannot write {self._path}: {fault.strerror}") from fault


def read_ledger(folder: Path) -> tuple[EmbeddedChain, Iterator[BlockRecord]]:
    """An empty chain with the recorded genesis, and the blocks to execute on it. Raises VerificationError."""
    path = folder / LEDGER
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError as fault:
        raise VerificationError(f"{LEDGER} is missing") from fault
    except UnicodeDecodeError as fault:
        raise VerificationError(f"{LEDGER} is not text") from fault
    except OSError as fault:
        raise StorageError(f"cannot read {path}: {fault.strerror}") from fault
    try:
        chain = EmbeddedChain(json.loads(lines[0])["accounts"])
    except Exception as fault:  # whatever a hostile first line makes json, eth-utils or py-evm raise
        raise VerificationError(f"{LEDGER} does not begin with the genesis accounts") from fault
    return chain, (BlockRecord.from_json(line) for line in lines[1:])


def create_folder(folder: Path) -> None:
    """Makes a new run's folder. Raises UsageError if something is there, StorageError if it cannot be made."""
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UsageError(f"{folder} exists and is not empty; name another folder with --out")
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise StorageError(f"cannot make the folder {folder}: {fault.strerror}") from fault


def write_key(folder: Path, key: Identity) -> None:
    """Writes the job's key so that only its owner can read it. Raises StorageError."""
    path = folder / KEY
    try:
        path.touch(mode=0o600)
        path.write_text(f"# the job's reading key: opens every blob of this run\n{key.secret}\n")
    except OSError as fault:
        raise StorageError(f"cannot write {path}: {fault.strerror}") from fault


def read_key(folder: Path) -> Identity:
    """Raises VerificationError where there is none."""
    try:
        return Identity.parse((folder / KEY).read_text())
    except (OSError, UnicodeDecodeError, UsageError) as fault:
        raise VerificationError(f"{KEY} is missing or is no age key: the blobs cannot be opened") from fault


def as_json(value: Any) -> str:
    """One line for machines."""
    return json.dumps(value, sort_keys=True)
