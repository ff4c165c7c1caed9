"""A hospital's own store: made whole, kept secret, shared by processes, and what is erased there is gone."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from hmchain.blobs import BlobRef
from hmchain.consortium import Consortium
from hmchain.envelope import Identity, unseal
from hmchain.errors import BlobError, StorageError, UsageError
from hmchain.identity import MemberIdentity
from hmchain.merkle import root_of
from hmchain.record import Code, Kind, Record
from trainers.keystore import Keys
from trainers.records import vault as vault_module
from trainers.records import vault_file as module
from trainers.records.holdings import Batch, Sealed, Wanted
from trainers.records.storing import seal_record
from trainers.records.vault import Vault
from trainers.records.vault_file import FILE

from .full_disk import files_of_at_most
from .ward import CODE, record

CONSORTIUM = Consortium(1337, "0x" + "00" * 19 + "Ab", "0x" + "11" * 32, 1)
KEYS = Keys(MemberIdentity.create())
FILES = {FILE, f"{FILE}-journal"}
ACCOUNT, OTHER_ACCOUNT = "0x" + "Aa" * 20, "0x" + "Bb" * 20


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "records"


@pytest.fixture
def vault(folder: Path) -> Iterator[Vault]:
    with closing(opened(folder)) as opened_vault:
        yield opened_vault


def opened(folder: Path, keys: Keys = KEYS, consortium: Consortium = CONSORTIUM) -> Vault:
    return Vault.open(folder, keys, consortium)


def sealed(vault: Vault, *records: Record) -> list[Sealed]:
    rows, offset = [], 0
    for item in records:
        row, ciphertext = seal_record(item, vault.tag(item.identity()), offset)
        rows.append(row)
        offset += len(ciphertext)
    return rows


def add(vault: Vault, *records: Record) -> Batch:
    """A batch whose blob is somewhere."""
    rows = sealed(vault, *records)
    root = root_of([row.leaf for row in rows])
    return vault.add(records[0].kind, root, BlobRef.of(root), rows)


def some(count: int, **changes: Any) -> list[Record]:
    return [record(number, **changes) for number in range(count)]


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_whose_an_account_is_takes_no_look_at_all_persons(vault: Vault) -> None:
    """It is asked of each request that waits, before each answer: there may be thousands, and very many persons."""
    assert is_indexed(vault)


def is_indexed(vault: Vault) -> bool:
    (row,) = vault._all("EXPLAIN QUERY PLAN SELECT pseudonym FROM subjects WHERE account = ?", ACCOUNT)
    return "USING INDEX by_account" in row[-1]


def make_earlier(folder: Path, persons: int = 1) -> None:
    """A vault of a version that knew one index less."""
    with closing(opened(folder)) as vault:
        vault._database.execute("DROP INDEX by_account")
        for number in range(persons):
            vault.link(f"s{number}", ACCOUNT)
        vault._database.execute("VACUUM")


def test_a_vault_of_an_earlier_version_is_indexed_when_it_is_opened(folder: Path) -> None:
    make_earlier(folder)
    for _ in range(2):
        with closing(opened(folder)) as vault:
            assert is_indexed(vault)
            assert vault.pseudonyms_of(ACCOUNT) == ["s0"]


def read_only(patch: pytest.MonkeyPatch) -> None:
    def connected(path: Path) -> sqlite3.Connection:
        database = connect(path)
        database.execute("PRAGMA query_only = ON")
        return database

    connect = module._connect
    patch.setattr(module, "_connect", connected)


def test_an_earlier_vault_that_cannot_be_written_is_read_as_it_is(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_earlier(folder, persons=200)
    before, persons = (folder / FILE).read_bytes(), sorted(f"s{number}" for number in range(200))
    with files_of_at_most(len(before)), closing(opened(folder)) as vault:
        assert sorted(vault.pseudonyms_of(ACCOUNT)) == persons
        assert not is_indexed(vault)
    with monkeypatch.context() as patch:
        read_only(patch)
        with closing(opened(folder)) as vault:
            assert sorted(vault.pseudonyms_of(ACCOUNT)) == persons
            assert not is_indexed(vault)
    assert (folder / FILE).read_bytes() == before
    with closing(opened(folder)) as vault:
        assert is_indexed(vault)


# ---------------------------------------------------------------- made, and opened again


def test_what_is_kept_is_there_after_it_is_opened_again(vault: Vault, folder: Path) -> None:
    first = add(vault, *some(3, subject="s1"))
    second = add(vault, record("x", kind=Kind.RESEARCH, type="genome"))
    vault.registered(first, 7)
    vault.link("s1", ACCOUNT)
    vault.learn(ACCOUNT, b"\5" * 32)
    holdings = list(vault.holdings())
    vault.note_release(4, 2, holdings[:2])
    vault.note_release(4, 3, [])
    secrets = vault.secrets(first)
    with closing(opened(folder)) as again:
        assert list(again.holdings()) == holdings
        assert list(again.batches()) == [replace(first, number=7), second]
        assert again.pending() == [second]
        assert again.secrets(first) == secrets
        assert again.codes(holdings[0]) == (Code(CODE.system, CODE.code),)
        assert (again.account_of("s1"), again.pseudonyms_of(ACCOUNT)) == (ACCOUNT, ["s1"])
        assert (again.salt(ACCOUNT), again.salt(OTHER_ACCOUNT)) == (b"\5" * 32, None)
        assert sorted(again.released(4, 2)) == sorted(holding.leaf for holding in holdings[:2])
        assert (again.released(4, 3), again.released(4, 1)) == ([], None), "refused, and not answered from here"
        assert again.pseudonym_key == vault.pseudonym_key


def test_a_holding_is_what_was_sealed(vault: Vault) -> None:
    item = record("x", "someone", "imaging", Kind.RESEARCH, time="2020")
    (row,) = rows = sealed(vault, item)
    batch = vault.add(item.kind, row.leaf, BlobRef.of(b"blob"), rows)
    (holding,) = vault.holdings()
    known = row.leaf, row.commitment, row.digest, row.offset, row.length, "imaging", "someone", "2020", "fhir-r4"
    told = holding.leaf, holding.commitment, holding.digest, holding.offset, holding.length
    assert (*told, holding.type, holding.subject, holding.time, holding.source) == known
    assert (holding.kind, holding.batch, holding.position, holding.erased) == (Kind.RESEARCH, batch, 0, False)
    assert holding.name == row.leaf.hex()[:16]
    assert vault.secret(holding) == row.secret


def test_two_vaults_have_nothing_in_common(vault: Vault, tmp_path: Path) -> None:
    with closing(opened(tmp_path / "other")) as other:
        assert other.pseudonym_key != vault.pseudonym_key
        assert other.tag(b"\1" * 32) != vault.tag(b"\1" * 32)


def test_the_files_are_for_their_owner_alone(vault: Vault, folder: Path) -> None:
    add(vault, *some(2))
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == dict.fromkeys(FILES, 0o600)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_vault_that_others_can_read_is_refused(mode: int, vault: Vault, folder: Path) -> None:
    (folder / FILE).chmod(mode)
    with pytest.raises(UsageError, match=r"can be read by others; do: chmod 600"):
        opened(folder)


def test_no_key_is_in_the_file(vault: Vault, folder: Path) -> None:
    batch = add(vault, *some(3))
    content = b"".join(files_of(folder).values())
    for secret in (*vault.secrets(batch), vault.pseudonym_key, KEYS.identity.encryption.secret):
        assert (secret if isinstance(secret, bytes) else str(secret).encode()) not in content
    assert b"AGE-SECRET-KEY" not in content


def test_a_vault_that_cannot_be_made_is_not_made_in_part(folder: Path) -> None:
    for size in (0, 4_096, 30_000):
        with files_of_at_most(size), pytest.raises(StorageError, match="cannot make"):
            opened(folder)
        assert list(folder.iterdir()) == []
    opened(folder).close()


def test_where_no_folder_can_be_there_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="cannot make"):
        opened(tmp_path / "file")
    with pytest.raises(StorageError, match="cannot make"):
        opened(tmp_path / "file" / "below")


def test_two_that_make_it_at_once_have_the_same_vault(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the second would put an empty vault in the place of the one that the first writes to already."""
    made = module._create

    def slowly(path: Path, *rest: Any) -> None:
        monkeypatch.setattr(module, "_create", made)
        with closing(opened(folder)) as other:
            add(other, record("first"))
        made(path, *rest)

    monkeypatch.setattr(module, "_create", slowly)
    with closing(opened(folder)) as late:
        assert late.count() == 1
    assert set(files_of(folder)) == FILES


