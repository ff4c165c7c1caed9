"""Whoever changes anything in a run's folder is found out: INVALID, where, and why; never VALID, never a traceback."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import shutil
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from eth_account.typed_transactions import TypedTransaction
from hexbytes import HexBytes

import coordinator.run
import trainers.hospital
from coordinator.evidence import Evidence, gather
from coordinator.federation import chain_federation
from coordinator.folder import RunFile, read_key, read_ledger
from coordinator.progress import Silent
from coordinator.replay import replay
from coordinator.report import report_digest
from coordinator.run import conduct
from coordinator.verify import WORD
from hmchain.blobs import BlobRef
from hmchain.contract import Artifact
from hmchain.embedded import BlockRecord, EmbeddedChain
from hmchain.envelope import new_identity, seal, unseal
from hmchain.errors import Reason
from hmchain.exchange import aggregate_of
from hmchain.rounds import RoundState
from hmchain.scores import word_of_reason
from hmchain.weights import Header, Weights
from tests.e2e.conftest import FinishedRun, vars_of
from tests.e2e.stripes import federation_of, invoke, options_for, setup_of, verdict_on, write_ledger, write_lines
from trainers.datasets import SAMPLE, SAMPLE_FILE
from trainers.hospital import Hospital

Copy = Callable[[], Path]
SAMPLE_DIGEST = hashlib.sha256(SAMPLE_FILE.read_bytes()).digest()
FILES = ("run.json", "ledger.jsonl", "job.key", "summary.json", "metrics.jsonl", "curves.png")
KINDS = ("manifest", "initial model", "keyring", "accepted update", "refused update", "model")


def refusal_of(folder: Path, data: Path | None = None) -> dict[str, Any]:
    """The verdict, which must be INVALID."""
    verdict = verdict_on(folder, data)
    assert verdict["valid"] is False, "tampering was not found"
    assert len(verdict["reason"]) < 500
    return verdict


@pytest.fixture(scope="module")
def evidence(finished: FinishedRun) -> Evidence:
    return gather(finished.folder, RunFile.read(finished.folder))


@pytest.fixture(scope="module")
def blobs(evidence: Evidence, finished: FinishedRun) -> dict[str, BlobRef]:
    """A blob of each kind."""
    job = evidence.job
    first = job.rounds[1]
    return {
        "manifest": job.manifest_blob,
        "initial model": job.initial_blob,
        "keyring": job.keys[0][1],
        "accepted update": first.accepted()[0].blob,
        "refused update": next(u.blob for u in first.updates.values() if u.member == finished.refused),
        "model": first.final_blob(),
    }


def place_of(kind: str, evidence: Evidence, finished: FinishedRun) -> tuple[int | None, int | None]:
    """Round and member that the blob of round 1 belongs to."""
    members = {"accepted update": evidence.job.rounds[1].accepted()[0].member, "refused update": finished.refused}
    number = {"manifest": None, "keyring": None, "initial model": 0}.get(kind, 1)
    return number, members.get(kind)


def test_the_copy_is_valid_before_anyone_touches_it(copy: Copy, data: Path) -> None:
    assert verdict_on(copy(), data)["valid"]


# ---------------------------------------------------------------- blobs


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["flipped", "truncated", "deleted"])
def test_a_changed_blob_is_named(
    kind: str, how: str, copy: Copy, blobs: dict[str, BlobRef], evidence: Evidence, finished: FinishedRun
) -> None:
    path = copy() / "blobs" / str(blobs[kind].cid)
    content = bytearray(path.read_bytes())
    content[random.Random(kind).randrange(len(content))] ^= 1
    if how == "flipped":
        path.write_bytes(content)
    elif how == "truncated":
        os.truncate(path, len(content) - 1)
    else:
        path.unlink()
    verdict = refusal_of(path.parents[1])
    assert (verdict["round"], verdict["member"]) == place_of(kind, evidence, finished)


def test_a_blob_that_goes_on_is_found(copy: Copy, blobs: dict[str, BlobRef]) -> None:
    path = copy() / "blobs" / str(blobs["model"].cid)
    path.write_bytes(path.read_bytes() + b"\0")
    assert "does not have the recorded" in refusal_of(path.parents[1])["reason"]


def test_swapped_blobs_are_found(copy: Copy, blobs: dict[str, BlobRef]) -> None:
    folder = copy() / "blobs"
    one, other = (folder / str(blobs[kind].cid) for kind in ("accepted update", "model"))
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)
    assert refusal_of(folder.parent)["round"] == 1


@pytest.mark.parametrize("kind", ["initial model", "accepted update", "refused update", "model"])
def test_the_same_weights_sealed_again_are_another_blob(kind: str, copy: Copy, blobs: dict[str, BlobRef]) -> None:
    folder = copy()
    path, key = folder / "blobs" / str(blobs[kind].cid), read_key(folder)
    path.write_bytes(seal(unseal(path.read_bytes(), key), [key.public]))
    assert "does not have the recorded" in refusal_of(folder)["reason"]


def test_the_folder_of_blobs_is_missing(copy: Copy) -> None:
    folder = copy()
    shutil.rmtree(folder / "blobs")
    assert "the folder of blobs is missing" in refusal_of(folder)["reason"]
    assert not (folder / "blobs").exists()


@pytest.mark.parametrize("what", ["a pipe", "endless", "a name too long"])
def test_nothing_odd_among_the_blobs_keeps_anyone_waiting(what: str, copy: Copy, blobs: dict[str, BlobRef]) -> None:
    folder = copy()
    path = folder / "blobs" / str(blobs["manifest"].cid)
    path.unlink()
    if what == "a pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero" if what == "endless" else "a" * 300)
    assert "holds something that is no blob" in refusal_of(folder)["reason"]


@pytest.mark.parametrize("name", ["run.json", "ledger.jsonl", "job.key", "summary.json", "blobs"])
def test_what_this_machine_cannot_read_is_no_evidence(name: str, copy: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    def refusing(method: Any) -> Any:
        def call(path: Path, *arguments: Any, **named: Any) -> Any:
            if path.name == name:
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return method(path, *arguments, **named)

        return call

    folder = copy()
    for method in ("open", "iterdir"):  # whoever runs the tests may be root, who reads everything
        monkeypatch.setattr(Path, method, refusing(getattr(Path, method)))
    code, _, err = invoke("verify", folder)
    assert (code, err) == (6, f"hmchain: cannot read {folder / name}: Permission denied\n")


# ---------------------------------------------------------------- ledger


def lines_of(folder: Path) -> list[str]:
    return (folder / "ledger.jsonl").read_text().splitlines()


@pytest.mark.parametrize("seed", range(30))
def test_no_byte_of_the_ledger_can_be_changed(seed: int, copy: Copy) -> None:
    path = copy() / "ledger.jsonl"
    content, stream = bytearray(path.read_bytes()), random.Random(seed)
    content[stream.randrange(len(content))] ^= stream.choice([1, 2, 4, 8, 16, 32, 64, 128])
    path.write_bytes(content)
    refusal_of(path.parent)


def test_a_changed_block_is_laid_to_its_round(copy: Copy) -> None:
    folder = copy()
    lines = lines_of(folder)
    write_lines(folder, [*lines[:-2], _edit(lines[-2], hash="0x" + "00" * 32), lines[-1]])
    verdict = refusal_of(folder)
    assert (verdict["round"], verdict["member"]) == (3, None), "it is of several masters"
    assert "has another hash" in verdict["reason"]


def test_a_changed_block_of_one_message_is_laid_to_its_member(copy: Copy) -> None:
    folder = copy()
    lines = lines_of(folder)
    first = next(n for n, line in enumerate(lines) if n > 5 and len(json.loads(line)["transactions"]) > 1)
    alone = json.loads(lines[first])["transactions"][1:2]
    write_lines(folder, [*lines[:first], _edit(lines[first], transactions=alone), *lines[first + 1 :]])
    verdict = refusal_of(folder)
    assert verdict["member"] in range(1, 6)
    assert "has another hash" in verdict["reason"]


def _edit(line: str, **changes: Any) -> str:
    return json.dumps({**json.loads(line), **changes}, separators=(",", ":"))


def _signed_by_another(line: str) -> str:
    raw, *others = json.loads(line)["transactions"]
    fields = TypedTransaction.from_bytes(HexBytes(raw)).as_dict()
    unsigned = {name: value for name, value in fields.items() if name not in ("v", "r", "s", "yParity")}
    return _edit(line, transactions=[Account.create().sign_transaction(unsigned).raw_transaction.to_0x_hex(), *others])


def _number(text: str) -> Callable[[list[str]], list[str]]:
    return lambda lines: [*lines[:5], lines[5].replace('"timestamp":', f'"timestamp":{text},"x":', 1), *lines[6:]]


LEDGERS: dict[str, Callable[[list[str]], list[str]]] = {
    "the first block dropped": lambda lines: [lines[0], *lines[2:]],
    "a block dropped": lambda lines: [*lines[:20], *lines[21:]],
    "the last block dropped": lambda lines: lines[:-1],
    "all blocks dropped": lambda lines: lines[:1],
    "blocks swapped": lambda lines: [*lines[:20], lines[21], lines[20], *lines[22:]],
    "a block twice": lambda lines: [*lines[:20], lines[20], *lines[20:]],
    "the last block twice": lambda lines: [*lines, lines[-1]],
    "a later timestamp": lambda lines: [
        *lines[:20],
        _edit(lines[20], timestamp=json.loads(lines[20])["timestamp"] + 1),
        *lines[21:],
    ],
    "a transaction moved": lambda lines: [
        *lines[:20],
        _edit(lines[20], transactions=[]),
        _edit(lines[21], transactions=json.loads(lines[20])["transactions"] + json.loads(lines[21])["transactions"]),
        *lines[22:],
    ],
    "another signer": lambda lines: [*lines[:20], _signed_by_another(lines[20]), *lines[21:]],
    "an account richer": lambda lines: [_edit(lines[0], accounts=["0x" + "11" * 20]), *lines[1:]],
    "one more account": lambda lines: [
        _edit(lines[0], accounts=[*json.loads(lines[0])["accounts"], "0x" + "11" * 20]),
        *lines[1:],
    ],
    "an account twice": lambda lines: [
        _edit(lines[0], accounts=[json.loads(lines[0])["accounts"][0], *json.loads(lines[0])["accounts"]]),
        *lines[1:],
    ],
    "accounts that are none": lambda lines: [_edit(lines[0], accounts=[1, None]), *lines[1:]],
    "no genesis": lambda lines: lines[1:],
    "an empty file": lambda lines: [],
    "an empty line": lambda lines: [*lines, ""],
    "other line endings": lambda lines: [line + "\r" for line in lines],
    "spaces": lambda lines: [*lines[:20], lines[20].replace(":", ": "), *lines[21:]],
    "capital hex": lambda lines: [*lines[:20], lines[20].replace("a", "A"), *lines[21:]],
    "garbage": lambda lines: ["\x00\x01\u2028 garbage", *lines],
    "garbage in the middle": lambda lines: [*lines[:20], "{}", *lines[20:]],
    "deep nesting": lambda lines: [*lines[:20], "[" * 100_000, *lines[21:]],
    "deep nesting first": lambda lines: ["[" * 100_000, *lines[1:]],
    "true for one": lambda lines: [lines[0], lines[1].replace('"number":1', '"number":true'), *lines[2:]],
    "a number with a fraction": lambda lines: [lines[0], lines[1].replace('"number":1', '"number":1.0'), *lines[2:]],
    "a huge timestamp": lambda lines: [*lines[:20], _edit(lines[20], timestamp=2**70), *lines[21:]],
    "a timestamp of a thousand digits": lambda lines: [*lines[:20], _edit(lines[20], timestamp=10**999), *lines[21:]],
    "a timestamp of ten thousand digits": _number("9" * 10_000),
    "NaN": _number("NaN"),
    "infinity": _number("1e999"),
    "a negative timestamp": lambda lines: [*lines[:20], _edit(lines[20], timestamp=-1), *lines[21:]],
    "no transaction at all": lambda lines: [*lines[:20], _edit(lines[20], transactions=["0x"]), *lines[21:]],
    "half a transaction": lambda lines: [*lines[:20], lines[20][: len(lines[20]) // 2]],
}


@pytest.mark.parametrize("how", LEDGERS)
def test_a_changed_ledger_is_found(how: str, copy: Copy) -> None:
    folder = copy()
    write_lines(folder, LEDGERS[how](lines_of(folder)))
    refusal_of(folder)


OTHER_CALLS: dict[str, tuple[dict[str, Any], str]] = {
    "another contract": ({"to": "0x" + "22" * 20}, "block 1 calls another contract than the run's"),
    "another contract's creation": (
        {"data": "0x5b600056"},
        "the contract on the chain is not the one that this version",
    ),
    "no transaction of ours": (
        {"to": "0x" + "22" * 20, "gasPrice": 10**10},
        "block 1 holds what is no transaction of a run",
    ),
}


@pytest.mark.parametrize("what", OTHER_CALLS)
def test_no_code_but_ours_is_executed(what: str, copy: Copy) -> None:
    """Whoever writes a ledger anew can put an account of its own into the genesis, and code that takes hours."""
    call, told = OTHER_CALLS[what]
    folder = write_call(copy(), call)
    assert refusal_of(folder)["reason"].startswith(told)


def write_call(folder: Path, call: dict[str, Any]) -> Path:
    """Writes a ledger anew, of one transaction."""
    account = Account.create()
    chain = EmbeddedChain([account.address])
    fees = {} if "gasPrice" in call else {"maxFeePerGas": 10**10, "maxPriorityFeePerGas": 0}
    fields = {"chainId": chain.web3.eth.chain_id, "nonce": 0, "gas": 10**5, "value": 0, **fees, **call}
    chain.web3.eth.send_raw_transaction(account.sign_transaction(fields).raw_transaction)
    return write_ledger(folder, chain)


def test_what_the_evm_itself_has_is_not_executed_in_place_of_the_contract(copy: Copy, evidence: Evidence) -> None:
    identity = "0x" + "00" * 19 + "04"  # the cheapest of them
    folder = write_call(copy(), {"to": identity})
    replace(evidence.run, contract=identity).write(folder)
    assert refusal_of(folder)["reason"] == "block 1 calls the run's contract, which is not there yet"


def test_a_ledger_that_goes_on_after_the_report_is_found(copy: Copy, evidence: Evidence) -> None:
    folder = copy()
    chain, blocks = read_ledger(folder)
    replay(chain, blocks, evidence.run)
    chain.travel(60)
    (extra,) = chain.blocks(after=evidence.head)
    write_lines(folder, [*lines_of(folder), extra.to_json()])
    assert refusal_of(folder)["reason"] == "the ledger goes on after the report was filed"


def test_nobody_acts_after_the_report(data: Path, tmp_path: Path) -> None:
    federation, folder, go = conspiracy(tmp_path / "run", data)
    go()
    federation.hospitals[1].ledger.client.transact("commitDataset", b"\1" * 32, 1)
    federation.save()
    assert refusal_of(folder)["reason"] == "the ledger goes on after the report was filed"


def test_time_cannot_run_backwards_in_a_ledger_written_anew(copy: Copy, evidence: Evidence) -> None:
    folder = copy()
    chain, blocks = read_ledger(folder)
    records: list[BlockRecord] = list(blocks)
    for record in records[:10]:
        chain.replay(record)
    early = replace(records[10], timestamp=records[3].timestamp)
    write_lines(folder, [*lines_of(folder)[:11], early.to_json(), *lines_of(folder)[12:]])
    assert "cannot be executed" in refusal_of(folder)["reason"]


@pytest.mark.parametrize("name", FILES)
def test_nothing_is_read_to_an_end_far_away(name: str, copy: Copy) -> None:
    path = copy() / name
    with path.open("r+b") as file:
        file.truncate(1 << 30)
    tracemalloc.start()
    try:
        refusal_of(path.parent)
        assert tracemalloc.get_traced_memory()[1] < 1 << 27
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ["ledger.jsonl", "run.json", "summary.json", "job.key"])
@pytest.mark.parametrize("what", ["a pipe", "endless", "a name too long", "itself", "a folder", "empty", "not text"])
def test_no_file_can_be_replaced_by_something_odd(name: str, what: str, copy: Copy) -> None:
    path = copy() / name
    path.unlink()
    if what == "a pipe":
        os.mkfifo(path)
    elif what == "endless":
        path.symlink_to("/dev/zero")
    elif what in ("a name too long", "itself"):
        path.symlink_to(path.name if what == "itself" else "a" * 300)
    elif what == "a folder":
        path.mkdir()
    else:
        path.write_bytes(b"" if what == "empty" else b"\xff\xfe\x00")
    refusal_of(path.parent)


# ---------------------------------------------------------------- run.json, job.key, the report


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("chain_id", 1),
        ("contract", "0x" + "11" * 20),
        ("deployment", "0x" + "11" * 32),
        ("deployment", "the last transaction"),
        ("job", 2),
        ("job", -1),
        ("job", 10**4000),
        ("chain_id", 10**4000),
        ("job", True),
        ("blobs", "elsewhere"),
        ("blobs", "a" * 300),
        ("blobs", "\ud800"),
        ("blobs", "\0"),
        ("blobs", "run.json"),
        ("blobs", "ipfs:nowhere"),
        ("chain", "\ud800"),
        ("chain", "ganache"),
        ("chain", "http://\x1b[2J"),
        ("dataset", "organamnist"),
        ("dataset_digest", "sha256:" + "11" * 32),
        ("format", "hmchain-run/2"),
        ("more", 1),
    ],
)
def test_no_field_of_run_json_can_be_changed(field: str, value: Any, copy: Copy, evidence: Evidence) -> None:
    folder = copy()
    path = folder / "run.json"
    if value == "the last transaction":
        (raw,) = json.loads(lines_of(folder)[-1])["transactions"]
        value = TypedTransaction.from_bytes(HexBytes(raw)).hash().hex()
        value = value if value.startswith("0x") else "0x" + value
    path.write_text(json.dumps({**json.loads(path.read_text()), field: value}, indent=2, sort_keys=True) + "\n")
    reason = refusal_of(folder)["reason"]
    if field == "dataset_digest":  # no fault of the chain, which knows nothing of it
        assert reason == "summary.json and run.json name different files of stripes"


@pytest.mark.parametrize("blobs", ["\x1b[1A\x1b[2K\rVALID  3 rounds\x1b[8m", "x\nVALID  3 rounds", "\ud800"])
def test_no_folder_draws_its_own_verdict(blobs: str, copy: Copy) -> None:
    path = copy() / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "blobs": blobs}, indent=2, sort_keys=True) + "\n")
    code, out, err = invoke("verify", path.parent)
    assert (code, err) == (1, "")
    *steps, verdict = out.splitlines()
    assert len(steps) == 1
    assert verdict.startswith("INVALID  the folder of blobs is missing: ")
    assert verdict.isprintable()


@pytest.mark.parametrize("content", ["{}", "[]", "null", "[" * 100_000, '{"chain": NaN}'])
def test_run_json_must_make_sense(content: str, copy: Copy) -> None:
    folder = copy()
    (folder / "run.json").write_text(content)
    refusal_of(folder)


def test_another_key_opens_nothing(copy: Copy) -> None:
    folder = copy()
    (folder / "job.key").write_text(new_identity().secret + "\n")
    assert refusal_of(folder)["reason"] == "job.key is not the key that the chain recorded"


def _metrics(folder: Path, change: Callable[[list[dict[str, Any]]], object]) -> None:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    change(rows)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row, sort_keys=True) + "\n" for row in rows))


def _summary(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    summary = json.loads((folder / "summary.json").read_text())
    change(summary)
    (folder / "summary.json").write_text(json.dumps(summary, indent=2, sort_keys=True) + "\n")


REPORTS: dict[str, Callable[[Path], object]] = {
    "AUC raised": lambda folder: _summary(folder, lambda s: s.update(test_auc=0.99)),
    "AUC raised everywhere": lambda folder: (
        _summary(folder, lambda s: s.update(test_auc=0.99)),
        _metrics(folder, lambda rows: rows[-1]["test"].update(auc=0.99)),
    ),
    "gas lowered": lambda folder: _summary(folder, lambda s: s["gas"]["round_total"].update(median=1)),
    "rows reordered": lambda folder: _metrics(folder, lambda rows: rows.reverse()),
    "a row dropped": lambda folder: _metrics(folder, lambda rows: rows.pop()),
    "a refusal hidden": lambda folder: _metrics(folder, lambda rows: rows[0]["refused"].clear()),
    "a space more": lambda folder: (folder / "summary.json").write_text((folder / "summary.json").read_text() + " "),
    "another picture": lambda folder: (folder / "curves.png").write_bytes(b"\x89PNG\r\n\x1a\n"),
}


@pytest.mark.parametrize("how", REPORTS)
def test_a_changed_report_is_found(how: str, copy: Copy) -> None:
    folder = copy()
    REPORTS[how](folder)
    assert "is not what the coordinator filed on chain" in refusal_of(folder)["reason"]


# ---------------------------------------------------------------- attackers who run the chain themselves


class Accomplice(Hospital):
    """A master that attests whatever is proposed."""

    def attest(self, state: RoundState) -> bool:
        self.ledger.attest_model(state, self.ledger.record(state.number).proposals[-1])
        return True


class Slanderer(Hospital):
    """A master that says of every update that it holds a NaN."""

    def _word_of(self, record: Any, position: int) -> int:
        return word_of_reason(Reason.NOT_FINITE)


def conspiracy(
    out: Path, data: Path, kind: type[Hospital] = Hospital, **changes: Any
) -> tuple[Any, Path, Callable[[], Any]]:
    """A whole run by one hand: its federation, its folder, and how to let it go."""
    options = options_for(out, data, **{"rounds": 1, **changes})
    setup, federation = federation_of(options)
    federation.hospitals.update({n: kind(**vars_of(h)) for n, h in federation.hospitals.items()})
    return federation, out, lambda: conduct(federation, options, setup.dataset, Silent())


def test_a_model_that_is_not_the_aggregate_is_found_though_everyone_attested_it(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def doubled(*arguments: Any) -> tuple[Weights, Header]:
        weights, header = aggregate_of(*arguments)
        return {name: array * 2 for name, array in weights.items()}, header

    _, folder, go = conspiracy(tmp_path / "run", data, Accomplice)
    monkeypatch.setattr(trainers.hospital, "aggregate_of", doubled)  # by which the coordinator proposes
    go()
    verdict = refusal_of(folder)
    assert verdict["round"] == 1
    assert verdict["reason"] == "the global model is not the aggregate of the accepted updates"


def test_a_right_digest_over_a_blob_with_another_model_is_found(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    federation, folder, go = conspiracy(tmp_path / "run", data, Accomplice)
    publish = federation.exchange.publish

    def other(weights: Weights, header: Header) -> tuple[bytes, BlobRef]:
        digest, _ = publish(weights, header)
        return digest, publish({name: array * 2 for name, array in weights.items()}, header)[1]

    monkeypatch.setattr(
        coordinator.run, "fetch_model", lambda exchange, header, blob, model: exchange.fetch(header, blob)
    )
    monkeypatch.setattr(
        federation.exchange, "publish", lambda w, h: other(w, h) if h.kind == "model" else publish(w, h)
    )
    go()
    verdict = refusal_of(folder)
    assert (verdict["round"], verdict["reason"]) == (
        1,
        "global model: the blob holds another model than was recorded",
    )


class Deaf(Hospital):
    """A master that says of a member's first update that it could not be fetched."""

    def _word_of(self, record: Any, position: int) -> int:
        return super()._word_of(record, position) if position else word_of_reason(Reason.UNAVAILABLE)


