"""The training set of a federated job is exactly what is consented to.

Before each round the node looks which of the records that a service reads their persons let it use for its purpose;
those, and no others, are its data: it commits to their root, and trains on them. Consent withdrawn is another set, so
another root and another next round.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Protocol

from hmchain.permits import Purpose
from hmchain.record import Record
from hmchain.trail import Trail
from trainers.entitlement import consented
from trainers.holdings import Holding, Wanted
from trainers.splits import Shard, write_shard
from trainers.storing import Reading
from trainers.vault import Vault


class TrainingService(Protocol):
    """What samples are made of. inputs: records that it reads, for `purpose`; label: those that say who is class 1."""

    @property
    def purpose(self) -> Purpose: ...
    @property
    def inputs(self) -> tuple[Wanted, ...]: ...
    @property
    def label(self) -> Wanted | None: ...

    def shard(self, records: Iterable[Record]) -> Shard | None:
        """The samples in records, None where there is nothing to train on or to judge by. Raises DataError."""


@dataclass
class ConsentedData:
    """A service's samples as a data file for the trainer. chosen: the digest of which records they are made of."""

    vault: Vault
    reading: Reading
    file: Path
    service: TrainingService
    chosen: bytes = b""
    _seen: tuple[int, int] = (-1, -1)

    def refresh(self, trail: Trail) -> bool:
        """Writes the file anew where other records are consented to than before, and says so. Raises HMChainError."""
        seen = trail.revision, self.vault.revision()
        if seen == self._seen:
            return False
        holdings = self._holdings(trail)
        chosen = sha256(b"".join(holding.leaf for holding in holdings)).digest()
        changed = chosen != self.chosen
        if changed:
            self._write(holdings)
        self._seen, self.chosen = seen, chosen
        return changed

    def _holdings(self, trail: Trail) -> list[Holding]:
        """Each once, in the order they were imported, without those of persons that withhold what labels them."""
        purpose, label = self.service.purpose, self.service.label
        wanted = (*self.service.inputs, *([label] if label else []))
        found = {h.id: h for each in wanted for h in consented(trail, self.vault, purpose, each)}
        withheld: set[str] = set()
        if label:  # without it they would count as class 0, which they are not
            of_label = self.vault.holdings(replace(label, erased=False))
            withheld = {holding.subject for holding in of_label if holding.id not in found}
        return [found[id] for id in sorted(found) if found[id].subject not in withheld]

    def _write(self, holdings: list[Holding]) -> None:
        """No file where there is nothing to train on, or nothing to judge by."""
        shard = self.service.shard(self.reading.open(holding) for holding in holdings)
        if shard is None:
            self.file.unlink(missing_ok=True)
        else:
            write_shard(self.file, shard)
