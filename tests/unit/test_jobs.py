"""A job from a TOML file: what may be left out, what is refused by name, and that it is created once."""

from __future__ import annotations

from pathlib import Path

import pytest
from eth_account import Account
from medmnist.info import INFO

from coordinator.deploy import found
from coordinator.jobs import EXAMPLE, create, read_manifest
from hmchain.blobs import DirectoryStore
from hmchain.chain import ChainClient
from hmchain.embedded import EmbeddedChain
from hmchain.envelope import new_identity
from hmchain.errors import UsageError
from hmchain.exchange import SealedExchange, model_header
from hmchain.ledger import JobFeed
from hmchain.manifest import Manifest
from hmchain.weights import specification
from trainers.coordination import kept_key
from trainers.datasets import SAMPLE
from trainers.networks import initial_weights, source_digest

OWN = 'dataset = "mine"\nchannels = 1\nclasses = ["a", "b"]\n'


def read(folder: Path, text: str) -> Manifest:
    (folder / "job.toml").write_text(text, encoding="utf8")
    return read_manifest(folder / "job.toml")


def refused(folder: Path, text: str) -> str:
    with pytest.raises(UsageError) as caught:
        read(folder, text)
    said = str(caught.value)
    assert "\n" not in said
    return said.removeprefix(f"{folder / 'job.toml'}: ")


# ---------------------------------------------------------------- what may be left out


def test_the_example_is_a_job_as_it_stands(tmp_path: Path) -> None:
    job = read(tmp_path, EXAMPLE)
    assert (job.dataset, job.channels, job.classes) == ("pneumoniamnist", 1, ("normal", "pneumonia"))


def test_the_example_shows_every_value_that_is_left_out(tmp_path: Path) -> None:
    said = "\n".join(line.removeprefix("# ") if " = " in line else line for line in EXAMPLE.splitlines())
    assert read(tmp_path, said) == read(tmp_path, EXAMPLE)


@pytest.mark.parametrize("name", ["pneumoniamnist", "organamnist", "bloodmnist", "retinamnist", "chestmnist"])
def test_channels_and_classes_of_published_sets_are_known(name: str, tmp_path: Path) -> None:
    job = read(tmp_path, f'dataset = "{name}"')
    assert job.channels == INFO[name]["n_channels"]
    assert job.classes == tuple(INFO[name]["label"][str(label)] for label in range(len(INFO[name]["label"])))
    assert (job.seed, job.multi_label) == (0, name == "chestmnist")


def test_the_packaged_sample_is_one_of_them(tmp_path: Path) -> None:
    job = read(tmp_path, f'dataset = "{SAMPLE}"')
    assert (job.dataset, job.channels, len(job.classes)) == (SAMPLE, 1, 11)


def test_what_is_said_comes_before_what_is_known(tmp_path: Path) -> None:
    job = read(tmp_path, 'dataset = "pneumoniamnist"\nclasses = ["ill", "well"]\nseed = 7')
    assert (job.classes, job.seed, job.channels) == (("ill", "well"), 7, 1)


def test_a_data_set_of_ones_own_names_channels_and_classes(tmp_path: Path) -> None:
    assert read(tmp_path, OWN) == Manifest(dataset="mine", channels=1, classes=("a", "b"), seed=0)


def test_whole_numbers_will_do_for_shares_and_rates(tmp_path: Path) -> None:
    job = read(tmp_path, OWN + "fraction = 1\nlearning_rate = 1")
    assert (job.fraction, job.learning_rate) == (1.0, 1.0)
    assert job == read(tmp_path, OWN + "fraction = 1.0\nlearning_rate = 1.0"), "one job, one digest"


ROWS = (
    'dataset = "cohort"\nclasses = ["well", "ill"]\narchitecture = "mlp"\nfeatures = ["http://loinc.org|4548-4", "b"]\n'
)