def test_an_update_that_masters_did_not_fetch_and_that_is_there_is_named(data: Path, tmp_path: Path) -> None:
    federation, folder, go = conspiracy(tmp_path / "run", data, Deaf)
    first = federation.coordinator.state().clients[0]
    go()
    verdict = verdict_on(folder)
    assert f"masters could not fetch updates that are there now, in round 1 of member {first}" in verdict["notes"]


def test_what_is_no_part_of_a_run_is_named(copy: Copy) -> None:
    folder = copy()
    (folder / "model.safetensors").write_bytes(b"")
    (folder / "of a hospital").mkdir()
    (folder / "blobs/patients.csv").write_bytes(b"")
    told = "not of the run, and not looked at: blobs/patients.csv, model.safetensors, of a hospital"
    assert told in verdict_on(folder)["notes"]


def test_masters_who_lie_about_the_content_of_an_update_are_found(data: Path, tmp_path: Path) -> None:
    _, folder, go = conspiracy(tmp_path / "run", data, Slanderer)
    go()
    verdict = refusal_of(folder)
    assert verdict["round"] == 1
    assert verdict["member"] is not None


def test_another_contract_is_found(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = Artifact.load()
    with monkeypatch.context() as patch:
        patch.setattr(Artifact, "load", lambda name="HMChain": replace(ours, bytecode=ours.bytecode + b"\0"))
        conspiracy(tmp_path / "run", data)[2]()
    assert "is not the one that this version of hmchain carries" in refusal_of(tmp_path / "run")["reason"]


# ---------------------------------------------------------------- a coordinator that files a false report

Lie = Callable[[Path], object]


def _filer(federation: Any, folder: Path) -> Callable[[Lie], Path]:
    """Files the run's own report, with a lie in it, on chain."""
    told = {name: (folder / name).read_bytes() for name in ("summary.json", "metrics.jsonl", "curves.png")}

    def file(lie: Lie) -> Path:
        for name, content in told.items():
            (folder / name).write_bytes(content)
        lie(folder)
        federation.file_report(report_digest(folder, len(list(federation.coordinator.records()))))
        return folder

    return file


@pytest.fixture(scope="module")
def filed(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Lie], Path]:
    """The folder of a run of two rounds, after a lie was filed."""
    federation, folder, go = conspiracy(tmp_path_factory.mktemp("liar") / "run", data, rounds=2)
    go()
    return _filer(federation, folder)


