"""Model weights as canonical safetensors. Bytes from others count as hostile until they are proved.

One set of weights under one header has exactly one encoding: tensors in the order of their names, compact JSON with
sorted keys, padded with spaces to 8 bytes. A reader who knows the header and the shapes to expect therefore knows
every byte before the first weight, and decoding compares them. Any safetensors reader can open the file.

The writer is ours because the safetensors library keeps metadata in a hash map: its bytes differ from run to run.
Format: github.com/huggingface/safetensors#format.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import isfinite, prod
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
import safetensors

from hmchain.errors import Reason, WeightsError

Weights = dict[str, np.ndarray[Any, Any]]
"""float32 parameters and buffers and int64 counters, in sorted order of their names."""

FORMAT = "hmchain-weights/1"
MAX_HEADER = 1 << 20
RANGE = 2.0**15
"""No weight may be larger in magnitude; hmchain.aggregate says why."""
SERVER_PREFIX = "server/"
"""Prefix of the tensors in a model that hold the server's moments; all others are the network's."""

T = TypeVar("T")

_DTYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "I64": np.dtype("<i8")}
_METADATA = "__metadata__"
_deserialize: Callable[[bytes], list[tuple[str, dict[str, Any]]]] = safetensors.deserialize


class Spec(NamedTuple):
    """What a tensor must be: "F32" or "I64", and its shape."""

    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Header:
    """What weights claim to be, so that none can be taken for another's.

    manifest and base are SHA-256 digests (32 bytes) of the job's manifest and of the model trained from; sender is a
    member's number, 0 for a model.
    """

    kind: Literal["update", "model"]
    manifest: bytes
    round: int
    sender: int
    base: bytes

    def metadata(self) -> dict[str, str]:
        """The header as safetensors metadata, which knows only strings."""
        return {
            "format": FORMAT,
            "kind": self.kind,
            "manifest": self.manifest.hex(),
            "round": str(self.round),
            "sender": str(self.sender),
            "base": self.base.hex(),
        }


def specification(weights: Weights) -> dict[str, Spec]:
    """Names, dtypes and shapes of weights, in sorted order.

    Raises WeightsError(WRONG_TENSORS) for a dtype other than float32 and int64, or a name that safetensors reserves.
    """
    codes = {np.dtype(np.float32): "F32", np.dtype(np.int64): "I64"}
    for name, array in weights.items():
        if array.dtype not in codes or name == _METADATA:
            raise WeightsError(f"tensor {name!r} of {array.dtype} cannot be encoded", Reason.WRONG_TENSORS)
    return {name: Spec(codes[weights[name].dtype], weights[name].shape) for name in sorted(weights)}


def encode(weights: Weights, header: Header) -> bytes:
    """The canonical bytes of weights under header. Raises WeightsError as specification does.

    Values are not checked here: every reader does that, and an update that diverged must be seen to have diverged.
    """
    return b"".join(_parts(weights, header))


def _parts(weights: Weights, header: Header) -> Iterator[bytes | memoryview]:
    """What `encode` joins."""
    like = specification(weights)
    yield _preamble(header, like)
    for name, spec in like.items():
        yield np.ascontiguousarray(weights[name], _DTYPES[spec.dtype]).data


def decode(data: bytes, expected: Header, like: Mapping[str, Spec]) -> Weights:
    """The weights in data: writeable copies, contiguous, in sorted order of their names.

    Raises WeightsError, and nothing else, unless data is the canonical encoding of finite weights within RANGE under
    the expected header with exactly the tensors of like; its reason says what is wrong first.
    """
    preamble = _preamble(expected, like)
    if len(data) != len(preamble) + payload_bytes(like) or not data.startswith(preamble):
        raise _fault(data, expected, like)
    weights: Weights = {}
    offset = len(preamble)
    for name in sorted(like):
        weights[name] = _tensor(data, offset, like[name])
        offset += _size(like[name])
    check_values(weights)
    return weights


def check_values(weights: Weights) -> None:
    """Raises WeightsError where a float32 is NaN or infinite (NOT_FINITE) or beyond RANGE (OUT_OF_RANGE).

    Counters may have any value. If they were bounded, one sender could lift the aggregate's counter, which is a
    maximum, to the bound: no honest client could count further, and no score would reveal it.
    """
    for name, array in weights.items():
        if array.dtype != np.float32:
            continue
        # Two reductions need no temporary array, and NaN wins both.
        low, high = float(array.min(initial=0)), float(array.max(initial=0))
        if not (isfinite(low) and isfinite(high)):
            raise WeightsError(f"tensor {name!r} holds NaN or infinity", Reason.NOT_FINITE)
        if max(-low, high) > RANGE:
            raise WeightsError(f"tensor {name!r} holds {low:g} to {high:g}, beyond {RANGE:g}", Reason.OUT_OF_RANGE)


def digest(data: bytes) -> bytes:
    """SHA-256 of a canonical encoding: the name of a model, which masters attest."""
    return hashlib.sha256(data).digest()


def digest_of(weights: Weights, header: Header) -> bytes:
    """The digest of what `encode` gives, without the copy. Raises WeightsError as encode does."""
    found = hashlib.sha256()
    for part in _parts(weights, header):
        found.update(part)
    return found.digest()


def of_network(model: Mapping[str, T]) -> dict[str, T]:
    """A model's tensors, or their specifications, without the server's moments: what an update consists of."""
    return {name: tensor for name, tensor in model.items() if not name.startswith(SERVER_PREFIX)}


def payload_bytes(like: Mapping[str, Spec]) -> int:
    """Bytes that the tensors of `like` take, without the header."""
    return sum(map(_size, like.values()))


def encoded_bytes(like: Mapping[str, Spec]) -> int:
    """The most bytes that weights with the tensors of `like` are encoded to, under any header."""
    widest = Header("update", bytes(32), 2**63, 2**16, bytes(32))
    return len(_preamble(widest, like)) + payload_bytes(like)


def _preamble(header: Header, like: Mapping[str, Spec]) -> bytes:
    """Every byte before the first weight."""
    entries: dict[str, Any] = {_METADATA: header.metadata()}
    offset = 0
    for name in sorted(like):
        end = offset + _size(like[name])
        entries[name] = {"dtype": like[name].dtype, "shape": like[name].shape, "data_offsets": (offset, end)}
        offset = end
    text = json.dumps(entries, sort_keys=True, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _size(spec: Spec) -> int:
    return int(prod(spec.shape)) * _DTYPES[spec.dtype].itemsize


def _tensor(data: bytes, offset: int, spec: Spec) -> np.ndarray[Any, Any]:
    # The copy aligns an array that follows an odd number of float32, and takes the machine's own byte order.
    view: np.ndarray[Any, Any] = np.frombuffer(data, _DTYPES[spec.dtype], prod(spec.shape), offset)
    return view.astype(view.dtype.newbyteorder("=")).reshape(spec.shape)


def _fault(data: bytes, expected: Header, like: Mapping[str, Spec]) -> WeightsError:
    """Why data is not what decode expects; only called when it is not."""
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > min(MAX_HEADER, len(data) - 8):
        return WeightsError("not safetensors: the length of its header is wrong", Reason.UNREADABLE)
    try:
        tensors = {name: Spec(t["dtype"], tuple(t["shape"])) for name, t in _deserialize(data)}
        metadata = json.loads(data[8 : 8 + length]).get(_METADATA)
    except (safetensors.SafetensorError, ValueError, RecursionError) as error:
        return WeightsError(f"not safetensors: {str(error)[:80]!r}", Reason.UNREADABLE)
    if metadata != expected.metadata():
        return WeightsError(f"the header is {str(metadata)[:300]!r}", Reason.WRONG_HEADER)
    if tensors != dict(like):
        names = sorted(name for name in tensors.keys() | like.keys() if tensors.get(name) != like.get(name))
        return WeightsError(f"unexpected or missing tensors: {str(names)[:200]}", Reason.WRONG_TENSORS)
    return WeightsError("safetensors, but not in canonical form", Reason.UNREADABLE)
