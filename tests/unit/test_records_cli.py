"""The commands about records: what is wrong is one line and an exit code, and nothing was written or sent before it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import closing, redirect_stderr, redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import click
import pytest

from coordinator.cli import main
from hmchain.consortium import Consortium
from hmchain.errors import ChainError, ContractError, DaemonError
from hmchain.files import write_secret
from hmchain.identity import MemberIdentity
from hmchain.permits import Consent, Purpose, label_of
from hmchain.registry import Registry
from hmchain.scopes import scope_of
from trainers import keystore
from trainers.keystore import LIGHT, Keys
from trainers.records import persons
from trainers.records.cli import print_file
from trainers.records.counting import Counter
from trainers.records.importing import FileReport
from trainers.records.persons import Signed, salt_of
from trainers.records.releasing import Releasing
from trainers.records.vault import Vault

from .ward import DAY, Ward

ACCOUNT = "0x52908400098527886E0F7030069857D2E4169EE7"
BARE = Consortium(1337, ACCOUNT, "0x" + "11" * 32, 1)
PASSWORD = b"a password\n"


def typed(*words: str) -> tuple[int, str, str]:
    """What `hmchain records` does with these words: its exit code, standard output and standard error."""
    out, err = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as end:
        main(["records", *words])
    return int(end.value.code or 0), out.getvalue(), err.getvalue()


class HospitalFolder:
    """A hospital's folder, without a chain: whatever needs one ends with exit code 4."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "keys").mkdir()
        write_secret(folder / "password", PASSWORD)
        keystore.create(folder / "keys", PASSWORD.decode().strip(), LIGHT)
        persons.create(folder / "patient", PASSWORD.decode().strip(), LIGHT)
        (folder / "hospital.toml").write_text(
            'name = "H"\n[keys]\npassword_file = "password"\n[blobs]\nstore = "blobs"\n'
            '[chain]\nurls = ["http://127.0.0.1:9"]\ntimeout_seconds = 1.0\n'
        )
        replace(BARE, records="0x" + "22" * 32).write(folder / "consortium.json")
        self.before = self.files()

    def files(self) -> dict[str, bytes]:
        """All that is in the folder."""
        return {str(path): path.read_bytes() for path in self.folder.rglob("*") if path.is_file()}

    @property
    def signed(self) -> list[str]:
        """The options by which the patient acts."""
        return ["--as", str(self.folder / "patient"), "--person-password-file", str(self.folder / "password")]

    def run(self, *words: str) -> tuple[int, str, str]:
        """A command: its exit code, standard output and standard error."""
        return typed(*words, "--config", str(self.folder / "hospital.toml"))

    def refuses(self, *words: str, code: int = 2) -> str:
        """The one line with which a command ends that has written nothing."""
        ended, out, err = self.run(*words)
        assert (ended, out) == (code, ""), err
        assert self.files() == self.before
        return one_line(err)


def one_line(err: str) -> str:
    """Ours is one line; click's own, of an option that it refuses, comes after how the command is used."""
    lines = err.splitlines()
    assert len(lines) == 1 or (lines[0].startswith("Usage: ") and lines[-1].startswith("Error: ")), err
    return lines[-1]


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> HospitalFolder:
    return HospitalFolder(tmp_path_factory.mktemp("hospital"))


@pytest.fixture
def grant_file(hospital: HospitalFolder, tmp_path: Path) -> Path:
    """A consent, well written."""
    patient = MemberIdentity.create()
    scope = scope_of(salt_of(patient), "all")
    permit = Consent(patient.account.address, scope, frozenset({Purpose.EHR}), 1, 2**40 - 1)
    Signed(permit, permit.sign(patient.account, 1337, label_of(1)), "all", salt_of(patient)).write(tmp_path / "consent")
    return tmp_path / "consent"


def test_a_files_name_does_not_command_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    print_file(FileReport(Path("a\x1b[31m\udcff"), skipped="empty"))
    assert capsys.readouterr().out == "'a\\x1b[31m\\udcff': skipped, empty\n"


