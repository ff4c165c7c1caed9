"""Hospitals that train on consented records, through the same contract as on images."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from rich.console import Console

from coordinator.deploy import Founder, found_consortium
from coordinator.federation import Setup, chain_federation
from coordinator.options import RunOptions
from coordinator.progress import Silent
from coordinator.run import conduct
from coordinator.verify import verify
from hmchain import registry, scopes
from hmchain.blobs import DirectoryStore
from hmchain.consortium import Consortium
from hmchain.embedded import EmbeddedChain
from hmchain.identity import MemberIdentity
from hmchain.manifest import Manifest
from hmchain.permits import Acceptance, Consent, Purpose, Role
from hmchain.registry import Registry
from hmchain.stopwatch import Stopwatch
from tests.consenting_hospital import DIABETES, GLUCOSE, HBA1C, ConsentingHospital, write_cohort, write_recordings
from trainers import config as configuration
from trainers.data_facts import NO_DATA
from trainers.datasets import Dataset
from trainers.importers.base import Context
from trainers.keystore import Keys
from trainers.networks import initial_weights
from trainers.parts import Parts
from trainers.records import record_keeping
from trainers.records.importing import import_records
from trainers.records.record_keeping import RecordKeeping, service_of
from trainers.records.storing import Storing
from trainers.records.vault import Vault
from trainers.services.neuro import NAMES
from trainers.splits import Shard, load_shard
from trainers.team import Team
from trainers.training_sets import TrainingSet
from trainers.worker import Worker
from trainers.worker_process import WorkerOptions

PERSONS = 40  # of whom a fifth is held out, by chance: none of forty would be one test in ten thousand
FOREVER = 2**40 - 1
DATA = configuration.Data(source="records", service="clinical-research", features=(HBA1C, GLUCOSE), label=DIABETES)
RECORDINGS = configuration.Data(source="records", service="neuroscience", label=DIABETES)
JOB = Manifest(
    dataset="diabetes",
    channels=0,
    classes=("without", "with"),
    seed=0,
    rounds=3,
    fraction=1.0,
    masters=3,
    epochs=5,
    batch_size=16,
    learning_rate=0.3,
    architecture="logistic",
    preprocessing="asinh",
    features=DATA.features,
)


def shard_of(folder: Path, persons: int, seed: int) -> Shard:
    """What a hospital's node would train on: imported, and consented to by all."""
    ward = ConsentingHospital(folder / "ward")
    files, numbers = write_cohort(folder, persons, seed)
    ward.imports(*files)
    ward.consent(numbers, Purpose.CLINICAL_RESEARCH)
    data = ward.data(service_of(DATA, ward.vault.pseudonym_key))
    data.refresh(ward.trail)
    return load_shard(data.file)


@pytest.mark.parametrize("architecture", ["logistic", "mlp"])
def test_three_hospitals_learn_to_tell_who_is_ill_and_anyone_can_recompute_it(
    architecture: str, tmp_path: Path, shards: list[Shard]
) -> None:
    learn(replace(JOB, architecture=architecture), shards, tmp_path / "run")


def test_three_hospitals_learn_to_tell_a_condition_from_consented_recordings(tmp_path: Path) -> None:
    folders = [tmp_path / f"hospital{n}" for n in range(4)]
    recorded = [recordings_of(folder, 30, seed) for seed, folder in enumerate(folders)]
    learn(replace(JOB, dataset="alpha waves", features=NAMES), recorded, tmp_path / "run")


def learn(job: Manifest, hospitals: list[Shard], out: Path) -> None:
    """Trains at the first three through the contract, tests at the fourth, and recomputes what was recorded."""
    test = hospitals[3].train
    dataset = Dataset(job.dataset, 0, job.classes, test, test, test, bytes(32))
    options = RunOptions(
        out=out, dataset=job.dataset, members=3, masters=3, fraction=1.0, rounds=3, architecture=job.architecture
    )
    initial = initial_weights(job.architecture, job.width, 2, job.seed)
    options.out.mkdir()
    setup = Setup(options, dataset, job, hospitals[:3], initial, Stopwatch(), Team(1))
    summary = conduct(chain_federation(setup, options.out), options, dataset, Silent())
    assert summary["completed_rounds"] == 3
    assert summary["test_auc"] > 0.9, "of persons at a fourth hospital; chance is 0.5"
    proved = verify(options.out, None, Console(quiet=True))
    assert (proved["completed_rounds"], proved["updates"]) == (3, 9)
    assert proved["model_digest"] == summary["model_digest"]


