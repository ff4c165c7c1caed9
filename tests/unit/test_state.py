"""What a node remembers between two lives: on disk before it counts, of one deployment, for one process."""

from __future__ import annotations

import errno
import fcntl
import json
import stat
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from hypothesis import given, settings
from hypothesis import strategies as st

from hmchain.consortium import Consortium
from hmchain.errors import StorageError, UsageError
from hmchain.files import write_secret
from tests.unit.full_disk import files_of_at_most
from trainers.state import FORMAT, NodeState, sole_account, sole_use

CONSORTIUM = Consortium(1337, "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "0x" + "1a" * 32, 7)
CONTENT = {"format": FORMAT, "chain_id": 1337, "contract": CONSORTIUM.contract, "outbox": None, "ballots": {}}
ROUNDS = st.integers(0, 2**16)
BALLOTS = st.dictionaries(st.tuples(ROUNDS, ROUNDS), st.lists(st.integers(0, 2**16 - 1), max_size=5), max_size=5)


def transaction(nonce: int, data: bytes = b"") -> bytes:
    """One that is signed."""
    fields = {"chainId": 1337, "nonce": nonce, "value": 0, "gas": 21_000, "data": data}
    fees = {"maxFeePerGas": 0, "maxPriorityFeePerGas": 0, "to": CONSORTIUM.contract}
    return bytes(Account.from_key(b"\7" * 32).sign_transaction(fields | fees).raw_transaction)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.json"


def opened(path: Path) -> NodeState:
    return NodeState.open(path, CONSORTIUM)


# ---------------------------------------------------------------- what is kept


def test_a_node_begins_with_nothing_and_writes_nothing(path: Path) -> None:
    state = opened(path)
    assert state.noted() is None
    assert dict(state.ballots_of(1)) == {}
    assert not path.exists()


@given(nonce=st.integers(0, 2**64 - 2), data=st.binary(max_size=300), ballots=BALLOTS)
@settings(max_examples=25, deadline=None)
def test_the_next_life_finds_what_was_kept(
    tmp_path_factory: pytest.TempPathFactory, nonce: int, data: bytes, ballots: dict[tuple[int, int], list[int]]
) -> None:
    raw = transaction(nonce, data)
    path = tmp_path_factory.getbasetemp() / "kept_state.json"
    path.unlink(missing_ok=True)
    state = opened(path)
    state.note(nonce, raw)
    for (job, round), words in ballots.items():
        state.ballots_of(job)[round] = words
    again = opened(path)
    assert again.noted() == (nonce, raw)
    assert {key: again.ballots_of(key[0])[key[1]] for key in ballots} == ballots
    again.clear()
    assert (opened(path).noted(), opened(path).ballots) == (None, state.ballots)


def test_a_transaction_is_on_disk_when_note_returns(path: Path) -> None:
    state, (first, second) = opened(path), (transaction(5), transaction(6))
    state.note(5, first)
    assert json.loads(path.read_text())["outbox"] == {"nonce": 5, "raw": f"0x{first.hex()}"}
    state.note(6, second)
    assert opened(path).noted() == (6, second), "the last one"
    state.clear()
    assert json.loads(path.read_text())["outbox"] is None


def test_a_ballot_is_on_disk_when_it_is_put(path: Path) -> None:
    ballots = opened(path).ballots_of(3)
    ballots[7] = [300, 4, 299]
    assert json.loads(path.read_text())["ballots"] == {"3/7": [300, 4, 299]}
    assert opened(path).ballots_of(3)[7] == [300, 4, 299]
    del ballots[7]
    assert json.loads(path.read_text())["ballots"] == {}


def test_the_file_is_its_owners_alone(path: Path) -> None:
    """Scores that were committed to but not revealed are secret."""
    opened(path).ballots_of(1)[1] = [300]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    with pytest.raises(UsageError, match="can be read by others"):
        opened(path)


def test_what_cannot_be_kept_has_not_happened(path: Path) -> None:
    state = opened(path)
    state.note(1, transaction(1))
    ballots = state.ballots_of(1)
    ballots[1] = [300]
    with files_of_at_most(10):
        note = partial(state.note, 2, transaction(2))
        for change in (note, state.clear, lambda: ballots.update({2: [1]}), ballots.clear):
            with pytest.raises(StorageError, match="cannot write"):
                change()
    for seen in (state, opened(path)):
        assert seen.noted() == (1, transaction(1))
        assert dict(seen.ballots_of(1)) == {1: [300]}


# ---------------------------------------------------------------- ballots as a mapping


def test_the_ballots_of_a_job_are_a_mapping_of_its_rounds_alone(path: Path) -> None:
    state = opened(path)
    one, eleven = state.ballots_of(1), state.ballots_of(11)
    one[1], one[2], eleven[1] = [1], [2], [3]
    assert (dict(one), dict(eleven)) == ({1: [1], 2: [2]}, {1: [3]})
    assert (len(one), len(eleven), len(state.ballots_of(2))) == (2, 1, 0)
    assert (1 in one, 3 in one, one.get(3)) == (True, False, None)
    one[1] = [9]
    assert opened(path).ballots_of(1)[1] == [9]


def test_a_round_without_a_ballot_is_a_key_error(path: Path) -> None:
    ballots = opened(path).ballots_of(1)
    with pytest.raises(KeyError):
        ballots[1]
    with pytest.raises(KeyError):
        del ballots[1]


def test_ballots_can_be_dropped_while_they_are_gone_through(path: Path) -> None:
    ballots = opened(path).ballots_of(1)
    ballots.update({n: [n] for n in range(5)})
    for number in ballots:
        if number < 4:
            del ballots[number]
    assert dict(opened(path).ballots_of(1)) == {4: [4]}


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize("change", [{"chain_id": 1}, {"contract": "0x" + "11" * 20}], ids=str)
def test_the_state_of_another_deployment_is_refused(change: dict[str, Any], path: Path) -> None:
    opened(path).note(1, transaction(1))
    with pytest.raises(UsageError, match=f"belongs to contract {CONSORTIUM.contract} on chain 1337, not to the one"):
        NodeState.open(path, replace(CONSORTIUM, **change))


def test_the_state_of_another_format_is_refused(path: Path) -> None:
    write_secret(path, json.dumps(CONTENT | {"format": "hmchain-node/2"}).encode())
    with pytest.raises(UsageError):
        opened(path)


def test_an_empty_state_as_it_is_written_opens(path: Path) -> None:
    write_secret(path, json.dumps(CONTENT).encode())
    assert (opened(path).noted(), opened(path).ballots) == (None, {})


@pytest.mark.parametrize(
    "change",
    [
        {"outbox": {}},
        {"outbox": 7},
        {"outbox": {"nonce": 1}},
        {"outbox": {"nonce": "x", "raw": "0x01"}},
        {"outbox": {"nonce": None, "raw": "0x01"}},
        {"outbox": {"nonce": float("inf"), "raw": "0x01"}},
        {"outbox": {"nonce": 1, "raw": "zz"}},
        {"outbox": {"nonce": 1, "raw": 7}},
        {"outbox": {"nonce": 1, "raw": "0x"}},
        {"outbox": {"nonce": 1, "raw": "0x02c0"}},
        {"outbox": {"nonce": 1, "raw": f"0x{transaction(1)[:-1].hex()}"}},
        {"ballots": None},
        {"ballots": []},
        {"ballots": {"1/1": 7}},
        {"ballots": {"1/1": ["x"]}},
        {"ballots": {"1/1": [None]}},
        {"ballots": {"1/1": [float("inf")]}},
        {"ballots": {"1/one": [300]}},
    ],
    ids=str,
)
def test_a_damaged_state_is_refused_and_the_danger_named(change: dict[str, Any], path: Path) -> None:
    write_secret(path, json.dumps(CONTENT | change).encode())
    with pytest.raises(UsageError, match=r"state\.json is damaged; without it .* a running round may be missed"):
        opened(path)


@pytest.mark.parametrize("key", CONTENT)
def test_a_state_without_one_of_its_keys_is_damaged(key: str, path: Path) -> None:
    write_secret(path, json.dumps({k: v for k, v in CONTENT.items() if k != key}).encode())
    with pytest.raises(UsageError, match="is damaged"):
        opened(path)


@given(st.binary(max_size=60) | st.sampled_from([b"[]", b"null", b"7", b"{}", b"[" * 99_999]))
@settings(max_examples=25, deadline=None)
def test_other_bytes_are_refused_and_nothing_else_is_raised(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "no_state.json"
    write_secret(path, data)
    with pytest.raises(UsageError, match="is damaged"):
        opened(path)


# ---------------------------------------------------------------- one node a state


@contextmanager
def another_process(path: Path, lock: str = "sole_use") -> Iterator[subprocess.Popen[str]]:
    """A process that holds a state, or an account, until its input ends, and says so."""
    program = """
        import sys
        from pathlib import Path
        from trainers import state
        with getattr(state, sys.argv[2])(Path(sys.argv[1])):
            print("held", flush=True)
            sys.stdin.read()
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), str(path), lock],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_second_process_is_refused_while_the_first_one_lives(path: Path) -> None:
    with another_process(path) as process:
        with pytest.raises(UsageError, match=r"another process uses .*: a hospital runs one node"), sole_use(path):
            raise AssertionError
        process.kill()
        process.wait()
        with sole_use(path):
            pass  # a killed node leaves no lock behind


def test_a_second_process_is_refused_an_account_whatever_its_state_and_however_it_names_the_keys(path: Path) -> None:
    keystore, link = path.with_name("operator.json"), path.with_name("link.json")
    keystore.write_text("{}")
    keystore.chmod(0o400)
    link.symlink_to(keystore)
    with another_process(keystore, "sole_account") as process:
        told = r"^another process uses .*link\.json: a hospital runs one node$"
        with sole_use(path), pytest.raises(UsageError, match=told), sole_account(link):
            raise AssertionError
        process.kill()
        process.wait()
        with sole_account(link):
            pass


def test_keys_that_are_not_there_or_cannot_be_locked_are_left_to_whoever_reads_them(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with sole_account(path):
        pass
    path.write_text("{}")
    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", unable)
        with sole_account(path):
            pass
        with pytest.raises(UsageError, match="another process uses"), sole_use(path):
            raise AssertionError


def unable(*_: object) -> None:
    """NFS's answer to who would lock a file that is open for reading."""
    raise OSError(errno.EBADF, "Bad file descriptor")


def test_a_state_can_be_held_again_and_beside_another_one(path: Path) -> None:
    for _ in range(2):
        with sole_use(path), sole_use(path.with_name("other.json")):
            opened(path).note(1, transaction(1))
            opened(path).clear()


def test_the_lock_is_released_after_a_fault(path: Path) -> None:
    with pytest.raises(ZeroDivisionError), sole_use(path):
        raise ZeroDivisionError
    with sole_use(path):
        pass


def test_where_no_lock_can_be_made_there_is_one_line(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere" / "state.json"
    with pytest.raises(StorageError, match=r"^cannot use .*\.lock: No such file or directory$"), sole_use(nowhere):
        raise AssertionError