def test_a_job_over_records_names_its_features_and_needs_no_channels(tmp_path: Path) -> None:
    job = read(tmp_path, ROWS)
    assert (job.channels, job.preprocessing, job.architecture) == (0, "asinh", "mlp")
    assert job.features == ("http://loinc.org|4548-4", "b")
    assert Manifest.parse(job.canonical()) == job


def test_a_job_may_name_a_strategy_and_its_parameters(tmp_path: Path) -> None:
    job = read(tmp_path, OWN + 'aggregation = "fedavgm-exact/1"\nserver_rate = 1\nmomentum = 0\nschedule = "cosine"')
    assert (job.aggregation, job.server_rate, job.momentum, job.schedule) == ("fedavgm-exact/1", 1.0, 0.0, "cosine")
    assert Manifest.parse(job.canonical()) == job


def test_a_job_over_a_custom_module_gets_the_digest_of_its_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "job_nets.py").write_text("Net = None\n")
    monkeypatch.syspath_prepend(tmp_path)
    job = read(tmp_path, OWN + 'architecture = "job_nets:Net"')
    assert job.source == source_digest("job_nets:Net")
    assert read(tmp_path, OWN + f'architecture = "job_nets:Net"\nsource = "{"00" * 32}"').source == "00" * 32


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (ROWS.replace('architecture = "mlp"\n', ""), "architecture 'medmnist-cnn' does not take features"),
        (ROWS + "channels = 1", "a job has 1 or 3 channels (0 with features)"),
        (ROWS.replace('["http://loinc.org|4548-4", "b"]', '"b"'), "features is a list of names"),
        (ROWS.replace('"b"', "2"), "a manifest's classes or features cannot be of that type"),
        (OWN + 'architecture = "mlp"', "architecture 'mlp' does not take images"),
        (OWN + 'feature = ["a"]', "unknown key feature; did you mean features?"),
    ],
)
def test_features_that_no_job_can_have_are_refused(text: str, said: str, tmp_path: Path) -> None:
    assert refused(tmp_path, text).startswith(said)


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("round = 5", "unknown key round; did you mean rounds?"),
        ("mastres = 5", "unknown key mastres; did you mean masters?"),
        ("zzz = 5", "unknown key zzz"),
        ('format = "hmchain-manifest/1"', "unknown key format"),
        ("[terms]\nrounds = 5", "unknown key terms"),
    ],
)
def test_an_unknown_key_is_named_and_the_nearest_one_suggested(text: str, said: str, tmp_path: Path) -> None:
    assert refused(tmp_path, OWN + text).startswith(said)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "dataset, channels, classes is missing"),
        ('dataset = "mine"', "channels, classes is missing"),
        ('dataset = "mine"\nchannels = 1', "classes is missing"),
        ("dataset = 7", "channels, classes is missing"),
        ("dataset = []", "channels, classes is missing"),
        ("[dataset]\nx = 1", "channels, classes is missing"),
    ],
)
def test_what_is_missing_is_named(text: str, said: str, tmp_path: Path) -> None:
    assert refused(tmp_path, text) == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('rounds = "5"', "a manifest's rounds cannot be of that type"),
        ("rounds = 5.0", "a manifest's rounds cannot be of that type"),
        ("rounds = true", "a manifest's rounds cannot be of that type"),
        ("fraction = true", "a manifest's fraction cannot be of that type"),
        ("metric = 1\nstandard = 1", "a manifest's metric, standard cannot be of that type"),
        ("rounds = 0", "a job has 1 to 65535 rounds"),
        ("fraction = 1.5", "fraction must lie between"),
        ("learning_rate = nan", "the learning rate must be a positive number"),
        ("batch_size = 1", "a client trains for"),
        ("seed = -1", "a job has 1 or 3 channels"),
        ('standard = "good"', "standard 'good' is neither"),
        ('metric = "luck"', "unknown metric"),
        ("request_seconds = 1", "each phase of a round lasts"),
        ('aggregation = "mean"', "unknown aggregation 'mean'; known: fedavg-exact/1, fedprox-exact/1"),
        ("trim = 0.2", "aggregation 'fedavg-exact/1' has no trim"),
        ("momentum = 1", "momentum must lie between 0 and 0.9999"),
        ('schedule = "steps"', "unknown schedule 'steps'"),
        ("balanced = 1", "a manifest's balanced cannot be of that type"),
        ('architecture = "no_such_package:Net"', "there is no Python source of 'no_such_package' here"),
    ],
)
def test_a_value_that_no_manifest_can_have_is_refused(text: str, said: str, tmp_path: Path) -> None:
    assert refused(tmp_path, OWN + text).startswith(said)


