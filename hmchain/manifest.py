"""A job's manifest: what is trained and how, as one canonical text whose digest is recorded on chain.

A node builds the network from its own code and this manifest, and refuses a job whose manifest it cannot reproduce.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from hmchain.errors import UsageError
from hmchain.jsontext import parse
from hmchain.recipe import AGGREGATIONS, Recipe, check_recipe, chosen
from hmchain.rounds import MAX_MASTERS, Terms

FORMAT = "hmchain-manifest/1"
Metric = Literal["accuracy", "balanced_accuracy"]
MAX_BYTES = 64 * 1024
MAX_EPOCHS, MAX_BATCH, MAX_CLASSES = 1_000, 65_536, 256
MAX_FINDINGS = 62  # classes of a multi-label job: a sample's labels are one int64
LEARNING_RATES = (2.0**-126, 2.0**128 - 2.0**104)  # smallest normal and largest float32, the type that training uses
MAX_FEATURES, MAX_FEATURE_NAME = 4096, 256
TABULAR = ("logistic", "mlp")  # the architectures that take features; all others take images
CNN = "medmnist-cnn"
OF_IMAGES, OF_FEATURES = "scale[-1,1]", "asinh"  # preprocessing


@dataclass(frozen=True)
class Manifest(Recipe):
    """A job's network, local training, aggregation and terms. Shares, scores and rates are floats in 0..1.

    A sample is an image with `channels`, or, where `features` names any, a row of that many numbers in that order, and
    then channels is 0. One class applies to it, or with multi_label any number. standard is "absolute:X" (as in the
    paper: the score that an update must reach) or "relative:-D" (at most D below the base model's score); both refer to
    `metric`. Raises UsageError for what no job can have.
    """

    dataset: str
    channels: int
    classes: tuple[str, ...]
    seed: int
    rounds: int = 10
    fraction: float = 0.25
    masters: int = 4
    term_rounds: int = 4
    epochs: int = 3
    batch_size: int = 128
    learning_rate: float = 0.1
    architecture: str = CNN
    preprocessing: str = OF_IMAGES
    aggregation: str = AGGREGATIONS[0]
    metric: Metric = "accuracy"
    standard: str = "relative:-0.2"
    request_seconds: int = 3600
    score_seconds: int = 1800
    reveal_seconds: int = 900
    reply_seconds: int = 900
    features: tuple[str, ...] = ()
    multi_label: bool = False
    format: str = FORMAT

    def __post_init__(self) -> None:
        self._check_types()
        if self.format != FORMAT:
            raise UsageError(f"this is no {FORMAT} manifest but {self.format!r}")
        if self.metric not in get_args(Metric):
            raise UsageError(f"unknown metric {self.metric!r}")
        if not 1 <= self.rounds <= 65_535 or not 1 <= self.masters <= MAX_MASTERS or not 1 <= self.term_rounds <= 255:
            raise UsageError(f"a job has 1 to 65535 rounds, 1 to {MAX_MASTERS} masters and terms of 1 to 255 rounds")
        if not 1 / 10_000 <= self.fraction <= 1:
            raise UsageError(f"fraction must lie between 0.0001 and 1, not {self.fraction}")
        if not (1 <= self.epochs <= MAX_EPOCHS and 2 <= self.batch_size <= MAX_BATCH):
            raise UsageError(
                f"a client trains for 1 to {MAX_EPOCHS} epochs a round in batches of 2 (batch norm) to {MAX_BATCH}, "
                f"not {self.epochs} and {self.batch_size}"
            )
        if not LEARNING_RATES[0] <= self.learning_rate <= LEARNING_RATES[1]:
            raise UsageError(
                f"the learning rate must be a positive number of {LEARNING_RATES[0]:.3g} to {LEARNING_RATES[1]:.3g}, "
                f"not {self.learning_rate}"
            )
        self._check_samples()
        check_recipe(self, self.aggregation, self.architecture, images=not self.features)
        times = (self.request_seconds, self.score_seconds, self.reveal_seconds, self.reply_seconds)
        if not all(2 <= seconds < 2**24 for seconds in times):
            raise UsageError("each phase of a round lasts 2 to 16,777,215 seconds")
        parse_standard(self.standard)
        if len(self.canonical()) > MAX_BYTES:
            raise UsageError(f"a manifest has at most {MAX_BYTES} bytes, not {len(self.canonical())}")

    def _check_samples(self) -> None:
        """Channels, classes, features, preprocessing and architecture must fit each other."""
        channels = (0,) if self.features else (1, 3)
        if self.channels not in channels or not 2 <= len(self.classes) <= MAX_CLASSES or not 0 <= self.seed < 2**63:
            raise UsageError(
                f"a job has 1 or 3 channels (0 with features), 2 to {MAX_CLASSES} classes and a seed of 0 to 2^63 - 1"
            )
        if self.features:
            check_features(self.features)
        if self.multi_label and (len(self.classes) > MAX_FINDINGS or self.balanced):
            raise UsageError(f"a multi-label job has up to {MAX_FINDINGS} classes, and they cannot be balanced")
        if self.preprocessing != (OF_FEATURES if self.features else OF_IMAGES):
            raise UsageError(f"preprocessing {self.preprocessing!r} is not that of {self.sample_kind}")
        custom = ":" in self.architecture  # its author knows what it takes
        if not custom and (self.architecture in TABULAR) != bool(self.features):
            raise UsageError(f"architecture {self.architecture!r} does not take {self.sample_kind}")

    @property
    def sample_kind(self) -> str:
        """What a job's samples are, in words: "images" or "features"."""
        return "features" if self.features else "images"

    @property
    def width(self) -> int:
        """The width of the network's input: the number of features, or of channels."""
        return len(self.features) or self.channels

    def _check_types(self) -> None:
        """Types must be exact: JSON distinguishes 1, 1.0 and true, and so does the digest."""
        plain = {"str": str, "int": int, "float": float, "bool": bool, "Metric": str, "tuple[str, ...]": tuple}
        values = {field.name: (getattr(self, field.name), plain[str(field.type)]) for field in fields(self)}
        wrong = [name for name, (value, expected) in values.items() if type(value) is not expected]
        if wrong or not all(type(name) is str for name in (*self.classes, *self.features)):
            raise UsageError(f"a manifest's {', '.join(wrong) or 'classes or features'} cannot be of that type")

    def canonical(self) -> bytes:
        """The bytes that the digest is taken of: JSON in ASCII, keys sorted, no blanks.

        `features` and `multi_label` are left out where there are none, and so is every field of Recipe that has its
        default: manifests from before these fields existed keep their digests.
        """
        since = {name: getattr(self, name) for name in ("features", "multi_label")}
        optional = {*since, *(field.name for field in fields(Recipe))}
        given = chosen(self) | {name: value for name, value in since.items() if value}
        content = {name: value for name, value in asdict(self).items() if name not in optional} | given
        return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()

    def digest(self) -> bytes:
        """SHA-256 of the canonical bytes."""
        return hashlib.sha256(self.canonical()).digest()

    @classmethod
    def parse(cls, data: bytes) -> Manifest:
        """Reads canonical bytes. Raises UsageError for anything else."""
        if len(data) > MAX_BYTES:
            raise UsageError(f"a manifest has at most {MAX_BYTES} bytes, not {len(data)}")
        try:
            content: dict[str, Any] = parse(data)
            lists: dict[str, Any] = {name: tuple(content[name]) for name in ("classes", "features") if name in content}
            manifest = cls(**{**content, **lists})
        except (ValueError, TypeError) as fault:
            expected = ", ".join(field.name for field in fields(cls))
            raise UsageError(f"not a manifest; it is a JSON object with {expected}") from fault
        if manifest.canonical() != data:
            raise UsageError("the manifest is not in canonical form")
        return manifest

    def terms(self) -> Terms:
        """The part of the manifest that the contract enforces."""
        relative, standard = parse_standard(self.standard)
        return Terms(
            rounds=self.rounds,
            fraction=round(self.fraction * 10_000),
            masters=self.masters,
            term_rounds=self.term_rounds,
            relative=relative,
            standard=standard,
            request_seconds=self.request_seconds,
            score_seconds=self.score_seconds,
            reveal_seconds=self.reveal_seconds,
            reply_seconds=self.reply_seconds,
        )


def check_features(names: Sequence[str]) -> None:
    """Checks the names of features: 1 to MAX_FEATURES, all different and printable. Raises UsageError."""
    if not 1 <= len(names) <= MAX_FEATURES or len(set(names)) != len(names):
        raise UsageError(f"a sample has 1 to {MAX_FEATURES} features of different names, not {len(names)}")
    if not all(0 < len(name) <= MAX_FEATURE_NAME and name.isprintable() for name in names):
        raise UsageError(f"a feature's name has 1 to {MAX_FEATURE_NAME} printable characters")


def parse_standard(text: str) -> tuple[bool, int]:
    """(relative?, basis points) of "absolute:X" or "relative:-D", 0 <= X, D <= 1. Raises UsageError."""
    kind, _, number = text.partition(":")
    try:
        value = float(number)
    except ValueError:
        value = float("nan")
    if kind == "relative" and -1 <= value <= 0:
        return True, round(-value * 10_000)
    if kind == "absolute" and 0 <= value <= 1:
        return False, round(value * 10_000)
    raise UsageError(f"standard {text!r} is neither absolute:X nor relative:-D with X and D in 0 to 1")