@pytest.fixture(scope="module")
def failed(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Lie], Path]:
    """The same of a run that ended with no model."""
    federation, folder, go = conspiracy(tmp_path_factory.mktemp("failed") / "run", data, standard="absolute:1")
    go()
    return _filer(federation, folder)


def _say(**claims: Any) -> Lie:
    return lambda folder: _summary(folder, lambda s: s.update(claims))


def _row(number: int, **claims: Any) -> Lie:
    return lambda folder: _metrics(folder, lambda rows: rows[number].update(claims))


def _test(number: int, **claims: Any) -> Lie:
    return lambda folder: _metrics(folder, lambda rows: rows[number]["test"].update(claims))


def _last(value: Any) -> Lie:
    """The last AUC, in both places."""
    return lambda folder: (_say(test_auc=value)(folder), _test(-1, auc=value)(folder))


def _written(name: str, old: str, new: str) -> Lie:
    return lambda folder: (folder / name).write_text((folder / name).read_text().replace(old, new, 1))


LIES: dict[str, tuple[Lie, str]] = {
    "a key twice": (_written("summary.json", "{\n", '{\n  "test_auc": 0.99,\n'), "not written as a run writes it"),
    "a key twice in a row": (_written("metrics.jsonl", "{", '{"accepted": [], '), "not written as a run writes it"),
    "other line ends": (_written("summary.json", "\n", "\r\n"), "not written as a run writes it"),
    "a number written otherwise": (_written("summary.json", '"members": 5', '"members": 5 '), "not written as a run"),
    "more rounds": (_say(completed_rounds=9), "completed_rounds = 9, the chain 2"),
    "a number with a fraction": (_say(completed_rounds=2.0), "completed_rounds = 2.0, the chain 2"),
    "false for none": (_say(failed_rounds=False), "failed_rounds = False, the chain 0"),
    "a fraction in a row": (_row(0, gas=1.0), "gas = 1.0, the chain "),
    "true in a list": (_row(0, accepted=[True]), "accepted = [True], the chain ["),
    "another learning rate": (_say(learning_rate=0.02), "learning_rate = 0.02, the chain "),
    "more clients": (_say(clients=999), "clients = 999, the chain 2"),
    "another chain": (_say(chain="https://mainnet.invalid"), "chain = 'https://mainnet.invalid', which cannot be"),
    "deep nesting": (_say(gas=json.loads("[" * 900 + "]" * 900)), "summary.json says gas = [["),
    "no gas": (lambda folder: _summary(folder, lambda s: s.pop("gas")), "summary.json lacks gas"),
    "less gas": (lambda folder: _summary(folder, lambda s: s["gas"]["submit_update"].update(median=1)), "says gas = "),
    "more than a run says": (_say(external_auc=0.999), "summary.json has what no run writes, external_auc"),
    "more in a row": (_row(0, external_auc=0.999), "metrics.jsonl has what no run writes, external_auc"),
    "more in a row's test": (_test(0, f1=0.999), "metrics.jsonl, test has what no run writes, f1"),
    "less in a row's test": (_row(0, test={}), "metrics.jsonl, test lacks accuracy"),
    "no test": (_row(0, test=None), "the report lacks what every report has"),
    "another AUC at the end": (_say(test_auc=0.123), "summary.json says test_auc = 0.123, the chain "),
    "the last AUC": (_last(0.123), "metrics.jsonl says auc = 0.123, measured "),
    "the last AUC is NaN": (_last(float("nan")), "metrics.jsonl says auc = nan, which cannot be"),
    "the last AUC is text": (_last("0.99"), "metrics.jsonl says auc = '0.99', which cannot be"),
    "the last AUC is none": (_last(None), "metrics.jsonl says auc = None, which cannot be"),
    "the last loss": (_test(-1, loss=0.001), "metrics.jsonl says loss = 0.001, measured "),
    "a loss below 0": (_test(-1, loss=-5.0), "metrics.jsonl says loss = -5.0, which cannot be"),
    "the last balanced accuracy": (_test(-1, balanced_accuracy=0.01), "says balanced_accuracy = 0.01, measured "),
    "an earlier AUC": (_test(0, auc=0.001), "metrics.jsonl says auc = 0.001, measured "),
    "an earlier accuracy": (_test(0, accuracy=7.0), "metrics.jsonl says accuracy = 7.0, which cannot be"),
    "validation": (_say(val_auc=0.001, val_acc=0.5), "summary.json says val_auc = 0.001, measured "),
    "half a validation": (_say(val_acc=0.123), "summary.json lacks val_auc"),
    "validation as text": (_say(val_auc=0.5, val_acc="x"), "summary.json says val_acc = 'x', which cannot be"),
    "a member that is none": (_say(malicious=[9]), "malicious = [9], which cannot be"),
    "members out of order": (_say(malicious=[2, 1]), "malicious = [2, 1], which cannot be"),
    "an attack that is none": (_say(attack="dos"), "attack = 'dos', which cannot be"),
    "nobody who attacks": (_say(attack="none", malicious=[1]), "malicious = [1], which cannot be"),
    "an attack by nobody": (_say(attack="noise"), "malicious = [], which cannot be"),
    "nobody who does not": (_say(attack="noise", malicious=[1, 2, 3, 4, 5]), "malicious = [1, 2, 3, 4, 5], which"),
    "a partition that is none": (_say(partition="by hospital"), "partition = 'by hospital', which cannot be"),
    "a partition of another kind": (_say(partition=["iid"]), "partition = ['iid'], which cannot be"),
    "no time at all": (_say(seconds={"total": -1.0}), "which cannot be"),
    "no whole of the time": (_say(seconds={}), "seconds = {}, which cannot be"),
    "more than time": (_say(seconds={"total": 1.0, "external_auc": 0.99}), "which cannot be"),
    "a round in no time": (_row(0, seconds=0), "metrics.jsonl says seconds = 0, which cannot be"),
}