# ---------------------------------------------------------------- whose it is


@pytest.mark.parametrize("change", [{"chain_id": 1}, {"contract": "0x" + "22" * 20}], ids=str)
def test_the_vault_of_another_deployment_is_refused(change: dict[str, Any], vault: Vault, folder: Path) -> None:
    with pytest.raises(UsageError, match=f"belongs to contract {CONSORTIUM.contract} on chain 1337, not to the one"):
        opened(folder, consortium=replace(CONSORTIUM, **change))


def test_the_vault_of_other_keys_is_refused(vault: Vault, folder: Path) -> None:
    with pytest.raises(UsageError, match="is sealed to an encryption key that this hospital does not have"):
        opened(folder, Keys(MemberIdentity.create()))


def test_after_a_rotation_the_first_opening_seals_it_to_the_new_key_alone(vault: Vault, folder: Path) -> None:
    batch = add(vault, *some(2))
    new = MemberIdentity.create()
    with closing(opened(folder, Keys(new, (KEYS.identity.encryption,)))) as rotated:
        assert rotated.secrets(batch) == vault.secrets(batch)
    with closing(opened(folder, Keys(new))) as later:
        assert later.secrets(batch) == vault.secrets(batch)
    with pytest.raises(UsageError, match="does not have"):
        opened(folder)


