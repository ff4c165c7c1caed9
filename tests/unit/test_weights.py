"""Weights as canonical safetensors: one encoding, and nothing else gets in."""

import json
import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hmchain.errors import Reason, WeightsError
from hmchain.weights import MAX_HEADER, RANGE, Header, Spec, Weights, decode, digest, digest_of, encode, specification

HEADER = Header("update", manifest=bytes(range(32)), round=3, sender=7, base=bytes(range(32, 64)))
WEIGHTS: Weights = {
    "conv.weight": np.arange(-9, 9, dtype=np.float32).reshape(2, 1, 3, 3) / 8,
    "bn.num_batches_tracked": np.array(12),
    "bn.running_mean": np.array([0.5, -0.25, 1e-40], np.float32),
    "fc.bias": np.zeros((0,), np.float32),
}
LIKE = specification(WEIGHTS)
DATA = encode(WEIGHTS, HEADER)
HEADER_LENGTH = int.from_bytes(DATA[:8], "little")
TABLE: dict[str, Any] = json.loads(DATA[8 : 8 + HEADER_LENGTH])
PAYLOAD = DATA[8 + HEADER_LENGTH :]


def file(table: object, payload: bytes = PAYLOAD) -> bytes:
    """A safetensors file with any header at all."""
    text = table if isinstance(table, bytes) else json.dumps(table, sort_keys=True, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + payload


def reason_of(data: bytes) -> Reason:
    with pytest.raises(WeightsError) as caught:
        decode(data, HEADER, LIKE)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
    return caught.value.reason


# What is accepted


def test_weights_survive_their_encoding_bit_for_bit() -> None:
    decoded = decode(DATA, HEADER, LIKE)
    assert list(decoded) == sorted(WEIGHTS)
    for name, array in decoded.items():
        assert array.dtype == WEIGHTS[name].dtype
        assert array.shape == WEIGHTS[name].shape
        assert array.tobytes() == WEIGHTS[name].tobytes()


def test_decoded_arrays_are_contiguous_aligned_and_the_readers_own() -> None:
    for array in decode(DATA, HEADER, LIKE).values():
        assert array.flags.c_contiguous
        assert array.flags.aligned
        assert array.flags.writeable


NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12).filter(lambda name: name != "__metadata__")
FLOATS = hnp.arrays(np.float32, hnp.array_shapes(min_dims=0, max_dims=3), elements=st.floats(-RANGE, RANGE, width=32))
COUNTERS = hnp.arrays(np.int64, hnp.array_shapes(min_dims=0, max_dims=1))


@given(st.dictionaries(NAMES, FLOATS | COUNTERS, max_size=5), st.randoms(use_true_random=False))
def test_any_weights_have_one_encoding_whatever_their_order(weights: Weights, random: Any) -> None:
    names = list(weights)
    random.shuffle(names)
    data = encode({name: weights[name] for name in names}, HEADER)
    assert data == encode(weights, HEADER)
    decoded = decode(data, HEADER, specification(weights))
    assert encode(decoded, HEADER) == data


def test_the_library_reads_what_we_write() -> None:
    read = safetensors.numpy.load(DATA)
    assert read.keys() == WEIGHTS.keys()
    for name, array in read.items():
        np.testing.assert_array_equal(array, WEIGHTS[name])
    assert TABLE["__metadata__"] == HEADER.metadata()


def test_arrays_of_any_memory_layout_are_encoded_alike() -> None:
    square = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert encode({"w": np.asfortranarray(square)}, HEADER) == encode({"w": square}, HEADER)
    assert encode({"w": np.repeat(square, 2, axis=1)[:, ::2]}, HEADER) == encode({"w": square}, HEADER)


def test_the_first_byte_of_the_payload_is_aligned() -> None:
    assert HEADER_LENGTH % 8 == 0


def test_the_encoding_never_changes() -> None:
    # Masters of different versions attest this digest: a change here is a new format, "hmchain-weights/2".
    assert digest(DATA).hex() == "853febbdffffb176a166f32d546e97fda6adde5a10b211c638f4ec07a7b5e9bb"
    assert digest_of(WEIGHTS, HEADER) == digest(DATA)


def test_weights_at_the_limit_are_accepted() -> None:
    weights: Weights = {"w": np.array([RANGE, -RANGE], np.float32), "n": np.array([-(2**63), 2**63 - 1])}
    decode(encode(weights, HEADER), HEADER, specification(weights))


@pytest.mark.parametrize("array", [np.zeros(2), np.zeros(2, np.float16), np.zeros(2, np.int32), np.array(["a"])])
def test_only_float32_and_int64_can_be_encoded(array: np.ndarray[Any, Any]) -> None:
    with pytest.raises(WeightsError) as caught:
        encode({"w": array}, HEADER)
    assert caught.value.reason is Reason.WRONG_TENSORS


