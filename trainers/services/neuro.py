"""Neuroscience: who has a condition, predicted from the power of the bands of an EEG. One row a recording.

EDF and BDF are read; a recording in another format, with gaps in time, too short, or sampled too slowly for the gamma
band, has no row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from hmchain.permits import Purpose
from hmchain.record import Code, Record
from trainers.importers.eeg.edf import bytes_of, digital, has_gaps, tracks_of
from trainers.importers.eeg.edf_layout import read_layout
from trainers.importers.reading.bounded import Unreadable
from trainers.logs import say
from trainers.records.holdings import Wanted
from trainers.services.rows import Row, conditions, is_diagnosis, shard_of
from trainers.splits import Shard

TYPE = "eeg"
BANDS = {"delta": (1, 4), "theta": (4, 8), "alpha": (8, 13), "beta": (13, 30), "gamma": (30, 45)}  # Hz
NAMES = tuple(f"{band}-{what}" for what in ("mean", "sd") for band in BANDS)  # of log10 uV^2 over the channels
MICROVOLTS = {"V": 1e6, "mV": 1e3, "uV": 1.0, "nV": 1e-3}  # units of signals; what has another one is no EEG
WINDOW = 2.0  # seconds: a resolution of half a hertz
BLOCK = 256  # windows transformed at a time


@dataclass(frozen=True)
class Neuroscience:
    """See TrainingService. key: 32 secret bytes."""

    condition: Code
    key: bytes = field(repr=False)
    purpose = Purpose.NEUROSCIENCE
    inputs = (Wanted(type=TYPE),)

    @property
    def label(self) -> Wanted:
        """See TrainingService."""
        return conditions(self.condition)

    def shard(self, records: Iterable[Record]) -> Shard | None:
        """See TrainingService."""
        recordings: list[Row] = []
        ill: dict[str, tuple[int, ...]] = {}  # by whom the diagnoses are about
        left_out = 0
        for index, record in enumerate(records):  # one recording in memory at a time
            if is_diagnosis(record, self.condition):
                ill[record.subject] = (*ill.get(record.subject, ()), index)
            elif record.type == TYPE:
                values = band_powers(record.attachment) if record.subject else None
                recordings += [Row(record.subject, values, (index,))] if values is not None else []
                left_out += values is None
        say("rows made of consented records", purpose=self.purpose.name, recordings=len(recordings), left_out=left_out)
        rows = (replace(row, sources=row.sources + ill.get(row.subject, ())) for row in recordings)
        return shard_of(rows, ill, NAMES, self.key)


def band_powers(data: bytes) -> NDArray[np.float32] | None:
    """NAMES of an EDF or BDF file, float32 (10,); None where it has no channel that they can be had of."""
    try:
        powers = np.array([_logs(samples, rate) for samples, rate in signals(data) if _is_usable(samples, rate)])
    except Unreadable:
        return None
    if not len(powers):
        return None
    values: NDArray[np.float32] = np.concatenate([powers.mean(axis=0), powers.std(axis=0)]).astype(np.float32)
    return values


def signals(data: bytes) -> Iterator[tuple[NDArray[np.float64], float]]:
    """Each channel that is measured in volts: its samples in uV, and its rate in Hz. Raises Unreadable."""
    layout = read_layout(data)
    if has_gaps(data, layout):
        raise Unreadable("gaps in time, over which no spectrum goes")
    table = bytes_of(data, layout)
    for signal, track in tracks_of(layout):
        if signal.annotates or signal.unit not in MICROVOLTS:
            continue
        step = float((signal.highest - signal.lowest) / (signal.top - signal.bottom)) * MICROVOLTS[signal.unit]
        origin = float(signal.lowest) * MICROVOLTS[signal.unit]
        samples = (digital(table[:, track], layout.width) - float(signal.bottom)) * step + origin
        yield samples, float(signal.samples / layout.duration)


def spectrum(samples: NDArray[np.float64], rate: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Frequencies in Hz and power density per Hz: Welch 1967, periodic Hann windows of WINDOW that overlap by half."""
    size = round(WINDOW * rate)
    windows = np.lib.stride_tricks.sliding_window_view(samples, size)[:: size // 2]
    hann = np.hanning(size + 1)[:-1]
    total = np.zeros(size // 2 + 1)
    for start in range(0, len(windows), BLOCK):
        block = windows[start : start + BLOCK]
        total += (np.abs(np.fft.rfft((block - block.mean(axis=1, keepdims=True)) * hann)) ** 2).sum(axis=0)
    density = total / (len(windows) * rate * (hann**2).sum())
    density[1 : (size + 1) // 2] *= 2  # the negative frequencies; there is one of zero, and of half an even rate
    return np.fft.rfftfreq(size, 1 / rate), density


def _is_usable(samples: NDArray[np.float64], rate: float) -> bool:
    """Fast enough, long enough, and not flat."""
    highest = max(high for _, high in BANDS.values())
    return rate >= 2 * highest and len(samples) >= round(WINDOW * rate) and bool(np.ptp(samples) > 0)


def _logs(samples: NDArray[np.float64], rate: float) -> NDArray[np.float64]:
    """log10 of each band's power in uV^2. A tiny floor keeps a band without any power finite."""
    frequencies, density = spectrum(samples, rate)
    width = frequencies[1] - frequencies[0]
    powers = [density[(low <= frequencies) & (frequencies < high)].sum() * width for low, high in BANDS.values()]
    logs: NDArray[np.float64] = np.log10(np.maximum(powers, 1e-12))
    return logs
