"""Biomedical research: how many persons of a hospital meet criteria, over consented records, small counts kept back.

    query.toml   title = "Diabetes on statins"
                 [population]                               who is counted at all
                 all = ["http://snomed.info/sct|44054006"]
                 [[groups]]                                 divides them: each is in the first group it meets,
                 name = "statin"                            else in "rest"
                 all = ["http://www.nlm.nih.gov/research/umls/rxnorm|316049"]
                 since = "2015"

Only the vault's own rows are looked at: no record is opened. A person is an account, however many numbers it has here.

Groups divide, so that no count is the difference of two others but for the total. A count below the threshold is
suppressed, 0 as well; the total then goes too, unless it leaves each suppressed count open, and is one of enough
persons. The total goes, and not a further group, because which group went would depend on the counts and reveal them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator

from hmchain.permits import Purpose
from hmchain.record import Code, Kind
from hmchain.trail import Trail
from trainers.records.entitlement import consented
from trainers.records.holdings import Wanted
from trainers.records.vault import Vault
from trainers.services.answers import Part, Total, parsed, query_in

SERVICE = "cohort"
TOTAL, REST = "total", "rest"
MAX_GROUPS = 20
CodeText = Annotated[str, Field(pattern=r"^[^|]*\|[^|]+$", max_length=200)]  # SYSTEM|CODE
Moment = Annotated[str, Field(pattern=r"^([0-9]{4}[0-9TZ:.-]{0,26})?$")]


class Criteria(Part):
    """What a person has to have: a record of this kind, type and time with each code of `all`, and with none
    of `none`.

    since, until: as records' times are written, the first included, the second not; "" is any, undated ones as well.
    """

    kind: Kind | None = None
    type: Annotated[str, Field(max_length=64)] = ""
    all: tuple[CodeText, ...] = Field(default=(), max_length=20)
    none: tuple[CodeText, ...] = Field(default=(), max_length=20)
    since: Moment = ""
    until: Moment = ""


class Group(Criteria):
    """Criteria with a name, by which their count is told."""

    name: Annotated[str, Field(min_length=1, max_length=60)]

    @field_validator("name")
    @classmethod
    def _is_plain(cls, name: str) -> str:
        if not name.isprintable() or name in (TOTAL, REST):
            raise ValueError("is not for a group")
        return name


class Query(Part):
    """The whole of a query."""

    title: Annotated[str, Field(max_length=200)] = ""
    population: Criteria = Criteria()
    groups: tuple[Group, ...] = Field(default=(), max_length=MAX_GROUPS)

    @field_validator("groups")
    @classmethod
    def _are_distinct(cls, groups: tuple[Group, ...]) -> tuple[Group, ...]:
        if len({group.name for group in groups}) < len(groups):
            raise ValueError("has two groups of one name")
        return groups


def read_query(path: Path) -> dict[str, Any]:
    """A query as JSON, every default written out, so that one query has one digest. Raises UsageError."""
    return query_in(path, Query)


def count(trail: Trail, vault: Vault, query: Mapping[str, Any], threshold: int) -> dict[str, int | None]:
    """A hospital's cells: groups, rest and total, of persons who consent to biomedical research as of now.

    Raises UsageError for a malformed query.
    """
    asked = parsed(query, Query)
    return suppressed(divided(trail, vault, asked), threshold)


def divided(trail: Trail, vault: Vault, query: Query) -> dict[str, int]:
    """The true counts of groups and rest, which add up to the population. They stay in the hospital."""
    left = persons(trail, vault, query.population)
    counts: dict[str, int] = {}
    for group in query.groups:
        found = left & persons(trail, vault, group)
        counts[group.name] = len(found)
        left = left - found
    return counts | {REST: len(left)}


def persons(trail: Trail, vault: Vault, criteria: Criteria) -> set[str]:
    """The accounts of the persons who meet criteria, by consented records alone."""
    if criteria.all:
        found = set.intersection(*(_having(trail, vault, criteria, code) for code in criteria.all))
    else:
        found = _having(trail, vault, criteria)
    return found.difference(*(_having(trail, vault, criteria, code) for code in criteria.none))


def _having(trail: Trail, vault: Vault, criteria: Criteria, code: str = "") -> set[str]:
    system, _, value = code.rpartition("|")
    wanted = Wanted(
        kind=criteria.kind,
        type=criteria.type,
        since=criteria.since,
        until=criteria.until,
        code=Code(system, value) if code else None,
        erased=False,
    )
    holdings = consented(trail, vault, Purpose.BIOMEDICAL, wanted)
    subjects = {h.subject for h in holdings if h.time or not criteria.until}  # "" is before every time as text
    return {vault.account_of(subject) for subject in subjects if subject}


def suppressed(counts: Mapping[str, int], threshold: int) -> dict[str, int | None]:
    """Counts that add up, and their total, as they may be told; None is suppressed.

    From what is told, and from knowing this rule, no suppressed count can be derived, and no sum of them that is below
    the threshold. The least that hides anything is 2: below, all is told.
    """
    if threshold < 2:
        return {TOTAL: sum(counts.values()), **counts}
    hidden = [number for number in counts.values() if number < threshold]
    enough = len(hidden) > 1 and threshold <= sum(hidden) < (threshold - 1) * len(hidden)
    total = sum(counts.values()) if not hidden or enough else None
    return {TOTAL: total} | {name: None if number < threshold else number for name, number in counts.items()}


def rows(query: Mapping[str, Any], totals: Mapping[str, Total]) -> list[dict[str, Any]]:
    """What all hospitals tell together, a row for each cell. at_least counts what was told; at_most is None where
    nobody can say: a total that was suppressed may be any. Raises UsageError for a malformed query.
    """
    asked = parsed(query, Query)
    told = []
    for name in (TOTAL, *(group.name for group in asked.groups), REST):
        total = totals.get(name, Total())
        unknown = name == TOTAL and total.suppressed
        told.append(
            {
                "cell": name,
                "at_least": total.value,
                "at_most": None if unknown else total.value + total.hidden,
                "hospitals": total.told,
                "suppressed": total.suppressed,
            }
        )
    return told
