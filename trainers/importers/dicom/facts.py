"""Facts of a DICOM instance for its record: type, time, codes and shape, and nothing that names anybody.

Source: DICOM PS3.3 (modules), PS3.6 (attributes), PS3.16 (DCM, Annex L).
"""

from __future__ import annotations

import re
from datetime import tzinfo
from typing import TYPE_CHECKING, Any

from hmchain.record import Code
from trainers.importers.measures import times

if TYPE_CHECKING:
    from pydicom import Dataset

DCM = "http://dicom.nema.org/resources/ontology/DCM"
BODY_PART = "http://dicom.nema.org/medical/dicom/current/output/chtml/part16/chapter_L.html"
UIDS = "urn:ietf:rfc:3986"
SCHEMES = {"DCM": DCM, "SCT": "http://snomed.info/sct", "LN": "http://loinc.org", "UCUM": "http://unitsofmeasure.org"}

_NEEDED = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Modality")
_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_UNCOMPRESSED = frozenset({"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"})
_MOMENTS = (("AcquisitionDate", "AcquisitionTime"), ("SeriesDate", "SeriesTime"), ("StudyDate", "StudyTime"))
_CODED = re.compile(r"[A-Z0-9_ ]{1,16}")
_DECIMAL = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
_OVERLAYS = range(0x6000, 0x6100, 2)
_APART = {0x0100: 1, 0x0102: 0}  # bits allocated and bit position of an overlay that has data of its own
_MAX_GROUPS = 64  # multiplex groups of a waveform


class Refused(ValueError):
    """A DICOM instance that is no record, for the reason it gives."""


def refuse_unfit(dataset: Dataset, syntax: str) -> None:
    """Raises Refused for what cannot be identified, cannot be de-identified, or lacks what its class consists of."""
    missing = [keyword for keyword in _NEEDED if not text(dataset, keyword)]
    if missing:
        raise Refused(f"not an instance: no {missing[0]}")
    name = class_name(dataset)
    if not name.endswith("Storage") or name.startswith("Media Storage"):  # a directory names the files of a medium
        raise Refused("not a SOP class of the standard's that holds data")
    if name.startswith("Encapsulated"):
        raise Refused("encapsulated documents cannot be de-identified")
    if dataset.get("PatientID") and not text(dataset, "PatientID"):
        raise Refused("a Patient ID that is not one number")
    if str(dataset.get("BurnedInAnnotation") or "").strip("\0 ").upper() not in ("", "NO"):
        raise Refused("names may be burned into the pixels (BurnedInAnnotation)")
    _refuse_hollow(dataset, name)
    _refuse_drawn_over(dataset)
    if "PixelData" in dataset and syntax in _UNCOMPRESSED:
        _refuse_short(dataset)


def _refuse_hollow(dataset: Dataset, name: str) -> None:
    """Refuses what lacks its content: a file cut off just between two elements is well-formed, but incomplete."""
    if name.endswith("Waveform Storage"):
        groups = dataset.get("WaveformSequence") or []
        if not groups or any("WaveformData" not in group for group in groups):
            raise Refused("a waveform without data")
    elif type_of(dataset) == "report" and "ContentSequence" not in dataset:
        raise Refused("a report without content")
    elif ("Image Storage" in name or "Rows" in dataset) and not any(keyword in dataset for keyword in _PIXELS):
        raise Refused("an image without pixel data")


def _refuse_drawn_over(dataset: Dataset) -> None:
    """Refuses what has an overlay in bits of the pixels that no sample uses, as was allowed until 2004: it may write a
    name, and without the overlay's group, which is removed, anybody can still read it (PS3.3, C.9.2).
    """
    for group in _OVERLAYS:
        for element, apart in _APART.items():
            tag = group << 16 | element
            if tag in dataset and dataset[tag].value not in (None, "", apart):
                raise Refused("an overlay in unused bits of the pixels, where names may be written")