def test_a_rotated_vault_opens_also_where_nothing_can_be_written(vault: Vault, folder: Path) -> None:
    keys = Keys(MemberIdentity.create(), (KEYS.identity.encryption,))
    with files_of_at_most(0):
        opened(folder, keys).close()
    opened(folder).close()


# ---------------------------------------------------------------- listing


@pytest.mark.parametrize("limit", [None, 0, 1, 3, 4, 7, 100])
def test_pages_show_every_record_once_and_in_order(
    limit: int | None, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vault_module, "PAGE", 3)
    add(vault, *some(7))
    ids = [holding.id for holding in vault.holdings(limit=limit)]
    assert ids == list(range(1, 8))[:limit]


def test_a_listing_goes_on_while_others_write(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vault_module, "PAGE", 2)
    add(vault, *some(4))
    seen = []
    for holding in vault.holdings(limit=5):
        seen.append(holding.id)
        if holding.id == 1:
            add(vault, record("more"), record("still more"))
    assert seen == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (Wanted(), [0, 1, 2, 3]),
        (Wanted(kind=Kind.RESEARCH), [3]),
        (Wanted(type="imaging"), [1]),
        (Wanted(subject="b"), [1]),
        (Wanted(subject=""), []),
        (Wanted(since="2021"), [1, 2]),
        (Wanted(until="2021"), [0, 3]),
        (Wanted(since="2020-06", until="2021-06"), [1]),
        (Wanted(code=Code(CODE.system, CODE.code)), [0, 1, 3]),
        (Wanted(code=Code("", CODE.code)), []),
        (Wanted(erased=True), []),
        (Wanted(erased=False, type="imaging"), [1]),
        (Wanted(type="' OR 1 --"), []),
        (Wanted(subject="%"), []),
    ],
    ids=str,
)
def test_what_is_wanted(wanted: Wanted, found: list[int], vault: Vault) -> None:
    add(
        vault,
        record(0, "a", time="2020-05-01"),
        record(1, "b", "imaging", time="2021-05-31"),
        record(2, "c", time="2022", codes=()),
    )
    add(vault, record(3, "d", kind=Kind.RESEARCH, time="2020-01-01T00:00:00Z"))
    assert [holding.id - 1 for holding in vault.holdings(wanted)] == found
    assert vault.count(wanted) == len(found)


def test_a_record_is_found_by_the_beginning_of_its_leaf(vault: Vault) -> None:
    add(vault, *some(3))
    holdings = list(vault.holdings())
    assert len(holdings) == 3
    for holding in holdings:
        for name in (holding.leaf.hex(), holding.name, holding.name.upper(), f" {holding.name}\n"):
            assert vault.find(name) == holding


