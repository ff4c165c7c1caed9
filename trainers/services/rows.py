"""Rows of numbers about persons, as the samples of a job: whose is class 1, and who is held out to judge by."""

from __future__ import annotations

import hmac
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hmchain.record import Code, Record
from trainers.records.holdings import Wanted
from trainers.splits import Shard, Split

CONDITION = "condition"
HELD_OUT = 0.2  # of the persons, about
NOT_SO = {"refuted", "entered-in-error"}  # FHIR's verification statuses of a condition that its patient does not have


@dataclass(frozen=True)
class Row:
    """One sample, about a person. values: float32 (F,). sources: as in Shard."""

    subject: str
    values: NDArray[np.float32]
    sources: tuple[int, ...] = ()


def conditions(code: Code) -> Wanted:
    """The records that say that somebody has, or had, this condition."""
    return Wanted(type=CONDITION, code=code)


def is_diagnosis(record: Record, code: Code) -> bool:
    """Whether the record says that its person has, or had, this condition."""
    if record.type != CONDITION or code not in record.codes:
        return False
    status = record.value.get("verificationStatus", {}).get("coding", [])
    return NOT_SO.isdisjoint(coding.get("code") for coding in status)


def shard_of(rows: Iterable[Row], ill: Container[str], names: tuple[str, ...], key: bytes) -> Shard | None:
    """Train and hold-out, by person, in the order of their names; None where one of them is empty. ill: class 1."""
    ordered = sorted(rows, key=lambda row: row.subject)
    held = [row for row in ordered if is_held_out(row.subject, key)]
    kept = [row for row in ordered if not is_held_out(row.subject, key)]
    if not (held and kept):
        return None
    return Shard(_split(kept, ill), _split(held, ill), names, sources=tuple(row.sources for row in kept))


def is_held_out(subject: str, key: bytes) -> bool:
    """A person stays on one side for good, whatever records come, and nobody without the key can tell on which."""
    drawn = hmac.digest(key, b"hmchain/held-out/1" + subject.encode(), "sha256")
    return int.from_bytes(drawn[:8]) < HELD_OUT * 2**64


def _split(rows: Sequence[Row], ill: Container[str]) -> Split:
    return Split(np.stack([row.values for row in rows]), np.array([row.subject in ill for row in rows], np.int64))
