"""A manifest: one text, one digest, and nothing that a node could stumble over."""

from __future__ import annotations

import json
from dataclasses import asdict, fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmchain.errors import UsageError
from hmchain.manifest import (
    LEARNING_RATES,
    MAX_BATCH,
    MAX_BYTES,
    MAX_CLASSES,
    MAX_EPOCHS,
    MAX_FEATURE_NAME,
    Manifest,
    check_features,
    parse_standard,
)
from hmchain.recipe import AGGREGATIONS, PARAMETERS, STRATEGIES, Recipe, aggregation_of
from hmchain.rounds import MAX_MASTERS

GOOD = Manifest(dataset="stripes", channels=1, classes=("a", "b"), seed=7)
ROWS = Manifest("rows", 0, ("a", "b"), 7, architecture="logistic", preprocessing="asinh", features=("a", "b"))


def test_the_canonical_text_is_parsed_to_the_same_manifest() -> None:
    assert Manifest.parse(GOOD.canonical()) == GOOD
    assert Manifest.parse(GOOD.canonical()).digest() == GOOD.digest()


def test_the_digest_depends_on_every_field() -> None:
    others = {
        "dataset": "other",
        "channels": 3,
        "classes": ("a", "c"),
        "seed": 8,
        "rounds": 11,
        "fraction": 0.5,
        "masters": 3,
        "term_rounds": 5,
        "epochs": 4,
        "batch_size": 64,
        "learning_rate": 0.2,
        "architecture": "other",
        "aggregation": "median-exact/1",
        "metric": "balanced_accuracy",
        "standard": "absolute:0.5",
        "request_seconds": 10,
        "score_seconds": 10,
        "reveal_seconds": 10,
        "reply_seconds": 10,
        "proximal": 0.1,
        "momentum": 0.9,
        "weight_decay": 0.1,
        "schedule": "cosine",
        "augmentation": "shift",
        "balanced": True,
    }
    digests = {replace(GOOD, **{name: value}).digest() for name, value in others.items()}
    assert len(digests | {GOOD.digest()}) == len(others) + 1
    rest = {"format", "preprocessing", "features", "multi_label", "source"}
    strategic = {name for names in PARAMETERS.values() for name in names}
    assert set(asdict(GOOD)) - set(others) == rest | strategic, "which have one value each, of images and FedAvg"
    rows = {ROWS.digest(), replace(ROWS, features=("b", "a")).digest(), replace(ROWS, architecture="mlp").digest()}
    assert len(rows | {GOOD.digest(), replace(GOOD, multi_label=True).digest()}) == 5


def test_the_digest_stays_what_it_is() -> None:
    """A change of this number breaks every job that is running."""
    assert GOOD.digest().hex() == "e26c80a8456b3d454c4388c7a04e3cecf9d328c55edc71f2bd063d47eed39dd2"
    assert not any(name in GOOD.canonical() for name in (b"features", b"multi_label")), "fields that came later"
    assert not any(field.name.encode() in GOOD.canonical() for field in fields(Recipe)), "and so did these"
    assert ROWS.digest().hex() == "dbda4f292e8db44c03cc94e43139c219e85c6d10971b068758353a70f3341511"


