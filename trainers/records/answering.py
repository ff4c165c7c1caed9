"""A node's thread that answers requests for records, so that no request, however large or odd, holds up a round.

It has a vault, a blob store and a client of the chain of its own. Where both threads send at once, one of the two
transactions is refused for its number and sent again; what was answered is seen on the chain, so nothing is sent twice.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from hmchain.blobs import open_store
from hmchain.consortium import Consortium
from hmchain.errors import HMChainError
from hmchain.registry import Registry
from trainers.config import Config
from trainers.importers.base import Context
from trainers.keystore import Keys
from trainers.logs import defect, warn
from trainers.parts import connect
from trainers.records.entitlement import Entitlement
from trainers.records.releasing import Releasing
from trainers.records.vault import Vault

LETTER_SECONDS = 5.0  # that a letter is waited for: whoever asks has it stored where we find it
LOOK_SECONDS = 2.0  # between looks at the chain: a reader can wait so long, and an idle node stays idle
LONGEST_PAUSE = 60.0  # seconds between tries while something fails


@dataclass
class Answering:
    """Answers until it is stopped. is_active: of members; it may be asked from this thread."""

    config: Config
    keys: Keys
    consortium: Consortium
    member: int
    is_active: Callable[[int], bool]

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
        pause, told = self.config.chain.poll_seconds, ""
        while not self._stop.is_set():
            try:
                self._answer_all()
            except HMChainError as fault:
                if told != (told := str(fault)):
                    warn("requests for records wait", reason=told)
            except Exception as fault:  # nothing that others sent may end the thread
                defect(fault)
            pause = min(2 * pause, LONGEST_PAUSE)
            self._stop.wait(pause)

    def _answer_all(self) -> None:
        """Opens what is needed, and works until something fails. Raises HMChainError."""
        config = self.config
        registry = Registry.open(connect(config, self.consortium), self.keys.identity.account, self.consortium)
        store = open_store(config.blobs.store, LETTER_SECONDS, config.limits.disk_mib * 2**20)
        vault = Vault.open(config.records.folder, self.keys, self.consortium)
        try:
            rules = Entitlement(self.member, vault, Context(vault.pseudonym_key).pseudonym, self.is_active)
            releasing = Releasing(rules, registry, store, self.keys.identities)
            while not self._stop.is_set():
                if not releasing.step():
                    self._stop.wait(max(config.chain.poll_seconds, LOOK_SECONDS))
        finally:
            vault.close()
