"""A hospital's own network: a torch.nn.Module by import path, held to the source that the manifest names.

It runs with the rights of whoever imports it. So a node imports what its owner listed and nothing else, and only if the
source here has the digest that everybody agreed on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import nn

from hmchain.errors import UsageError
from hmchain.files import read_file
from hmchain.manifest import Manifest
from hmchain.recipe import OWN_MODULE


def source_digest(architecture: str) -> str:
    """SHA-256, in hex, of the source of "package.module:Class": its top package's Python files, or its one file.

    Of each file, in order of their names: the name, a zero byte, the SHA-256 of the content. Nothing is imported.
    Raises UsageError where there is no such source.
    """
    whole = hashlib.sha256()
    for name, path in sorted(_sources(architecture)):
        whole.update(name.encode() + b"\0" + hashlib.sha256(read_file(path, "the module")).digest())
    return whole.hexdigest()


def refuse_own_module(job: Manifest, allowed: Collection[str]) -> None:
    """Raises UsageError where a job's network is somebody's own and not one of `allowed`."""
    if job.source and job.architecture not in allowed:
        raise UsageError(f"{job.architecture} is somebody's own code, and is not allowed to run here")


def own_network(job: Manifest, allowed: Collection[str]) -> nn.Module:
    """Class(width, classes) of a job's own module. Raises UsageError where it is not allowed, is another source than
    the manifest names, or cannot be built.
    """
    refuse_own_module(job, allowed)
    architecture, found = job.architecture, source_digest(job.architecture)
    if found != job.source:
        raise UsageError(f"the source of {architecture} here has SHA-256 {found}, the manifest names {job.source}")
    module, _, name = architecture.partition(":")
    try:
        network = getattr(import_module(module), name)(job.width, len(job.classes))
    except Exception as fault:  # it is somebody's code: whatever it raises, it gives no network
        raise UsageError(f"{architecture} gives no network: {type(fault).__name__}: {str(fault)[:200]}") from fault
    if not isinstance(network, nn.Module):
        raise UsageError(f"{architecture} gives no torch.nn.Module but a {type(network).__name__}")
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _sources(architecture: str) -> Iterator[tuple[str, Path]]:
    """Name and path of each file."""
    if not OWN_MODULE.fullmatch(architecture):
        raise UsageError(f"{architecture!r} is not package.module:Class")
    top = architecture.partition(":")[0].partition(".")[0]
    spec = find_spec(top)  # of a top-level name: nothing is executed
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        raise UsageError(f"there is no Python source of {top!r} here")
    origin = Path(spec.origin)
    if not spec.submodule_search_locations:
        yield origin.name, origin
        return
    for path in origin.parent.rglob("*.py"):
        yield path.relative_to(origin.parent).as_posix(), path
