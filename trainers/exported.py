"""A trained model as `hmchain export` writes it, ready to answer.

from trainers.exported import open_model

model = open_model("model")
probabilities = model.predict(images)  # uint8 (N, 28, 28) or (N, 28, 28, 3) -> float32 (N, classes)
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import nn

from hmchain.errors import UsageError
from hmchain.files import read_file
from hmchain.manifest import Manifest
from hmchain.weights import Header, decode, specification
from trainers.networks import initial_model, load_weights, network_of
from trainers.scoring import probabilities
from trainers.splits import Inputs, layout_of

MODEL, MANIFEST = "model.safetensors", "manifest.json"
MAX_MODEL = 1 << 32  # bytes


@dataclass(frozen=True)
class TrainedModel:
    """A round's global model. digest is its SHA-256, by which the chain knows it; network is the torch module."""

    manifest: Manifest
    round: int
    digest: bytes
    network: nn.Module

    def predict(self, inputs: Inputs) -> NDArray[np.float32]:
        """The probability of each of manifest.classes, float32 (N, classes), -1 in rows that have no answer.

        inputs: images, uint8 (N, 28, 28), of colour (N, 28, 28, 3); or features, float32 (N, F), in the order of
        manifest.features. Raises UsageError for any others.
        """
        shape, kind = layout_of(self.manifest)
        if inputs.dtype != kind or inputs.shape[1:] != shape:
            raise UsageError(f"this model takes {kind} {('N', *shape)}, not {inputs.dtype} {inputs.shape}")
        return probabilities(self.network, inputs, self.manifest.multi_label)


def open_model(folder: Path | str, allowed: Collection[str] = ()) -> TrainedModel:
    """Reads what `hmchain export` wrote. allowed: custom networks that may be imported, "package.module:Class".

    Raises UsageError where a file is missing or altered, and for a network that is not allowed; WeightsError.
    """
    folder = Path(folder)
    manifest = Manifest.parse(read_file(folder / MANIFEST, "the manifest"))
    header = _header(folder / MODEL)
    if header.manifest != manifest.digest():
        raise UsageError(f"{folder / MODEL} is of another job than {folder / MANIFEST}")
    data = read_file(folder / MODEL, "the model", MAX_MODEL)
    network = network_of(manifest, allowed)
    load_weights(network, decode(data, header, specification(initial_model(manifest, allowed))))
    return TrainedModel(manifest, header.round, hashlib.sha256(data).digest(), network.eval())


def _header(path: Path) -> Header:
    """What the model says that it is. Raises UsageError."""
    try:
        with safe_open(path, framework="np") as file:
            told = file.metadata() or {}
        return Header("model", bytes.fromhex(told["manifest"]), int(told["round"]), 0, bytes.fromhex(told["base"]))
    except (OSError, SafetensorError, KeyError, ValueError) as fault:
        raise UsageError(f"{path} is no model that hmchain exported") from fault
