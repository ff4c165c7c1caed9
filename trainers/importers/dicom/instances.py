"""DICOM files (PS3.10): one record for one instance, with the file itself attached after de-identification.

An image, a waveform or a report is told by its SOP class. Its record's time is when it was acquired, else when its
series or study was, by its own offset from UTC or else in the hospital's zone. Refused: what says that names are
burned into its pixels, overlays in their unused bits, what is encapsulated (a PDF cannot be cleaned), SOP classes and
transfer syntaxes that the standard does not have, directories (DICOMDIR), whatever is cut off. An image that does not
say whether names are burned in is taken: nobody looks at its pixels here. A deflated data set is handed on inflated.
"""

from __future__ import annotations

import logging
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hmchain.record import Kind, Record
from trainers.importers.base import Context, Rejection
from trainers.importers.dicom import facts, layout
from trainers.importers.dicom.deidentify import deidentify, remap
from trainers.importers.reading.bounded import Unreadable, read_whole

if TYPE_CHECKING:
    from pydicom import Dataset

NAME = "dicom"
MAX_FILE_BYTES = 224 << 20  # leaves room in a record for the header, and for what de-identification adds

IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
DEFLATED, BIG_ENDIAN = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"
# Ours and not pydicom's, whose name changes with each version: the same file is to be the same record afterwards.
IMPLEMENTATION_UID, IMPLEMENTATION_NAME = "2.25.140613274529473853519428746350718331649", "HMCHAIN_1"

_SUFFIXES = (".dcm", ".dicom", ".ima")


def recognises(head: bytes, path: Path) -> bool:
    """Whether head has the magic, or path the name, of a DICOM file."""
    return head[layout.PREAMBLE :].startswith(layout.MAGIC) or path.suffix.lower() in _SUFFIXES


def read(path: Path, context: Context) -> Iterator[Record | Rejection]:
    """The instance's record, or why there is none."""
    try:
        yield _import(read_whole(path, MAX_FILE_BYTES), context)
    except (Unreadable, layout.Broken, facts.Refused) as fault:
        yield Rejection("file", str(fault))
    except Exception as fault:  # pydicom meets values that are none with some ten kinds of exception, which quote them
        yield Rejection("file", f"not a data set that can be read ({type(fault).__name__})")


def _import(data: bytes, context: Context) -> Record:
    with _silence():
        data, syntax, start = _data_set(data)
        layout.check(data, start, syntax != IMPLICIT, syntax == BIG_ENDIAN)
        dataset = _parse(data, start, syntax)
        facts.refuse_unfit(dataset, syntax)
        return _record(dataset, syntax, context)


@contextmanager
def _silence() -> Iterator[None]:
    """pydicom's warnings quote values, which may name somebody, and which a terminal obeys."""
    from pydicom import config

    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    config.settings.reading_validation_mode = config.IGNORE
    config.settings.writing_validation_mode = config.IGNORE
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _data_set(data: bytes) -> tuple[bytes, str, int]:
    """The bytes that hold the data set, its transfer syntax, and where it starts. Raises Broken, Refused."""
    from pydicom.uid import UID

    if data[layout.PREAMBLE :].startswith(layout.MAGIC):
        syntax, start = layout.read_meta(data)
        if syntax == DEFLATED:
            return _inflated(data[start:]), EXPLICIT, 0
        if UID(syntax).type != "Transfer Syntax":
            raise facts.Refused("a transfer syntax that is not read here")
        return data, syntax, start
    start = 0 if layout.looks_bare(data) else 1  # some systems left a byte before it
    if not layout.looks_bare(data[start:]):
        raise facts.Refused("not DICOM: neither a preamble nor the start of a data set")
    return data, EXPLICIT if layout.bare_is_explicit(data[start:]) else IMPLICIT, start


def _inflated(data: bytes) -> bytes:
    """A deflated data set, which is of explicit VR, little endian (PS3.5, A.5). Raises Refused."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        whole = inflater.decompress(data, MAX_FILE_BYTES + 1)
    except zlib.error:
        raise facts.Refused("its deflated data set is damaged") from None
    if len(whole) > MAX_FILE_BYTES:
        raise facts.Refused(f"its data set becomes larger than {MAX_FILE_BYTES:,} bytes")
    checksum = struct.pack("<II", zlib.crc32(whole), len(whole))  # of gzip, which some writers leave after it
    if not inflater.eof or inflater.unused_data.rstrip(b"\0") not in (b"", checksum.rstrip(b"\0")):
        raise facts.Refused("its deflated data set is cut off, or has more after it")
    return whole


def _parse(data: bytes, start: int, syntax: str) -> Dataset:
    from pydicom.filereader import read_dataset

    stream = BytesIO(data)
    stream.seek(start)
    return read_dataset(stream, syntax == IMPLICIT, syntax != BIG_ENDIAN)


def _record(dataset: Dataset, syntax: str, context: Context) -> Record:
    """Facts first: de-identification works in place."""
    subject = context.pseudonym(facts.text(dataset, "PatientID")) or context.default_subject
    kind, codes = facts.type_of(dataset), facts.codes(dataset)
    time, value = facts.time(dataset, context.zone), facts.value(dataset, syntax)
    value |= {
        name: remap(facts.text(dataset, keyword), context.key)
        for name, keyword in (
            ("study", "StudyInstanceUID"),
            ("series", "SeriesInstanceUID"),
            ("instance", "SOPInstanceUID"),
        )
    }
    deidentify(dataset, context.key, subject)
    attachment = _write(dataset, syntax, value["instance"])
    return Record(Kind.CLINICAL, kind, subject, time, codes, value, NAME, attachment=attachment)


def _write(dataset: Dataset, syntax: str, instance: str) -> bytes:
    """A Part 10 file: empty preamble, the file meta information it must have, the data set in the encoding it had."""
    from pydicom.dataset import FileMetaDataset
    from pydicom.filewriter import dcmwrite
    from pydicom.uid import UID

    meta: Any = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = UID(instance)
    meta.TransferSyntaxUID = UID(syntax)
    meta.ImplementationClassUID, meta.ImplementationVersionName = UID(IMPLEMENTATION_UID), IMPLEMENTATION_NAME
    dataset.file_meta = meta
    stream = BytesIO()
    dcmwrite(
        stream, dataset, implicit_vr=syntax == IMPLICIT, little_endian=syntax != BIG_ENDIAN, enforce_file_format=True
    )
    return stream.getvalue()
