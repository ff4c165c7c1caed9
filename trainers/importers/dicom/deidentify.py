"""A DICOM data set without whatever names a person, a place or a machine.

The Basic Application Level Confidentiality Profile of DICOM PS3.15, Annex E, without options: the table is in
confidentiality.py. Where it leaves a choice, and where it is silent, this is what is done:

    X/D, Z/D, X/Z/D   D: a dummy satisfies types 1, 2 and 3, and no table of ours of all objects could go stale
    X/Z               Z: satisfies types 2 and 3; the attributes it stands at are of type 1 in no object
    combined, of a sequence   Z if the table allows it, else X: a dummy item would lack the attributes items must have
    D, of a sequence  one item without attributes
    X/Z/U*            kept, its items cleaned and their UIDs replaced, so that images still find one another
    Z                 empty, but for Patient ID (Z/D): the pseudonym
    D of an empty value       stays empty
    private, curves (50xx), overlays (60xx), command and directory groups      removed
    neither in the table nor in pydicom's dictionary, or not of its VR there   removed: nobody knows what it says
    not in the table, of VR PN, DA, DT, TM    as X/Z/D
    not in the table, of VR AE, UR            removed: they name machines
    UIDs                      all are replaced but those of classes, syntaxes and coding schemes, and DICOM's own

UIDs become 2.25.<UUID> by HMAC under the hospital's key: the same everywhere for the same one, and so are whole files.
Dates go, as the profile says. When an image was taken stays known to its record (Record.time), which is sealed and
opened under consent; whoever hands the file itself on, hands on no date.
"""

from __future__ import annotations

import hmac
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trainers.importers.base import MAX_DEPTH
from trainers.importers.dicom.confidentiality import ACTIONS

if TYPE_CHECKING:
    from pydicom import Dataset

DUMMY = "ANONYMIZED"
DUMMIES: dict[str, Any] = {
    **dict.fromkeys(("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UT"), DUMMY),
    **dict.fromkeys(("FD", "FL", "SL", "SS", "SV", "UL", "US", "UV"), 0),
    **dict.fromkeys(("OB", "OD", "OF", "OL", "OV", "OW", "UN"), bytes(8)),
    **dict.fromkeys(("DS", "IS"), "0"),
    "AS": "000Y",
    "DA": "19000101",
    "DT": "19000101000000",
    "TM": "000000",
    "UR": "urn:anonymized",
}

_PATIENT_ID = 0x00100020
_DATES_AND_NAMES, _MACHINES = frozenset({"PN", "DA", "DT", "TM"}), frozenset({"AE", "UR"})
_GROUPS_REMOVED = frozenset({0x0000, 0x0002, 0x0004, *range(0x5000, 0x5100), *range(0x6000, 0x6100)})
_CLASSES = (0x00080016, 0x0008001A, 0x0008001B, 0x00080062, 0x00081150, 0x0008115A, 0x30100052, 0x30100053)
_SYNTAXES = (0x0008040E, 0x00083002, 0x00340003, 0x04000010, 0x04000510)
_SCHEMES = (0x0008010C, 0x0008010D, 0x00080117, 0x00080118)
_UIDS_KEPT = frozenset({*_CLASSES, *_SYNTAXES, *_SCHEMES})


def remap(uid: str, key: bytes) -> str:
    """The UID that stands for uid at the hospital with this key; one that DICOM itself assigned stays.

    The root 2.25 takes any UUID (PS3.5, B.2). Of a version-4 UUID's 122 bits none is random here.
    """
    from pydicom.uid import UID

    if not uid or UID(uid).type:
        return uid
    digest = hmac.digest(key, b"hmchain/uid/1" + uid.encode(), "sha256")
    return f"2.25.{uuid.UUID(bytes=digest[:16], version=4).int}"


