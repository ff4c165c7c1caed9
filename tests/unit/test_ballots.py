"""The votes of a consortium as they are listed: open, carried, closed."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from eth_account import Account

from coordinator.ballots import MOTIONS, cast_vote, check_candidate, check_motion, listing, title
from coordinator.deploy import found
from coordinator.session import Session
from hmchain.card import Card
from hmchain.chain import ChainClient
from hmchain.contract import Artifact
from hmchain.embedded import EmbeddedChain
from hmchain.envelope import new_identity
from hmchain.errors import ContractError, UsageError
from hmchain.ledger import JobFeed

FORTNIGHT = 14 * 24 * 3600
CANDIDATE, KEY = Account.create().address, new_identity().public
CARD = Card("New", CANDIDATE, KEY)


class Table:
    """A consortium of four; member 1 reads the list."""

    def __init__(self) -> None:
        accounts = [Account.create() for _ in range(4)]
        self.chain = EmbeddedChain([account.address for account in accounts])
        members = [(account.address, new_identity().public, b"H".ljust(32, b"\0")) for account in accounts]
        client, deployment = found(self.chain.web3, accounts[0], members)
        self.session = Session(client, JobFeed(client, deployment.block).poll())
        address, artifact = client.call("ballots"), Artifact.load("Ballots")
        self.voters = [ChainClient(self.chain.web3, account, address, artifact) for account in accounts]

    def propose_admission(self, name: bytes = b"New", operator: str = CANDIDATE, key: bytes = KEY) -> None:
        organisation = (operator, key, name.ljust(32, b"\0"))
        self.voters[0].transact("proposeAdmission", organisation)

    def carry(self, motion: str, member: int) -> None:
        number = self.voters[0].call("ballotCount") + 1
        self.voters[0].transact("proposeMotion", MOTIONS.index(motion), member)
        for voter in self.voters[1 : self.voters[0].call("quorum")]:
            cast_vote(voter, number, voter.call("ballot", number))
        assert self.voters[0].call("ballot", number)[4], "carried"


@pytest.fixture
def table() -> Table:
    return Table()


def test_before_a_vote_was_called_there_is_none(table: Table) -> None:
    assert listing(table.session) == []


def test_a_vote_is_open_until_it_has_its_majority(table: Table) -> None:
    table.propose_admission()
    opened = table.session.client.block().time
    expected = {
        "ballot": 1,
        "motion": "admit",
        "member": 0,
        "candidate": f"New {CANDIDATE}",
        "key": KEY.hex(),
        "votes": 1,
        "needed": 3,
        "state": "open",
        "expires": opened + FORTNIGHT,
    }
    assert listing(table.session) == [expected]
    cast_vote(table.voters[1], 1, table.voters[1].call("ballot", 1))
    assert listing(table.session) == [expected | {"votes": 2}]
    cast_vote(table.voters[2], 1, table.voters[2].call("ballot", 1))
    (row,) = listing(table.session)
    assert (row["votes"], row["state"]) == (3, "carried")


def test_who_is_concerned_is_counted(table: Table) -> None:
    for number, motion in ((1, "suspend"), (2, "reinstate"), (3, "remove")):
        table.voters[0].transact("proposeMotion", number, 4)
        row = listing(table.session)[-1]
        assert (row["motion"], row["member"], row["needed"]) == (motion, 4, 3)
        assert row["candidate"] is row["key"] is None


def test_which_votes_can_be_carried_out(table: Table) -> None:
    """Against the contract: what is refused here could not be carried, and what is not refused can be."""
    for done, may in (
        (None, {"suspend", "remove"}),
        ("suspend", {"reinstate", "remove"}),
        ("reinstate", {"suspend", "remove"}),
        ("remove", set()),
    ):
        if done is not None:
            table.carry(done, 4)
        allowed = set()
        for motion in MOTIONS[1:]:
            with suppress(UsageError):
                check_motion(table.session, motion, 4)
                allowed.add(motion)
        assert allowed == may, done
    check_motion(table.session, "admit", CARD.to_abi())


def test_a_vote_ends_after_a_fortnight(table: Table) -> None:
    table.propose_admission()
    table.chain.travel(FORTNIGHT)
    assert [row["state"] for row in listing(table.session)] == ["open"]
    table.chain.travel(1)
    assert [row["state"] for row in listing(table.session)] == ["closed"]


def test_a_departure_closes_all_other_votes(table: Table) -> None:
    table.propose_admission()
    table.voters[0].transact("proposeMotion", 3, 4)
    for voter in table.voters[1:3]:
        cast_vote(voter, 2, voter.call("ballot", 2))
    assert [(row["motion"], row["state"]) for row in listing(table.session)] == [
        ("admit", "closed"),
        ("remove", "carried"),
    ]


@pytest.mark.parametrize("name", [b"a\nb", b"\x1b[2J", b"\xff"], ids=repr)
def test_a_candidates_name_cannot_play_with_the_terminal(name: bytes, table: Table) -> None:
    table.propose_admission(name)
    (row,) = listing(table.session)
    assert row["candidate"].isprintable()
    assert row["candidate"].endswith(CANDIDATE)


def test_a_vote_is_for_what_was_seen(table: Table) -> None:
    """A node shows a harmless motion under the number of another."""
    table.voters[0].transact("proposeMotion", MOTIONS.index("remove"), 4)
    motion, member, *rest = table.voters[1].call("ballot", 1)
    with pytest.raises(ContractError, match="the chain has another motion under this number"):
        cast_vote(table.voters[1], 1, (motion, 3, *rest))
    cast_vote(table.voters[1], 1, (motion, member, *rest))
    assert [row["votes"] for row in listing(table.session)] == [2]


def test_a_motion_in_words(table: Table) -> None:
    table.propose_admission()
    table.voters[0].transact("proposeMotion", MOTIONS.index("reinstate"), 4)
    ballots = [table.voters[0].call("ballot", number) for number in (1, 2)]
    assert [title(ballot) for ballot in ballots] == [f"to admit New {CANDIDATE}", "to reinstate member 4"]


def test_all_votes_are_listed_the_oldest_first(table: Table) -> None:
    for _ in range(3):
        table.propose_admission(operator=Account.create().address)
    assert [row["ballot"] for row in listing(table.session)] == [1, 2, 3]


# ---------------------------------------------------------------- whom an admission is about


def test_a_ballot_that_is_about_the_card_may_be_voted_on(table: Table) -> None:
    table.propose_admission()
    check_candidate(1, table.session.ballots.call("ballot", 1), CARD)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"key": new_identity().public}, "encryption key"),
        ({"operator": Account.create().address}, "operator account"),
        ({"name": b"Other"}, "name"),
        ({"name": b"Other", "key": new_identity().public}, "encryption key, name"),
    ],
    ids=["key", "operator", "name", "both"],
)
def test_a_proposer_cannot_put_its_own_in_the_newcomers_place(changes: dict[str, Any], what: str, table: Table) -> None:
    table.propose_admission(**changes)
    with pytest.raises(UsageError, match=f"^ballot 1 has another {what} than the card of New: not voted$"):
        check_candidate(1, table.session.ballots.call("ballot", 1), CARD)


def test_a_card_is_for_an_admission(table: Table) -> None:
    table.voters[0].transact("proposeMotion", MOTIONS.index("remove"), 4)
    with pytest.raises(UsageError, match=r"^ballot 1 is to remove a member: a card"):
        check_candidate(1, table.session.ballots.call("ballot", 1), CARD)
