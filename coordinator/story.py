"""`hmchain story`: a tour of the system on a local consortium of real processes, each step a command as users type it.

Two hospitals import records, a patient consents, a physician reads, the federation trains, the patient withdraws, the
physician is refused, a data officer asks which models saw what, an auditor verifies.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np

from coordinator import daemons, local_founding
from coordinator.local import Local, start_daemons, start_nodes
from hmchain.chain import ChainClient
from hmchain.consortium import Consortium
from hmchain.errors import ChainError, HMChainError
from hmchain.files import write_secret
from hmchain.history import History
from hmchain.ledger import JobFeed
from trainers import config as configuration
from trainers.parts import connect
from trainers.splits import load_shard

ROUNDS = 12
PATIENT_AT = {1: "R-1001", 2: "L-77"}  # the hospitals' own numbers for one and the same person
PATIENCE = 180.0
Say = Callable[[str], None]


class StoryFault(HMChainError):
    """A step did not end as it should."""


@dataclass
class Story:
    """The local consortium, and what the steps found out on the way."""

    local: Local
    say: Say
    accounts: dict[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """Where persons' keys and files are."""
        return self.local.folder

    def hmchain(self, *words: str, hospital: int | None = None, expect: int = 0) -> str:
        """Runs a command as a user would, showing command and output. Raises StoryFault for another exit code."""
        command = list(words)
        if hospital is not None:
            command += ["--config", str(self.local.hospitals[hospital - 1] / configuration.FILE)]
        self.say("$ hmchain " + shlex.join(command))
        done = subprocess.run(
            [sys.executable, "-m", "coordinator", *command], capture_output=True, text=True, check=False
        )
        for line in (done.stdout + done.stderr).rstrip().splitlines():
            self.say(f"    {line[:160]}")
        if done.returncode != expect:
            raise StoryFault(f"hmchain {words[0]} {words[1]} ended with exit code {done.returncode}, not {expect}")
        return done.stdout

    def signed(self, who: str) -> list[str]:
        """The options by which a person acts."""
        return ["--as", str(self.folder / who), "--person-password-file", str(self.password)]

    @property
    def password(self) -> Path:
        """The file with the one password that all persons of the story use."""
        return self.folder / "persons-password"

    # ------------------------------------------------------------------ the chain, looked at

    def history(self) -> History:
        """The consortium's history as of now."""
        config = self.local.config(1)
        consortium = Consortium.read(config.chain.consortium)
        return JobFeed(ChainClient(connect(config, consortium), None, consortium.contract), consortium.block).poll()

    def wait(self, what: str, seen: Callable[[History], Any]) -> Any:
        """Waits until `seen` finds something in the history, and returns that. Raises ChainError after PATIENCE."""
        deadline = time.monotonic() + PATIENCE
        while not (found := seen(self.history())):
            if time.monotonic() > deadline:
                raise ChainError(f"no {what} in {PATIENCE:g} s")
            time.sleep(0.5)
        return found


def tell(folder: Path, say: Say) -> dict[str, Any]:
    """Runs all steps in a new folder. Returns what they found. Raises HMChainError where one fails."""
    local = _found(folder, say)
    try:
        story = Story(local, say)
        write_secret(story.password, b"a story's password\n")
        facts: dict[str, Any] = {}
        for title, step in STEPS:
            say(f"\n{title}")
            facts |= step(story) or {}
        return facts
    finally:
        local.processes.stop_all()


def _found(folder: Path, say: Say) -> Local:
    job = {
        "rounds": ROUNDS,
        "fraction": 1.0,
        "masters": 3,
        "epochs": 1,
        "batch_size": 128,
        "learning_rate": 0.1,
        "seed": 0,
    }
    local = local_founding.prepare(folder.absolute(), 3, "organamnist-sample", None, "iid", job)
    configure_records(local, 1)
    daemons.connect_all(local.kubos, daemons.swarm_key())
    start_daemons(local, say)
    local_founding.found_members(local)
    say("three hospitals, each with its own keys, data and IPFS daemon; contracts deployed")
    return local


def configure_records(local: Local, hospital: int) -> None:
    """This hospital trains on what its patients consent to: every third of its images is one patient's."""
    folder = local.hospitals[hospital - 1]
    shard = load_shard(folder / "data.npz")
    arrays = {"train": shard.train, "val": shard.holdout}
    content: dict[str, Any] = {f"{name}_images": split.inputs for name, split in arrays.items()}
    content |= {f"{name}_labels": split.labels for name, split in arrays.items()}
    subjects = {
        f"{name}_subjects": np.where(np.arange(len(split)) % 3 == 0, PATIENT_AT[hospital], "")
        for name, split in arrays.items()
    }
    np.savez(folder / "images.npz", **content, **subjects)
    (folder / "data.npz").unlink()
    path = folder / configuration.FILE
    path.write_text(path.read_text().replace('source = "file"', 'source = "records"'))


# ---------------------------------------------------------------------- the steps


def import_records(story: Story) -> dict[str, Any]:
    """Two hospitals bring in what they have."""
    with as_file(files("coordinator").joinpath("story_files")) as samples:
        for number, name in ((1, "riverside"), (2, "lakeview")):
            story.hmchain("records", "import", str(samples / name), hospital=number)
    images = story.local.hospitals[0] / "images.npz"
    told = story.hmchain("records", "import", str(images), hospital=1)
    found = re.search(r"([\d,]+) imported", told)
    return {"images": int(found[1].replace(",", "")) if found else 0}


