"""The commands that govern a consortium, as they are typed at one hospital; its chain is in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import pytest
from eth_account import Account

from coordinator.cli import main
from coordinator.deploy import found
from hmchain.card import Card
from hmchain.consortium import Consortium
from hmchain.embedded import EmbeddedChain
from hmchain.envelope import new_identity
from hmchain.files import write_secret
from trainers import keystore
from trainers.keystore import LIGHT

OTHER = Account.from_key("0x" + "0f" * 32)
Typed = Callable[..., str]


@pytest.fixture(scope="module")
def typed(tmp_path_factory: pytest.TempPathFactory) -> Typed:
    """What a command says at member 1, standard output or, where it fails, standard error."""
    folder = tmp_path_factory.mktemp("hospital")
    (folder / "keys").mkdir()
    write_secret(folder / "password", b"a password\n")
    own = keystore.create(folder / "keys", "a password", LIGHT)
    chain = EmbeddedChain([own.account.address, OTHER.address])
    founders = [
        (own.account.address, own.encryption.public, b"North".ljust(32, b"\0")),
        (OTHER.address, new_identity().public, b"\x1b[31mSouth".ljust(32, b"\0")),
    ]
    client, deployment = found(chain.web3, OTHER, founders)
    Consortium(client.chain_id, client.address, deployment.transaction, deployment.block).write(
        folder / "consortium.json"
    )
    (folder / "hospital.toml").write_text(
        'name = "North"\n[keys]\npassword_file = "password"\n[blobs]\nstore = "blobs"\n'
    )
    (folder / "job.toml").write_text(
        'dataset = "rows"\nclasses = ["a", "b"]\nfeatures = ["x"]\narchitecture = "logistic"\nmasters = 2\nrounds = 7\n'
    )

    def command(*words: str, code: int = 0) -> str:
        job = [str(folder / word) if word == "job.toml" else word for word in words]
        with (
            pytest.MonkeyPatch.context() as patch,
            redirect_stdout(StringIO()) as out,
            redirect_stderr(StringIO()) as err,
        ):
            patch.setattr("coordinator.session.connect", lambda *_: chain.web3)
            patch.setattr("trainers.status.connect", lambda *_: chain.web3)
            with pytest.raises(SystemExit) as end:
                main([*job, "--config", str(folder / "hospital.toml")])
        assert int(end.value.code or 0) == code, err.getvalue()
        return out.getvalue() if code == 0 else err.getvalue()

    return command


def test_members_are_listed_with_nothing_that_a_terminal_obeys(typed: Typed) -> None:
    first, second = typed("members", "list").splitlines()
    assert first.split()[:2] == ["1", "North"]
    assert first.endswith("  0 samples")
    assert r"\x1b[31mSouth" in second
    rows = json.loads(typed("members", "list", "--json"))
    assert [(row["member"], row["active"]) for row in rows] == [(1, True), (2, True)]
    assert rows[1]["operator"] == OTHER.address


def test_a_vote_is_called_and_listed(typed: Typed) -> None:
    assert typed("members", "ballots") == "no vote was ever called\n"
    assert "suspend takes a member's number, not 'South'" in typed("members", "propose", "suspend", "South", code=2)
    assert "suspend takes a member's number, not '99" in typed("members", "propose", "suspend", "9" * 5_000, code=2)
    told = typed("members", "propose", "suspend", "2")
    assert told == "ballot 1: waits for more votes: hmchain members vote 1\n"
    assert typed("members", "ballots") == "1    suspend   member 2  1 of 2  open\n"
    (row,) = json.loads(typed("members", "ballots", "--json"))
    assert (row["motion"], row["member"], row["votes"], row["state"]) == ("suspend", 2, 1, "open")
    assert "this member voted for it before" in typed("members", "vote", "1", code=4)


def test_a_vote_that_could_only_end_in_a_refusal_is_not_called(typed: Typed, tmp_path: Path) -> None:
    again = tmp_path / "again.json"
    Card("South again", OTHER.address, bytes([9]) * 32).write(again)
    assert f"{OTHER.address} is the account of member 2 already" in typed(
        "members", "propose", "admit", str(again), code=2
    )
    told = typed("members", "propose", "reinstate", "2", code=2)
    assert "member 2 is active: a vote to reinstate it could not be carried out" in told
    assert "no member has this number" in typed("members", "propose", "remove", "3", code=4)
    assert len(json.loads(typed("members", "ballots", "--json"))) == 1


def test_a_job_is_created_once_and_shown(typed: Typed) -> None:
    assert typed("job", "list").startswith("no job yet; hmchain job create --example")
    assert typed("job", "create", "job.toml") == "job 1 created\n"
    assert typed("job", "create", "job.toml") == "job 1 was created before\n"
    (line,) = typed("job", "list").splitlines()
    assert line == "1    round 0 of 7  ENROLMENT    0 models, 0 enrolled, coordinator 1"
    (row,) = json.loads(typed("job", "list", "--json"))
    assert (row["job"], row["phase"], row["completed"]) == (1, "ENROLMENT", 0)
    shown = json.loads(typed("job", "show", "1"))
    assert (shown["rounds"], shown["manifest"]["dataset"], shown["manifest"]["masters"]) == (7, "rows", 2)
    assert typed("job", "show", "2", code=2) == "hmchain: there is no job 2\n"
    assert "job 1    round 0 of 7, ENROLMENT; enrolled: nobody; it needs 2 members" in typed("status").splitlines()