def test_a_beginning_that_several_share_names_none_of_them(vault: Vault) -> None:
    rows = sealed(vault, *some(3))
    leaves = (b"\xab\xcd" + b"\0" * 30, b"\xab\xcd" + b"\xff" * 30, b"\xab\xce" + b"\0" * 30)
    rows = [replace(row, leaf=leaf) for row, leaf in zip(rows, leaves, strict=True)]
    vault.add(Kind.CLINICAL, b"\1" * 32, BlobRef.of(b""), rows)
    with pytest.raises(UsageError, match="more than one record here begins with abcd"):
        vault.find("abcd")
    assert [vault.find(name).leaf for name in ("abcd00", "abcdf", "abce")] == list(leaves)
    with pytest.raises(UsageError, match="no record here begins with abcf"):
        vault.find("abcf")


@pytest.mark.parametrize("name", ["", "abc", "a" * 65, "abcg", "ab%d", "0xabcd", "ab cd", "١٢٣٤", "a\n" * 1_000])
def test_what_names_no_record(name: str, vault: Vault) -> None:
    with pytest.raises(UsageError, match="4 to 64 hexadecimal digits name one") as caught:
        vault.find(name)
    assert len(str(caught.value)) < 200


def test_a_record_that_is_held_is_known_by_its_tag_alone(vault: Vault) -> None:
    item = record("x")
    tag = vault.tag(item.identity())
    assert not vault.knows(tag)
    add(vault, item)
    assert vault.knows(tag)
    assert not vault.knows(item.identity()), "without the vault's key a guess does not find it"


def test_the_records_of_a_subject_are_those_that_are_registered_and_not_erased(vault: Vault) -> None:
    batch = add(vault, *some(3, subject="s"))
    add(vault, record("pending", "s"))
    vault.registered(batch, 1)
    vault.erase(next(vault.holdings()))
    assert [holding.id for holding in vault.of_subjects(["s", "t"])] == [2, 3]
    assert list(vault.of_subjects([""])) == [], "nobody's records are not everybody's"
    assert list(vault.of_subjects([])) == []


def test_a_batch_has_the_number_that_was_noted_first(vault: Vault) -> None:
    batch = add(vault, record("x"))
    vault.registered(batch, 4)
    vault.registered(batch, 5)
    assert [held.number for held in vault.batches()] == [4]


# ---------------------------------------------------------------- persons


def test_a_subject_is_one_account_s(vault: Vault) -> None:
    vault.link("s", ACCOUNT)
    vault.link("s", ACCOUNT)
    with pytest.raises(UsageError, match=f"s is linked to account {ACCOUNT}"):
        vault.link("s", OTHER_ACCOUNT)
    vault.link("t", ACCOUNT)
    assert sorted(vault.pseudonyms_of(ACCOUNT)) == ["s", "t"], "who was registered twice is one person"
    assert (vault.account_of("u"), vault.pseudonyms_of(OTHER_ACCOUNT)) == ("", [])


def test_nobody_s_records_are_no_person_s(vault: Vault) -> None:
    """ "" is the subject of records about nobody: whoever it were linked to could share them all."""
    with pytest.raises(UsageError, match="nobody's number"):
        vault.link("", ACCOUNT)
    assert vault.pseudonyms_of(ACCOUNT) == []


# ---------------------------------------------------------------- erasing


def openings(folder: Path, identities: list[Identity], reach: int) -> set[bytes]:
    """What opens in any file, from each place that looks like an age file's beginning, whatever its length."""
    found = set()
    for data in files_of(folder).values():
        start = data.find(b"age-encryption.org/")
        while start >= 0:
            for end in range(start + 150, min(start + reach, len(data)) + 1):
                for identity in identities:
                    try:
                        found.add(unseal(data[start:end], identity))
                    except BlobError:
                        continue
            start = data.find(b"age-encryption.org/", start + 1)
    return found


def test_no_stored_byte_opens_an_erased_record(folder: Path) -> None:
    """Every age file that can be cut out of any file, tried with every key that the hospital has."""
    with closing(opened(folder)) as vault:
        batch = add(vault, *some(3))
        lost, kept = vault.secrets(batch)[1], vault.secrets(batch)[::2]
        identities = [vault._identity, KEYS.identity.encryption]
        before = b"".join(openings(folder, identities, 700))
        assert str(lost).encode() in before, "this search finds a key that is there"
        vault.erase(list(vault.holdings())[1])
        after = b"".join(openings(folder, identities, 700))
        assert str(lost).encode() not in after
        assert all(str(secret).encode() in after for secret in kept)
    assert not any(files_of(folder)[f"{FILE}-journal"]), "and nothing is left in the journal"


