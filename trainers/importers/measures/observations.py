"""Observations: the one form of what FHIR, HL7 v2 and laboratory files say was measured or found.

The same result has the same identity from all three. So where a LOINC code is given it alone is the code, since the
others are some laboratory's own; a value has no display texts; and how sure and how final a result is, its method and
its reference range are detail.

Sources: LOINC Users' Guide (check digits); HL7 v2 tables 0396 (coding systems) and 0085 (result status).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hmchain.record import Code, Kind, Record
from trainers.importers.measures.naming import is_free
from trainers.importers.measures.units import quantity

LOINC = "http://loinc.org"
SYSTEMS = {
    "LN": LOINC,
    "LOINC": LOINC,
    "SCT": "http://snomed.info/sct",
    "SNOMED": "http://snomed.info/sct",
    "SNM": "http://snomed.info/sct",
    "I9": "http://hl7.org/fhir/sid/icd-9-cm",
    "I9C": "http://hl7.org/fhir/sid/icd-9-cm",
    "I9CDX": "http://hl7.org/fhir/sid/icd-9-cm",
    "I10": "http://hl7.org/fhir/sid/icd-10",
    "I10C": "http://hl7.org/fhir/sid/icd-10-cm",
    "C4": "http://www.ama-assn.org/go/cpt",
    "CVX": "http://hl7.org/fhir/sid/cvx",
    "RXNORM": "http://www.nlm.nih.gov/research/umls/rxnorm",
    "UCUM": "http://unitsofmeasure.org",
}
# results that are none: by FHIR's words, and by HL7 v2's letters
_VOID = {"entered-in-error", "cancelled", "d", "n", "w", "x"}

# how systems write that they have no result
_NOTHING = {
    "nan",
    "inf",
    "-inf",
    "+inf",
    "infinity",
    "-infinity",
    "null",
    "none",
    "n/a",
    "na",
    "#n/a",
    "-",
    "--",
    ".",
    "?",
}

_LOINC = re.compile(r"[0-9]{1,7}-[0-9]")
_COMPARED = re.compile(r"(<=|>=|<|>)?\s*([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?)")


def is_loinc(code: str) -> bool:
    """Whether this is written as a LOINC code is, and its last digit checks the others (mod 10, as for bank cards)."""
    if not _LOINC.fullmatch(code):
        return False
    digits = [int(digit) for digit in reversed(code[:-2])]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[::2]]
    return (sum(doubled) + sum(digits[1::2]) + int(code[-1])) % 10 == 0


def principal(codes: Iterable[Code]) -> tuple[Code, ...]:
    """The codes that say what was observed: those of LOINC, or all where it has none.

    Raises ValueError where there is none, and for a LOINC code that was written wrongly.
    """
    every = tuple(dict.fromkeys(codes))
    chosen = tuple(code for code in every if code.system == LOINC)
    if not all(is_loinc(code.code) for code in chosen):
        raise ValueError("not a LOINC code: its check digit is wrong")
    if not every:
        raise ValueError("no code says what was observed")
    return chosen or every


def measured(number: Any, unit: str, comparator: str = "") -> dict[str, Any]:
    """The value of a result that is a number: {"quantity": …}, with "comparator" where it is a bound (< <= >= >)."""
    value: dict[str, Any] = {"quantity": quantity(number, unit)}
    return {**value, "comparator": comparator} if comparator else value


def written(value: Mapping[str, Any], number: Any, unit: str, *_: str) -> dict[str, str]:
    """What the source wrote, for people to see, where the canonical quantity is another; else {}."""
    given = {"value": str(number).strip(), "unit": unit.strip() or "1"}
    return {} if value.get("quantity") == given else given


def reported(text: str, unit: str) -> dict[str, Any]:
    """The value of a result that is text: "5.2", "<0.1", "positive".

    Raises ValueError for a number of an unknown unit, and for words that say that there is no result.
    """
    match = _COMPARED.fullmatch(text.strip())
    if match:
        return measured(match[2], unit, match[1] or "")
    words = " ".join(text.split())
    if words.casefold() in _NOTHING:
        raise ValueError("it has no value")
    return {"text": words}


def coded(codes: Sequence[Code]) -> dict[str, Any]:
    """The value of a result that is a concept."""
    return {"codes": [list(pair) for pair in sorted({(code.system, code.code) for code in codes})]}


def refuse_void(status: str) -> None:
    """Raises ValueError for a status that says that there is no result."""
    if status.casefold() in _VOID:
        raise ValueError("its status says that it is no result")


@dataclass(frozen=True)
class Observation:
    """What was observed, of whom (a pseudonym) and when (a canonical time)."""

    subject: str
    time: str
    codes: tuple[Code, ...]

    def record(self, value: Mapping[str, Any], source: str, detail: Mapping[str, Any]) -> Record:
        """Raises ValueError for a status that says that there is no result. detail that is empty is left out.

        A value of words that were written freely is marked in detail: freeText.
        """
        refuse_void(str(detail.get("status", "")))
        chosen = principal(self.codes)
        others = [[c.system, c.code, c.display] for c in dict.fromkeys(self.codes) if c not in chosen]
        said = {**detail, "codes": others, "freeText": is_free(value) or None}
        kept = {name: given for name, given in said.items() if given not in ("", None, [], {})}
        return Record(Kind.CLINICAL, "observation", self.subject, self.time, chosen, value, source, kept)
