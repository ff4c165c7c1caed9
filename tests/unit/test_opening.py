"""Entering a job: its key, the proof of what it claims to be, and whether a hospital's data fit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from hmchain.blobs import BlobRef, BlobStore, DirectoryStore
from hmchain.envelope import Identity, new_identity
from hmchain.errors import BlobError, DaemonError, Reason, UsageError
from hmchain.exchange import model_header
from hmchain.history import JobRecord
from hmchain.keyring import MAX_BYTES, seal_key
from hmchain.manifest import Manifest
from hmchain.weights import digest, encode
from trainers.data_facts import NO_DATA, DataFacts
from trainers.networks import initial_weights
from trainers.opening import RefusedJob, Site, key_of, misfit, open_job

MANIFEST = Manifest(dataset="x", channels=1, classes=("a", "b"), seed=1)
INITIAL = initial_weights(MANIFEST.architecture, 1, 2, MANIFEST.seed)
KEY, OTHER, ALICE, BOB = (new_identity() for _ in range(4))


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path)


def recorded(store: BlobStore, *keys: tuple[bytes, BlobRef], **changes: Any) -> JobRecord:
    """A job as the chain has it."""
    model = digest(encode(INITIAL, model_header(MANIFEST.digest(), 0, bytes(32))))
    manifest = store.put(MANIFEST.canonical())
    record = JobRecord(1, 2, "0xc", MANIFEST.digest(), model, MANIFEST.terms(), manifest, manifest, list(keys))
    return replace(record, **changes)


def keyring(store: BlobStore, key: Identity = KEY, **members: Identity) -> tuple[bytes, BlobRef]:
    """As published: the job's public key, and where the keyring is."""
    return key.public, store.put(seal_key(key, {int(name[1:]): member.public for name, member in members.items()}))


# ---------------------------------------------------------------- the job's key


def test_a_member_finds_the_key_in_its_envelope(store: DirectoryStore) -> None:
    job = recorded(store, keyring(store, m1=ALICE, m2=BOB))
    assert key_of(store, job, 1, [ALICE]) == key_of(store, job, 2, [BOB]) == KEY


def test_a_member_that_rotated_finds_it_with_its_earlier_key(store: DirectoryStore) -> None:
    job = recorded(store, keyring(store, m1=ALICE))
    assert key_of(store, job, 1, [new_identity(), ALICE]) == KEY


def test_before_there_is_a_keyring_or_an_envelope_there_is_no_key(store: DirectoryStore) -> None:
    assert key_of(store, recorded(store), 1, [ALICE]) is None
    job = recorded(store, keyring(store, m1=ALICE))
    assert key_of(store, job, 2, [BOB]) is None, "no envelope"
    assert key_of(store, job, 2, [ALICE]) is None, "somebody else's"
    assert key_of(store, job, 1, []) is None


def test_a_member_that_joined_later_finds_it_in_the_newest_keyring(store: DirectoryStore) -> None:
    job = recorded(store, keyring(store, m1=ALICE), keyring(store, m1=ALICE, m2=BOB))
    assert key_of(store, job, 2, [BOB]) == KEY


def test_a_coordinator_that_names_another_key_later_is_not_listened_to(store: DirectoryStore) -> None:
    """Whoever started early would read other blobs than whoever starts late."""
    first, other = keyring(store, m1=ALICE), keyring(store, OTHER, m1=ALICE, m2=BOB)
    assert key_of(store, recorded(store, first, other), 1, [ALICE]) == KEY
    assert key_of(store, recorded(store, first, other), 2, [BOB]) is None


def test_an_envelope_with_another_key_than_was_published_is_none(store: DirectoryStore) -> None:
    _, blob = keyring(store, OTHER, m1=ALICE)
    assert key_of(store, recorded(store, (KEY.public, blob)), 1, [ALICE]) is None


def test_a_keyring_that_cannot_be_found_now_is_asked_for_again(store: DirectoryStore) -> None:
    job = recorded(store, (KEY.public, BlobRef.of(b"never stored")))
    with pytest.raises(BlobError) as caught:
        key_of(store, job, 1, [ALICE])
    assert caught.value.reason is Reason.UNAVAILABLE