@pytest.mark.parametrize("count", [1, 40, 400])
def test_erasing_overwrites_the_keys_that_were_stored(count: int, folder: Path) -> None:
    """Also where they are many pages long: no sixteen bytes of the earlier age file are left."""
    with closing(opened(folder)) as vault:
        batch = add(vault, *some(count))
        (earlier,) = vault._one("SELECT secrets FROM batches") or (b"",)
        vault.erase(next(vault.holdings()))
        (present,) = vault._one("SELECT secrets FROM batches") or (b"",)
        content = b"".join(files_of(folder).values())
        parts = [earlier[i : i + 16] for i in range(170, len(earlier) - 16, 16)]
        assert parts
        assert not [part for part in parts if part in content and part not in present]
        assert vault.secrets(batch).count(None) == 1


def test_other_records_still_open(vault: Vault) -> None:
    batch = add(vault, *some(5))
    before = vault.secrets(batch)
    for holding in list(vault.holdings())[1:3]:
        vault.erase(holding)
    assert vault.secrets(batch) == [before[0], None, None, *before[3:]]
    with pytest.raises(UsageError, match="was erased"):
        vault.secret(list(vault.holdings())[1])


def test_the_journal_does_not_keep_the_keys_of_an_erased_record(vault: Vault, folder: Path) -> None:
    """Pages as they were before a change stand in SQLite's journal: the batch's sealed keys among them."""
    add(vault, *some(3))
    sealed = vault._all("SELECT secrets FROM batches")[0][0]
    vault.learn("0x" + "1" * 40, b"\1" * 32)
    assert any(sealed[-64:] in path.read_bytes() for path in folder.iterdir())
    vault.erase(next(vault.holdings()))
    assert not any(sealed[-64:] in path.read_bytes() for path in folder.iterdir())
    journal = folder / f"{FILE}-journal"
    assert journal.exists()
    assert not any(journal.read_bytes())


def test_what_the_record_said_is_erased_with_its_key(vault: Vault, folder: Path) -> None:
    """Whose it was, when, and its codes, which may be a diagnosis; that it was there stays, for it is on chain."""
    told = {"subject": "0123456789abcdef" * 2, "time": "1999-12-31", "codes": (Code("urn:icd", "B20-hiv"),)}
    add(vault, record("x", **told), record("y"))
    holding = next(vault.holdings())
    content = b"".join(files_of(folder).values())
    words = (b"0123456789abcdef", b"1999-12-31", b"B20-hiv")
    assert all(word in content for word in words)
    vault.erase(holding)
    content = b"".join(files_of(folder).values())
    assert not [word for word in words if word in content]
    assert next(vault.holdings(Wanted(erased=True))) == replace(holding, subject="", time="", erased=True)
    assert vault.codes(holding) == ()


def test_an_erased_record_is_not_taken_in_again(vault: Vault) -> None:
    item = record("x")
    add(vault, item)
    vault.erase(next(vault.holdings()))
    assert vault.knows(vault.tag(item.identity()))


def test_erasing_twice_is_erasing_once(vault: Vault) -> None:
    add(vault, *some(2))
    holding = next(vault.holdings())
    vault.erase(holding)
    vault.erase(holding)
    assert [held.erased for held in vault.holdings()] == [True, False]


def test_two_that_erase_from_one_batch_at_once_erase_both(folder: Path) -> None:
    """Neither puts a key back that the other one took out."""
    with closing(opened(folder)) as one, closing(opened(folder)) as other:
        batch = add(one, *some(2))
        first, second = one.holdings()
        seal = one._seal

        def meanwhile(keys: list[str | None]) -> bytes:
            with pytest.raises(StorageError, match="locked"):
                other.erase(second)
            return seal(keys)

        other._database.execute("PRAGMA busy_timeout = 1")
        one._seal = meanwhile  # type: ignore[method-assign, assignment]
        one.erase(first)
        other.erase(second)
        assert other.secrets(batch) == [None, None]


# ---------------------------------------------------------------- crashes, full disks, other processes


