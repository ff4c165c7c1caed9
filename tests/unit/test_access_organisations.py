"""What hospitals grant over their records, to whom, and what they relay: end to end, on a chain in this process."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hmchain import scopes
from hmchain.errors import ContractError, UsageError
from hmchain.identity import MemberIdentity
from hmchain.permits import SENDER, Purpose, Role, label_of
from hmchain.registry import Registry
from trainers.records import sharing
from trainers.records.persons import Signed, salt_of

from .case import Case, no_keys_went_out, refused
from .ward import DAY, Ward, answer_all, labels_of, record, sign

# ---------------------------------------------------------------- organisations: grants, consents, staff


def hospital_grant(ward: Ward, case: Case, reader: str, purpose: Purpose = Purpose.EMR) -> Signed:
    return ward.grant(None, reader, "all", purpose, consent_of=(case.patient.account.address, "all"))


def test_a_hospitals_grant_works_while_the_patient_consents(ward: Ward) -> None:
    case = Case(ward)
    ward.about(case.name, "picture", type="imaging")
    ward.consent(case.patient, "all", Purpose.EMR)
    grant = hospital_grant(ward, case, case.physician.account.address)
    assert ward.read(case.physician, grant) == ["a", "b", "picture"]
    ward.consent(case.patient, "type:imaging", Purpose.IMAGING)
    assert ward.read(case.physician, grant) == ["a", "b"], "the more specific word decides"
    ward.consent(case.patient, "all", Purpose.IMAGING)
    refused("NoConsent", lambda: ward.ask(case.physician, grant))
    ward.consent(case.patient, "all")
    refused("NoConsent", lambda: ward.ask(case.physician, grant))


def test_days_are_counted_and_moments_are_over_by_the_chains_clock_alone(ward: Ward) -> None:
    """Where this machine's clock is a year fast, a grant for thirty days would last for thirteen months."""
    ward.chain.travel(400 * DAY)
    now = ward.now
    assert sharing.expiry_of(ward.archive(), None, 30) == now + 30 * DAY
    assert sharing.expiry_of(ward.archive(), now + 1, 30) == now + 1
    with pytest.raises(UsageError, match=r"^\S+ \S+ UTC is over already: the chain has \S+ \S+ UTC$"):
        sharing.expiry_of(ward.archive(), now, 30)
    with pytest.raises(UsageError, match="is over already"):
        sharing.expiry_of(ward.archive(), sharing.moment_of("0001-01-01"), 30)


def test_grants_over_two_persons_are_not_seen_to_be_alike(ward: Ward) -> None:
    cases = Case(ward), Case(ward)
    for case in cases:
        ward.consent(case.patient, "all", Purpose.EMR)
    first, second = (hospital_grant(ward, case, label_of(2)) for case in cases)
    assert first.permit.scope != second.permit.scope
    again = hospital_grant(ward, cases[0], label_of(2))
    assert ward.granted(again).number == ward.granted(first).number, "prolonged"


def test_consent_withdrawn_between_access_and_release(ward: Ward) -> None:
    case = Case(ward)
    ward.consent(case.patient, "all", Purpose.EMR)
    grant = hospital_grant(ward, case, case.physician.account.address)
    which = ward.ask(case.physician, grant)
    ward.consent(case.patient, "all")
    assert case.answer(which) == []
    assert ward.archive().vault.released(*which) == []


def test_who_withdraws_is_told_what_still_stands(ward: Ward) -> None:
    """Withdrawing "all" leaves what was said of a type or a record, which decides before it."""
    case = Case(ward)
    first, elsewhere = f"record:{case.records[0].leaf.hex()}", "type:genome"
    for label in ("all", "type:observation", first, elsewhere):
        ward.consent(case.patient, label, Purpose.EMR)
    ward.consent(case.patient, "all")
    ward.consent(case.patient, "type:imaging")
    unnamed = scopes.scope_of(salt_of(case.patient), elsewhere).hex()  # of no record here
    assert sharing.still_consented(ward.archive(), case.patient) == sorted([first, "type:observation", unnamed])
    for label in ("type:observation", first, elsewhere):
        ward.consent(case.patient, label)
    assert sharing.still_consented(ward.archive(), case.patient) == []