@pytest.mark.parametrize("classes", ['"a"', "2", "{a = 1}"])
def test_classes_are_a_list_of_names(classes: str, tmp_path: Path) -> None:
    text = f'dataset = "mine"\nchannels = 1\nclasses = {classes}'
    assert refused(tmp_path, text) == "classes is a list of names"
    assert "classes or features cannot be of that type" in refused(tmp_path, text.replace(classes, "[1, 2]"))


def test_what_is_no_toml_or_no_file_is_refused(tmp_path: Path) -> None:
    for data in (b"rounds = ", b"\xff", b"a = " + b"[" * 10_000, b"a = " + b"9" * 5_000):
        (tmp_path / "job.toml").write_bytes(data)
        with pytest.raises(UsageError, match=r"job\.toml is not TOML: "):
            read_manifest(tmp_path / "job.toml")
    with pytest.raises(UsageError, match=r"the job .*nowhere cannot be read: No such file"):
        read_manifest(tmp_path / "nowhere")


# ---------------------------------------------------------------- creating


def test_a_job_is_created_once_and_its_key_waits_in_the_folder(tmp_path: Path) -> None:
    member, own = Account.create(), new_identity()
    chain = EmbeddedChain([member.address])
    deployed, deployment = found(chain.web3, member, [(member.address, own.public, b"H".ljust(32, b"\0"))])
    client = ChainClient(chain.web3, member, deployed.address)
    feed, store = JobFeed(client, deployment.block), DirectoryStore(tmp_path / "blobs")
    job = Manifest(dataset="mine", channels=1, classes=("a", "b"), seed=0)

    made = create(client, feed.poll(), store, tmp_path, (own,), job)
    assert (made.number, made.existed) == (1, False)
    again = create(client, feed.poll(), store, tmp_path, (own,), job)
    assert (again.number, again.existed) == (1, True)

    record = feed.job(1)
    assert (record.coordinator, record.manifest, record.terms) == (member.address, job.digest(), job.terms())
    assert store.get(record.manifest_blob, 10_000) == job.canonical()
    key, initial = kept_key(tmp_path, job.digest(), (own,)), initial_weights(job.architecture, 1, 2, job.seed)
    assert key is not None
    exchange = SealedExchange(store, key, specification(initial))
    found_initial = exchange.fetch(model_header(job.digest(), 0, bytes(32)), record.initial_blob)
    assert all((found_initial[name] == initial[name]).all() for name in initial)


def test_a_job_that_was_cut_short_goes_on_with_the_same_key(tmp_path: Path) -> None:
    member, own = Account.create(), new_identity()
    chain = EmbeddedChain([member.address])
    deployed, deployment = found(chain.web3, member, [(member.address, own.public, b"H".ljust(32, b"\0"))])
    history = JobFeed(deployed, deployment.block).poll()
    job = Manifest(dataset="mine", channels=1, classes=("a", "b"), seed=0)
    with pytest.raises(AttributeError):
        create(deployed, history, None, tmp_path, (own,), job)  # type: ignore[arg-type]
    kept = kept_key(tmp_path, job.digest(), (own,))
    assert kept is not None
    assert create(deployed, history, DirectoryStore(tmp_path), tmp_path, (own,), job).number == 1
    assert kept_key(tmp_path, job.digest(), (own,)) == kept