def test_a_batch_is_written_whole_or_not_at_all(vault: Vault, folder: Path) -> None:
    add(vault, record("there"))
    rows = sealed(vault, *some(3))
    twice = [*rows, replace(rows[0], leaf=b"\1" * 32)]
    with pytest.raises(StorageError, match="changed by another process meanwhile: do it again"):
        vault.add(Kind.CLINICAL, b"\1" * 32, BlobRef.of(b""), twice)
    with files_of_at_most(40_000), pytest.raises(StorageError, match="cannot write"):
        add(vault, *some(300))
    assert (vault.count(), len(list(vault.batches()))) == (1, 1)
    with closing(opened(folder)) as again:
        assert (again.count(), len(list(again.batches()))) == (1, 1)
        add(again, *some(300))


def test_what_cannot_be_written_has_not_happened(vault: Vault) -> None:
    batch = add(vault, *some(2))
    holding = next(vault.holdings())
    with files_of_at_most(10):
        for change in (
            lambda: vault.erase(holding),
            lambda: vault.registered(batch, 1),
            lambda: vault.link("s", ACCOUNT),
            lambda: vault.learn(ACCOUNT, b"\1" * 32),
            lambda: vault.note_release(1, 1, [holding]),
            lambda: vault.reseal(KEYS),
        ):
            with pytest.raises(StorageError, match="cannot write"):
                change()
    assert (vault.pending(), vault.secrets(batch).count(None)) == ([batch], 0)
    assert (vault.account_of("s"), vault.salt(ACCOUNT), vault.released(1, 1)) == ("", None, None)


def killed(folder: Path, program: str) -> None:
    """Runs a program on the vault that kills itself."""
    start = f"""
        import os, sys
        from pathlib import Path
        from hmchain.blobs import BlobRef
        from hmchain.consortium import Consortium
        from hmchain.envelope import Identity
        from hmchain.identity import MemberIdentity
        from eth_account import Account
        from trainers.keystore import Keys
        from trainers.records.vault import Vault
        identity = Identity.parse({KEYS.identity.encryption.secret!r})
        keys = Keys(MemberIdentity(Account.create(), identity, bytes(32)))
        vault = Vault.open(Path(sys.argv[1]), keys, {CONSORTIUM!r})
    """
    code = textwrap.dedent(start) + textwrap.dedent(program)
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == -9, done.stderr


def test_a_process_that_is_killed_half_way_leaves_nothing_of_it(vault: Vault, folder: Path) -> None:
    batch = add(vault, *some(3))
    before = vault.secrets(batch)
    killed(
        folder,
        """
        with vault._writing() as database:
            database.execute("PRAGMA cache_size = 1")  # so that pages go to the file before the end
            database.execute("UPDATE records SET erased = 1, type = hex(zeroblob(9000))")
            database.execute("UPDATE batches SET secrets = zeroblob(99999)")
            os.kill(os.getpid(), 9)
        """,
    )
    with closing(opened(folder)) as again:
        assert [holding.erased for holding in again.holdings()] == [False] * 3
        assert again.secrets(batch) == before


def test_two_processes_see_what_the_other_wrote(vault: Vault, folder: Path) -> None:
    with closing(opened(folder)) as other:
        before = vault.revision()
        add(other, record("x"))
        assert vault.count() == 1
        assert vault.revision() != before
        before = vault.revision()
        vault.count()
        assert vault.revision() == before, "reading changes nothing"
        vault.link("s", ACCOUNT)
        assert vault.revision() != before


def test_who_waits_too_long_for_another_process_is_told(vault: Vault, folder: Path) -> None:
    with closing(opened(folder)) as other:
        other._database.execute("PRAGMA busy_timeout = 1")
        with vault._writing(), pytest.raises(StorageError, match="locked"):
            other.link("s", ACCOUNT)
        other.link("s", ACCOUNT)


# ---------------------------------------------------------------- damage


def test_a_vault_whose_disk_is_gone_is_not_made_anew(folder: Path) -> None:
    """An empty one in its place would know nobody, and refuse every request for good."""
    with pytest.raises(StorageError, match=r"^cannot make .*vault\.sqlite: No such file or directory$"):
        opened(folder / "disk" / "records")
    assert not (folder / "disk").exists()


@pytest.mark.parametrize("content", [b"", b"x", b"SQLite format 3\0" + bytes(4_096), os.urandom(8_192)], ids=len)
def test_another_file_is_no_vault(content: bytes, folder: Path) -> None:
    folder.mkdir()
    (folder / FILE).write_bytes(content)
    (folder / FILE).chmod(0o600)
    with pytest.raises(UsageError, match=r"vault\.sqlite is not a"):
        opened(folder)
    assert (folder / FILE).read_bytes() == content