def recordings_of(folder: Path, persons: int, seed: int) -> Shard:
    """What a hospital's node would train on: recordings that all consent to but one, who is in no row."""
    ward = ConsentingHospital(folder)
    paths, conditions, numbers = write_recordings(folder, persons, seed)
    ward.imports(conditions)
    for path, number in zip(paths, numbers, strict=True):
        ward.imports(path, subject=number)
    ward.consent(numbers[1:], Purpose.NEUROSCIENCE)
    data = ward.data(service_of(RECORDINGS, ward.vault.pseudonym_key))
    data.refresh(ward.trail)
    shard = load_shard(data.file)
    assert len(shard.train.labels) + len(shard.holdout.labels) == persons - 1
    return shard


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> list[Shard]:
    """Three hospitals' data, and a fourth's that takes no part."""
    folders = [tmp_path_factory.mktemp(f"hospital{n}") for n in range(4)]
    return [shard_of(folder, 50, seed) for seed, folder in enumerate(folders)]


# ---------------------------------------------------------------- consent, on chain


class Clinic:
    """One member of a consortium on the embedded chain, its patients, and its node's look at the records."""

    def __init__(self, folder: Path, patients: int) -> None:
        self.patients = [MemberIdentity.create() for _ in range(patients)]
        deployer, member = MemberIdentity.create(), MemberIdentity.create()
        accounts = [identity.account.address for identity in (deployer, member, *self.patients)]
        web3 = EmbeddedChain(accounts).web3
        (client, _), deployment = found_consortium(web3, deployer.account, [Founder(member, "Clinic", bytes(32), 0)])
        consortium = Consortium(web3.eth.chain_id, client.address, deployment.transaction, deployment.block)
        consortium = replace(consortium, records=registry.deploy(web3, member.account, consortium))
        self.registry = Registry.open(web3, member.account, consortium)
        keys, store = Keys(member), DirectoryStore(folder / "blobs")
        self.vault = Vault.open(folder / "records", keys, consortium)
        self.worker = Worker(WorkerOptions(folder / "data.npz"))
        records = configuration.Records(folder=folder / "records")
        data = DATA.model_copy(update={"file": folder / "data.npz"})
        config = SimpleNamespace(records=records, data=data, training_file=folder / "data.npz")
        parts = SimpleNamespace(
            registry=self.registry, config=config, keys=keys, consortium=consortium, store=store, worker=self.worker
        )
        self._import(folder, store)
        self.node = RecordKeeping(cast(Parts, parts))

    def consent(self, index: int, *purposes: Purpose) -> None:
        """A patient's own word, sent by its hospital."""
        patient, salt = self.patients[index], bytes([index]) * 32
        account, client = patient.account.address, self.registry.client
        self.vault.learn(account, salt)
        scope = scopes.scope_of(salt, "all")
        permit = Consent(
            account, scope, frozenset(purposes), self.registry.trail().next_consent(account, scope), FOREVER
        )
        self.registry.transact(
            "setConsent", permit.abi(), *permit.sign(patient.account, client.chain_id, client.address)
        )

    def vouch(self, patient: MemberIdentity) -> None:
        """The hospital vouches for a patient that accepts it."""
        client = self.registry.client
        permit = Acceptance(patient.account.address, 1, Role.PATIENT, 1, FOREVER)
        self.registry.transact("vouch", permit.abi(), *permit.sign(patient.account, client.chain_id, client.address))

    def _import(self, folder: Path, store: DirectoryStore) -> None:
        files, numbers = write_cohort(folder, len(self.patients), seed=5)
        context = Context(self.vault.pseudonym_key)
        import_records(files, "auto", context, Storing(self.vault, store), lambda file: None)
        for batch in self.vault.pending():
            blob = (batch.blob.sha256, batch.blob.cid.digest, batch.blob.size)
            self.vault.registered(batch, *self.registry.register((batch.kind, batch.count, batch.root, blob)))
        for index, (number, patient) in enumerate(zip(numbers, self.patients, strict=True)):
            self.vouch(patient)
            self.vault.link(context.pseudonym(number), patient.account.address)
            self.consent(index, Purpose.CLINICAL_RESEARCH)


