"""Persons: keys of their own, and permits that survive their files and mean one thing only."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hmchain import scopes
from hmchain.errors import UsageError
from hmchain.files import write_secret
from hmchain.identity import MemberIdentity
from hmchain.permits import NO_SCOPE, NOBODY, SENDER, Consent, Grant, Purpose, Role, label_of
from trainers.keystore import LIGHT
from trainers.records import persons
from trainers.records.persons import Signed, checked_account, named, party, purpose_named, role_named, salt_of

PATIENT, READER = MemberIdentity.create(), MemberIdentity.create()
CONTRACT = label_of(9)
SALT = salt_of(PATIENT)


def consent(**changes: Any) -> Signed:
    scope = scopes.scope_of(SALT, "all")
    permit = Consent(PATIENT.account.address, scope, frozenset({Purpose.IMAGING, Purpose.EHR}), 3, 2_000_000_000)
    signature = permit.sign(PATIENT.account, 1337, CONTRACT)
    return replace(Signed(permit, signature, "all", SALT), **changes)


def grant(**terms: Any) -> Signed:
    usual = {
        "granter": PATIENT.account.address,
        "reader": READER.account.address,
        "scope": scopes.scope_of(SALT, "type:imaging"),
        "purpose": Purpose.TREATMENT,
        "expiry": 2_000_000_000,
        "nonce": 1,
    }
    permit = Grant(**(usual | terms))
    return Signed(permit, permit.sign(PATIENT.account, 1337, CONTRACT), "type:imaging", SALT)


def hospital_grant() -> Signed:
    """With a second scope: that of the consent it stands on."""
    terms = {"granter": label_of(1), "consent_of": PATIENT.account.address}
    signed = grant(**terms, consent_scope=scopes.scope_of(SALT, "all"))
    return signed


# ---------------------------------------------------------------- keys


def test_a_persons_keys_survive_their_folder(tmp_path: Path) -> None:
    made = persons.create(tmp_path / "patient", "a password", LIGHT)
    again = persons.unlock(tmp_path / "patient", "a password")
    assert (again.account.key, again.encryption) == (made.account.key, made.encryption)
    assert salt_of(again) == salt_of(made) != salt_of(PATIENT)
    card = json.loads((tmp_path / "patient" / persons.PERSON).read_text())
    assert card["account"] == made.account.address
    assert stat.S_IMODE((tmp_path / "patient").stat().st_mode) == 0o700
    with pytest.raises(UsageError, match="does not open"):
        persons.unlock(tmp_path / "patient", "another")


def test_keys_are_not_made_where_something_is(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path, tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UsageError, match=r"exists|cannot make"):
            persons.create(path, "a password", LIGHT)


def test_keys_that_could_not_be_made_are_not_in_the_way(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the password is empty"):
        persons.create(tmp_path / "patient", "", LIGHT)
    persons.create(tmp_path / "patient", "a password", LIGHT)


def test_a_salt_does_not_show_the_key() -> None:
    assert bytes(PATIENT.account.key) != SALT
    assert PATIENT.salt_secret != SALT


# ---------------------------------------------------------------- names


def test_purposes_and_roles_have_names() -> None:
    assert [purpose_named(named(purpose)) for purpose in Purpose] == list(Purpose)
    assert [role_named(named(role)) for role in Role] == list(Role)
    assert named(Purpose.CLINICAL_RESEARCH) == "clinical-research"


def test_an_account_is_an_address_with_its_checksum_or_without_any() -> None:
    account = Account.create().address
    assert checked_account(account) == checked_account(account.lower()) == account


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0x",
        "7",
        "0x" + "g" * 40,
        "0x" + "a" * 39,
        "0x" + "a" * 41,
        "a" * 40,
        NOBODY,
        label_of(1),
        label_of(65_535),
        PATIENT.account.address + "\n",
        " " + PATIENT.account.address,
    ],
    ids=list(map(str, range(12))),
)
def test_what_is_no_account(text: str) -> None:
    with pytest.raises(UsageError, match="is no account: 0x and 40 hexadecimal digits"):
        checked_account(text)


def test_a_typing_error_in_an_account_is_noticed() -> None:
    account = "0x52908400098527886E0F7030069857D2E4169EE7"  # EIP-55's example
    assert checked_account(account) == account
    for wrong in (account.replace("886E", "886e"), account.replace("0984", "0894").replace("E4", "e4")):
        with pytest.raises(UsageError, match="is there a typing error"):
            checked_account(wrong)


def test_a_party_is_an_account_or_a_members_number() -> None:
    assert party(READER.account.address) == READER.account.address
    assert party("12") == label_of(12)
    for text in ("0", "65536", "-1", "1.5", "x"):
        with pytest.raises(UsageError):
            party(text)


# ---------------------------------------------------------------- permits in files


@pytest.mark.parametrize("signed", [consent(), grant(), hospital_grant()], ids=["consent", "grant", "hospital's"])
def test_a_permit_survives_its_file(signed: Signed, tmp_path: Path) -> None:
    path = tmp_path / "permit.json"
    signed.write(path)
    assert Signed.read(path) == signed
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@given(st.sets(st.sampled_from(sorted(set(Purpose) - {Purpose.EMERGENCY}))), st.integers(0, 2**40 - 1))
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_consent_survives_its_file(tmp_path: Path, purposes: set[Purpose], nonce: int) -> None:
    signed = consent(permit=replace(consent().permit, purposes=frozenset(purposes), nonce=nonce))
    signed.write(tmp_path / "permit.json")
    assert Signed.read(tmp_path / "permit.json") == signed


def test_a_withdrawal_survives_its_file(tmp_path: Path) -> None:
    signed = consent(permit=replace(consent().permit, purposes=frozenset()))
    signed.write(tmp_path / "permit.json")
    assert Signed.read(tmp_path / "permit.json").permit == signed.permit


def test_no_key_is_in_the_file(tmp_path: Path) -> None:
    consent().write(tmp_path / "permit.json")
    assert bytes(PATIENT.account.key).hex() not in (tmp_path / "permit.json").read_text()
    assert SALT.hex() not in repr(consent())


def put(path: Path, signed: Signed, change: Callable[[dict[str, Any]], Any]) -> Path:
    signed.write(path)
    content = json.loads(path.read_text())
    change(content)
    write_secret(path, json.dumps(content).encode())
    return path


def terms(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda content: content["terms"].update(changes)


def told(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda content: content.update(changes)


@pytest.mark.parametrize(
    "change",
    [
        told(format="hmchain-permit/2"),
        told(permit="Access"),
        told(permit=None),
        told(label="kind:clinical"),
        told(label="everything"),
        told(label=None),
        told(label=["type:imaging"]),
        told(salt="00" * 32),
        told(salt=SALT.hex()[:-2]),
        told(salt="zz"),
        told(salt=7),
        told(signature=[]),
        told(signature=["00" * 32]),
        told(signature=["00" * 32, "00" * 31]),
        told(signature=["00" * 32] * 3),
        told(signature="00"),
        told(terms=None),
        told(terms=[]),
        terms(scope="00" * 32),
        terms(scope="00"),
        terms(granter=None),
        terms(granter=["x"]),
        terms(granter="0x00"),
        terms(granter=PATIENT.account.address.lower()),
        terms(reader=7),
        terms(reader={}),
        terms(consent_of=""),
        terms(consent_of=PATIENT.account.address),
        terms(consent_scope="00" * 31),
        terms(purpose=9),
        terms(purpose="treatment"),
        terms(purpose=None),
        terms(expiry=-1),
        terms(expiry=2**40),
        terms(expiry="2027-01-01"),
        terms(expiry=1.5),
        terms(expiry=float("inf")),
        terms(expiry=True),
        terms(nonce=None),
        terms(nonce="1"),
        lambda content: content.pop("salt"),
        lambda content: content.pop("label"),
        lambda content: content["terms"].pop("nonce"),
    ],
)
def test_a_grant_that_was_tampered_with_is_refused(change: Callable[[dict[str, Any]], Any], tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        Signed.read(put(tmp_path / "permit.json", grant(), change))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        terms(granter=PATIENT.account.address),
        terms(consent_of=NOBODY),
        terms(consent_scope=NO_SCOPE.hex()),
    ],
)
def test_a_grant_whose_consent_was_tampered_with_is_refused(
    change: Callable[[dict[str, Any]], Any], tmp_path: Path
) -> None:
    with pytest.raises(UsageError):
        Signed.read(put(tmp_path / "permit.json", hospital_grant(), change))


@pytest.mark.parametrize(
    "change",
    [
        terms(person=["x"]),
        terms(person=None),
        terms(purposes=[9]),
        terms(purposes=None),
        terms(purposes=["imaging"]),
        terms(purposes=[[]]),
        terms(nonce=-1),
        terms(scope="11" * 32),
        told(permit="Grant"),
    ],
)
def test_a_consent_that_was_tampered_with_is_refused(change: Callable[[dict[str, Any]], Any], tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        Signed.read(put(tmp_path / "permit.json", consent(), change))


@given(st.binary(max_size=60) | st.sampled_from([b"[]", b"null", b"7", b"{}", b"[" * 99_999, b'{"format":' * 5_000]))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_other_bytes_are_no_permit(tmp_path: Path, data: bytes) -> None:
    write_secret(tmp_path / "permit.json", data)
    with pytest.raises(UsageError, match="is not a hmchain-permit/1 file"):
        Signed.read(tmp_path / "permit.json")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"the permit .* cannot be read"):
        Signed.read(tmp_path / "nowhere")


def test_zeros_in_place_of_a_signature_survive_as_well(tmp_path: Path) -> None:
    """They stand for who sends it: a hospital writes its own grants so, for readers; see sharing.relay_file."""
    signed = replace(hospital_grant(), signature=SENDER)
    signed.write(tmp_path / "permit.json")
    assert Signed.read(tmp_path / "permit.json").signature == SENDER