def test_a_folder_in_its_place_is_no_vault(folder: Path) -> None:
    (folder / FILE).mkdir(parents=True, mode=0o700)
    (folder / FILE).chmod(0o700)
    with pytest.raises(UsageError, match="is not a vault of records"):
        opened(folder)


def test_a_vault_that_cannot_be_read_is_not_called_none(
    vault: Vault, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever reads that it is no vault may take it away, and with it the records' keys."""

    def away(_: Path) -> sqlite3.Connection:
        return sqlite3.connect(f"file:{folder}/away?mode=ro", uri=True)  # as where its folder may not be searched

    with monkeypatch.context() as patch:
        patch.setattr("trainers.records.vault_file._connect", away)
        with pytest.raises(StorageError, match=r"^cannot read .*vault\.sqlite: unable to open database file$"):
            opened(folder)
    (folder / FILE).rename(folder / "kept")
    (folder / FILE).symlink_to(FILE)
    with pytest.raises(StorageError, match=r"^cannot read .*vault\.sqlite: Too many levels of symbolic links$"):
        opened(folder)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("DELETE FROM about", "is not a hmchain-vault/1 file"),
        ("UPDATE about SET format = 'hmchain-vault/2'", "is not a hmchain-vault/1 file"),
        ("DROP TABLE about", "is not a vault of records"),
        ("UPDATE about SET format = CAST(x'ff' AS TEXT)", "is not a vault of records"),
        ("UPDATE about SET identity = NULL", "is damaged"),
        ("UPDATE about SET identity = 'text'", "is damaged"),
        ("UPDATE about SET identity = x'00'", "does not have"),
        ("UPDATE about SET pseudonyms = x'00'", "is damaged"),
        ("UPDATE about SET pseudonyms = NULL", "is damaged"),
    ],
)
def test_a_damaged_vault_is_not_opened(change: str, told: str, vault: Vault, folder: Path) -> None:
    with vault._writing() as database:
        database.execute(change)
    with pytest.raises(UsageError, match=told):
        opened(folder)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE batches SET kind = 'financial'",
        "UPDATE batches SET cid = x'00'",
        "UPDATE batches SET size = 'x'",
        "UPDATE batches SET secrets = x'00'",
        "UPDATE batches SET secrets = NULL",
        "DROP TABLE batches",
        "DROP TABLE records",
    ],
)
def test_rows_that_are_none_are_a_fault_of_the_disk(change: str, vault: Vault) -> None:
    batch = add(vault, *some(2))
    with vault._writing() as database:
        database.execute("PRAGMA defer_foreign_keys = ON")
        database.execute("PRAGMA foreign_keys = OFF")
        if "DROP" in change:
            database.execute("DELETE FROM codes")
            database.execute("DELETE FROM records")
        database.execute(change)
    with pytest.raises(StorageError, match=r"is damaged|cannot read"):
        read_all(vault, batch)


def test_pages_that_are_overwritten_are_a_fault_of_the_disk(folder: Path) -> None:
    with closing(opened(folder)) as vault:
        batch = add(vault, *some(100))
    whole = (folder / FILE).read_bytes()
    (folder / FILE).write_bytes(whole[: 3 * 4_096] + b"\xff" * (len(whole) - 3 * 4_096))
    with closing(opened(folder)) as vault, pytest.raises(StorageError):
        read_all(vault, batch)


def test_keys_that_are_not_as_many_as_the_records_are_damage(vault: Vault) -> None:
    batch = add(vault, *some(2))
    with vault._writing() as database:
        database.execute("UPDATE batches SET secrets = ?", (vault._seal(["one"]),))
    with pytest.raises(StorageError, match="has 1 keys for 2"):
        vault.secrets(batch)


def read_all(vault: Vault, batch: Batch) -> None:
    list(vault.batches())
    for holding in vault.holdings():
        vault.codes(holding)
    vault.count()
    vault.in_batch(batch)
    vault.secrets(batch)


def test_the_tag_is_keyed(vault: Vault) -> None:
    assert vault.tag(b"\1" * 32) != sha256(b"hmchain/identity/1" + b"\1" * 32).digest()
    assert len(vault.tag(b"")) == 32
