"""Clinical research: who has a condition, predicted from laboratory values. One row a person that consents.

A person without a value for each feature has no row: no value is made up for anybody.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from hmchain.permits import Purpose
from hmchain.record import Code, Record
from trainers.config import quantity_named
from trainers.logs import say
from trainers.records.holdings import Wanted
from trainers.services.rows import Row, conditions, is_diagnosis, shard_of
from trainers.splits import Shard

OBSERVATION = "observation"
MAX_FLOAT32 = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class ClinicalResearch:
    """See TrainingService. names: "system|code" or "system|code|unit" of each feature; key: 32 secret bytes."""

    names: tuple[str, ...]
    condition: Code
    key: bytes = field(repr=False)
    purpose = Purpose.CLINICAL_RESEARCH

    @property
    def inputs(self) -> tuple[Wanted, ...]:
        """See TrainingService."""
        return tuple(Wanted(type=OBSERVATION, code=quantity_named(name)[0]) for name in self.names)

    @property
    def label(self) -> Wanted:
        """See TrainingService."""
        return conditions(self.condition)

    def shard(self, records: Iterable[Record]) -> Shard | None:
        """See TrainingService."""
        every = [(index, record) for index, record in enumerate(records) if record.subject]
        ill: dict[str, tuple[int, ...]] = {}  # by whom the diagnoses are about
        for index, record in every:
            if is_diagnosis(record, self.condition):
                ill[record.subject] = (*ill.get(record.subject, ()), index)
        columns = [_Column.of(name, every) for name in self.names]
        known = [set(column.latest) for column in columns]
        complete = set.intersection(*known)
        say(
            "rows made of consented records",
            purpose=self.purpose.name,
            persons=len(complete),
            left_out=len(set.union(*known) - complete),
            values_refused=sum(column.refused for column in columns),
        )
        rows = (_row(who, [column.latest[who] for column in columns], ill.get(who, ())) for who in complete)
        return shard_of(rows, ill, self.names, self.key)


def _row(who: str, latest: list[tuple[float, int]], diagnoses: tuple[int, ...]) -> Row:
    values, indices = zip(*latest, strict=True)
    return Row(who, np.array(values, np.float32), tuple(dict.fromkeys((*indices, *diagnoses))))


@dataclass
class _Column:
    """A feature: each person's latest value with its record's place, and how many values were refused."""

    latest: dict[str, tuple[float, int]] = field(default_factory=dict)
    refused: int = 0

    @classmethod
    def of(cls, name: str, records: list[tuple[int, Record]]) -> _Column:
        """The values of one unit: the one that the name says, else the one that most of them have."""
        code, unit = quantity_named(name)
        observed = [(index, record) for index, record in records if record.type == OBSERVATION and code in record.codes]
        units = Counter(_unit(record) for _, record in observed if _unit(record))
        unit = unit or max(sorted(units), key=units.__getitem__, default="")
        column = cls()
        for index, record in sorted(observed, key=lambda each: each[1].time):  # RFC 3339 in UTC: in order as text
            value = _value(record, unit)
            if value is None:
                column.refused += 1
            else:
                column.latest[record.subject] = value, index
        return column


def _unit(record: Record) -> str:
    return str(record.value.get("quantity", {}).get("unit", ""))


def _value(record: Record, unit: str) -> float | None:
    """The number of units; None for no number, a bound ("< 0.1"), another unit, or a number beyond float32."""
    if "comparator" in record.value or not unit or _unit(record) != unit:
        return None
    value = float(record.value["quantity"]["value"])
    return value if abs(value) <= MAX_FLOAT32 else None
