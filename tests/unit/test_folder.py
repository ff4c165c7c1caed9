"""A run's folder; tests/e2e/test_tamper.py has what may be wrong with it."""

from __future__ import annotations

import errno
import json
import stat
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest
from eth_account import Account
from eth_utils import to_checksum_address

from coordinator.folder import LedgerFile, RunFile, new_folder, of_the_run, read_key, read_ledger, write_key
from hmchain.embedded import EmbeddedChain
from hmchain.envelope import new_identity
from hmchain.errors import StorageError, UsageError, VerificationError

RUN = RunFile("embedded", 1, Account.create().address, "0x" + "ab" * 32, 1, "blobs", "stripes", "sha256:00")


def test_run_json_is_read_as_it_was_written(tmp_path: Path) -> None:
    RUN.write(tmp_path)
    assert RunFile.read(tmp_path) == RUN


@pytest.mark.parametrize(
    "wrong",
    [
        replace(RUN, contract=RUN.contract.lower()),
        replace(RUN, deployment=RUN.deployment.upper()),
        replace(RUN, deployment="0x12"),
        replace(RUN, chain_id=True),
        replace(RUN, job=1.0),
        replace(RUN, format="hmchain-run/0"),
    ],
)
def test_every_field_has_one_way_to_be_written(wrong: RunFile, tmp_path: Path) -> None:
    wrong.write(tmp_path)
    with pytest.raises(VerificationError):
        RunFile.read(tmp_path)


def test_the_ledger_grows_with_the_chain_and_is_read_as_it_was_written(tmp_path: Path) -> None:
    chain = EmbeddedChain([Account.create().address])
    file = LedgerFile(tmp_path, chain)
    for blocks in (1, 2, 0):
        for _ in range(blocks):
            chain.travel(5)
        file.extend()
    fresh, records = read_ledger(tmp_path)
    assert fresh.accounts == chain.accounts
    assert list(records) == list(chain.blocks())


def test_a_ledger_of_very_many_lines_takes_no_more_than_the_file(tmp_path: Path) -> None:
    chain = EmbeddedChain([Account.create().address])
    LedgerFile(tmp_path, chain)
    with (tmp_path / "ledger.jsonl").open("ab") as file:
        file.write(b"\n" * (1 << 22))
    tracemalloc.start()
    try:
        _, records = read_ledger(tmp_path)
        with pytest.raises(VerificationError, match="a line that is no block"):
            next(records)
        assert tracemalloc.get_traced_memory()[0] < 1 << 24
    finally:
        tracemalloc.stop()


def test_a_line_of_the_ledger_is_read_no_further_than_any_block_goes(tmp_path: Path) -> None:
    LedgerFile(tmp_path, EmbeddedChain([Account.create().address]))
    with (tmp_path / "ledger.jsonl").open("a") as file:
        file.write(
            '{"number":1,"timestamp":1735689601,"hash":"0x00","transactions":["ab"' + ',"ab"' * 4_000_000 + "]}\n"
        )
    _, records = read_ledger(tmp_path)
    tracemalloc.start()
    try:
        with pytest.raises(VerificationError, match="a line that is no block"):
            next(records)
        assert tracemalloc.get_traced_memory()[1] < 1 << 27
    finally:
        tracemalloc.stop()


def test_what_the_disk_refuses_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"^cannot read run\.json: broken$"), of_the_run("invalid", StorageError):
        raise StorageError("cannot read run.json: broken") from OSError(errno.EIO, "broken")  # which names no file


def test_a_ledger_has_no_more_accounts_than_a_run(tmp_path: Path) -> None:
    accounts = [to_checksum_address(number.to_bytes(20)) for number in range(1, 3_001)]
    (tmp_path / "ledger.jsonl").write_text(json.dumps({"accounts": accounts}, separators=(",", ":")) + "\n")
    with pytest.raises(VerificationError, match=r"does not begin with the genesis accounts$"):
        read_ledger(tmp_path)


def test_the_key_is_its_owners_alone_and_is_read_as_it_was_written(tmp_path: Path) -> None:
    key = new_identity()
    write_key(tmp_path, key)
    assert stat.S_IMODE((tmp_path / "job.key").stat().st_mode) == 0o600
    assert read_key(tmp_path) == key


def test_a_new_folder_stays_where_the_run_left_something(tmp_path: Path) -> None:
    def run() -> None:
        with new_folder(tmp_path / "run"):
            RUN.write(tmp_path / "run")
            raise StorageError("full")

    with pytest.raises(StorageError):
        run()
    assert (tmp_path / "run/run.json").exists()


@pytest.mark.parametrize("fault", [UsageError("x"), KeyboardInterrupt()])
def test_a_new_folder_goes_again_where_it_left_nothing(fault: BaseException, tmp_path: Path) -> None:
    def run() -> None:
        with new_folder(tmp_path / "run"):
            (tmp_path / "run/blobs").mkdir()
            raise fault

    with pytest.raises(type(fault)):
        run()
    assert not (tmp_path / "run").exists()


def test_an_empty_folder_will_do(tmp_path: Path) -> None:
    with new_folder(tmp_path):
        pass


def test_of_two_runs_that_begin_at_once_one_has_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "run"
    with new_folder(folder):
        monkeypatch.setattr(Path, "iterdir", lambda path: iter(()))  # the other looked before the first had written
        with pytest.raises(UsageError, match="another run has begun in "), new_folder(folder):
            pass
        assert folder.exists()