def test_the_name_that_safetensors_reserves_cannot_be_encoded() -> None:
    with pytest.raises(WeightsError):
        specification({"__metadata__": np.zeros(2, np.float32)})


def test_a_specification_is_sorted() -> None:
    assert list(LIKE) == sorted(LIKE)
    assert LIKE["bn.num_batches_tracked"] == Spec("I64", ())


# What is refused, reason by reason


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\0" * 7, id="less than a length"),
        pytest.param(pickle.dumps(WEIGHTS), id="a pickle"),
        pytest.param(b"PK\3\4" + bytes(100), id="a zip, as torch.save writes"),
        pytest.param((2**64 - 1).to_bytes(8, "little") + DATA[8:], id="a giant header length"),
        pytest.param((2**63).to_bytes(8, "little") + DATA[8:], id="a header length beyond int64"),
        pytest.param(file(b'{"a":' + b" " * MAX_HEADER + b"1}"), id="a header beyond the limit"),
        pytest.param(bytes(8) + DATA[8:], id="an empty header"),
        pytest.param(file(b"[" * 500_000), id="nested brackets"),
        pytest.param(file(b'{"a":' * 100_000), id="nested objects"),
        pytest.param(file(b'{"a":' + b"9" * 10_000 + b"}"), id="a giant number"),
        pytest.param(file(b"\xff\xfe{}"), id="no UTF-8"),
        pytest.param(file([]), id="a list"),
        pytest.param(file(None), id="null"),
        pytest.param(file({"a": 1}), id="an entry of another type"),
        pytest.param(file(TABLE, PAYLOAD + b"\0"), id="a byte too many"),
        pytest.param(file(TABLE, PAYLOAD[:-1]), id="a byte too few"),
        pytest.param(DATA[: len(DATA) // 2], id="half of it"),
        pytest.param(
            file(TABLE | {"conv.weight": TABLE["conv.weight"] | {"data_offsets": [0, 72]}}), id="overlapping offsets"
        ),
        pytest.param(
            file(TABLE | {"conv.weight": TABLE["conv.weight"] | {"data_offsets": [92, 20]}}), id="offsets backwards"
        ),
        pytest.param(
            file(TABLE | {"conv.weight": TABLE["conv.weight"] | {"shape": [2**40, 2**40]}}), id="a giant shape"
        ),
        pytest.param(file(TABLE | {"conv.weight": TABLE["conv.weight"] | {"shape": [-1]}}), id="a negative shape"),
        pytest.param(file(TABLE | {"conv.weight": TABLE["conv.weight"] | {"dtype": "PICKLE"}}), id="an unknown dtype"),
        pytest.param(file(json.dumps(TABLE, sort_keys=True).encode()), id="with spaces, as the library might write"),
        pytest.param(file(json.dumps(TABLE, separators=(",", ":")).encode()[:-1] + b"}        "), id="more padding"),
        pytest.param(
            file(json.dumps(TABLE, sort_keys=True, separators=(",", ":")).replace("conv", "\\u0063onv").encode()),
            id="a name written otherwise",
        ),
        pytest.param(
            file(b'{"fc.bias":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},' + DATA[9 : 8 + HEADER_LENGTH]),
            id="a duplicate name",
        ),
    ],
)
def test_bytes_that_are_not_canonical_safetensors_are_unreadable(data: bytes) -> None:
    assert reason_of(data) is Reason.UNREADABLE


def test_a_header_beyond_the_limit_is_not_even_read() -> None:
    text = json.dumps(TABLE | {"__metadata__": {"format": "another"}}).encode()
    assert reason_of(file(text.ljust(MAX_HEADER))) is Reason.WRONG_HEADER
    assert reason_of(file(text.ljust(MAX_HEADER + 8))) is Reason.UNREADABLE


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "model"},
        {"manifest": bytes(32)},
        {"round": 2},
        {"sender": 8},
        {"base": bytes(32)},
    ],
    ids=str,
)
def test_weights_under_another_header_are_refused(change: dict[str, Any]) -> None:
    assert reason_of(encode(WEIGHTS, replace(HEADER, **change))) is Reason.WRONG_HEADER


@pytest.mark.parametrize(
    "metadata",
    [{}, HEADER.metadata() | {"extra": "1"}, HEADER.metadata() | {"format": "hmchain-weights/2"}, {"x": "\n" * 5000}],
    ids=["empty", "more", "another format", "long"],
)
def test_other_metadata_is_refused(metadata: dict[str, str]) -> None:
    assert reason_of(file(TABLE | {"__metadata__": metadata})) is Reason.WRONG_HEADER


