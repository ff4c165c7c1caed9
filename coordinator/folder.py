"""A run's folder: what `run` writes and `verify` reads.

run.json        where chain and blobs are, and what was run
ledger.jsonl    the embedded chain: its genesis accounts, then one block a line
blobs/<cid>     everything that crossed between parties, sealed
job.key         the job's reading key, for auditors; readable by its owner only
summary.json  metrics.jsonl  curves.png     the report, whose digest is on chain
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from errno import EACCES, EIO, EPERM
from io import SEEK_END, BufferedReader
from pathlib import Path

from eth_utils import is_checksum_address

from coordinator.report import MAX_FILE, METRICS, check_file, read_bytes
from hmchain.embedded import BlockRecord, EmbeddedChain
from hmchain.endpoints import shown
from hmchain.envelope import Identity
from hmchain.errors import StorageError, UsageError, VerificationError
from hmchain.files import write_whole
from hmchain.jsontext import parse

FORMAT = "hmchain-run/1"
OF_THE_DISK = (EACCES, EPERM, EIO)  # faults of this machine's disk, which are no evidence against a run
MAX_SMALL = 64 * 1024  # bytes of run.json, and of job.key
MAX_GENESIS = 128 * 1024  # bytes of the ledger's first line; 2,048 accounts take 92 KiB
MAX_BLOCK = 1 << 22  # bytes of any other; the most gas of a transaction (EIP-7825) buys 3.4 MB of hex (EIP-7623)
RUN, LEDGER, KEY, BLOBS = "run.json", "ledger.jsonl", "job.key", "blobs"


@dataclass(frozen=True)
class RunFile:
    """The content of run.json. chain is "embedded" or a URL; blobs is "blobs" (in the folder) or where they are."""

    chain: str
    chain_id: int
    contract: str
    deployment: str  # hash of the transaction that created the contract
    job: int
    blobs: str
    dataset: str
    dataset_digest: str
    format: str = FORMAT

    @property
    def chain_shown(self) -> str:
        """The chain as it may be printed: earlier runs kept what may be secret in its URL, and a user may name one."""
        return self.chain if self.chain == "embedded" else shown(self.chain)

    def on(self, url: str | None) -> RunFile:
        """The same run, whose chain is reached by another URL, where one is given. Raises UsageError where its chain is
        in the folder.
        """
        if url is None:
            return self
        if self.chain == "embedded":
            raise UsageError("the chain of this run is in its folder: leave --chain out")
        return replace(self, chain=url)

    def write(self, folder: Path) -> None:
        """Writes run.json. Raises StorageError."""
        write_whole(folder / RUN, self.to_json().encode())

    def to_json(self) -> str:
        """The text of the file."""
        return json.dumps(asdict(self), indent=2, sort_keys=True) + "\n"

    @classmethod
    def read(cls, folder: Path) -> RunFile:
        """Reads run.json.

        Raises UsageError where there is no run, VerificationError where it is not as a run writes it, StorageError.
        """
        _look_for_run(folder)
        with of_the_run(f"{RUN} is not readable: it is not what a run writes", StorageError, ValueError, TypeError):
            text = read_bytes(folder / RUN, MAX_SMALL).decode()
            run = cls(**parse(text))
        if not run._is_plain() or run.to_json() != text:
            raise VerificationError(f"{RUN} is not a {FORMAT} file as a run writes it")
        return run

    def _is_plain(self) -> bool:
        """Whether every field has its type and form."""
        numbers: dict[str, type] = {"chain_id": int, "job": int}
        types = all(type(value) is numbers.get(name, str) for name, value in asdict(self).items())
        types = types and 0 < self.chain_id < 2**63 and 0 < self.job < 2**63
        chain = types and (self.chain == "embedded" or self.chain.startswith(("http://", "https://")))
        hash_ = chain and self.chain.isprintable() and re.fullmatch("0x[0-9a-f]{64}", self.deployment)
        return bool(hash_ and is_checksum_address(self.contract) and self.format == FORMAT)


def _look_for_run(folder: Path) -> None:
    """Raises UsageError where a folder holds no run, StorageError where it cannot be read."""
    try:
        (folder / RUN).lstat()
    except OSError as fault:
        if fault.errno in OF_THE_DISK:
            raise StorageError(f"cannot read {folder}: {fault.strerror}") from fault
        raise UsageError(f"{folder} holds no run with a chain ({RUN} is missing)") from fault


@contextmanager
def of_the_run(what: str, *faults: type[Exception]) -> Iterator[None]:
    """Turns these faults into VerificationError(what), or, where the local disk is at fault, into StorageError."""
    try:
        yield
    except VerificationError:
        raise
    except faults as fault:
        cause = fault.__cause__ if isinstance(fault, StorageError) else fault
        if isinstance(cause, OSError) and cause.errno in OF_THE_DISK:
            if isinstance(fault, StorageError):
                raise
            raise StorageError(f"cannot read {cause.filename}: {cause.strerror}") from cause
        raise VerificationError(what) from fault


class LedgerFile:
    """ledger.jsonl, to which blocks are appended as the run goes on."""

    def __init__(self, folder: Path, chain: EmbeddedChain) -> None:
        self._path = folder / LEDGER
        self._chain = chain
        self._written = 0
        self._append(genesis_line(chain))

    def extend(self) -> None:
        """Appends the blocks mined since the last call. Raises StorageError."""
        for record in self._chain.blocks(after=self._written):
            self._append(record.to_json())
            self._written = record.number

    def _append(self, line: str) -> None:
        try:
            with self._path.open("a") as file:
                file.write(line + "\n")
        except OSError as fault:
            raise StorageError(f"cannot write {self._path}: {fault.strerror}") from fault


def genesis_line(chain: EmbeddedChain) -> str:
    """The first line of a ledger file."""
    return json.dumps({"accounts": chain.accounts}, separators=(",", ":"))


def read_ledger(folder: Path) -> tuple[EmbeddedChain, Iterator[BlockRecord]]:
    """An empty chain with the recorded genesis, and the blocks to execute on it.

    Raises VerificationError, StorageError.
    """
    lines = _lines(folder / LEDGER)
    first = next(lines)
    try:
        chain = EmbeddedChain(parse(first)["accounts"])
    except Exception as fault:  # whatever a hostile first line makes json, eth-utils or py-evm raise
        raise VerificationError(f"{LEDGER} does not begin with the genesis accounts") from fault
    if genesis_line(chain) != first:
        raise VerificationError(f"{LEDGER} does not begin with the genesis accounts as a run writes them")
    return chain, map(BlockRecord.from_json, lines)


def _lines(path: Path) -> Iterator[str]:
    """The lines of a ledger, one at a time: a large one takes little memory. Raises VerificationError, StorageError."""
    with of_the_run(f"{LEDGER} is missing or cannot be read", StorageError):
        try:
            check_file(path, MAX_FILE)
            with path.open("rb") as file:
                yield _text(file.readline(MAX_GENESIS))
                _check_end(file)
                while line := file.readline(MAX_BLOCK):
                    yield _text(line)
        except OSError as fault:
            raise StorageError(f"cannot read {path}: {fault.strerror}") from fault


def _check_end(file: BufferedReader) -> None:
    """Raises VerificationError where a ledger's last line is not whole."""
    here = file.tell()
    file.seek(-1, SEEK_END)
    if file.read() != b"\n":
        raise VerificationError(f"the last line of {LEDGER} is not whole: the run was cut short")
    file.seek(here)