def test_a_hospital_grants_over_nobodys_records_what_is_nobodys(ward: Ward) -> None:
    case = Case(ward)
    ward.take(record(["x", "nobody's", case.name], type=f"t{Case.count}"))
    grant = ward.grant(None, case.physician.account.address, f"type:t{Case.count}", Purpose.EMR)
    assert ward.read(case.physician, grant) == ["nobody's"]
    everything = ward.grant(None, case.physician.account.address, "all", Purpose.EMR)
    assert not {"a", "b"} & set(ward.read(case.physician, everything)), "and no patient's"


def test_a_hospital_cannot_grant_over_whom_it_has_heard_nothing_from(ward: Ward) -> None:
    case = Case(ward)
    with pytest.raises(UsageError, match="has not told this hospital of any consent"):
        hospital_grant(ward, case, case.physician.account.address)


def test_staff_uses_its_organisations_grant_until_the_delegation_ends(ward: Ward) -> None:
    case, staff = Case(ward), ward.person(Role.RESEARCHER, 2)
    grant = ward.grant(case.patient, label_of(2), purpose=Purpose.EMR)
    delegate = ward.archive(2).registry.transact
    refused("NoDelegation", lambda: ward.ask(staff, grant, institution=2))
    delegate("setDelegation", staff.account.address, int(Purpose.EHR), ward.in_a_day())
    refused("NoDelegation", lambda: ward.ask(staff, grant, institution=2))
    delegate("setDelegation", staff.account.address, int(Purpose.EMR), ward.in_a_day())
    assert ward.read(staff, grant, institution=2) == ["a", "b"]
    refused("UnknownGrant", lambda: ward.ask(staff, grant))
    delegate("setDelegation", staff.account.address, int(Purpose.EMR), 0)
    refused("NoDelegation", lambda: ward.ask(staff, grant, institution=2))


def test_a_delegation_that_ends_between_access_and_release(ward: Ward) -> None:
    case, staff = Case(ward), ward.person(Role.RESEARCHER, 2)
    grant = ward.grant(case.patient, label_of(2), purpose=Purpose.EMR)
    delegate = ward.archive(2).registry.transact
    for until in (0, ward.now + 500):
        delegate("setDelegation", staff.account.address, int(Purpose.EMR), ward.now + 500)
        which = ward.ask(staff, grant, institution=2)
        if until:
            ward.chain.travel(600)
        else:
            delegate("setDelegation", staff.account.address, int(Purpose.EMR), 0)
        answer_all(ward.releasing())
        with pytest.raises(UsageError, match="may not use what is granted to its organisation any more"):
            list(ward.reader(staff).records(ward.envelope(which), 1))
        assert no_keys_went_out(ward, which, staff)


# ---------------------------------------------------------------- what is relayed


def test_a_hospital_relays_what_persons_signed_and_once(ward: Ward) -> None:
    case = Case(ward)
    signed = sharing.consent(ward.archive(), case.patient, "all", frozenset({Purpose.IMAGING}))
    assert list(sharing.relay_files(ward.archive(2), [signed])) == [True]
    assert list(sharing.relay_files(ward.archive(), [signed])) == [False]
    assert ward.archive().vault.salt(case.patient.account.address) == signed.salt
    assert list(sharing.relay_files(ward.archive(), [case.grant])) == [False]