@pytest.mark.parametrize("how", LIES)
def test_a_lie_that_the_coordinator_itself_filed_is_found(how: str, filed: Callable[[Lie], Path], data: Path) -> None:
    lie, told = LIES[how]
    assert told in refusal_of(filed(lie), data)["reason"]


NEAR, FAR = 0.06, 0.12  # to either side of the 0.083 to which metrics are proved by 30 test samples


@pytest.mark.parametrize("name", ["auc", "accuracy", "balanced_accuracy", "loss"])
def test_a_metric_is_believed_to_within_what_two_samples_change(
    name: str, filed: Callable[[Lie], Path], data: Path
) -> None:
    def nudged(by: float) -> Lie:
        def change(rows: list[dict[str, Any]]) -> None:
            true = rows[0]["test"][name]
            away = by * max(1, true)  # a loss above 1: relative
            rows[0]["test"][name] = true + (away if name == "loss" or true < 0.5 else -away)

        return lambda folder: _metrics(folder, change)

    assert verdict_on(filed(nudged(NEAR)), data)["valid"]
    assert f"metrics.jsonl says {name} = " in refusal_of(filed(nudged(FAR)), data)["reason"]


@pytest.mark.parametrize("content", ["[" * 100_000, "1\n", "{}\n", "", "\n", "[]\n[]\n", "null\nnull\n"])
def test_rows_must_make_sense(content: str, filed: Callable[[Lie], Path]) -> None:
    refusal_of(filed(lambda folder: (folder / "metrics.jsonl").write_text(content)))