# ---------------------------------------------------------------- wrong options


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["consent", "everything", "--purpose", "ehr", "SIGNED"], "'everything' is no scope: all, kind:clinical"),
        (["consent", "kind:financial", "--purpose", "ehr", "SIGNED"], "is no scope"),
        (["consent", "record:abcd", "--withdraw", "SIGNED"], "is no scope"),
        (["consent", "all", "SIGNED"], "name a --purpose, or say --withdraw"),
        (["consent", "all", "--purpose", "ehr", "--withdraw", "SIGNED"], "name a --purpose, or say --withdraw"),
        (["consent", "all", "--purpose", "emergency", "SIGNED"], "'emergency' is not one of"),
        (["consent", "all", "--purpose", "marketing", "SIGNED"], "'marketing' is not one of"),
        (["consent", "all", "--purpose", "ehr"], "Missing option '--as'"),
        (["trained", "--round", "1"], "--round needs --job: each job has its own rounds"),
        (["trained", "--job", "0"], "0 is not in the range"),
        (["trained", "--job", "1", "--round", "0"], "0 is not in the range"),
        (["trained", "abcd", "--subject", "4711"], "name records, or a person by --subject"),
        (["share", "everything", "--to", "2", "--purpose", "ehr", "OUT"], "is no scope"),
        (["share", "all", "--to", "0", "--purpose", "ehr", "OUT"], "0 is no member's number"),
        (["share", "all", "--to", "Dr. Who", "--purpose", "ehr", "OUT"], "'Dr. Who' is no account"),
        (["share", "all", "--to", ACCOUNT.replace("D2E4", "D2e4"), "--purpose", "ehr", "OUT"], "typing error"),
        (["share", "all", "--to", "2", "--purpose", "ehr", "--until", "soon", "OUT"], "'soon' is no date"),
        (
            ["share", "all", "--to", "2", "--purpose", "ehr", "--until", "9999-12-31T23:59:59-10:00", "OUT"],
            "is no date",
        ),
        (["share", "all", "--to", "2", "--purpose", "ehr", "--days", "0", "OUT"], "0 is not in the range"),
        (["share", "all", "--to", "2", "--purpose", "emergency", "OUT"], "'emergency' is not one of"),
        (["share", "all", "--to", "2", "--purpose", "ehr"], "Missing option '--out'"),
        (["share", "all", "--to", "2", "--purpose", "ehr", "--consent-of", "7", "OUT"], "'7' is no account"),
        (
            ["share", "all", "--to", "2", "--purpose", "ehr", "--consent-of", ACCOUNT, "--consent-scope", "x", "OUT"],
            "'x' is no scope",
        ),
        (
            ["share", "all", "--to", "2", "--purpose", "ehr", "--consent-of", ACCOUNT, "OUT", "SIGNED"],
            "a person's own grant is its consent",
        ),
        (["vouch"], "name the file of an acceptance, or say --withdraw ACCOUNT"),
        (["vouch", "file", "--withdraw", ACCOUNT], "name the file of an acceptance, or say --withdraw ACCOUNT"),
        (["vouch", "--withdraw", "0x123"], "is no account"),
        (["accept", "boss", "OUT", "SIGNED"], "'boss' is not one of"),
        (["accept", "patient", "OUT"], "Missing option '--as'"),
        (["link", "7", "0x" + "00" * 19 + "07"], "is no account"),
        (["delegate", "nobody", "ehr"], "'nobody' is no account"),
        (["delegate", ACCOUNT, "ehr", "--until", "yesterday"], "is no date"),
        (["get", "FILE", "--from", "0", "SIGNED"], "0 is not in the range"),
        (["get", "FILE", "--from", "1", "--wanted", "everything", "SIGNED"], "is no scope"),
        (["get", "FILE", "--from", "1", "--institution", "-1", "SIGNED"], "-1 is not in the range"),
        (["get", "FILE", "--from", "1", "--institution", "65536", "SIGNED"], "65536 is not in the range"),
        (["get", "FILE", "--from", "1", "--use", "0", "SIGNED"], "0 is not in the range"),
        (["emergency", "7", "--from", "1", "SIGNED"], "say why: --reason"),
        (["emergency", "7", "--from", "1", "--reason", " ", "SIGNED"], "say why: --reason"),
        (["review", "0", "--uphold", "--report", "x"], "0 is not in the range"),
        (["review", "1", "--report", "x"], "Missing option '--uphold'"),
        (["list", "--kind", "financial"], "'financial' is not one of"),
        (["list", "--limit", "0"], "0 is not in the range"),
        (["audit", "--format", "pdf"], "'pdf' is not one of"),
        (["cohort", "FILE", "--threshold", "0"], "0 is not in the range"),
        (["cohort", "FILE", "--threshold", str(2**53)], f"{2**53} is not in the range"),
        (["cohort", "FILE", "--sum", "--threshold", "9"], "--threshold is for whoever answers: it does not go with"),
        (["cohort", "FILE", "--query", "FILE"], "--query says what answers must be to: it goes with --sum"),
        (["cohort", "FILE", "FILE"], "one query at a time; to add answers say --sum"),
        (["alleles", "FILE", "--minimum", str(2**53)], f"{2**53} is not in the range"),
        (["alleles", "FILE", "--sum", "--minimum", "9"], "--minimum is for whoever answers: it does not go with"),
        (["alleles", "FILE", "--query", "FILE"], "--query says what answers must be to: it goes with --sum"),
        (["erase"], "name records, or a person by --subject"),
        (["erase", "abcd", "--subject", "7"], "name records, or a person by --subject"),
        (["link", "7"], "name an account, or say --undo"),
        (["link", "7", ACCOUNT, "--undo"], "name an account, or say --undo"),
        (["import"], "Missing argument"),
        (["nonsense"], "No such command"),
        (["show", "abcd", "--password-file", "/nowhere/at/all"], "cannot be read"),
    ],
    ids=lambda part: " ".join(part)[:60] if isinstance(part, list) else "",
)
def test_wrong_options(words: list[str], told: str, hospital: HospitalFolder, tmp_path: Path) -> None:
    options = {"SIGNED": hospital.signed, "OUT": ["--out", str(tmp_path / "out")], "FILE": [str(tmp_path / "file")]}
    assert told in hospital.refuses(*(option for word in words for option in options.get(word, [word])))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["get", "revoke", "relay"])