def make_persons(story: Story) -> None:
    """Each makes keys of its own, and accepts that an organisation vouches for it."""
    for who, hospital, role in (("patient", 1, "patient"), ("physician", 2, "physician")):
        told = story.hmchain("records", "person", str(story.folder / who), "--password-file", str(story.password))
        found = re.search(r"0x[0-9a-fA-F]{40}", told)
        assert found is not None
        story.accounts[who] = found[0]
        acceptance = str(story.folder / f"{who}-accepts.json")
        story.hmchain("records", "accept", role, "--out", acceptance, *story.signed(who), hospital=hospital)
        story.hmchain("records", "vouch", acceptance, hospital=hospital)
    for hospital, number in PATIENT_AT.items():
        story.hmchain("records", "link", number, story.accounts["patient"], hospital=hospital)


def give_consent(story: Story) -> None:
    """The patient signs; the hospital relays it, and pays the gas."""
    file = story.folder / "consent.json"
    what = ["records", "consent", "all", "--purpose", "imaging", "--purpose", "clinical-research"]
    story.hmchain(*what, "--out", str(file), *story.signed("patient"), hospital=1)
    story.hmchain("records", "relay", str(file), hospital=2)


def read_records(story: Story) -> dict[str, Any]:
    """The patient grants, the physician asks both hospitals, whose nodes answer."""
    start_nodes(story.local, story.say)
    grant = story.folder / "grant.json"
    to = ["records", "share", "kind:clinical", "--to", story.accounts["physician"], "--purpose", "emr"]
    story.hmchain(*to, "--out", str(grant), *story.signed("patient"), hospital=1)
    wanted = ["--wanted", "type:observation", *story.signed("physician")]
    told = story.hmchain("records", "get", str(grant), "--from", "1", "--from", "2", *wanted, hospital=2)
    return {"observations": len(told.splitlines())}


def train(story: Story) -> dict[str, Any]:
    """A job in which hospital 1 trains on just the images that are consented to."""
    local_founding.create_first_job(story.local)
    story.say("job created by hospital-1")
    story.wait("round with a model", lambda h: h.jobs and any(r.model for r in h.jobs[1].rounds.values()))
    history = story.history()
    story.say(f"    round 1 ended with a model; hospital 1 committed to {history.samples[1]:,} images")
    return {"samples_before": history.samples[1], "root_before": history.roots[1]}


def withdraw(story: Story) -> dict[str, Any]:
    """The patient withdraws: another root before the next round, and no more keys for the physician."""
    before = story.history().roots[1]
    story.hmchain("records", "consent", "all", "--withdraw", *story.signed("patient"), hospital=1)
    story.wait("other root of hospital 1", lambda h: h.roots[1] != before)
    history = story.history()
    began = max(history.jobs[1].rounds)
    story.wait("next round", lambda h: any(r.model for n, r in h.jobs[1].rounds.items() if n > began))
    story.say(
        f"    hospital 1 is committed to {history.samples[1]:,} images now, and the next round ended with a model"
    )
    grant = str(story.folder / "grant.json")
    story.hmchain("records", "revoke", grant, *story.signed("patient"), hospital=1)
    story.hmchain("records", "get", grant, "--from", "1", *story.signed("physician"), hospital=2, expect=4)
    return {"samples_after": history.samples[1], "root_after": history.roots[1]}


def trace(story: Story) -> dict[str, Any]:
    """A data officer: what was trained on, and what has seen one of the patient's images."""
    story.hmchain("records", "trained", hospital=3)
    image = ["records", "list", "--type", "labelled-image", "--subject", PATIENT_AT[1], "--limit", "1", "--json"]
    name = json.loads(story.hmchain(*image, hospital=1))["record"][:16]
    told = story.hmchain("records", "trained", name, hospital=1)
    return {"trained": told.splitlines()}


def check(story: Story) -> dict[str, Any]:
    """An auditor: every record, every reading, every model."""
    story.wait("end of the job", lambda h: h.jobs[1].closed)
    for hospital in (1, 2):
        story.hmchain("records", "verify", hospital=hospital)
    told = story.hmchain("records", "audit", hospital=1)
    story.hmchain("verify", "--job", "1", hospital=3)
    return {"complete": "COMPLETE" in told}


def use(story: Story) -> dict[str, Any]:
    """A hospital takes the last model out, to use it without a chain."""
    folder = story.folder / "model"
    told = story.hmchain("export", "--job", "1", "--out", str(folder), hospital=2)
    return {"exported": told.splitlines()[0], "model": folder}


STEPS: tuple[tuple[str, Callable[[Story], dict[str, Any] | None]], ...] = (
    ("Two hospitals import what their systems wrote", import_records),
    ("A patient and a physician make keys, and are vouched for", make_persons),
    ("The patient consents to two purposes", give_consent),
    ("The patient lets the physician read; both hospitals' nodes answer", read_records),
    ("The federation trains, on consented images", train),
    ("The patient withdraws, and revokes", withdraw),
    ("A data officer asks which models saw what", trace),
    ("An auditor verifies", check),
    ("A hospital exports the model", use),
)
