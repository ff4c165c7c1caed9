"""What a node does with its hospital's records: answers logged requests, and trains on what is consented to."""

from __future__ import annotations

from collections.abc import Callable

from hmchain.record import Code
from trainers.config import Data
from trainers.entitlement import Entitlement
from trainers.importers.base import Context
from trainers.logs import say
from trainers.parts import Parts
from trainers.releasing import Releasing
from trainers.services.consented import ConsentedData, TrainingService
from trainers.services.imaging import Imaging
from trainers.services.neuro import Neuroscience
from trainers.services.tabular import ClinicalResearch
from trainers.storing import Reading
from trainers.vault import Vault
from trainers.worker import NO_DATA, DataFacts


class RecordKeeping:
    """A member's records, as its node looks after them."""

    def __init__(self, parts: Parts, member: int, is_active: Callable[[int], bool]) -> None:
        assert parts.registry is not None
        self._parts = parts
        self._registry = parts.registry
        self._vault = Vault.open(parts.config.records.folder, parts.keys, parts.consortium)
        rules = Entitlement(member, self._vault, Context(self._vault.pseudonym_key).pseudonym, is_active)
        self._releasing = Releasing(rules, parts.registry, parts.store, parts.keys.identities)
        self._service = service_of(parts.config.data, self._vault.pseudonym_key)
        reading = Reading(self._vault, parts.store)
        self._samples = ConsentedData(self._vault, reading, parts.config.data.file, self._service)

    def release(self) -> bool:
        """Answers a request, if one is due. Raises HMChainError."""
        return self._parts.config.records.release and self._releasing.step()

    def data(self) -> DataFacts | None:
        """What there is to train on from here on, where that has changed, else None. Raises HMChainError."""
        if self._parts.config.data.source != "records" or not self._samples.refresh(self._registry.trail()):
            return None
        worker, file = self._parts.worker, self._parts.config.data.file
        worker.close()
        facts = worker.facts(self._parts.keys.identity.salt_secret) if file.exists() else NO_DATA
        say("consented records changed", purpose=self._service.purpose.name, samples=facts.samples)
        return facts

    def close(self) -> None:
        """Closes the vault."""
        self._vault.close()


def service_of(data: Data, key: bytes) -> TrainingService:
    """What the configuration says that samples are made of. key: the vault's pseudonym key."""
    match data.service:
        case "clinical-research":
            return ClinicalResearch(data.features, Code.parse(data.label), key)
        case "neuroscience":
            return Neuroscience(Code.parse(data.label), key)
        case _:
            return Imaging()
