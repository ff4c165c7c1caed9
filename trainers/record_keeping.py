"""What a node trains on where its data are records: just those that are consented to, as of now."""

from __future__ import annotations

import time

from hmchain.errors import HMChainError
from hmchain.permits import Purpose
from trainers.logs import say, warn
from trainers.parts import Parts
from trainers.services.imaging import ConsentedImages
from trainers.storing import Reading
from trainers.vault import Vault
from trainers.worker import NO_DATA, DataFacts

LOOK_SECONDS = 10.0  # between looks: whoever changes its mind all the time does not keep the node from its rounds
FILE = "consented.npz"


class ConsentedData:
    """A hospital's consented records as its trainer's data file, which is the node's own and nobody else's."""

    def __init__(self, parts: Parts) -> None:
        assert parts.registry is not None
        folder = parts.config.records.folder
        self._parts = parts
        self._registry = parts.registry
        self._vault = Vault.open(folder, parts.keys, parts.consortium)
        self._images = ConsentedImages(self._vault, Reading(self._vault, parts.store), folder / FILE)
        self._looked = -LOOK_SECONDS

    def look(self) -> DataFacts | None:
        """What there is to train on from here on, where that has changed, else None.

        Where it cannot be found out, there is nothing to train on: what was consented to before may not be now.
        """
        if time.monotonic() - self._looked < LOOK_SECONDS:
            return None
        self._looked = time.monotonic()
        trail = self._registry.trail()
        try:
            if not self._images.refresh(trail):
                return None
            facts = self._facts()
        except HMChainError as fault:
            warn("no consented data for now", reason=str(fault))
            self._images.clear()
            facts = NO_DATA
        say("consented images changed", purpose=Purpose.IMAGING.name, samples=facts.samples)
        return facts

    def close(self) -> None:
        """Leaves no image behind: while the node does not run, nobody looks whether it is still consented to."""
        self._images.clear()
        self._vault.close()

    def _facts(self) -> DataFacts:
        worker = self._parts.worker
        worker.close()
        if not self._images.file.exists():
            return NO_DATA
        return worker.facts(self._parts.keys.identity.salt_secret)
