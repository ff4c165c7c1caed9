"""The story that README tells, on real processes: records, consent, training, withdrawal, audit, as users type them."""

from __future__ import annotations

from pathlib import Path

from bench.emitter import node
from coordinator import daemons
from coordinator.dashboard.reading import Reading
from coordinator.dashboard.source import configured
from coordinator.dashboard.tables import SHEETS
from coordinator.story import tell
from hmchain.consortium import Consortium
from hmchain.registry import Registry
from tests.e2e.board import database, settled
from trainers import parts
from trainers.config import FILE, load
from trainers.exported import open_model


def test_the_whole_story(tmp_path: Path) -> None:
    said: list[str] = []
    facts = tell(tmp_path / "story", said.append)
    assert facts["observations"] == 4, "two of each hospital, of one person"
    assert 0 < facts["samples_after"] < facts["samples_before"]
    assert facts["root_after"] != facts["root_before"]
    assert facts["complete"]
    sets = [line for line in facts["trained"] if line.startswith("job 1, ")]
    assert len(sets) > 1
    assert all(": as committed, set " in line and line.endswith(" for imaging") for line in sets)
    image = facts["trained"][len(sets)]  # one more line where an update was under way when the patient withdrew
    assert image.endswith("consent 1 to all, withdrawn since")
    assert any("as committed" in line and "data.npz" in line for line in said), "of a hospital whose data are a file"
    assert any("not a time" not in line and "line 4" in line for line in said), "one bad row is explained"
    digest = f"sha256:{open_model(facts['model']).digest.hex()}"
    assert facts["exported"].startswith("model of round ")
    assert digest in facts["exported"]
    check_dashboard(tmp_path / "story", tmp_path / "index")


def check_dashboard(story: Path, index: Path) -> None:
    """What the dashboard shows of records and access, against what the contract itself answers."""
    file = next(story.glob(f"*/{FILE}"))
    config = load(file)
    port = int(config.chain.urls[0].rpartition(":")[2])
    state = story / "chain" / "state.json"
    with node("--chain-id", str(daemons.CHAIN_ID), "--state", str(state), port=port):
        engine = database(index)
        settled(configured(file), engine)
        consortium = Consortium.read(config.chain.consortium)
        contract = Registry.open(parts.connect(config, consortium), None, consortium).client
        with Reading(engine).view() as view:
            assert view.fault is None
            sheets = {name: make(view).records() for name, make in SHEETS.items()}
        assert [row["entry"] for row in sheets["batches"]] == list(range(contract.call("entryCount"), 0, -1))
        assert [row["grant"] for row in sheets["grants"]] == list(range(contract.call("grantCount"), 0, -1))
        assert len(sheets["emergencies"]) == contract.call("emergencyCount")
        for row in sheets["persons"]:
            assert contract.call("personOf", row["account"])[0] > 0
        for row in sheets["consents"]:
            told = contract.call("consentOf", row["person"], bytes.fromhex(row["scope"]))
            assert (bool(told[0]), told[1]) == (row["purposes"] != "withdrawn", row["words"])
        assert any(row["purposes"] == "withdrawn" for row in sheets["consents"]), "the patient withdrew"
        assert any(row["answer"] == "answered" for row in sheets["readings"]), "the physician read"