@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[" * 99_999, b"\xff", b'{"format": "hmchain-permit/1"}', None], ids=lambda c: repr(c)[:20]
)
def test_a_grants_file_that_is_none(
    command: str, content: bytes | None, hospital: HospitalFolder, tmp_path: Path
) -> None:
    file = tmp_path / "grant.json"
    if content is not None:
        write_secret(file, content)
    more = ["--from", "1", *hospital.signed] if command == "get" else []
    told = hospital.refuses(command, str(file), *more)
    assert ("is not a hmchain-permit/1 file" if content is not None else "cannot be read") in told


def test_one_file_that_is_none_keeps_the_others_from_being_relayed(
    hospital: HospitalFolder, grant_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "other").write_bytes(b"no permit")
    assert "is not a hmchain-permit/1 file" in hospital.refuses("relay", str(grant_file), str(tmp_path / "other"))


@pytest.mark.parametrize("command", [["list"], ["verify"], ["audit"], ["release"], ["import", "x"], ["erase", "abcd"]])
def test_a_consortium_without_a_records_contract(command: list[str], hospital: HospitalFolder) -> None:
    BARE.write(hospital.folder / "consortium.json")
    try:
        _, _, err = hospital.run(*command)
        assert "this consortium has no Records contract yet: hmchain records deploy" in one_line(err)
    finally:
        replace(BARE, records="0x" + "22" * 32).write(hospital.folder / "consortium.json")
    assert hospital.files() == hospital.before


def test_a_records_contract_is_deployed_once(hospital: HospitalFolder) -> None:
    assert "names a Records contract already" in hospital.refuses("deploy")


def test_a_file_that_is_no_consortium(hospital: HospitalFolder) -> None:
    whole = (hospital.folder / "consortium.json").read_bytes()
    for content in (b"{}", b"no json", whole.replace(b"22" * 32, b"zz" * 32)):
        (hospital.folder / "consortium.json").write_bytes(content)
        code, _, err = hospital.run("list")
        assert (code, "is not a hmchain-consortium/1 file" in one_line(err)) == (2, True)
    (hospital.folder / "consortium.json").write_bytes(whole)


def test_a_chain_that_does_not_answer(hospital: HospitalFolder) -> None:
    for command in (["list"], ["verify"], ["vouch", "--withdraw", ACCOUNT]):
        hospital.refuses(*command, code=4)


def test_another_persons_password_or_folder(hospital: HospitalFolder, tmp_path: Path) -> None:
    write_secret(tmp_path / "wrong", b"wrong\n")
    consent = ["consent", "all", "--withdraw"]
    told = hospital.refuses(
        *consent, "--as", str(hospital.folder / "patient"), "--person-password-file", str(tmp_path / "wrong")
    )
    assert "the password does not open" in told
    assert "cannot be read" in hospital.refuses(*consent, "--as", str(tmp_path), *hospital.signed[2:])
    unasked = hospital.refuses(*consent, *hospital.signed[:2])
    assert "The person's password: there is no terminal" in unasked
    assert unasked.endswith("--person-password-file")


