"""Keeps a node's training data equal to the records that are consented to, where its data are records."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace

from hmchain.errors import HMChainError, StorageError
from hmchain.record import Code
from trainers.config import Data
from trainers.data_facts import NO_DATA, DataFacts
from trainers.logs import say, warn
from trainers.parts import Parts
from trainers.records.persons import named
from trainers.records.storing import Reading
from trainers.records.vault import Vault
from trainers.services.consented import ConsentedData, TrainingService
from trainers.services.imaging import Imaging
from trainers.services.neuro import Neuroscience
from trainers.services.tabular import ClinicalResearch
from trainers.training_sets import TrainingSet

LOOK_SECONDS = 10.0  # between looks


class RecordKeeping:
    """A member's consented records as its trainer's data file, which is the node's own and nobody else's."""

    def __init__(self, parts: Parts) -> None:
        assert parts.registry is not None
        config = parts.config
        self._parts = parts
        self._registry = parts.registry
        self._vault = Vault.open(config.records.folder, parts.keys, parts.consortium)
        self._service = service_of(config.data, self._vault.pseudonym_key)
        reading = Reading(self._vault, parts.store)
        self._samples = ConsentedData(self._vault, reading, config.training_file, self._service)
        self._looked, self._training = -LOOK_SECONDS, False
        self._told, self._fault = NO_DATA, ""

    def look(self) -> DataFacts | None:
        """The data to train on from now on, where they have changed, else None.

        Looks every LOOK_SECONDS, and when a training is done: consents that were given meanwhile had to wait.
        """
        facts, worker = None, self._parts.worker
        done = self._training and not worker.is_training
        if done or time.monotonic() - self._looked >= LOOK_SECONDS:
            self._looked = time.monotonic()
            facts = self.data()
        self._training = worker.is_training
        return facts

    def stand(self) -> bool:
        """Whether every record of the data may still be used, as of the chain's newest block. Raises ChainError.

        Where one may not, the next look is at once.
        """
        stand = self._samples.stand(self._registry.trail())
        if not stand:
            say("a consent was withdrawn, or a record erased: nothing trained on it is sent")
            self._looked = -LOOK_SECONDS
        return stand

    def data(self) -> DataFacts | None:
        """The data to train on from now on, where they have changed, else None. Raises ChainError.

        Where they cannot be determined there are none: what was consented to before may not be any more.
        """
        trail = self._registry.trail()
        try:
            changed, fault = self._samples.refresh(trail, self._parts.worker.is_training), ""
            facts = self._facts() if changed else self._told
        except HMChainError as error:
            facts, fault = NO_DATA, str(error)
            with suppress(StorageError):  # what cannot be removed is not used any more, either
                self._samples.clear()
        if fault not in ("", self._fault):
            warn("no consented data for now", reason=fault)
        self._fault = fault
        if facts == self._told:
            return None
        self._told = facts
        say("consented records changed", purpose=self._service.purpose.name, samples=facts.samples)
        return facts

    def close(self) -> None:
        """Deletes the data file: while the node does not run, nobody checks whether consents still stand."""
        self._samples.clear()
        self._vault.close()

    def _facts(self) -> DataFacts:
        worker = self._parts.worker
        worker.close()
        if not self._samples.file.exists():
            return NO_DATA
        facts = worker.facts(self._parts.keys.identity.salt_secret)
        purpose = named(self._service.purpose)
        facts = replace(facts, file=b"")  # another one where only those held out change: for the chain it is the same
        return facts.listed(TrainingSet(facts.root, facts.samples, purpose=purpose, rows=self._samples.rows))


def service_of(data: Data, key: bytes) -> TrainingService:
    """What the configuration says that samples are made of. key: the vault's pseudonym key."""
    match data.service:
        case "clinical-research":
            return ClinicalResearch(data.features, Code.parse(data.label), key)
        case "neuroscience":
            return Neuroscience(Code.parse(data.label), key)
        case _:
            return Imaging()