def deidentify(dataset: Dataset, key: bytes, subject: str) -> None:
    """Clean dataset in place. key: 32 secret bytes; subject: the pseudonym to write for the Patient ID, or "".

    Raises ValueError for sequences nested deeper than MAX_DEPTH; pydicom raises many things for values that are none.
    """
    from pydicom import Dataset as Item

    _Cleaner(key, subject).clean(dataset, 0)
    code = Item()
    code.CodeValue, code.CodingSchemeDesignator = "113100", "DCM"
    code.CodeMeaning = "Basic Application Confidentiality Profile"
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = "PS3.15 2026c Basic Application Level Confidentiality Profile"
    dataset.DeidentificationMethodCodeSequence = [code]
    dataset.LongitudinalTemporalInformationModified = "REMOVED"


def action_of(tag: int, vr: str, known: bool) -> str:
    """X, Z, D, U, K (keep) or C (keep, and clean within) for an attribute. known: pydicom's dictionary has it so."""
    group = tag >> 16
    if group % 2 or group in _GROUPS_REMOVED:
        return "X"
    if tag in ACTIONS:
        return _resolved(ACTIONS[tag], vr)
    if not known or vr in _MACHINES:
        return "X"
    if vr in _DATES_AND_NAMES:
        return "D"
    if vr == "UI":
        return "K" if tag in _UIDS_KEPT else "U"
    return "C" if vr == "SQ" else "K"


def _resolved(action: str, vr: str) -> str:
    """One of the letters of a combined action, by the rule above."""
    if action == "X/Z/U*":
        return "C"
    if vr == "SQ" and "/" in action:
        return "Z" if "Z" in action else "X"
    return action[-1]


@dataclass(frozen=True)
class _Cleaner:
    key: bytes
    subject: str

    def clean(self, dataset: Dataset, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise ValueError(f"sequences are nested deeper than {MAX_DEPTH}")
        for tag in list(dataset.keys()):
            vr, known = _vr(tag, dataset.get_item(tag).VR)
            self._apply(dataset, tag, vr, action_of(tag, vr, known), depth)

    def _apply(self, dataset: Dataset, tag: Any, vr: str, action: str, depth: int) -> None:
        if action == "X":
            del dataset[tag]
        elif action == "C":
            for item in dataset[tag].value or ():
                self.clean(item, depth + 1)
        elif action == "U":
            _replace(dataset, tag, vr, self._remapped(dataset[tag].value))
        elif tag == _PATIENT_ID:
            _replace(dataset, tag, vr, self.subject)
        elif action == "Z":
            _replace(dataset, tag, vr, [] if vr == "SQ" else None)
        elif action == "D" and not _is_empty(dataset, tag):
            self._dummy(dataset, tag, vr)

    def _remapped(self, value: Any) -> Any:
        if not value:
            return value
        return remap(value, self.key) if isinstance(value, str) else [remap(uid, self.key) for uid in value]

    def _dummy(self, dataset: Dataset, tag: Any, vr: str) -> None:
        from pydicom import Dataset as Item

        if vr == "SQ":
            _replace(dataset, tag, vr, [Item()])
        elif vr == "UI":
            _replace(dataset, tag, vr, remap("dummy", self.key))
        elif vr in DUMMIES:
            _replace(dataset, tag, vr, DUMMIES[vr])
        else:
            del dataset[tag]


def _vr(tag: int, written: str | None) -> tuple[str, bool]:
    """An attribute's VR, and whether the dictionary has one for it that what is written agrees with."""
    from pydicom.datadict import dictionary_VR

    try:
        possible = dictionary_VR(tag).split(" or ")
    except KeyError:
        return written or "UN", False
    if written in (None, "UN"):
        return possible[0], True
    return str(written), written in possible


def _is_empty(dataset: Dataset, tag: Any) -> bool:
    value = dataset.get_item(tag).value
    return value is None or (hasattr(value, "__len__") and len(value) == 0)


def _replace(dataset: Dataset, tag: Any, vr: str, value: Any) -> None:
    from pydicom import DataElement

    dataset[tag] = DataElement(tag, vr, value)
