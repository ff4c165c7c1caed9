"""Creates a job on an existing consortium, from a TOML file."""

from __future__ import annotations

from dataclasses import dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from medmnist.info import INFO

from coordinator.deploy import create_job, publish_initial
from hmchain.blobs import BlobStore
from hmchain.chain import ChainClient
from hmchain.envelope import Identity, new_identity
from hmchain.errors import ChainError, UsageError
from hmchain.files import read_toml
from hmchain.history import History
from hmchain.manifest import OF_FEATURES, Manifest
from trainers.coordination import keep_key, kept_key
from trainers.datasets import SAMPLE, refuse_unsupported
from trainers.networks import initial_model, source_digest

FIXED = ("format",)
EXAMPLE = """\
# A federated job. What is left out has the value shown; dataset, channels and classes have none of their own.
dataset = "pneumoniamnist"     # its name; of a MedMNIST set channels and classes are known
# channels = 1
# classes = ["normal", "pneumonia"]
# multi_label = false          # or true: any number of the classes may apply to an image
# architecture = "medmnist-cnn"
#                              # Of records instead of images: features, a list of their names in order as hospitals
#                              # have them, and architecture "logistic" or "mlp"; then there are no channels.
# rounds = 10
# fraction = 0.25              # of the enrolled members that train in a round
# masters = 4                  # that judge a round; 3f + 1 tolerates f faults
# term_rounds = 4
# epochs = 3
# batch_size = 128
# learning_rate = 0.1
# aggregation = "fedavg-exact/1"
#                              # or fedprox-, fedavgm-, fedadam-, fedyogi-, median-, trimmed-mean-, multi-krum-exact/1;
#                              # docs/strategies.md has their parameters, and those of local training:
# server_rate = 0.0            # 0: the strategy's own
# server_momentum = 0.9
# server_decay = 0.99
# server_floor = 0.001
# trim = 0.1
# byzantine = 0.2
# proximal = 0.0
# momentum = 0.0
# weight_decay = 0.0
# schedule = "constant"        # or "cosine"
# augmentation = "none"        # or "shift", "flip", "shift-flip"
# balanced = false
# metric = "accuracy"          # or "balanced_accuracy"
# standard = "relative:-0.2"   # or "absolute:X"
# seed = 0
# request_seconds = 3600       # the longest that each phase may take
# score_seconds = 1800
# reveal_seconds = 900
# reply_seconds = 900
"""


@dataclass(frozen=True)
class NewJob:
    """A job as created: its number, and whether it had been created before."""

    number: int
    manifest: Manifest
    existed: bool


def read_manifest(path: Path) -> Manifest:
    """A job's TOML file as a manifest. Raises UsageError that names the key."""
    content = read_toml(path, "the job")
    try:
        return manifest_of(content)
    except UsageError as fault:
        raise UsageError(f"{path}: {fault}") from None


def manifest_of(content: dict[str, Any]) -> Manifest:
    """What a job's TOML file says, as a manifest. Raises UsageError that names the key."""
    known = [field.name for field in fields(Manifest) if field.name not in FIXED]
    for key in content:
        if key not in known:
            near = get_close_matches(key, known, n=1)
            raise UsageError(f"unknown key {key}" + (f"; did you mean {near[0]}?" if near else ""))
    complete = {"seed": 0} | _published(content.get("dataset")) | _tabular(content) | _own(content) | content
    lacking = [key for key in ("dataset", "channels", "classes") if key not in complete]
    if lacking:
        raise UsageError(f"{', '.join(lacking)} is missing")
    texts = {key: complete[key] for key in ("classes", "features") if key in complete}
    for key, names in texts.items():
        if not isinstance(names, list):
            raise UsageError(f"{key} is a list of names")
    floats = {field.name for field in fields(Manifest) if field.type == "float"}  # TOML tells 1 from 1.0, people do not
    plain = {k: float(v) if k in floats and type(v) is int else v for k, v in complete.items()}
    return Manifest(**plain | {key: tuple(names) for key, names in texts.items()})


def _tabular(content: dict[str, Any]) -> dict[str, Any]:
    """The fields that follow from there being features."""
    return {"channels": 0, "preprocessing": OF_FEATURES} if content.get("features") else {}


def _own(content: dict[str, Any]) -> dict[str, Any]:
    """The digest of a custom network's source as it is here."""
    architecture = content.get("architecture")
    if isinstance(architecture, str) and ":" in architecture:
        return {"source": source_digest(architecture)}
    return {}


def _published(dataset: object) -> dict[str, Any]:
    """Channels and classes, where the data set is one of MedMNIST's."""
    name = "organamnist" if dataset == SAMPLE else dataset
    if not isinstance(name, str) or name not in INFO:
        return {}
    refuse_unsupported(name)
    labels = INFO[name]["label"]
    several = {"multi_label": True} if "multi-label" in INFO[name]["task"] else {}
    return {"channels": INFO[name]["n_channels"], "classes": [labels[str(i)] for i in range(len(labels))], **several}


def create(
    client: ChainClient,
    history: History,
    store: BlobStore,
    folder: Path,
    identities: tuple[Identity, ...],
    job: Manifest,
) -> NewJob:
    """Creates a job that the client's account coordinates. Its key is kept in `folder` until the node hands it out.

    Called again after an interruption, it continues; a job that is on chain is not created twice. Raises HMChainError.
    """
    for record in history.jobs.values():
        if record.manifest == job.digest() and record.coordinator == client.sender:
            return NewJob(record.number, job, existed=True)
    if client.is_sending():
        raise ChainError("a transaction of this account is not in a block yet; try again when it is")
    key = kept_key(folder, job.digest(), identities)
    if key is None:
        key = new_identity()
        keep_key(folder, job.digest(), key, identities[0].public)
    initial = initial_model(job, {job.architecture})
    blobs, model = publish_initial(store, job, initial, key)
    return NewJob(create_job(client, client.sender, job, blobs, model), job, existed=False)