@pytest.mark.parametrize("claims", [{"val_auc": 9.0, "val_acc": 0.5}, {"val_auc": 0.5, "val_acc": float("nan")}])
def test_metrics_that_nobody_can_measure_must_at_least_be_possible(
    claims: dict[str, float], filed: Callable[[Lie], Path]
) -> None:
    assert "which cannot be" in refusal_of(filed(_say(**claims)))["reason"]


def test_what_cannot_be_proved_is_named(filed: Callable[[Lie], Path], data: Path) -> None:
    verdict = verdict_on(filed(_say(attack="noise", malicious=[1, 5], partition="iid")), data)
    assert (verdict["valid"], verdict["notes"]) == (
        True,
        [
            "the report says without proof: attack, malicious, partition, seconds; curves.png was not read",
            "metrics are proved to within 0.083 only, by so few test samples",
            f"each member's own word: {WORD}",
        ],
    )


@pytest.mark.parametrize(("claims", "told"), [({}, "test metrics"), ({"val_auc": 0.5, "val_acc": 0.5}, "test and val")])
def test_without_the_data_set_what_is_not_measured_is_named(
    claims: dict[str, float], told: str, filed: Callable[[Lie], Path]
) -> None:
    _, note, _ = verdict_on(filed(lambda folder: (_test(0, auc=0.001)(folder), _say(**claims)(folder))))["notes"]
    assert note.startswith(told)
    assert "were not measured again, nor is dataset_digest proved: " in note