def test_the_terms_are_what_the_contract_enforces() -> None:
    terms = replace(GOOD, fraction=0.1, standard="relative:-0.05").terms()
    assert (terms.fraction, terms.relative, terms.standard, terms.masters) == (1000, True, 500, 4)
    assert terms.to_abi() == (10, 1000, 4, 4, True, 500, 3600, 1800, 900, 900)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("dataset", 1),
        ("channels", 2),
        ("channels", 1.0),
        ("channels", True),
        ("classes", ["a"]),
        ("classes", ["a"] * 257),
        ("classes", [1, 2]),
        ("classes", "ab"),
        ("classes", None),
        ("seed", -1),
        ("seed", 2**63),
        ("rounds", 0),
        ("rounds", 65_536),
        ("rounds", 10.0),
        ("rounds", "10"),
        ("fraction", 0.0),
        ("fraction", 0.00009),
        ("fraction", 1.5),
        ("fraction", 1),
        ("masters", 0),
        ("masters", 16),
        ("term_rounds", 0),
        ("term_rounds", 256),
        ("epochs", 0),
        ("epochs", 3.0),
        ("epochs", 10**9),
        ("batch_size", 1),
        ("batch_size", 10**9),
        ("learning_rate", 0.0),
        ("learning_rate", -0.1),
        ("learning_rate", 3.41e38),
        ("learning_rate", 1e-39),
        ("learning_rate", None),
        ("preprocessing", "none"),
        ("aggregation", "mean"),
        ("metric", "f1"),
        ("standard", "absolute:2"),
        ("request_seconds", 1),
        ("reply_seconds", 2**24),
        ("format", "hmchain-manifest/2"),
        ("more", 1),
    ],
)
def test_a_field_that_cannot_be_is_refused(field: str, value: Any) -> None:
    with pytest.raises(UsageError):
        Manifest.parse(changed(GOOD, field, value))


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("classes", (("a", "b"), tuple(map(str, range(MAX_CLASSES))))),
        ("seed", (0, 2**63 - 1)),
        ("rounds", (1, 65_535)),
        ("fraction", (0.0001, 1.0)),
        ("masters", (1, MAX_MASTERS)),
        ("term_rounds", (1, 255)),
        ("epochs", (1, MAX_EPOCHS)),
        ("batch_size", (2, MAX_BATCH)),
        ("learning_rate", LEARNING_RATES),
        ("standard", ("relative:-1", "absolute:1")),
        ("request_seconds", (2, 2**24 - 1)),
    ],
)
def test_a_field_may_go_to_its_limits(field: str, values: tuple[Any, ...]) -> None:
    for value in values:
        job = replace(GOOD, **{field: value})
        assert Manifest.parse(job.canonical()) == job


def changed(manifest: Manifest, field: str, value: Any) -> bytes:
    """Its text with another value of a field."""
    content = {**json.loads(manifest.canonical()), field: value}
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


def test_a_multi_label_job_is_parsed_to_the_same_manifest() -> None:
    several = replace(GOOD, multi_label=True)
    assert Manifest.parse(several.canonical()) == several
    with pytest.raises(UsageError, match="up to 62 classes, and they cannot be balanced"):
        replace(several, balanced=True)
    assert replace(several, classes=tuple(map(str, range(62)))).multi_label
    with pytest.raises(UsageError, match="up to 62 classes"):
        replace(several, classes=tuple(map(str, range(63))))


def test_a_job_over_features_is_parsed_to_the_same_manifest() -> None:
    assert Manifest.parse(ROWS.canonical()) == ROWS
    assert (ROWS.width, GOOD.width, replace(GOOD, channels=3).width) == (2, 1, 3)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("channels", 1, "a job has 1 or 3 channels \\(0 with features\\)"),
        ("preprocessing", "scale[-1,1]", "is not that of features"),
        ("architecture", "medmnist-cnn", "'medmnist-cnn' does not take features"),
        ("features", [], "a job has 1 or 3 channels"),
        ("features", ["a", "a"], "1 to 4096 features of different names, not 2"),
        ("features", [str(n) for n in range(4097)], "1 to 4096 features of different names, not 4097"),
        ("features", ["a", ""], "1 to 256 printable characters"),
        ("features", ["a" * 257], "1 to 256 printable characters"),
        ("features", ["a\nb"], "1 to 256 printable characters"),
        ("features", ["\ud800"], "1 to 256 printable characters"),
        ("features", [1, 2], "classes or features cannot be of that type"),
        ("features", "ab", "not in canonical form"),
        ("features", None, "not a manifest"),
    ],
)
def test_a_job_over_features_that_cannot_be_is_refused(field: str, value: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Manifest.parse(changed(ROWS, field, value))


def test_a_feature_has_a_name_and_a_sample_has_features() -> None:
    check_features(["a" * MAX_FEATURE_NAME])
    with pytest.raises(UsageError, match="not 0"):
        check_features([])


def test_a_custom_network_takes_what_its_author_says() -> None:
    for job in (GOOD, ROWS):
        custom = replace(job, architecture="nets:Net", source="00" * 32)
        assert Manifest.parse(custom.canonical()) == custom


@pytest.mark.parametrize("architecture", ["logistic", "mlp"])
def test_images_do_not_go_into_a_network_of_features(architecture: str) -> None:
    with pytest.raises(UsageError, match="does not take images"):
        replace(GOOD, architecture=architecture)


def test_a_manifest_that_would_be_too_large_to_be_read_is_not_made() -> None:
    with pytest.raises(UsageError, match="at most 65536 bytes"):
        replace(ROWS, features=tuple(f"{n:032}" for n in range(4096)))
    room = MAX_BYTES - len(replace(GOOD, dataset="").canonical())
    assert len(replace(GOOD, dataset="x" * room).canonical()) == MAX_BYTES
    with pytest.raises(UsageError, match="at most 65536 bytes"):
        replace(GOOD, dataset="x" * (room + 1))


def test_a_text_that_is_too_large_is_not_parsed() -> None:
    with pytest.raises(UsageError, match=f"at most 65536 bytes, not {MAX_BYTES + 1}"):
        Manifest.parse(GOOD.canonical().ljust(MAX_BYTES + 1))
    with pytest.raises(UsageError, match="not in canonical form"):
        Manifest.parse(GOOD.canonical().ljust(MAX_BYTES))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_a_learning_rate_must_be_a_number(number: str) -> None:
    with pytest.raises(UsageError):
        Manifest.parse(GOOD.canonical().replace(b'"learning_rate":0.1', f'"learning_rate":{number}'.encode()))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"\xff",
        b"[" * MAX_BYTES,
        b" " * (MAX_BYTES + 1),
        GOOD.canonical() + b"\n",
        GOOD.canonical().replace(b":", b": ", 1),
        GOOD.canonical().replace(b'"seed":7', b'"seed":7,"seed":7'),
        GOOD.canonical().replace(b'"seed":7,', b""),
    ],
    ids=lambda data: repr(data[:20]),
)
def test_what_is_not_canonical_is_no_manifest(data: bytes) -> None:
    with pytest.raises(UsageError):
        Manifest.parse(data)