def test_a_node_rewrites_what_it_trains_on_within_seconds_of_a_withdrawal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert record_keeping.LOOK_SECONDS <= 10
    monkeypatch.setattr(record_keeping, "LOOK_SECONDS", 0.5)
    clinic = Clinic(tmp_path, PERSONS)
    try:
        assert clinic.node.look() is not None
        for index in range(PERSONS):
            clinic.consent(index)
        withdrawn, after = time.monotonic(), None
        while after is None and time.monotonic() < withdrawn + 30:
            time.sleep(0.05)
            after = clinic.node.look()
        assert after == NO_DATA
        assert not (tmp_path / "data.npz").exists(), "what nobody consents to is not left lying about"
    finally:
        clinic.worker.close()
        clinic.node.close()


def test_what_was_trained_on_withdrawn_records_is_found_before_it_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_keeping, "LOOK_SECONDS", 3_600.0)
    clinic = Clinic(tmp_path, PERSONS)
    try:
        assert not clinic.node.stand(), "what nobody looked at yet"
        before = clinic.node.look()
        assert before is not None
        assert clinic.node.stand()
        clinic.consent(0, Purpose.CLINICAL_RESEARCH, Purpose.GENOME)
        assert clinic.node.stand(), "it was given again, and more"
        assert clinic.node.look() is None
        for index in range(PERSONS // 2):
            clinic.consent(index)
        assert not clinic.node.stand()
        after = clinic.node.look()
        assert after is not None, "the next look does not wait"
        assert after.samples < before.samples
        assert clinic.node.stand()
        clinic.consent(0, Purpose.CLINICAL_RESEARCH)
        assert clinic.node.stand(), "what came since can wait"
    finally:
        clinic.worker.close()
        clinic.node.close()


def test_who_is_held_out_and_withdraws_is_out_and_lets_jobs_go_on(tmp_path: Path) -> None:
    clinic = Clinic(tmp_path, PERSONS)
    try:
        before = clinic.node.data()
        assert before is not None
        trained = {place for row in TrainingSet.decode(before.listing).rows for place in row}
        subjects = {h.subject for h in clinic.vault.holdings() if (h.batch.number, h.position) in trained}
        accounts = {clinic.vault.account_of(subject) for subject in subjects}
        kept = load_shard(tmp_path / "data.npz")
        index = next(n for n, who in enumerate(clinic.patients) if who.account.address not in accounts)
        clinic.consent(index)
        assert not clinic.node.stand(), "it judges no update either"
        assert clinic.node.data() is None
        assert clinic.node.stand()
        now = load_shard(tmp_path / "data.npz")
        assert (len(now.train), len(now.holdout)) == (len(kept.train), len(kept.holdout) - 1)
    finally:
        clinic.worker.close()
        clinic.node.close()


def test_one_persons_withdrawal_is_another_root(tmp_path: Path) -> None:
    clinic = Clinic(tmp_path, PERSONS)
    try:
        before = clinic.node.data()
        assert before is not None
        assert before.features == DATA.features
        assert clinic.node.data() is None, "nothing changed since"
        kept = load_shard(tmp_path / "data.npz")
        listed = TrainingSet.decode(before.listing)
        assert (listed.root, len(listed.rows)) == (before.root, before.samples)
        held = kept.train.inputs.tolist()
        for index in range(PERSONS):  # until it is one that is trained on, and not held out
            clinic.consent(index)
            after = clinic.node.data()
            now = load_shard(tmp_path / "data.npz")
            assert len(now.train) + len(now.holdout) == len(kept.train) + len(kept.holdout) - 1 - index
            if len(now.train) < len(kept.train):
                break
            assert after is None, "the chain has no word on who is held out"
        assert after is not None
        assert after.samples == before.samples - 1
        assert after.root != before.root
        (left_out,) = set(listed.rows) - set(TrainingSet.decode(after.listing).rows)
        subjects = {h.subject for h in clinic.vault.holdings() if (h.batch.number, h.position) in left_out}
        assert [clinic.vault.account_of(subject) for subject in subjects] == [clinic.patients[index].account.address]
        left = now.train.inputs.tolist()
        assert len(held) - len(left) == 1
        assert all(row in held for row in left)
        for index in range(PERSONS):
            clinic.consent(index)
        assert clinic.node.data() == NO_DATA
    finally:
        clinic.worker.close()
        clinic.node.close()