def _text(line: bytes) -> str:
    """A line's text, without its end. Bytes that are no text are replaced: no line of ours has any."""
    return line.removesuffix(b"\n").decode(errors="replace")


@contextmanager
def new_folder(folder: Path) -> Iterator[None]:
    """Makes a new run's folder, and takes it away again if the run fails before it leaves anything worth keeping.

    Raises UsageError if something is there, StorageError if it cannot be made.
    """
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UsageError(f"{folder} exists and is not empty; name another folder with --out")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / METRICS).touch(exist_ok=False)  # of two runs that begin at once, one has the folder
    except FileExistsError as fault:
        raise UsageError(f"another run has begun in {folder}; name another folder with --out") from fault
    except OSError as fault:
        raise StorageError(f"cannot make the folder {folder}: {fault.strerror}") from fault
    try:
        yield
    except BaseException:
        if not (folder / RUN).exists():
            shutil.rmtree(folder, ignore_errors=True)
        raise


def write_key(folder: Path, key: Identity) -> None:
    """Writes the job's key so that only its owner can read it. Raises StorageError."""
    path = folder / KEY
    try:
        path.touch(mode=0o600)
        path.write_text(f"# the job's reading key: opens every blob of this run\n{key.secret}\n")
    except OSError as fault:
        raise StorageError(f"cannot write {path}: {fault.strerror}") from fault


def read_key(folder: Path) -> Identity:
    """Raises VerificationError where there is none, StorageError."""
    what = f"{KEY} is missing or is no age key: the blobs cannot be opened"
    with of_the_run(what, StorageError, UnicodeDecodeError, UsageError):
        key = Identity.parse(read_bytes(folder / KEY, MAX_SMALL).decode())
    return key
