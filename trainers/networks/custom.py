"""Custom networks: a torch.nn.Module named by its import path, whose source must have the digest in the manifest.

It runs with the rights of whoever imports it. So a node imports only what its owner listed, and only if the source here
has the digest that everybody agreed on.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from copy import deepcopy
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.parameter import is_lazy

from hmchain.errors import UsageError
from hmchain.files import read_file
from hmchain.manifest import Manifest
from hmchain.recipe import CUSTOM_MODULE
from hmchain.weights import SERVER_PREFIX
from trainers.networks.compute import Compute
from trainers.networks.tensors import load_weights, weights_of
from trainers.splits import layout_of

_ONE_AT_A_TIME = threading.Lock()
RESERVED = (SERVER_PREFIX, "__")  # the server's moments, and what safetensors keeps for itself


def source_digest(architecture: str) -> str:
    """SHA-256, in hex, of the source of "package.module:Class": all Python files of its top package, or its one file.

    What is hashed of each file, in order of names: the name, a zero byte, the SHA-256 of the content. Nothing is
    imported. Raises UsageError where there is no such source.
    """
    whole = hashlib.sha256()
    for name, path in sorted(_sources(architecture)):
        whole.update(name.encode() + b"\0" + hashlib.sha256(read_file(path, "the module")).digest())
    return whole.hexdigest()


def refuse_custom_network(job: Manifest, allowed: Collection[str]) -> None:
    """Raises UsageError where a job's network is a custom one and not in `allowed`, or its source here is another."""
    if not job.source:
        return
    if job.architecture not in allowed:
        raise UsageError(f"{job.architecture} is a custom network, whose code is not allowed to run here")
    found = source_digest(job.architecture)
    if found != job.source:
        raise UsageError(f"the source of {job.architecture} here has SHA-256 {found}, the manifest names {job.source}")


def custom_network(job: Manifest, allowed: Collection[str]) -> nn.Module:
    """A job's custom network, Class(width, classes); what it draws from torch meanwhile follows from the job's seed.

    Raises UsageError where it is not allowed, has another source than the manifest names, cannot be built, has weights
    that cannot travel, be replaced or outlast a step, or does not answer a batch of the job's samples with a float for
    each class.
    """
    refuse_custom_network(job, allowed)
    architecture = job.architecture
    module, _, name = architecture.partition(":")
    try:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(job.seed)
            network = getattr(import_module(module), name)(job.width, len(job.classes))
    except (Exception, SystemExit) as fault:  # it is somebody else's code, and may raise anything
        raise UsageError(f"{architecture} gives no network: {type(fault).__name__}: {str(fault)[:200]}") from fault
    if not isinstance(network, nn.Module):
        raise UsageError(f"{architecture} gives no torch.nn.Module but a {type(network).__name__}")
    _check_state(network, architecture)
    _check_replaceable(network, architecture)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    _try_out(network, job)
    return network