@given(st.binary(max_size=200))
def test_nothing_else_than_usage_error_is_raised(data: bytes) -> None:
    with pytest.raises(UsageError):
        Manifest.parse(data)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("absolute:0", (False, 0)),
        ("absolute:0.875", (False, 8750)),
        ("absolute:1", (False, 10_000)),
        ("relative:-0.2", (True, 2000)),
        ("relative:-0", (True, 0)),
        ("relative:0", (True, 0)),
    ],
)
def test_standards(text: str, meant: tuple[bool, int]) -> None:
    assert parse_standard(text) == meant


@pytest.mark.parametrize(
    "text", ["", "0.5", "absolute", "absolute:", "absolute:-1", "absolute:nan", "relative:0.1", "relative:-2", "best:1"]
)
def test_standards_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="neither absolute:X nor relative:-D"):
        parse_standard(text)


# ---------------------------------------------------------------- strategies and local training

ANOTHER = {
    "server_rate": 0.5,
    "server_momentum": 0.5,
    "server_decay": 0.5,
    "server_floor": 0.5,
    "trim": 0.25,
    "byzantine": 0.25,
}


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_an_aggregation_has_its_own_parameters_and_no_others(aggregation: str) -> None:
    job = replace(GOOD, aggregation=aggregation, proximal=0.1)
    for name, value in ANOTHER.items():
        if name in PARAMETERS[aggregation]:
            changed = replace(job, **{name: value})
            assert changed.digest() != job.digest()
            assert Manifest.parse(changed.canonical()) == changed
        else:
            with pytest.raises(UsageError, match=f"has no {name}"):
                replace(job, **{name: value})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"aggregation": "fedprox-exact/1"}, "needs a proximal above 0"),
        ({"aggregation": "fedavgm-exact/1", "server_momentum": 1.0}, "server_momentum must lie between 0 and 0.9999"),
        ({"aggregation": "fedadam-exact/1", "server_floor": 0.0}, "server_floor must lie between"),
        ({"aggregation": "trimmed-mean-exact/1", "trim": 0.5}, "trim must lie between"),
        ({"momentum": float("nan")}, "momentum must lie between"),
        ({"weight_decay": -0.1}, "weight_decay must lie between"),
        ({"schedule": "steps"}, "unknown schedule 'steps'; known: constant, cosine"),
        ({"augmentation": "rotate"}, "unknown augmentation 'rotate'"),
        ({"architecture": "nets:Net"}, "is package.module:Class with its source's SHA-256"),
        ({"architecture": "a b:Net", "source": "00" * 32}, "is package.module:Class with its source's SHA-256"),
        ({"source": "00" * 32}, "'medmnist-cnn' is hmchain's own"),
        ({"balanced": 1}, "balanced cannot be of that type"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        replace(GOOD, **changes)


def test_features_are_not_augmented() -> None:
    with pytest.raises(UsageError, match="augmentation 'flip' is for images"):
        replace(ROWS, augmentation="flip")


def test_strategies_are_called_as_people_call_them() -> None:
    assert tuple(map(aggregation_of, STRATEGIES)) == AGGREGATIONS
    with pytest.raises(UsageError, match="unknown strategy 'mean'; known: fedavg, fedprox"):
        aggregation_of("mean")
