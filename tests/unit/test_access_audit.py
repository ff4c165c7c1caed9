"""The audit of who read what, and what it makes of a trail that was tampered with."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hmchain.errors import UsageError, VerificationError
from hmchain.permits import Purpose, label_of
from hmchain.trail import Trail, Use
from trainers.records import access_audit, sharing
from trainers.records.access_audit import audit, render

from .case import Case, released_nothing
from .ward import Ward, answer_all

# ---------------------------------------------------------------- the audit


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Ward:
    """Two grants, three readings, one of which nobody answered, and two emergencies."""
    ward = Ward.found(tmp_path_factory.mktemp("audited"))
    case = Case(ward)
    ward.read(case.physician, case.grant)
    ward.consent(case.patient, "all", Purpose.CLINICAL_RESEARCH)
    whose = case.patient.account.address, "all"
    other = ward.grant(None, case.physician.account.address, "all", Purpose.CLINICAL_RESEARCH, consent_of=whose)
    ward.read(case.physician, other)
    reader = ward.reader(case.physician)
    number = reader.ask_in_emergency(case.name, "unconscious", ward.holder())
    answer_all(ward.releasing())
    ward.archive().registry.transact("review", number, case.physician.account.address, True, b"\1" * 32)
    reader.ask_in_emergency(case.name, "again", ward.holder(2))
    ward.ask(case.physician, case.grant)
    ward.archive(2).registry.transact("withdrawVouch", case.physician.account.address)
    return ward


def test_an_audit_has_every_reading_and_says_why_there_are_no_others(audited: Ward) -> None:
    found = audit(audited.archive())
    told = [(r.purpose, r.grant, r.use, r.answer, r.verdict, len(r.records)) for r in found.readings]
    assert told == [
        ("treatment", 1, 1, "released", "", 2),
        ("clinical-research", 2, 1, "released", "", 2),
        ("emergency", 1, 0, "released", "upheld", 2),
        ("emergency", 2, 0, "not answered", "not reviewed", 0),
        ("treatment", 1, 2, "not answered", "", 0),
    ]
    assert (found.grants, found.emergencies, found.unreviewed) == (2, 2, 1)
    assert {(r.role, r.vouched_by) for r in found.readings} == {("physician", 2)}, "as it was when it read"
    assert [r.granter for r in found.readings][1] == "member 1"
    times = [r.time for r in found.readings]
    assert times == sorted(times)


def test_another_hospital_sees_the_same_but_not_which_records(audited: Ward) -> None:
    ours, theirs = audit(audited.archive()), audit(audited.archive(2))
    sealed = {"released": "answered"}
    seen = [replace(r, records=[], answer=sealed.get(r.answer, r.answer)) for r in ours.readings]
    assert seen == theirs.readings


def test_a_vault_that_does_not_know_what_it_answered_does_not_call_that_refused(audited: Ward, tmp_path: Path) -> None:
    """After a vault was lost, or an older backup of it brought back."""
    archive = audited.fresh_archive(1, tmp_path)
    try:
        told = [(r.answer, r.records) for r in audit(archive).readings]
    finally:
        archive.vault.close()
    assert told == [("answered", [])] * 3 + [("not answered", [])] * 2


def test_a_refusal_of_ours_is_called_one(tmp_path: Path) -> None:
    ward = Ward.found(tmp_path)
    case = Case(ward)
    which = ward.ask(case.physician, case.grant)
    sharing.relay(ward.archive(), sharing.revoked(ward.archive(), case.patient, case.grant))
    released_nothing(case, which, "the holder refused: the grant has expired, or was revoked")
    assert [r.answer for r in audit(ward.archive()).readings] == ["refused"]


def test_the_forms_of_an_audit(audited: Ward) -> None:
    found = audit(audited.archive())
    text = render(found, "text").splitlines()
    assert text[-1].startswith(
        "COMPLETE  5 readings: every use of 2 grants, every one of 2 emergencies (1 not reviewed)"
    )
    assert "[grant 1, use 1]" in text[0]
    assert text[-2].endswith("(not answered)")
    assert [reading["use"] for reading in json.loads(render(found, "json"))["readings"]] == [1, 1, 0, 0, 2]
    table = render(found, "csv").splitlines()
    assert (len(table), table[0].split(",")[:3]) == (6, ["time", "reader", "role"])
    bundle = json.loads(render(found, "fhir"))
    resources = [entry["resource"] for entry in bundle["entry"]]
    assert {resource["resourceType"] for resource in resources} == {"AuditEvent"}
    purposes = [resource["purposeOfEvent"][0]["coding"][0]["code"] for resource in resources]
    assert purposes == ["TREAT", "HRESCH", "BTG", "BTG", "TREAT"]
    assert [resource["outcome"] for resource in resources] == ["0", "0", "0", "4", "4"]
    assert len(resources[0]["entity"]) == 2
    with pytest.raises(UsageError, match="is none of text, json, csv, fhir"):
        render(found, "pdf")


def test_care_is_not_called_research() -> None:
    assert set(access_audit.CARE) == {"ehr", "emr", "treatment"}


@pytest.mark.parametrize(
    ("tamper", "told"),
    [
        (lambda t: t.grants.pop(2), "the contract counts 2 grants, its events show 1"),
        (lambda t: t.grants.update({3: t.grants[1]}), "the contract counts 2 grants, its events show 3"),
        (lambda t: t.emergencies.pop(2), "the contract counts 2 emergencies, its events show 1"),
        (lambda t: t.grants[1].uses.pop(), "grant 1 was used 2 times, its events show 1"),
        (lambda t: t.grants[2].uses.append(t.grants[2].uses[0]), "grant 2 was used 1 times, its events show 2"),
        (lambda t: _reterm(t, expiry=0), "grant 1 is not as its events say"),
        (lambda t: _reterm(t, nonce=2), "grant 1 is not as its events say"),
        (lambda t: _reterm(t, reader=label_of(9)), "grant 1 was used 0 times, its events show 2"),
        (lambda t: _reterm(t, purpose=Purpose.EHR), "grant 1 was used 0 times, its events show 2"),
        (lambda t: setattr(t.emergencies[1], "verdict", None), "emergency 1 is not as its events say"),
        (lambda t: setattr(t.emergencies[2], "verdict", True), "emergency 2 is not as its events say"),
        (lambda t: setattr(t.emergencies[1], "holder", 2), "emergency 1 is not as its events say"),
        (lambda t: setattr(t.emergencies[1], "reader", label_of(9)), "emergency 1 is not as its events say"),
    ],
)
def test_what_was_tampered_with_is_noticed(tamper: Callable[[Trail], object], told: str, audited: Ward) -> None:
    archive = audited.fresh_archive(1, audited.folder / "records-1")
    try:
        tamper(archive.trail())
        with pytest.raises(VerificationError) as caught:
            audit(archive)
        assert str(caught.value) == told
    finally:
        archive.vault.close()


def _reterm(trail: Trail, **terms: Any) -> None:
    trail.grants[1].terms = replace(trail.grants[1].terms, **terms)


def test_uses_are_in_the_order_of_the_chain(audited: Ward) -> None:
    uses: list[Use] = audited.archive().trail().uses()
    assert [(use.number, use.use) for use in uses] == [(1, 1), (2, 1), (1, 2)]