def draws_numbers(network: nn.Module, job: Manifest) -> bool:
    """Whether a custom network draws numbers from torch while it trains, as dropout does."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        before = torch.default_generator.get_state()
        deepcopy(network).train()(Compute("cpu", False).inputs(_blank(job, 2)))
        return not torch.equal(before, torch.default_generator.get_state())


@contextmanager
def drawing(seed: int) -> Iterator[None]:
    """Lets the calling thread alone draw numbers from torch, from those that `seed` begins with.

    torch has one generator for all threads: what a network drew would depend on which others train beside it.
    """
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with _ONE_AT_A_TIME, torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        yield


def _check_state(network: nn.Module, architecture: str) -> None:
    """Checks that all weights can travel: float32 or int64, and no reserved names. Raises UsageError."""
    for name, value in network.state_dict().items():
        if name.startswith(RESERVED):
            raise UsageError(f"{architecture} must not call its weights {name}: {' and '.join(RESERVED)} are reserved")
        if not isinstance(value, torch.Tensor) or is_lazy(value) or value.dtype not in (torch.float32, torch.int64):
            found = value.dtype if isinstance(value, torch.Tensor) and not is_lazy(value) else type(value).__name__
            raise UsageError(f"{architecture} must have weights of float32, or int64 that count, but {name} is {found}")


def _try_out(network: nn.Module, job: Manifest) -> None:
    """Lets a copy answer a batch once as in training, and once as when it is scored. Raises UsageError."""
    compute, name = Compute("cpu", False), job.architecture
    try:
        copy = deepcopy(network)  # as a process that trains for several hospitals does
    except (Exception, SystemExit) as fault:  # as above
        raise UsageError(f"{name} cannot be copied: {type(fault).__name__}: {str(fault)[:200]}") from fault
    for train, count in ((True, 2), (False, 1)):  # the smallest batch of each
        try:
            with torch.random.fork_rng(devices=[]), torch.set_grad_enabled(train):  # dropout draws from torch's stream
                answers = copy.train(train)(compute.inputs(_blank(job, count)))
        except (Exception, SystemExit) as fault:  # as above
            said = f"{type(fault).__name__}: {str(fault)[:200]}"
            raise UsageError(f"{name} does not take {job.sample_kind}: {said}") from fault
        expected = (count, len(job.classes))
        if not isinstance(answers, torch.Tensor):
            raise UsageError(f"{name} answers with no tensor but a {type(answers).__name__}")
        if answers.shape != expected or not answers.is_floating_point():
            found = f"{answers.dtype} {tuple(answers.shape)}"
            raise UsageError(f"{name} must answer {count} {job.sample_kind} with floats {expected}, not {found}")
        if train and not answers.requires_grad:
            raise UsageError(f"{name} has nothing that could be trained")
    _check_kept(network, copy, name)


def _check_kept(network: nn.Module, answered: nn.Module, name: str) -> None:
    """Checks that a copy which has answered still has the network's weights. Raises UsageError."""
    kinds = [{key: (value.dtype, value.shape) for key, value in n.state_dict().items()} for n in (network, answered)]
    changed = sorted(key for key in kinds[0].keys() | kinds[1].keys() if kinds[0].get(key) != kinds[1].get(key))
    if changed:
        raise UsageError(f"{name} must keep its weights' names, shapes and types, but answering changes {changed[0]}")


def _check_replaceable(network: nn.Module, name: str) -> None:
    """Puts other weights into a network, reads them, and restores its own: a tensor of two names would be two weights
    in a model, and one of them lost. Raises UsageError.
    """
    try:
        own = weights_of(network)
        others = {key: np.full_like(array, number) for number, (key, array) in enumerate(own.items())}
        load_weights(network, others)
        found = weights_of(network)
        load_weights(network, own)
    except Exception as fault:  # torch's, for a sparse or an expanded tensor
        said = f"{type(fault).__name__}: {str(fault)[:200]}"
        raise UsageError(f"{name} has weights that cannot be replaced: {said}") from fault
    lost = [key for key, array in others.items() if not np.array_equal(found[key], array)]
    if lost:
        raise UsageError(f"{name} must have each weight under one name, but {lost[0]} shares memory with another")


def _blank(job: Manifest, count: int) -> torch.Tensor:
    """So many samples of a job, as they are stored, all zero."""
    shape, kind = layout_of(job)
    return torch.from_numpy(np.zeros((count, *shape), kind))


def _sources(architecture: str) -> Iterator[tuple[str, Path]]:
    """Name and path of each source file. Raises UsageError."""
    if not CUSTOM_MODULE.fullmatch(architecture):
        raise UsageError(f"{architecture!r} is not package.module:Class")
    top = architecture.partition(":")[0].partition(".")[0]
    spec = find_spec(top)  # of a top-level name: nothing is executed
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        raise UsageError(f"there is no Python source of {top!r} here; PYTHONPATH=DIR adds the folder that it is in")
    origin = Path(spec.origin)
    if not spec.submodule_search_locations:
        yield origin.name, origin
        return
    for path in origin.parent.rglob("*.py"):
        yield path.relative_to(origin.parent).as_posix(), path
