"""What a node does for a job that its account coordinates (the paper's server), besides its part as a member.

It hands out the job's key, opens the first round and proposes first. It can neither judge nor attest, and a round goes
on without it.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from hmchain.blobs import BlobRef
from hmchain.envelope import Identity, seal, unseal
from hmchain.errors import BlobError, DaemonError
from hmchain.files import read_secret, write_secret
from hmchain.history import JobRecord, blob_to_abi
from hmchain.keyring import MAX_BYTES as MAX_KEYRING
from hmchain.keyring import seal_key, serves
from hmchain.ledger import ContractLedger
from hmchain.rounds import COORDINATOR, Phase, RoundState
from hmchain.stopwatch import Stopwatch
from trainers.hospital import base_model, propose_aggregate
from trainers.logs import say
from trainers.opening import OpenJob, Site, key_of


def key_file(folder: Path, manifest: bytes) -> Path:
    """Where the creator of a job keeps its key until the chain has it, sealed to its own encryption key."""
    return folder / f"job-{manifest.hex()[:16]}.age"


def keep_key(folder: Path, manifest: bytes, key: Identity, own: bytes) -> None:
    """Keeps a job's key, sealed to `own`, the creator's 32-byte public key. Raises StorageError."""
    write_secret(key_file(folder, manifest), seal(key.secret.encode(), [own]))


def kept_key(folder: Path, manifest: bytes, identities: tuple[Identity, ...]) -> Identity | None:
    """The key that keep_key kept; None where there is none that our identities can open. Raises UsageError."""
    path = key_file(folder, manifest)
    if not path.exists():
        return None
    sealed = read_secret(path, "the job's key")
    for identity in identities:
        try:
            return Identity.parse(unseal(sealed, identity).decode(errors="replace"))
        except BlobError:
            continue
    return None


class Coordination:
    """The coordinator's part in one job. `step` does at most one thing."""

    def __init__(self, site: Site, job: int, folder: Path, start_after: float) -> None:
        self._site = site
        self._job = job
        self._folder = folder
        self._start_after = start_after
        self._ledger = ContractLedger(site.client, site.feed, job, 0)
        self._served: tuple[int, dict[int, bytes]] | None = None
        self._since: int | None = None
        self._sought: Counter[BlobRef] = Counter()  # keyrings that could not be had

    def step(self, state: RoundState, now: int, opened: OpenJob | None) -> bool:
        """Does what is due at the chain's time `now`. False where nothing was. Raises HMChainError.

        opened is the job as its member's part has opened it, None before that.
        """
        if state.phase == Phase.CLOSED:
            return False
        return self._hand_out_key() or self._start(state, now) or self._propose(state, opened)

    def _hand_out_key(self) -> bool:
        """Publishes a keyring whenever an active member lacks an envelope to its present key (new member, rotation)."""
        job, history = self._record, self._site.feed.history
        wanted = {number: history.keys[number] for number in sorted(history.active)}
        if self._served == (len(job.keys), wanted):
            return False
        if not self._serves(job, wanted):
            identities = self._site.keys.identities
            key = kept_key(self._folder, job.manifest, identities)
            key = key or key_of(self._site.store, job, self._site.member, identities, self._sought)
            if key is None:
                raise BlobError(f"the key of job {self._job} is lost: nobody can be given it")
            keyring = self._site.store.put(seal_key(key, wanted))
            self._site.client.transact("publishKey", self._job, key.public, blob_to_abi(keyring))
            return True
        self._served = (len(job.keys), wanted)
        return False

    def _serves(self, job: JobRecord, wanted: dict[int, bytes]) -> bool:
        """Whether the newest keyring has an envelope for everybody. One that is no longer available has none."""
        try:
            return bool(job.keys) and serves(self._site.store.get(job.keys[-1][1], MAX_KEYRING), wanted)
        except DaemonError:
            raise
        except BlobError:
            return False

    def _start(self, state: RoundState, now: int) -> bool:
        """Opens the first round once all active members are enrolled, or, after a while, enough of them."""
        if state.phase != Phase.ENROLMENT:
            return False
        self._since = self._since or now
        enrolled, history = self._record.enrolled, self._site.feed.history
        enough = len(enrolled) >= max(self._record.terms.masters, 2)
        if not enough or (not history.active <= enrolled and now - self._since < self._start_after):
            return False
        say("starting the job", job=self._job, members=sorted(enrolled))
        self._site.client.transact("startJob", self._job)
        return True

    def _propose(self, state: RoundState, opened: OpenJob | None) -> bool:
        if opened is None or state.phase != Phase.COMMIT or COORDINATOR in state.proposed:
            return False
        if not self._record.rounds[state.number].accepted():
            return False  # not judged yet: `advance` comes first
        base = base_model(opened.manifest, opened.exchange, opened.initial, self._ledger.records)
        propose_aggregate(state, self._ledger, opened.exchange, opened.manifest, base, Stopwatch())
        return True

    @property
    def _record(self) -> JobRecord:
        return self._site.feed.history.jobs[self._job]
