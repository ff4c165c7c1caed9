"""Documents in HL7 v2 results: embedded (ED), which a record carries as they are, or elsewhere and pointed at (RP).

Nobody looks into a document here, and it may name anybody: its record is of a type of its own, so that persons consent
to it by itself, and is marked. A pointer is kept as a pseudonym, since paths hold names and numbers of persons.

Source: HL7 v2.8.2, chapter 2A (ED, RP) and table 0299 (encodings).
"""

from __future__ import annotations

import base64
import binascii
import re

from hmchain.record import Code, Kind, Record
from trainers.importers.base import Context
from trainers.importers.hl7.fields import Segment
from trainers.importers.measures.observations import refuse_void

DOCUMENTS = ("ED", "RP")
TYPE = "document"
_MEDIA = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]{0,40}")
_BLANKS = re.compile(r"\s+")


def document(obx: Segment, codes: tuple[Code, ...], time: str, subject: str, source: str, context: Context) -> Record:
    """The record of an OBX of type ED or RP. codes, time: as of any result. Raises ValueError."""
    refuse_void(obx.text(11))
    if obx.count(5) > 1:
        raise ValueError("it has several documents where one is meant (OBX-5)")
    embedded = obx.text(2) == "ED"
    media, subtype = (obx.text(5, component) for component in ((2, 3) if embedded else (3, 4)))
    value: dict[str, object] = {"media": "/".join(part.lower() for part in (media, subtype) if _MEDIA.fullmatch(part))}
    data = _decoded(obx) if embedded else b""
    if not embedded:
        value["elsewhere"] = context.pseudonym(obx.text(5))
    if not data and not value.get("elsewhere"):
        raise ValueError("it has no value (OBX-5)")
    detail = {"status": obx.text(11), "mayIdentify": True}
    return Record(Kind.CLINICAL, TYPE, subject, time, codes, value, source, detail, attachment=data)


def _decoded(obx: Segment) -> bytes:
    """The bytes of an ED. Raises ValueError."""
    encoding, text = obx.text(5, 4).casefold(), obx.text(5, 5)
    if encoding in ("", "a"):
        return text.encode()
    try:
        if encoding == "base64":
            return base64.b64decode(_BLANKS.sub("", text), validate=True)
        if encoding == "hex":
            return bytes.fromhex(text)
    except (binascii.Error, ValueError):
        raise ValueError("its document is damaged: it is not of the encoding that it says (OBX-5.4)") from None
    raise ValueError("its document is of an encoding that HL7 has not (OBX-5.4)")