def test_safetensors_without_our_header_are_refused() -> None:
    assert reason_of(safetensors.numpy.save(WEIGHTS)) is Reason.WRONG_HEADER


@pytest.mark.parametrize(
    "weights",
    [
        pytest.param({}, id="none"),
        pytest.param({k: v for k, v in WEIGHTS.items() if k != "fc.bias"}, id="one missing"),
        pytest.param(WEIGHTS | {"extra": np.zeros(1, np.float32)}, id="one more"),
        pytest.param(WEIGHTS | {"extra": np.zeros(0, np.float32)}, id="one more, empty"),
        pytest.param(WEIGHTS | {"fc.bias": np.zeros((0, 5), np.float32)}, id="another shape of the same size"),
        pytest.param(WEIGHTS | {"conv.weight": WEIGHTS["conv.weight"].reshape(18)}, id="flattened"),
        pytest.param(WEIGHTS | {"bn.num_batches_tracked": np.zeros(2, np.float32)}, id="another dtype"),
        pytest.param({k.upper(): v for k, v in WEIGHTS.items()}, id="other names"),
        pytest.param({f"{i:07}": np.zeros(0, np.float32) for i in range(9999)}, id="very many"),
    ],
)
def test_other_tensors_are_refused(weights: Weights) -> None:
    assert reason_of(encode(weights, HEADER)) is Reason.WRONG_TENSORS


@pytest.mark.parametrize("dtype", ["F16", "BF16", "I16"])
def test_a_dtype_of_the_right_size_but_another_meaning_is_refused(dtype: str) -> None:
    entry = TABLE["conv.weight"] | {"dtype": dtype, "shape": [2, 2, 3, 3]}
    assert reason_of(file(TABLE | {"conv.weight": entry})) is Reason.WRONG_TENSORS


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (np.nan, Reason.NOT_FINITE),
        (np.inf, Reason.NOT_FINITE),
        (-np.inf, Reason.NOT_FINITE),
        (3e38, Reason.OUT_OF_RANGE),
        (-np.nextafter(np.float32(RANGE), np.float32(np.inf)), Reason.OUT_OF_RANGE),
    ],
)
@pytest.mark.parametrize("at", [0, 7, 17])
def test_one_bad_weight_is_enough(value: float, reason: Reason, at: int) -> None:
    bad = WEIGHTS["conv.weight"].copy()
    bad.flat[at] = value
    assert reason_of(encode(WEIGHTS | {"conv.weight": bad}, HEADER)) is reason


def test_every_kind_of_nan_is_found() -> None:
    for bits in (0x7F800001, 0xFF800001, 0x7FC00000, 0xFFFFFFFF):
        assert reason_of(DATA[:-4] + bits.to_bytes(4, "little")) is Reason.NOT_FINITE


# Random damage: whatever is still accepted is canonical, and whatever is not is a WeightsError


def survives(data: bytes) -> None:
    try:
        decoded = decode(data, HEADER, LIKE)
    except WeightsError:
        return
    assert encode(decoded, HEADER) == data


@pytest.mark.parametrize("length", range(0, len(DATA), 7))
def test_truncated_weights_are_unreadable(length: int) -> None:
    assert reason_of(DATA[:length]) is Reason.UNREADABLE


@given(st.lists(st.tuples(st.integers(0, len(DATA) - 1), st.integers(0, 255)), min_size=1, max_size=4))
@settings(max_examples=1000)
def test_flipped_bytes_stop_nobody(changes: list[tuple[int, int]]) -> None:
    data = bytearray(DATA)
    for at, value in changes:
        data[at] = value
    survives(bytes(data))


@given(st.binary(max_size=300), st.integers(0, len(DATA)), st.integers(0, 50))
@settings(max_examples=500)
def test_inserted_and_deleted_bytes_stop_nobody(inserted: bytes, at: int, deleted: int) -> None:
    survives(DATA[:at] + inserted + DATA[at + deleted :])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
)
ENTRY = st.fixed_dictionaries(
    {"dtype": st.sampled_from(["F32", "I64", "F64", "BOOL", "F4"]) | JSON},
    optional={
        "shape": st.lists(st.integers(-1, 2**64), max_size=3) | JSON,
        "data_offsets": st.lists(st.integers(0, len(PAYLOAD)), min_size=2, max_size=2) | JSON,
    },
)


@given(st.dictionaries(st.sampled_from([*TABLE, "x"]), ENTRY | JSON, max_size=5), st.binary(max_size=40))
@settings(max_examples=500)
def test_no_header_breaks_the_reader(table: dict[str, Any], payload: bytes) -> None:
    survives(file(table, payload))
    survives(file(TABLE | table))