def test_what_no_model_did_cannot_have_been_measured(failed: Callable[[Lie], Path]) -> None:
    verdict = verdict_on(failed(_say(val_auc=None, val_acc=None)))
    assert verdict["notes"][1] == "no round made a model to measure, nor is dataset_digest proved"
    assert (verdict["completed_rounds"], verdict["models"], verdict["model_digest"]) == (0, 1, None)
    for lie in (_say(val_auc=0.99, val_acc=0.99), _say(test_auc=0.99), _row(0, test={"auc": 0.99})):
        assert " = " in refusal_of(failed(lie))["reason"]


@pytest.mark.parametrize(
    ("pose", "told"),
    [
        ({"classes": ("2", "1", "0")}, "the manifest has other channels or classes than stripes"),
        ({"name": SAMPLE, "digest": SAMPLE_DIGEST}, f"the manifest has other channels or classes than {SAMPLE}"),
        ({"name": SAMPLE}, f"names another file than the published {SAMPLE}"),
    ],
)
def test_a_run_cannot_pose_as_one_on_other_data(pose: dict[str, Any], told: str, data: Path, tmp_path: Path) -> None:
    options = options_for(tmp_path / "run", data, rounds=1)
    setup = setup_of(options)
    false = replace(setup.dataset, **pose)
    options.out.mkdir()
    federation = chain_federation(replace(setup, dataset=false, manifest=options.manifest(false)), options.out)
    conduct(federation, options, false, Silent())
    assert told in refusal_of(options.out, data)["reason"]


def test_the_ledger_of_another_run_does_not_go_with_these_blobs(copy: Copy, data: Path, tmp_path: Path) -> None:
    folder = copy()
    _, other, go = conspiracy(tmp_path / "other", data)
    go()
    shutil.copy(other / "ledger.jsonl", folder)
    assert "calls another contract than the run's" in refusal_of(folder)["reason"]
    shutil.copy(other / "run.json", folder)
    assert "job.key is not the key" in refusal_of(folder)["reason"]
    shutil.copy(other / "job.key", folder)
    assert refusal_of(folder)["reason"].startswith("manifest: ")