def test_a_store_at_fault_says_nothing_of_the_keyring(store: DirectoryStore) -> None:
    job = recorded(store, keyring(store, m1=ALICE))
    with pytest.raises(DaemonError):
        key_of(failing(DaemonError("gone", Reason.WRONG_DIGEST)), job, 1, [ALICE])


def test_a_keyring_that_is_none_or_too_large_has_no_key(store: DirectoryStore) -> None:
    for blob in (store.put(b"[]"), store.put(b"\xff"), replace(store.put(b"x"), size=MAX_BYTES + 1)):
        assert key_of(store, recorded(store, (KEY.public, blob)), 1, [ALICE]) is None


def test_keyrings_that_are_none_take_the_key_from_nobody(store: DirectoryStore) -> None:
    """A coordinator that was removed can publish as many as it likes; who has opened the job needs none."""
    honest, junk = keyring(store, m1=ALICE), (KEY.public, store.put(b"[]"))
    _, forged = keyring(store, OTHER, m1=ALICE)
    job = recorded(store, honest, junk, (KEY.public, forged), *[(KEY.public, store.put(bytes([n]))) for n in range(40)])
    assert key_of(store, job, 1, [ALICE]) == KEY


def test_keyrings_that_nobody_can_find_are_looked_for_one_at_a_time(store: DirectoryStore) -> None:
    hidden = [(KEY.public, BlobRef.of(b"hidden %d" % number)) for number in range(3)]
    job, sought = recorded(store, keyring(store, m1=ALICE), *hidden), Counter[BlobRef]()
    for count in (1, 2, 3):
        with pytest.raises(BlobError):
            key_of(store, job, 1, [ALICE], sought)
        assert sought.total() == count, "each takes a time-out"
    assert key_of(store, job, 1, [ALICE], sought) == KEY
    assert key_of(store, job, 1, [ALICE]) == KEY, "whoever looks once looks for all of them"


# ---------------------------------------------------------------- the proof


def failing(fault: Exception) -> BlobStore:
    def get(ref: BlobRef, limit: int) -> bytes:
        raise fault

    return cast(BlobStore, SimpleNamespace(get=get))


def site(store: BlobStore, initial: Callable[[Manifest], Any] = lambda manifest: INITIAL) -> Site:
    """What opening a job needs of a hospital."""
    return cast(Site, SimpleNamespace(store=store, worker=SimpleNamespace(initial=initial)))


def test_a_job_that_is_what_the_chain_says_opens(store: DirectoryStore) -> None:
    opened = open_job(site(store), recorded(store), KEY)
    assert (opened.manifest, opened.initial, opened.key) == (MANIFEST, INITIAL, KEY)
    update, blob = opened.exchange.publish(INITIAL, model_header(MANIFEST.digest(), 1, bytes(32)))
    assert len(update) == 32
    assert b"safetensors" not in store.get(blob, 10**7), "sealed"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"manifest": bytes(32)}, "its manifest is not the one that the chain recorded"),
        ({"terms": replace(MANIFEST.terms(), rounds=99)}, "its manifest is not the one that the chain recorded"),
        ({"initial": bytes(32)}, "its initial model is not the one that its manifest's seed gives"),
    ],
    ids=["digest", "terms", "initial model"],
)
def test_a_job_that_is_not_what_the_chain_says_is_refused(
    changes: dict[str, Any], why: str, store: DirectoryStore
) -> None:
    with pytest.raises(RefusedJob, match=f"{why}$"):
        open_job(site(store), recorded(store, **changes), KEY)


def test_a_manifest_that_is_none_is_refused(store: DirectoryStore) -> None:
    for data in (b"{}", MANIFEST.canonical() + b" ", b"\xff"):
        with pytest.raises(RefusedJob, match="its manifest cannot be reproduced here"):
            open_job(site(store), recorded(store, manifest_blob=store.put(data)), KEY)


