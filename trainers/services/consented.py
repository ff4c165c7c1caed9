"""Makes the training set of a federated job from exactly the records that are consented to.

Before each round the node looks which of the records that a service reads their persons let it use for its purpose;
those, and no others, are its data: it commits to their root, and trains on them. Consent withdrawn is another set, so
another root and another next round.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from hmchain.errors import BlobError, DaemonError, DataError, Reason, StorageError
from hmchain.permits import Purpose
from hmchain.record import Record
from hmchain.trail import Trail
from trainers.logs import warn
from trainers.records.entitlement import consented
from trainers.records.holdings import Holding, Wanted
from trainers.records.storing import Reading
from trainers.records.vault import Vault
from trainers.splits import Shard, write_shard
from trainers.training_sets import Place, Rows

RETRY_SECONDS = 600.0  # until records that could not be had are looked for again
Seen = tuple[Trail | None, int, int]
"""The very trail, as a chain that was set back has another; its revision; the vault's."""
NOTHING: Seen = (None, -1, -1)


class TrainingService(Protocol):
    """What samples are made of. inputs: records that it reads, for `purpose`; label: those that say who is class 1."""

    @property
    def purpose(self) -> Purpose: ...
    @property
    def inputs(self) -> tuple[Wanted, ...]: ...
    @property
    def label(self) -> Wanted | None: ...

    def shard(self, records: Iterable[Record]) -> Shard | None:
        """The samples in records, whose subjects are persons. None where there is nothing to train on or to judge by.

        Raises DataError.
        """


@dataclass
class ConsentedData:
    """A service's samples as a data file for the trainer. chosen: ids of the holdings that they are made of.

    rows: which records each of the samples to train on is made of.
    """

    vault: Vault
    reading: Reading
    file: Path
    service: TrainingService
    chosen: frozenset[int] | None = None
    rows: Rows = ()
    _seen: Seen = NOTHING
    _missing: dict[int, Holding] = field(default_factory=dict)  # one of each batch whose blob cannot be had
    _retry: float = 0.0

    def refresh(self, trail: Trail, training: bool = False) -> bool:
        """Writes the file again where consents have changed, a missing record has turned up, or the file is gone.
        Returns whether it did.

        training: whether one is under way, which only a withdrawal ends. New consents wait: otherwise somebody who
        consents and withdraws all the time would let none finish. Raises HMChainError; DaemonError where no record can
        be had for now.
        """
        if self._is_gone() or (not training and self._one_turned_up()):
            self.clear()
        seen = self._seen_in(trail)
        if seen == self._seen:
            return False
        holdings = self._holdings(trail)
        if training and self.chosen is not None:
            holdings, seen = [holding for holding in holdings if holding.id in self.chosen], self._seen
        chosen = frozenset(holding.id for holding in holdings)
        if chosen == self.chosen:
            self._seen = seen
            return False
        self.clear()
        places: list[Place] = []
        shard = self.service.shard(self._usable(holdings, places))
        if shard is not None:  # else there is nothing to train on, or nothing to judge by
            write_shard(self.file, shard)
            self.rows = tuple(tuple(places[index] for index in row) for row in shard.sources)
        self._seen, self.chosen = seen, chosen
        return True

    def stand(self, trail: Trail) -> bool:
        """Whether every record that the file is made of may still be used."""
        if self._seen_in(trail) == self._seen:
            return True
        return self.chosen is not None and self.chosen <= {holding.id for holding in self._holdings(trail)}

    def clear(self) -> None:
        """Removes the file, and any partial one: what nobody consents to any more is not left lying about.

        Raises StorageError.
        """
        try:
            for file in (self.file, *self.file.parent.glob(f".{self.file.name}.*")):
                file.unlink(missing_ok=True)
        except OSError as fault:
            raise StorageError(f"cannot remove {self.file}: {fault.strerror}") from fault
        self.chosen, self.rows, self._seen, self._missing = None, (), NOTHING, {}

    def _is_gone(self) -> bool:
        """Whether somebody else removed the file, as another node of this hospital does when it ends."""
        return bool(self.rows) and not self.file.exists()

    def _seen_in(self, trail: Trail) -> Seen:
        return trail, trail.revision, self.vault.revision()

    def _holdings(self, trail: Trail) -> list[Holding]:
        """Each once, in the order they were imported, without those of persons that withhold what labels them."""
        purpose, label = self.service.purpose, self.service.label
        wanted = (*self.service.inputs, *([label] if label else []))
        found = {h.id: h for each in wanted for h in consented(trail, self.vault, purpose, each)}
        withheld: set[str] = set()
        if label:  # without it they would count as class 0, which they are not
            of_label = self.vault.holdings(replace(label, erased=False))
            withheld = {self._person(holding) for holding in of_label if holding.id not in found}
        return [found[id] for id in sorted(found) if self._person(found[id]) not in withheld]

    def _person(self, holding: Holding) -> str:
        """Whom it is about: an account, however many numbers that person has here; "" for nobody."""
        return self.vault.account_of(holding.subject) or holding.subject

    def _usable(self, holdings: list[Holding], places: list[Place]) -> Iterator[Record]:
        """Those that can be had, with persons as subjects: one that cannot is no reason to train on none.

        Appends the entry of each, and its position there, to `places`.
        """
        unlabelled = self._unlabelled(holdings)
        for holding in holdings:
            person = self._person(holding)
            record = None if person in unlabelled else self._opened(holding)
            if record is not None:
                assert holding.batch.number is not None  # what is not registered is not consented to
                places.append((holding.batch.number, holding.position))
                yield replace(record, subject=person)

    def _unlabelled(self, holdings: list[Holding]) -> set[str]:
        """The persons of whom a record that labels them cannot be had: they may not be class 0."""
        label = self.service.label
        labels = {holding.id for holding in self.vault.holdings(replace(label, erased=False))} if label else set()
        return {self._person(holding) for holding in holdings if holding.id in labels and self._opened(holding) is None}

    def _opened(self, holding: Holding) -> Record | None:
        if holding.batch.id in self._missing:
            return None  # looking for a blob takes long, and it has many records
        try:
            return self.reading.open(holding)
        except DaemonError:
            raise
        except (BlobError, DataError) as fault:
            warn("record left out", record=holding.name, reason=str(fault))
            if isinstance(fault, BlobError) and fault.reason is Reason.UNAVAILABLE:
                self._missing[holding.batch.id] = holding
                self._retry = time.monotonic() + RETRY_SECONDS
            return None

    def _one_turned_up(self) -> bool:
        """Looks for one of the missing blobs, another one each time: the node does not wait for more than one."""
        if not self._missing or time.monotonic() < self._retry:
            return False
        batch, holding = next(iter(self._missing.items()))
        try:
            self.reading.blob(holding.batch)
        except BlobError:
            self._missing[batch] = self._missing.pop(batch)
            self._retry = time.monotonic() + RETRY_SECONDS
            return False
        return True