def test_several_files_are_one_transaction(ward: Ward) -> None:
    case, archive = Case(ward), ward.archive(2)
    consents = [
        sharing.consent(archive, case.patient, label, frozenset({Purpose.IMAGING}))
        for label in ("all", "kind:clinical")
    ]
    block = ward.chain.web3.eth.block_number
    assert list(sharing.relay_files(archive, [consents[0], case.grant, consents[1]])) == [True, False, True]
    assert ward.chain.web3.eth.block_number == block + 1
    told = archive.trail().consents
    assert all((signed.permit.person, signed.permit.scope) in told for signed in consents)


def test_very_many_files_are_several_transactions(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nodes take none beyond 128 KiB."""
    monkeypatch.setattr(sharing, "A_TRANSACTION", 2)
    case, archive = Case(ward), ward.archive(2)
    labels = ("all", "kind:clinical", "type:imaging")
    consents = [sharing.consent(archive, case.patient, label, frozenset({Purpose.IMAGING})) for label in labels]
    block = ward.chain.web3.eth.block_number
    assert list(sharing.relay_files(archive, consents)) == [True] * 3
    assert ward.chain.web3.eth.block_number == block + 2


def test_a_file_that_is_refused_keeps_only_what_follows_it_from_being_relayed(ward: Ward) -> None:
    case, archive = Case(ward), ward.archive(2)
    first, last = (
        sharing.consent(archive, case.patient, label, frozenset({Purpose.IMAGING}))
        for label in ("all", "kind:clinical")
    )
    forged = replace(last, signature=first.signature)
    with pytest.raises(ContractError):
        list(sharing.relay_files(archive, [first, forged, last]))
    told = archive.trail().consents
    assert (case.patient.account.address, first.permit.scope) in told
    assert (case.patient.account.address, last.permit.scope) not in told


def test_a_reader_asks_several_holders_in_one_transaction(ward: Ward) -> None:
    patient, physician = ward.patient("S-1", 1, 2), ward.person(Role.PHYSICIAN, 2)
    for member in (1, 2):
        ward.about("S-1", f"at {member}", member=member)
    grant, block = ward.grant(patient, physician.account.address), ward.chain.web3.eth.block_number
    reader, known = ward.reader(physician), ward.granted(grant)
    uses = reader.ask(known, labels_of(grant).request("all"), [ward.holder(1), ward.holder(2)])
    assert (uses, ward.chain.web3.eth.block_number) == ([1, 2], block + 1)
    for member, use in enumerate(uses, 1):
        assert answer_all(ward.releasing(member)) == 1
        (found,) = reader.records(ward.envelope((known.number, use), member), member)
        assert found.value["what"][1] == f"at {member}"


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_part_of_what_a_reader_asks_that_somebody_else_sends_first_keeps_nothing_back(
    count: int, ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever sees a transaction with several signed words may send the first of them alone."""
    patient, physician = ward.patient(f"F-{count}", 1, 2), ward.person(Role.PHYSICIAN, 2)
    grant, known_to = ward.grant(patient, physician.account.address), ward.archive(1).registry
    together = Registry.transact_all

    def overtaken(registry: Registry, calls: list[Any]) -> Any:
        for function, arguments in calls[:count]:
            known_to.transact(function, *arguments)
        return together(registry, calls)

    monkeypatch.setattr(Registry, "transact_all", overtaken)
    holders = [ward.holder(1), ward.holder(2), ward.holder(1)]
    uses = ward.reader(physician).ask(ward.granted(grant), labels_of(grant).request("all"), holders)
    assert [(use.use, use.holder) for use in ward.granted(grant).uses] == list(zip(uses, (1, 2, 1), strict=True))


def test_where_another_use_has_the_number_asking_fails(ward: Ward) -> None:
    case = Case(ward)
    known = deepcopy(ward.granted(case.grant))
    ward.ask(case.physician, case.grant)
    for holders in ([ward.holder(1)], [ward.holder(1), ward.holder(2)]):
        request = labels_of(case.grant).request("all")
        refused(
            "WrongUse", lambda holders=holders, asked=request: ward.reader(case.physician).ask(known, asked, holders)
        )
    assert len(ward.granted(case.grant).uses) == 1


def test_a_hospital_relays_nothing_in_its_own_name(ward: Ward) -> None:
    """Its account sends what it relays: a grant "by" the hospital, which anyone may write, would be the hospital's."""
    case, thief = Case(ward), ward.person(Role.RESEARCHER, 2)
    salt = b"\3" * 32
    forged = sharing.grant(ward.archive(2), None, "all", thief.account.address, Purpose.EMR, ward.in_a_day())
    forged = replace(forged, permit=replace(forged.permit, granter=label_of(1)))
    unsigned = replace(case.grant, signature=SENDER)
    before = ward.archive().trail().revision
    for signed in (forged, replace(forged, signature=(salt, salt)), unsigned):
        with pytest.raises(UsageError, match="no person signed this"):
            list(sharing.relay_files(ward.archive(), [signed]))
    assert ward.archive().trail().revision == before


def test_a_forged_consent_is_refused_and_teaches_nothing(ward: Ward) -> None:
    """Otherwise anyone could make a hospital forget what a patient's scopes stand for."""
    case, forger = Case(ward), MemberIdentity.create()
    true = ward.consent(case.patient, "all", Purpose.IMAGING)
    account = case.patient.account.address
    forged = sharing.consent(ward.archive(), forger, "all", frozenset({Purpose.EHR}))
    permit = replace(forged.permit, person=account)
    for signature in (forged.signature, sign(ward, permit, forger), true.signature):
        with pytest.raises(ContractError):
            list(sharing.relay_files(ward.archive(), [replace(forged, permit=permit, signature=signature)]))
    assert ward.archive().vault.salt(account) == true.salt
    assert ward.archive(2).vault.salt(account) is None


def test_an_old_consent_is_refused_and_still_tells_what_its_scope_stands_for(ward: Ward) -> None:
    case = Case(ward)
    old = ward.consent(case.patient, "all", Purpose.IMAGING)
    ward.consent(case.patient, "all")
    refused("WrongNonce", lambda: list(sharing.relay_files(ward.archive(2), [old])))
    assert ward.archive(2).vault.salt(case.patient.account.address) == old.salt


def test_only_who_gave_a_grant_revokes_it(ward: Ward) -> None:
    case = Case(ward)
    archive = ward.archive()
    for who in (None, case.physician):
        with pytest.raises(UsageError, match="only whoever gave a grant can revoke it"):
            sharing.revoked(archive, who, case.grant)
    signed = sharing.consent(archive, case.patient, "all", frozenset())
    with pytest.raises(UsageError, match="not revoked but withdrawn"):
        sharing.revoked(archive, case.patient, signed)
    with pytest.raises(UsageError, match="a consent, not a grant"):
        sharing.number_of(archive, signed)
    unknown = sharing.grant(archive, case.patient, "all", label_of(2), Purpose.EHR, ward.in_a_day())
    with pytest.raises(UsageError, match="does not know this grant yet"):
        sharing.number_of(archive, unknown)


def test_a_revoked_grant_can_be_given_again(ward: Ward) -> None:
    case = Case(ward)
    sharing.relay(ward.archive(), sharing.revoked(ward.archive(), case.patient, case.grant))
    again = ward.grant(case.patient, case.physician.account.address)
    assert sharing.number_of(ward.archive(), again) == sharing.number_of(ward.archive(), case.grant)
    assert ward.read(case.physician, again) == ["a", "b"]
    refused("WrongNonce", lambda: list(sharing.relay_files(ward.archive(), [case.grant])))


def test_a_permit_in_a_file_is_the_one_that_is_on_chain(ward: Ward, tmp_path: Path) -> None:
    case = Case(ward)
    case.grant.write(tmp_path / "grant.json")
    assert sharing.number_of(ward.archive(), Signed.read(tmp_path / "grant.json")) == ward.granted(case.grant).number