def test_a_manifest_of_any_size_is_not_fetched(store: DirectoryStore) -> None:
    blob = replace(BlobRef.of(MANIFEST.canonical()), size=10**9)
    with pytest.raises(RefusedJob, match=r"its manifest: blob .* are allowed"):
        open_job(site(store), recorded(store, manifest_blob=blob), KEY)


def test_a_network_that_cannot_be_built_here_is_refused(store: DirectoryStore) -> None:
    def initial(manifest: Manifest) -> Any:
        raise UsageError("unknown network")

    with pytest.raises(RefusedJob, match="cannot be reproduced here: unknown network"):
        open_job(site(store, initial), recorded(store), KEY)


def test_what_cannot_be_had_now_is_asked_for_again_and_refuses_nothing(store: DirectoryStore) -> None:
    for fault in (BlobError("nowhere"), DaemonError("gone"), DaemonError("altered", Reason.WRONG_DIGEST)):
        with pytest.raises(type(fault)) as caught:
            open_job(site(failing(fault)), recorded(store), KEY)
        assert not isinstance(caught.value, RefusedJob)


# ---------------------------------------------------------------- the data


@pytest.mark.parametrize(
    ("channels", "classes", "why"),
    [
        (1, 1, None),
        (1, 2, None),
        (1, 3, "it has 2 classes, our labels go up to 2"),
        (3, 2, "it is about images of 1 channels, ours have 3"),
        (3, 9, "it is about images of 1 channels, ours have 3"),
    ],
)
def test_whether_data_can_be_trained_on_in_a_job(channels: int, classes: int, why: str | None) -> None:
    assert misfit(MANIFEST, DataFacts(10, channels, classes, bytes(32))) == why


@pytest.mark.parametrize(
    ("ours", "classes", "why"),
    [
        (True, 2, None),
        (True, 3, "it has 2 findings, ours are 3"),
        (False, 2, "several classes may apply to a sample of it, one class to one of ours"),
    ],
)
def test_whether_findings_can_be_trained_on_in_a_job(ours: bool, classes: int, why: str | None) -> None:
    several = replace(MANIFEST, multi_label=True)
    assert misfit(several, DataFacts(10, 1, classes, bytes(32), multi_label=ours)) == why
    told = "one class may apply to a sample of it, several classes to one of ours"
    assert misfit(MANIFEST, DataFacts(10, 1, 2, bytes(32), multi_label=True)) == told


ROWS = Manifest("rows", 0, ("a", "b"), 1, architecture="logistic", preprocessing="asinh", features=("x", "y"))


@pytest.mark.parametrize(
    ("manifest", "channels", "features", "why"),
    [
        (ROWS, 0, ("x", "y"), None),
        (ROWS, 0, ("y", "x"), "its feature 1 is x, ours is y"),
        (ROWS, 0, ("x", "z"), "its feature 2 is y, ours is z"),
        (ROWS, 0, ("x",), "it is about 2 features, ours are 1"),
        (ROWS, 1, (), "it is about features, ours are images"),
        (MANIFEST, 0, ("x", "y"), "it is about images, ours are features"),
    ],
)
def test_whether_features_can_be_trained_on_in_a_job(
    manifest: Manifest, channels: int, features: tuple[str, ...], why: str | None
) -> None:
    assert misfit(manifest, DataFacts(10, channels, 2, bytes(32), features)) == why


def test_data_of_which_nothing_is_consented_to_cannot_be_trained_on() -> None:
    assert misfit(ROWS, NO_DATA) == misfit(MANIFEST, NO_DATA) == "there is no record here that is consented to"


def test_a_single_sample_cannot_be_trained_on() -> None:
    """A member that enrols with it would let every round that draws it wait in vain."""
    assert misfit(MANIFEST, DataFacts(1, 1, 2, bytes(32))) == "a single sample cannot be trained on (batch norm)"
    assert misfit(MANIFEST, DataFacts(2, 1, 2, bytes(32))) is None