def _refuse_short(dataset: Dataset) -> None:
    """Uncompressed pixel data have the size that their shape says (an odd one is padded)."""
    shape = [whole(dataset, keyword) for keyword in ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated")]
    if not all(shape):
        raise Refused("pixel data without a shape")
    bits = (whole(dataset, "NumberOfFrames") or 1) * shape[0] * shape[1] * shape[2] * shape[3]
    if text(dataset, "PhotometricInterpretation") in ("YBR_FULL_422", "YBR_PARTIAL_422"):
        bits = bits * 2 // 3  # two pixels share their colour
    held, needed = len(dataset.get_item("PixelData").value), -(-bits // 8)
    if held < needed:
        raise Refused(f"pixel data of {held:,} bytes where its shape needs {needed:,}")


def class_name(dataset: Dataset) -> str:
    """The SOP class as the standard names it ("CT Image Storage"), or "" for one that it does not have."""
    from pydicom.uid import UID

    uid = UID(text(dataset, "SOPClassUID"))
    return uid.name.removesuffix(" (Retired)") if uid.type == "SOP Class" else ""


def type_of(dataset: Dataset) -> str:
    """A record's type, by SOP class."""
    uid = text(dataset, "SOPClassUID")
    if uid.startswith("1.2.840.10008.5.1.4.1.1.9."):
        return "waveform"
    return "report" if uid.startswith("1.2.840.10008.5.1.4.1.1.88.") else "imaging"


def time(dataset: Dataset, zone: tzinfo) -> str:
    """The acquisition's time, else the series', else the study's, or "". A malformed time counts as missing."""
    offset = re.sub(r"[^+\d-]", "", text(dataset, "TimezoneOffsetFromUTC"))
    moment = text(dataset, "AcquisitionDateTime")
    candidates = [moment if "+" in moment or "-" in moment else moment + offset]
    for day, clock in _MOMENTS:  # ACR-NEMA, before 1993, wrote 1997.04.24 and 14:04:38
        date, hour = text(dataset, day).replace(".", ""), text(dataset, clock).replace(":", "")
        candidates += [date + hour + offset, date] if hour else [date]
    for candidate in candidates:
        try:
            return times.hl7(candidate, zone)
        except ValueError:
            continue
    return ""


def codes(dataset: Dataset) -> tuple[Code, ...]:
    """Modality, SOP class, body part or region, and a report's title, as far as they are coded."""
    found = [Code(UIDS, f"urn:oid:{text(dataset, 'SOPClassUID')}", class_name(dataset))]
    if modality := _coded(dataset, "Modality"):
        found.append(Code(DCM, modality))
    if part := _coded(dataset, "BodyPartExamined"):
        found.append(Code(BODY_PART, part))
    for keyword in ("AnatomicRegionSequence", "ConceptNameCodeSequence"):
        for item in (dataset.get(keyword) or [])[:1]:
            scheme = SCHEMES.get(text(item, "CodingSchemeDesignator"))
            if scheme and re.fullmatch(r"[A-Za-z0-9.-]{1,16}", text(item, "CodeValue")):
                found.append(Code(scheme, text(item, "CodeValue")))
    return tuple(found)


def value(dataset: Dataset, syntax: str) -> dict[str, Any]:
    """What there is to say of the instance without its pixels; UIDs are the caller's."""
    said: dict[str, Any] = {
        "sop_class": text(dataset, "SOPClassUID"),
        "transfer_syntax": syntax,
        "modality": _coded(dataset, "Modality"),
        "body_part": _coded(dataset, "BodyPartExamined"),
    }
    if any(keyword in dataset for keyword in _PIXELS):
        said |= _image(dataset)
    if "WaveformSequence" in dataset:
        said["waveforms"] = [_waveform(group) for group in dataset["WaveformSequence"].value[:_MAX_GROUPS]]
    if type_of(dataset) == "report":
        said |= {"completion": _coded(dataset, "CompletionFlag"), "verification": _coded(dataset, "VerificationFlag")}
    return said


def _image(dataset: Dataset) -> dict[str, Any]:
    keywords = {"rows": "Rows", "columns": "Columns", "samples": "SamplesPerPixel", "bits": "BitsStored"}
    said: dict[str, Any] = {name: whole(dataset, keyword) for name, keyword in keywords.items()}
    said |= {
        "frames": whole(dataset, "NumberOfFrames") or 1,
        "photometric": _coded(dataset, "PhotometricInterpretation"),
    }
    spacing, thickness = _decimals(dataset, "PixelSpacing"), _decimals(dataset, "SliceThickness")
    if len(spacing) == 2:
        said["pixel_spacing"] = [{"value": number, "unit": "mm"} for number in spacing]
    if len(thickness) == 1:
        said["slice_thickness"] = {"value": thickness[0], "unit": "mm"}
    return said


def _waveform(group: Dataset) -> dict[str, Any]:
    rate = _decimals(group, "SamplingFrequency")
    return {
        "channels": whole(group, "NumberOfWaveformChannels"),
        "samples": whole(group, "NumberOfWaveformSamples"),
        "rate": {"value": rate[0] if rate else "", "unit": "Hz"},
    }


def text(dataset: Dataset, keyword: str) -> str:
    """An attribute's one value as text, stripped; "" where there is none or there are several."""
    found = dataset.get(keyword)
    return (
        str(found).strip("\0 \n") if isinstance(found, str | int | float) or hasattr(found, "original_string") else ""
    )


def whole(dataset: Dataset, keyword: str) -> int:
    """An attribute's one whole number, 0 where there is none or it is negative."""
    found = text(dataset, keyword)
    return int(found) if re.fullmatch(r"\d{1,10}", found) else 0


def _coded(dataset: Dataset, keyword: str) -> str:
    """A code string (CS), or "" for any other text: free text may have names in it."""
    found = text(dataset, keyword)
    return found if _CODED.fullmatch(found) else ""


def _decimals(dataset: Dataset, keyword: str) -> list[str]:
    """The decimal texts of a DS, as they were written."""
    found = dataset.get(keyword)
    if found is None or found == "":
        return []
    numbers = found if hasattr(found, "__iter__") and not isinstance(found, str) else [found]
    texts = [str(getattr(number, "original_string", number)).strip() for number in numbers]
    return texts if all(map(_DECIMAL.fullmatch, texts)) else []
