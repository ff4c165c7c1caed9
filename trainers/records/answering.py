"""A node's thread that answers requests for records, so that no request, however large or odd, delays a round.

It has its own vault connection, blob store and chain client. Where both threads send at once, one transaction is
refused for its nonce and sent again. Answers are looked up on the chain, so that none is sent twice.
"""

from __future__ import annotations

import threading
from contextlib import ExitStack, closing
from dataclasses import dataclass

from hmchain.blobs import open_store
from hmchain.consortium import Consortium
from hmchain.errors import ChainBehind, HMChainError
from hmchain.registry import Registry
from trainers.config import Config
from trainers.faults import gist, kind_of
from trainers.health import Health
from trainers.importers.base import Context
from trainers.keystore import Keys
from trainers.logs import defect, warn
from trainers.parts import connect
from trainers.records.entitlement import Entitlement
from trainers.records.releasing import Releasing
from trainers.records.vault import Vault

LETTER_SECONDS = 5.0  # to wait for a letter: whoever asks has to store it where we can find it
LOOK_SECONDS = 2.0  # between looks at the chain: short for a reader, and long enough to keep an idle node idle
LONGEST_PAUSE = 60.0  # seconds between tries while something fails


@dataclass
class Answering:
    """Answers until it is stopped."""

    config: Config
    keys: Keys
    consortium: Consortium
    member: int
    health: Health

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="hmchain-answering", daemon=True)

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def stop(self, seconds: float = 5.0) -> None:
        """Ends after the answer in progress, or leaves that to the end of the process."""
        self._stop.set()
        self._thread.join(seconds)

    def _run(self) -> None:
        """Opens what it needs and answers requests until stopped; pauses longer each time while something fails."""
        poll, opened = self.config.chain.poll_seconds, ExitStack()
        releasing, pause, told = None, poll, ""
        with opened:
            while not self._stop.is_set():
                try:
                    releasing = releasing or self._open(opened)
                    wait = 0.0 if releasing.step() else max(poll, LOOK_SECONDS)
                    pause, told = poll, ""
                except Exception as fault:  # nothing that others sent may end the thread
                    self.health.counted(kind_of(fault))
                    if not isinstance(fault, HMChainError):
                        defect(fault)
                    elif told != (told := gist(fault)):
                        warn("requests for records wait", reason=str(fault))
                    longest = LOOK_SECONDS if isinstance(fault, ChainBehind) else LONGEST_PAUSE
                    wait = pause = min(2 * pause, longest)
                self._stop.wait(wait)

    def _open(self, opened: ExitStack) -> Releasing:
        config = self.config
        registry = Registry.open(connect(config, self.consortium), self.keys.identity.account, self.consortium)
        store = open_store(config.blobs.store, LETTER_SECONDS, config.limits.disk_mib * 2**20)
        vault = opened.enter_context(closing(Vault.open(config.records.folder, self.keys, self.consortium)))
        pseudonym, lost = Context(vault.pseudonym_key).pseudonym, config.records.lost
        rules = Entitlement(self.member, vault, pseudonym, registry.is_active, lost)
        return Releasing(rules, registry, store, self.keys.identities)