def test_persons_are_made_where_nothing_is(hospital: HospitalFolder) -> None:
    folder, password = str(hospital.folder / "patient"), str(hospital.folder / "password")
    assert typed("person", folder, "--password-file", password) == (2, "", f"hmchain: {folder} exists\n")
    assert typed("person", str(hospital.folder / "new"), "--password-file", str(hospital.folder / "nowhere"))[0] == 2
    assert hospital.files() == hospital.before


def test_every_command_has_help() -> None:
    group = main.get_command(click.Context(main), "records")
    assert isinstance(group, click.Group)
    for name in group.commands:
        code, out, _ = typed(name, "--help")
        assert (code, out[:7]) == (0, "Usage: ")


# ---------------------------------------------------------------- the commands themselves, on a chain in this process


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Two hospitals' folders of one consortium, whose chain is in this process."""
    ward = Ward.found(tmp_path_factory.mktemp("town"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trainers.records.archive.connect", lambda *_: ward.chain.web3)
        patch.setattr("trainers.parts.connect", lambda *_: ward.chain.web3)
        patch.setattr("trainers.records.receiving.LOOK_SECONDS", 0.01)
        for number, hospital in enumerate(ward.hospitals, start=1):
            folder = ward.folder / str(number)
            (folder / "keys").mkdir(parents=True)
            write_secret(folder / "password", PASSWORD)
            for file, secret in (
                (keystore.OPERATOR, bytes(hospital.account.key)),
                (keystore.ENCRYPTION, hospital.encryption.raw()),
            ):
                write_secret(folder / "keys" / file, keystore._locked(secret, PASSWORD.decode().strip(), LIGHT))
            (folder / "hospital.toml").write_text(
                f'name = "H{number}"\n[keys]\npassword_file = "password"\n[blobs]\nstore = "../blobs"\n'
            )
            ward.consortium.write(folder / "consortium.json")
            Vault.open(folder / "records", Keys(hospital), ward.consortium).close()
        yield Town(ward)


class Town:
    """Types commands at two hospitals."""

    def __init__(self, ward: Ward) -> None:
        self.ward = ward

    def __call__(self, number: int, *words: str, code: int = 0) -> str:
        config = str(self.ward.folder / str(number) / "hospital.toml")
        ended, out, err = typed(*words, "--config", config)
        assert ended == code, out + err
        return out if code == 0 else one_line(re.sub(r"^use \d+ of grant \d+: member \d+ is asked\n", "", err))

    def person(self, name: str, role: str, number: int) -> tuple[str, list[str]]:
        """Makes one, has it vouched for: its account, and the options by which it acts."""
        folder = self.ward.folder / name
        made = persons.create(folder, PASSWORD.decode().strip(), LIGHT)
        password, file = str(self.ward.folder / "1" / "password"), str(self.ward.folder / f"{name}.json")
        signed = ["--as", str(folder), "--person-password-file", password]
        self(number, "accept", role, "--out", file, *signed)
        self(number, "vouch", file)
        return made.account.address, signed


def observation(number: int) -> dict[str, Any]:
    about = {"subject": {"reference": "Patient/R-7"}, "code": {"text": "x"}, "valueInteger": number}
    return {"resourceType": "Observation", "status": "final", **about}


def test_from_a_file_to_a_reader_and_to_the_auditor(town: Town, tmp_path: Path) -> None:
    """What a user types, in turn, and what a machine reads of it."""
    source = tmp_path / "in.ndjson"
    source.write_text("\n".join([*(json.dumps(observation(n)) for n in range(3)), "no json"]))
    told = json.loads(town(1, "import", str(source), "--json"))
    assert (told["imported"], told["duplicate"], told["rejected"], told["entries"]) == (3, 0, 1, [1])
    assert "0 imported, 3 duplicate, 1 rejected" in town(1, "import", str(source))
    rows = [json.loads(line) for line in town(1, "list", "--json", "--subject", "R-7").splitlines()]
    assert [row["entry"] for row in rows] == [1, 1, 1]
    assert town(1, "list", "--count", "--kind", "research").strip() == "0"
    assert "--since is not written as a time" in town(1, "list", "--since", "May", code=2)
    assert "--until is no time that the calendar has" in town(1, "list", "--until", "2020-13", code=2)
    name = rows[0]["record"]
    assert json.loads(town(1, "show", name[:8], "--json"))["type"] == "observation"
    assert town(1, "verify").startswith("VALID  3 records in 1 batches of ours, 1 entries")

    patient, as_patient = town.person("patient", "patient", 1)
    physician, as_physician = town.person("physician", "physician", 2)
    assert town(1, "link", "R-7", patient).startswith("3 records are about")
    assert "nobody's number" in town(1, "link", "", patient, code=2)
    grant, consent = str(tmp_path / "grant.json"), str(tmp_path / "consent.json")
    assert "ehr" in town(1, "consent", "all", "--purpose", "ehr", "--out", consent, *as_patient)
    assert "relayed" in town(2, "relay", str(consent)) or "on the chain already" in town(2, "relay", str(consent))
    assert "grant 1" in town(1, "share", "all", "--to", physician, "--purpose", "emr", "--out", grant, *as_patient)

    nobody = ["share", "all", "--to", "9", "--purpose", "emr", "--out", str(tmp_path / "none"), *as_patient]
    assert "there is no member 9" in town(1, *nobody, code=2)

    misspelt = ["consent", "type:obsrevation", "--withdraw", *as_patient]
    _, _, told_of = typed(*misspelt, "--config", str(town.ward.folder / "1" / "hospital.toml"))
    assert told_of.startswith("note: this hospital holds no record of type obsrevation")
    assert "note: consent for all still stands; withdraw it separately" in told_of

    get = ["get", grant, "--from", "1", "--wait", "0", *as_physician]
    assert "there is no member 9" in town(2, *get[:3], "9", *get[4:], code=2)
    asked = typed(*get, "--config", str(town.ward.folder / "2" / "hospital.toml"))[2].splitlines()
    assert asked[0] == "use 1 of grant 1: member 1 is asked", "at once, as what waits may be killed"
    assert asked[1].endswith("has not answered in 0 s; look for it later with --use 1")
    assert "member 1 was not asked by a use 2 of grant 1" in town(2, *get, "--use", "2", code=2), "and never answers"
    not_asked = [*get[:3], "2", *get[4:], "--use", "1"]
    assert "member 2 was not asked by a use 1 of grant 1" in town(2, *not_asked, code=2)
    assert "goes with one --from" in town(2, *get, "--from", "2", "--use", "1", code=2)
    assert town(1, "release").strip() == "1 requests answered"
    out = tmp_path / "out"
    out.mkdir()
    assert town(2, *get, "--use", "1", "--out", str(out)) == ""
    assert sorted(path.name for path in out.iterdir()) == ["000001.json", "000002.json", "000003.json"]
    assert len(town(2, *get, "--use", "1").splitlines()) == 3
    (tmp_path / "file").write_bytes(b"")
    assert "cannot make" in town(2, *get, "--out", str(tmp_path / "file"), code=6), (
        "and asks for nothing, see the audit"
    )
    assert "holds records of another reading" in town(2, *get, "--out", str(out), code=2), "and does not mix the two"

    assert "say --yes" in town(1, "erase", name, code=2)
    assert town(1, "erase", name, "--yes") == f"erased {name[:16]}\n"
    assert "was erased" in town(1, "show", name, code=2)
    assert town(1, "list", "--count", "--subject", "R-7").strip() == "2"
    assert json.loads(town(1, "verify", "--json"))["valid"] is True

    assert "grant 1 is revoked" in town(1, "revoke", grant, *as_patient)
    assert "GrantOver" in town(2, *get, code=4)
    audit = town(1, "audit")
    assert "physician" in audit.splitlines()[0]
    assert "COMPLETE  1 readings: every use of 1 grants" in audit
    town(1, "audit", "--format", "fhir", "--out", str(tmp_path / "audit.json"))
    assert json.loads((tmp_path / "audit.json").read_text())["resourceType"] == "Bundle"


def test_files_are_read_as_they_are_said_to_be_and_records_found_by_what_they_are(town: Town, tmp_path: Path) -> None:
    table, sequence = tmp_path / "table", tmp_path / "a.fa"
    table.write_text("patient,loinc,value,unit,date\nZ-1,2093-3,200,mg/dL,2020-05-31T12:00:00\n")
    sequence.write_text(">one\nACGT\n")
    assert "unknown source 'table'" in town(1, "import", str(table), "--source", "table", code=2)
    assert "'Mars/Olympus' is no time zone" in town(1, "import", str(table), "--zone", "Mars/Olympus", code=2)
    assert "1 imported" in town(1, "import", str(table), "--source", "labs", "--zone", "Europe/Berlin")
    assert "1 imported" in town(1, "import", str(sequence), "--subject", "Z-1")
    about = ["list", "--json", "--subject", "Z-1"]
    (row,) = map(json.loads, town(1, *about, "--code", CHOLESTEROL).splitlines())
    assert (row["type"], row["time"]) == ("observation", "2020-05-31T10:00:00Z")
    assert "--code is SYSTEM|CODE" in town(1, "list", "--code", "2093-3", code=2)
    (row,) = map(json.loads, town(1, *about, "--type", "sequence").splitlines())
    town(1, "show", row["record"], "--attachment", str(tmp_path / "out"))
    assert (tmp_path / "out").read_bytes() == b"ACGT"


def test_a_delegation_is_made_and_ended(town: Town) -> None:
    def until() -> int:
        return town.ward.archive(2).trail().delegations[2, ACCOUNT, Purpose.EHR]

    asked = town.ward.now
    assert "may use our grants for ehr until" in town(2, "delegate", ACCOUNT, "ehr", "--days", "2")
    assert until() == asked + 2 * DAY
    assert "2020-01-01 00:00 UTC is over already" in town(
        2, "delegate", ACCOUNT, "ehr", "--until", "2020-01-01", code=2
    )
    assert town(2, "delegate", ACCOUNT, "ehr", "--end") == "delegation ended\n"
    assert until() == 0


def test_all_of_one_person_is_erased_and_who_it_is_forgotten(town: Town, tmp_path: Path) -> None:
    source = tmp_path / "in.ndjson"
    source.write_text("\n".join(json.dumps(observation(n)).replace("R-7", "R-8") for n in range(2)))
    town(1, "import", str(source))
    town(1, "link", "R-8", ACCOUNT)
    assert town(1, "erase", "--subject", "R-8", "--yes").count("erased ") == 2
    assert "no record about R-8" in town(1, "erase", "--subject", "R-8", "--yes", code=2)
    assert "was linked to no account" in town(1, "link", "R-8", "--undo"), "forgotten with the records"
    town(1, "link", "R-8", ACCOUNT)
    assert "is linked to no account any more" in town(1, "link", "R-8", "--undo")


def test_an_erasure_that_was_cut_off_is_completed_by_the_same_command(
    town: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a key was destroyed and before the chain was told: nothing here says any more whose record that was."""
    source = tmp_path / "in.ndjson"
    source.write_text("\n".join(json.dumps(observation(n)).replace("R-7", "R-10") for n in range(2)))
    town(1, "import", str(source))
    town(1, "link", "R-10", ACCOUNT)
    erase, vault = ["erase", "--subject", "R-10", "--yes"], town.ward.folder / "1" / "records" / "vault.sqlite"
    backup = vault.read_bytes()
    with monkeypatch.context() as cut:
        cut.setattr(Registry, "transact", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        town(1, *erase, code=130)
    assert town(1, *erase).count("erased ") == 2
    assert town(1, "verify").startswith("VALID")
    assert "was linked to no account" in town(1, "link", "R-10", "--undo")
    vault.write_bytes(backup)
    first = json.loads(town(1, "list", "--json", "--subject", "R-10").splitlines()[0])["record"]
    assert town(1, "erase", first, "--yes").count("erased ") == 2, "what a backup has brought back, all of it"
    assert town(1, "verify").startswith("VALID")


def test_what_is_personal_need_not_stand_on_the_command_line(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", StringIO("R-9\n"))
    assert town(1, "link", "-", ACCOUNT).startswith("0 records are about")
    assert "standard input has no number" in town(1, "link", "-", "--undo", code=2)
    assert town(1, "link", "R-9", "--undo") == "R-9 is linked to no account any more\n"


def test_an_emergency_and_its_review(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    _, as_physician = town.person("another physician", "physician", 2)
    ask = ["emergency", "-", "--from", "1", "--reason", "-", "--wait", "0", *as_physician]
    monkeypatch.setattr("sys.stdin", StringIO("R-7\nunconscious\n"))
    code, _, err = typed(*ask, "--config", str(town.ward.folder / "2" / "hospital.toml"))
    assert (code, err.splitlines()[0]) == (4, "emergency 1: it will be reviewed")
    assert err.endswith("look for it later with --number 1\n")
    assert town(1, "release").strip() == "1 requests answered"
    ask[1:6] = ["R-7", "--from", "1", "--reason", "unconscious"]
    again = [word for word in ask if word not in ("--reason", "unconscious")]
    assert len(town(2, *again, "--number", "1").splitlines()) == 2
    assert "member 1 was not asked in an emergency 2" in town(2, *again, "--number", "2", code=2)
    again[3] = "2"
    assert "member 2 was not asked in an emergency 1" in town(2, *again, "--number", "1", code=2)
    again[3] = "1"
    assert len(town.ward.archive(2).trail().emergencies) == 1, "and no other was opened"
    assert "review due by" in town(1, "emergencies")
    (waits,) = json.loads(town(1, "emergencies", "--json"))
    assert (waits["number"], waits["reason"], waits["verdict"]) == (1, "unconscious", None)
    assert "there is no emergency 9" in town(1, "review", "9", "--uphold", "--report", "x", code=2)
    review = ["review", "1", "--uphold", "--report"]
    assert "say what was found" in town(1, *review, " ", code=2)
    monkeypatch.setattr("sys.stdin", StringIO("the patient was unconscious\n"))
    assert "upheld" in town(1, *review, "-")
    assert "standard input has no report" in town(1, *review, "-", code=2), "it was read to its end"
    assert town(1, "emergencies") == "0 emergencies wait for a review\n"
    typed(*ask[:1], "R-8", *ask[2:], "--config", str(town.ward.folder / "2" / "hospital.toml"))
    town(1, "release")
    again = [*ask[:1], "R-8", *again[2:], "--number", "2", "--config", str(town.ward.folder / "2" / "hospital.toml")]
    assert typed(*again) == (0, "", "member 1 has no clinical record under this number\n")
    assert "AlreadyReviewed" in town(1, "review", "1", "--reject", "--report", "no", code=4)


def test_emergencies_are_told_one_by_one_and_no_letter_is_waited_for_long(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anyone can log emergencies whose letters nobody has; and a daemon that is away says nothing about a letter."""
    patience: list[float] = []
    letters: list[tuple[str, str] | None] = [("R-7", "unconscious"), None]

    def told_of(*_: object) -> tuple[str, str]:
        if (told := letters.pop(0)) is None:
            raise DaemonError("no daemon")
        return told

    monkeypatch.setattr("hmchain.blobs.open_store", lambda _, seconds: patience.append(seconds))
    monkeypatch.setattr("trainers.records.reviewing.told_of", told_of)
    ended, out, err = typed("emergencies", "--all", "--config", str(town.ward.folder / "1" / "hospital.toml"))
    assert (ended, len(out.splitlines()), err) == (5, 1, "hmchain: no daemon\n")
    assert patience == [5.0]


def test_records_about_nobody_are_noted_as_they_need_no_consent(town: Town, tmp_path: Path) -> None:
    source, config = tmp_path / "in.json", town.ward.folder / "1" / "hospital.toml"
    source.write_text(json.dumps({name: value for name, value in observation(7).items() if name != "subject"}))
    words = ["import", str(source), "--config", str(config)]
    for more, told in ((["--subject", "R-11"], ""), ([], "note: 1 records are about nobody"), ([], "")):
        code, _, err = typed(*words, *more)
        assert (code, err[:32]) == (0, told)


def test_a_long_import_counts_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("trainers.records.counting.EVERY_SECONDS", 0)
    for screen in (Terminal(), StringIO()):
        with redirect_stderr(screen):
            counter = Counter()
            counter.count(FileReport(Path("a\x1b.hl7"), imported=1_200, rejected=34))
            counter.clear()
        line = "\r\x1b[K'a\\x1b.hl7': 1,234 records so far\r\x1b[K"
        assert screen.getvalue() == (line if screen.isatty() else "")


def test_a_hospital_relays_no_grant_in_its_own_name(town: Town, tmp_path: Path) -> None:
    out = str(tmp_path / "grant.json")
    town(1, "share", "all", "--to", "2", "--purpose", "ehr", "--out", out)
    assert "no person signed this" in town(1, "relay", out, code=2)


GENOME = "##fileformat=VCFv4.2\n##reference=GRCh38.fa\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\tS\n{}"
CALL = "1\t100\t.\tA\tC\t.\tPASS\t.\tGT\t0/1\n"
CHOLESTEROL = "http://loinc.org|2093-3"


def test_two_hospitals_count_persons_and_alleles_that_are_consented(town: Town, tmp_path: Path) -> None:
    """Two patients each, of whom one at the second hospital consents to nothing."""
    cohort, alleles = tmp_path / "cohort.toml", tmp_path / "alleles.toml"
    cohort.write_text(f'title = "Cholesterol"\n[population]\nall = ["{CHOLESTEROL}"]\n')
    alleles.write_text('assembly = "GRCh38.fa"\n')
    answers: dict[str, list[str]] = {"cohort": [], "alleles": []}
    for number, consenting in ((1, ("a", "b")), (2, ("c",))):
        for name in "ab" if number == 1 else "cd":
            table, genome = tmp_path / f"{name}.csv", tmp_path / f"{name}.vcf"
            table.write_text(f"patient,loinc,value,unit\n{name},2093-3,200,mg/dL\n")
            genome.write_text(GENOME.format(CALL))
            assert "1 imported" in town(number, "import", str(table), str(genome), "--subject", name)
            account, signing = town.person(f"donor-{name}", "patient", number)
            town(number, "link", name, account)
            purposes = ["--purpose", "biomedical", "--purpose", "genome"] if name in consenting else ["--withdraw"]
            town(number, "consent", "all", *purposes, *signing)
        for service, query, least in (("cohort", cohort, "--threshold"), ("alleles", alleles, "--minimum")):
            answers[service].append(str(tmp_path / f"{service}-{number}.json"))
            told = town(number, service, str(query), least, "1", "--out", answers[service][-1])
            assert "counts told, 0 suppressed: hand the researcher" in told
            again = tmp_path / "again.json"
            printed = json.loads(town(number, service, str(query), "--out", str(again), "--json"))
            assert printed == json.loads(again.read_text()), "and nothing else is printed"
    counted = json.loads(town(1, "cohort", "--sum", *answers["cohort"], "--query", str(cohort), "--json"))
    total = counted["cells"][0]
    assert (total["cell"], total["at_least"], total["hospitals"]) == ("total", 3, 2)
    (site,) = json.loads(town(2, "alleles", "--sum", *answers["alleles"], "--json"))["sites"]
    assert (site["an"], site["ac"], site["hospitals"]) == (6, 3, 2)


def test_damage_is_told_as_invalid(town: Town) -> None:
    hospital = town.ward.hospitals[0]
    with closing(Vault.open(town.ward.folder / "1" / "records", Keys(hospital), town.ward.consortium)) as vault:
        with vault._writing() as database:
            database.execute("UPDATE records SET subject = 'another' WHERE id = 2")
        assert town(1, "verify", "--quick").startswith("VALID")
        config = str(town.ward.folder / "1" / "hospital.toml")
        code, out, _ = typed("verify", "--config", config)
        assert (code, out[:16]) == (1, "INVALID  record ")
        code, out, _ = typed("verify", "--json", "--config", config)
        assert (code, json.loads(out)["valid"]) == (1, False)


def test_a_refusal_is_told_with_which_request_and_why(town: Town, tmp_path: Path) -> None:
    """On standard error, in the form of the node's log: standard output has the result alone."""
    _, as_patient = town.person("a third patient", "patient", 1)
    reader, as_physician = town.person("a third physician", "physician", 2)
    grant = str(tmp_path / "grant.json")
    given = town(1, "share", "all", "--to", reader, "--purpose", "emr", "--out", grant, *as_patient)
    assert "has not answered" in town(2, "get", grant, "--from", "1", "--wait", "0", *as_physician, code=4)
    assert "there is no grant 999" in town(1, "revoke", "999", *as_patient, code=2)
    assert "only whoever gave a grant can revoke it" in town(1, "revoke", "1", *as_patient, code=2)
    number = re.search(r"^grant (\d+), until", given)
    assert number
    assert f"grant {number[1]} is revoked" in town(1, "revoke", number[1], *as_patient)
    ended, out, err = typed("release", "--config", str(town.ward.folder / "1" / "hospital.toml"))
    assert (ended, out) == (0, "1 requests answered\n")
    assert re.search(r"^[\d-]{10} [\d:]{8} warning request refused  which=.+  reason=.+\n\Z", err), err


def test_who_watches_outlives_a_chain_and_a_daemon_that_are_away_for_a_while(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = [ChainError("no chain"), DaemonError("no daemon"), ContractError("NotActiveMember")]
    asked: list[BaseException] = [*away, KeyboardInterrupt()]

    def step(_: Releasing) -> bool:
        raise asked.pop(0)

    monkeypatch.setattr(Releasing, "step", step)
    config = ("--config", str(town.ward.folder / "1" / "hospital.toml"))
    _, _, err = typed("release", "--watch", *config)
    assert (asked, err.count("will try again")) == ([], 3)
    for fault, code in zip(away, (4, 5, 4), strict=True):
        asked.append(fault)
        ended, out, err = typed("release", *config)
        assert (ended, out, err) == (code, "", f"hmchain: {fault}\n"), "and does not say that all is answered"
