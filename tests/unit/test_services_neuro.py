"""Neuroscience: band powers against scipy's Welch and pyedflib's samples, and the rows that recordings give."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pyedflib
import pytest
from scipy.signal import welch

from hmchain.permits import Purpose
from hmchain.record import Code
from tests.consenting_hospital import DIABETES, ConsentingHospital, edf, write_conditions
from tests.samples import RECORDS, needs_samples
from trainers.services.neuro import BANDS, MICROVOLTS, NAMES, Neuroscience, band_powers, signals, spectrum
from trainers.splits import load_shard

SAMPLES = RECORDS / "eeg"

KEY = bytes(range(32))
SERVICE = Neuroscience(Code.parse(DIABETES), KEY)


def noise(channels: int = 2, seconds: int = 4, rate: int = 128, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-3000, 3000, (channels, seconds * rate))


# ---------------------------------------------------------------- spectra


@pytest.mark.parametrize(("count", "rate"), [(1000, 250.0), (256, 128.0), (5000, 100.5), (200_000, 256.0)])
def test_the_spectrum_is_welchs_as_scipy_has_it(count: int, rate: float) -> None:
    samples = np.random.default_rng(1).normal(5, 30, count)
    size = round(2 * rate)
    frequencies, density = welch(samples, rate, nperseg=size, noverlap=size - size // 2)
    ours = spectrum(samples, rate)
    assert ours[0] == pytest.approx(frequencies)
    assert ours[1] == pytest.approx(density, rel=1e-9)


@pytest.mark.parametrize(("band", "hertz"), [("delta", 2), ("theta", 6), ("alpha", 10), ("beta", 20), ("gamma", 40)])
def test_a_wave_is_in_its_band(band: str, hertz: int) -> None:
    wave = 32 * 50 * np.sin(2 * np.pi * hertz * np.arange(1280) / 128)
    powers = dict(zip(NAMES, band_powers(edf(wave[None].round())), strict=True))
    assert max(BANDS, key=lambda name: powers[f"{name}-mean"]) == band
    assert powers[f"{band}-mean"] == pytest.approx(np.log10(50**2 / 2), abs=0.01), "the power of a sine of 50 uV"
    assert powers[f"{band}-sd"] == 0


def test_the_features_are_mean_and_deviation_over_the_channels() -> None:
    values = noise(3)
    whole = band_powers(edf(values))
    alone = np.array([band_powers(edf(values[i : i + 1]))[:5] for i in range(3)])
    assert whole.dtype == np.float32
    assert whole == pytest.approx([*alone.mean(axis=0), *alone.std(axis=0)], abs=1e-5)


def test_another_unit_is_the_same_voltage() -> None:
    plain = band_powers(edf(noise()))
    assert band_powers(edf(noise(), unit="mV")) == pytest.approx([*(plain[:5] + 6), *plain[5:]], abs=1e-5)


def discontinuous(*onsets: str, kind: str = "EDF+D") -> bytes:
    """A signal in data records of a second, which start then."""
    data = bytearray(edf(noise(seconds=len(onsets))))
    data[192:197], data[272:288] = kind.encode(), b"EDF Annotations "
    for number, onset in enumerate(onsets):
        place = 768 + 512 * number + 256
        data[place : place + 256] = f"{onset}\x14\x14\0".encode().ljust(256, b"\0")
    return bytes(data)


def test_a_recording_with_gaps_in_time_has_none() -> None:
    whole = discontinuous("+0", "+1", "+2.001", "+3")
    assert band_powers(whole) is not None
    assert band_powers(discontinuous("+0", "+1", "+2", "+60")) is None
    assert band_powers(discontinuous("+0", "+1", "+1", "+2")) is None
    assert band_powers(discontinuous("+0", "", "+2", "+3")) is None
    assert band_powers(discontinuous("+0", "+1", "+2", "+60", kind="EDF+C")) == pytest.approx(band_powers(whole))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no EDF at all",
        edf(noise(seconds=1)),
        edf(noise(rate=64), rate=64),
        edf(noise(), unit="degC"),
        edf(noise(), label="EDF Annotations"),
        edf(np.zeros((2, 512), int)),
        edf(noise())[:-1],
    ],
    ids=["empty", "foreign", "a second", "64 Hz", "a temperature", "annotations", "flat", "cut off"],
)
def test_what_has_no_band_powers_has_none(data: bytes) -> None:
    assert band_powers(data) is None


@needs_samples
@pytest.mark.parametrize("name", ["mne_test_edf_stim_channel.edf", "test_generator.bdf", "test_subsecond.edf"])
def test_the_samples_signals_are_pyedflibs(name: str) -> None:
    ours = list(signals((SAMPLES / name).read_bytes()))
    with pyedflib.EdfReader(str(SAMPLES / name)) as oracle:
        units = [oracle.getPhysicalDimension(i).replace("µ", "u") for i in range(oracle.signals_in_file)]
        theirs = [(i, MICROVOLTS[unit]) for i, unit in enumerate(units) if unit in MICROVOLTS]
        assert len(ours) == len(theirs) > 0
        for (samples, rate), (i, scale) in zip(ours, theirs, strict=True):
            assert rate == pytest.approx(oracle.getSampleFrequency(i))
            assert samples == pytest.approx(oracle.readSignal(i) * scale, rel=1e-9, abs=1e-6)


@needs_samples
@pytest.mark.parametrize("name", ["mne_test_edf_stim_channel.edf", "test_generator.bdf"])
def test_the_samples_have_band_powers_of_a_possible_size(name: str) -> None:
    powers = band_powers((SAMPLES / name).read_bytes())
    assert powers is not None
    assert np.isfinite(powers).all()
    assert (powers[5:] >= 0).all()


# ---------------------------------------------------------------- rows


def test_each_recording_is_a_row_and_its_persons_condition_the_label(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ward, numbers = ConsentingHospital(tmp_path / "ward"), [f"p{n}" for n in range(12)]
    for n, number in enumerate(numbers):
        (tmp_path / f"{n}.edf").write_bytes(edf(noise(1, seed=n)))
        ward.imports(tmp_path / f"{n}.edf", subject=number)
    (tmp_path / "short.edf").write_bytes(edf(noise(1, seconds=1, seed=99)))
    ward.imports(tmp_path / "short.edf", write_conditions(tmp_path / "c.ndjson", numbers[::3]), subject="p0")
    ward.consent(numbers, Purpose.NEUROSCIENCE)
    ward.consent(numbers[:1], Purpose.EHR)
    data = ward.data(SERVICE)
    with caplog.at_level(logging.INFO, "hmchain.node"):
        assert data.refresh(ward.trail)
    assert caplog.records[-1].facts == {"purpose": "NEUROSCIENCE", "recordings": 11, "left_out": 0}
    shard = load_shard(data.file)
    assert shard.features == NAMES
    rows = np.concatenate([shard.train.inputs, shard.holdout.inputs]).tolist()
    labels = np.concatenate([shard.train.labels, shard.holdout.labels]).tolist()
    found = {tuple(row): label for row, label in zip(rows, labels, strict=True)}
    expected = {tuple(band_powers(edf(noise(1, seed=n))).tolist()): int(n % 3 == 0) for n in range(1, 12)}
    assert found == expected
    ward.consent(numbers[:1], Purpose.NEUROSCIENCE)
    with caplog.at_level(logging.INFO, "hmchain.node"):
        assert data.refresh(ward.trail)
    assert caplog.records[-1].facts == {"purpose": "NEUROSCIENCE", "recordings": 12, "left_out": 1}


def test_a_recording_of_nobody_is_no_row(tmp_path: Path) -> None:
    ward = ConsentingHospital(tmp_path / "ward")
    (tmp_path / "a.edf").write_bytes(edf(noise(1)))
    ward.imports(tmp_path / "a.edf")
    data = ward.data(SERVICE)
    data.refresh(ward.trail)
    assert not data.file.exists()
