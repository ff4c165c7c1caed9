"""The record of an electrophysiological recording, whatever its format."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Context as DecimalContext
from decimal import Decimal
from fractions import Fraction

from hmchain.record import Kind, Record

MAX_FILE_BYTES = 224 << 20  # leaves room in a record for its header
MAX_CHANNELS = 2_048
DIGITS = 12  # significant ones of a decimal text that is no finite fraction


@dataclass(frozen=True)
class Channel:
    """rate: Hz. samples: how many. low, high: the smallest and largest of them, in unit; None where there are none."""

    label: str
    unit: str
    rate: Fraction
    samples: int
    low: Fraction | None
    high: Fraction | None


@dataclass(frozen=True)
class Recording:
    """duration: seconds. time: a record's. data: the recording itself, without what identifies."""

    source: str
    channels: list[Channel]
    duration: Fraction
    annotations: int
    time: str
    subject: str
    data: bytes = field(repr=False)

    def record(self) -> Record:
        """The record, of kind research and type "eeg"."""
        value = {
            "channels": [_said(channel) for channel in self.channels],
            "duration": {"value": decimal(self.duration), "unit": "s"},
            "annotations": self.annotations,
        }
        return Record(Kind.RESEARCH, "eeg", self.subject, self.time, (), value, self.source, attachment=self.data)


def _said(channel: Channel) -> dict[str, str | int]:
    return {
        "label": channel.label,
        "unit": channel.unit,
        "rate_hz": decimal(channel.rate),
        "samples": channel.samples,
        "min": "" if channel.low is None else decimal(channel.low),
        "max": "" if channel.high is None else decimal(channel.high),
    }


def decimal(number: Fraction) -> str:
    """A number as decimal text without exponent, of at most DIGITS significant digits: "128", "333.333333333"."""
    context = DecimalContext(prec=DIGITS)
    quotient = context.divide(Decimal(number.numerator), Decimal(number.denominator))
    text = format(quotient, "f")
    return (text.rstrip("0").rstrip(".") if "." in text else text) if quotient else "0"


def unit_of(text: str) -> str:
    """UCUM for a physical dimension as recorders write it ("µV", in Latin-1 or not), else the text itself."""
    text = text.strip()
    return (
        "uV" if text.lower() in ("µv", "μv", "uv", "\ufffdv") else text if text.isascii() and text.isprintable() else ""
    )
