"""What befalls a consortium: a hospital that dies, one that joins, Ethereum nodes of every bad kind. It goes on."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from threading import Event, Lock
from typing import Any

import pytest

from hmchain.card import Card
from hmchain.history import RoundRecord
from hmchain.rounds import Phase
from tests.e2e.proxy import Answer, Call, Forward, Rule, ask
from tests.e2e.stripes import NAME, invoke
from tests.e2e.town import PATIENCE, Town
from tests.e2e.undisturbed import undisturbed
from trainers.config import FILE
from trainers.datasets import load
from trainers.partition import split
from trainers.splits import Shard

MakeTown = Callable[..., Town]


@pytest.fixture
def town_of(tmp_path: Path, data: Path) -> Iterator[MakeTown]:
    """Makes a town for the test, and closes it: no log of it, and no command line, may have held a secret."""
    towns: list[Town] = []

    def make(**job: Any) -> Town:
        towns.append(Town(tmp_path / "town", data, **job))
        return towns[-1]

    yield make
    for town in towns:
        town.close()


# ---------------------------------------------------------------- a death and an arrival


@pytest.fixture
def newcomers(data: Path) -> Shard:
    """The data of a hospital that was not there when the others divided theirs."""
    return split(load(NAME, data), 5, "iid", 7)[4]


class Death:
    """Kills the first hospital but the coordinator that is about to submit an update, which never leaves it."""

    def __init__(self, town: Town) -> None:
        self.happened, self.victim, self._lock = Event(), 0, Lock()
        for hospital in set(town.rpc) - {1}:
            town.rpc[hospital].rule = self._rule(town, hospital)

    def _rule(self, town: Town, hospital: int) -> Rule:
        def rule(call: Call, forward: Forward) -> Answer | None:
            with self._lock:
                if call.function != "submitUpdate" or self.happened.is_set():
                    return forward()
                self.victim = hospital
                town.kill(f"node-{hospital}")
                self.happened.set()
            return None

        return rule


def test_the_dead_cost_one_deadline_once_and_whoever_joins_or_comes_back_is_drawn(
    town_of: MakeTown, newcomers: Shard
) -> None:
    """Two masters, and as many clients as there are others: whoever is enrolled has a part in every round."""
    town = town_of(hospitals=4, rounds=4, masters=2, fraction=0.6, request_seconds=20)
    town.found()
    fifth = town.settle(newcomers)
    death = Death(town)
    town.start_nodes()
    assert death.happened.wait(PATIENCE), town.last_words()
    victim = death.victim
    town.wait("that the newcomer asks to be admitted", lambda _: "waiting to be admitted" in town.log(fifth))
    vote_in(town, fifth, voters=[n for n in range(1, 5) if n != victim])
    town.wait("that the newcomer is in the draws", lambda h: fifth in h.jobs[1].enrolled)
    town.wait("the second round", lambda h: 2 in h.jobs[1].rounds)
    with updates_held_back(town, 10.0):
        town.start_node(victim)
        town.wait("that the dead one is back", lambda h: victim in h.jobs[1].enrolled)
    rounds = town.wait_until_closed().jobs[1].rounds

    first, *later = rounds.values()
    assert first.silent() == {"update": [victim]}
    assert [record.number for record in rounds.values() if record.model is None] == []
    assert {record.number: record.silent() for record in later if record.silent()} == {}
    for member, missed in ((victim, {2}), (fifth, {1})):
        absent = opened_without(town, member)
        assert missed <= absent < set(rounds), "out of the draws, and in again"
        assert {n for n, record in rounds.items() if member in drawn(record)} == set(rounds) - absent
    assert len(rounds) == 4
    assert town.leaks() == []


@contextmanager
def updates_held_back(town: Town, seconds: float) -> Iterator[None]:
    """On their way, at most so long: a round must not be over before a node has started, however fast the machine."""
    released = Event()

    def rule(call: Call, forward: Forward) -> Answer:
        if call.function == "submitUpdate":
            released.wait(seconds)
        return forward()

    for proxy in town.rpc.values():
        proxy.rule = rule
    yield
    released.set()


def opened_without(town: Town, member: int) -> set[int]:
    """The rounds whose draw a member was out of."""
    absent, enrolled = set(), False
    for event in town.events():
        if event.name in ("MemberEnrolled", "MemberWithdrawn") and event.args["member"] == member:
            enrolled = event.name == "MemberEnrolled"
        if event.name == "RoundOpened" and not enrolled:
            absent.add(event.args["round"])
    return absent


def drawn(record: RoundRecord) -> set[int]:
    return {*record.clients, *record.masters}


def vote_in(town: Town, newcomer: int, voters: list[int]) -> None:
    """By the members' own commands, beside their nodes, which send from the same accounts."""
    first, *others = [town.folder(n) / FILE for n in voters]
    card = town.folder(newcomer) / "member.json"
    code, out, err = invoke("members", "propose", "admit", card, "--config", first)
    assert (code, err) == (0, "")
    ballot = re.fullmatch(r"ballot (\d+): waits for more votes.*\n", out)
    assert ballot, out
    key = Card.read(card).encryption.hex()
    assert f" key {key[:16]}…{key[-16:]}  1 of " in invoke("members", "ballots", "--config", first)[1]
    another = town.folder(voters[0]) / "member.json"
    code, out, err = invoke("members", "vote", ballot[1], "--card", another, "--config", others[0])
    assert (code, out) == (2, "")
    assert re.fullmatch(
        r"hmchain: ballot \d+ has another operator account, encryption key, name than the card of .*\n", err
    )
    for config in others:
        code, out, err = invoke("members", "vote", ballot[1], "--card", card, "--config", config)
        assert (code, err) == (0, "")
    assert re.fullmatch(rf"ballot {ballot[1]}, to admit .+ 0x[0-9A-Fa-f]{{40}}: carried\n", out)


# ---------------------------------------------------------------- an outage of all


def test_who_is_back_first_after_an_outage_of_all_waits_for_the_others(town_of: MakeTown) -> None:
    """Two of three are back, as many as there are masters; the third is drawn as well."""
    town = town_of(hospitals=3, rounds=2, masters=2, fraction=1.0)
    town.found()
    clients = [town.client_of(hospital) for hospital in (1, 2, 3)]
    for client in clients:
        client.transact("enrol", 1)
    clients[0].transact("startJob", 1)
    town.let_deadline_pass()
    for hospital in (1, 2):
        town.start_node(hospital)
    town.wait("a deadline for the third", lambda _: town.state().phase == Phase.WAITING and town.state().deadline)
    code, out, err = invoke("status", "--config", town.folder(1) / FILE)
    assert (code, err) == (0, "")
    assert re.search(r"round 2 of 2, WAITING; enrolled: 1, 2; others may enrol for \d+ s\n", out), out
    town.start_node(3)
    first, second = town.wait_until_closed().jobs[1].rounds.values()

    assert (first.failed, first.silent()) == (Phase.REQUEST, {"update": list(first.clients)})
    assert sorted(second.clients) == [1, 2, 3]
    assert (second.model is not None, second.silent()) == (True, {})


# ---------------------------------------------------------------- bad Ethereum nodes


class Harm:
    """An Ethereum node that does harm at every n-th call, and keeps count of what it is asked."""

    def __init__(self, harm: Rule, every: int = 1) -> None:
        self.asked: Counter[str] = Counter()
        self.done = 0
        self._harm, self._every, self._calls = harm, every, count(1)

    def __call__(self, call: Call, forward: Forward) -> Answer | None:
        self.asked[call.method] += 1
        if next(self._calls) % self._every:
            return forward()
        self.done += 1
        return self._harm(call, forward)


def dropping(*_: object) -> None:
    """Closes the connection."""


def server_error(*_: object) -> Answer:
    return Answer(500, b"no")


def internal_error(*_: object) -> Answer:
    return Answer.error(-32603, "internal error")


def other_chain(call: Call, forward: Forward) -> Answer:
    answer = forward()
    return answer.edited(lambda _: hex(1)) if call.method == "eth_chainId" else answer


def stalling(until: Event) -> Rule:
    """Answers nothing."""

    def rule(*_: object) -> None:
        until.wait(PATIENCE)

    return rule


def one_block_behind(call: Call, forward: Forward) -> Answer:
    """A node to which the newest block has not come yet: neither the block, nor its state, nor its receipts."""
    head = int(json.loads(forward(ask("eth_blockNumber")).body)["result"], 16) - 1

    def known(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: known(inner) for name, inner in value.items()}
        return hex(head) if value in ("latest", "pending") else value

    def unless_newer(result: Any) -> Any:
        number = result and result.get("number" if "Block" in call.method else "blockNumber")
        return None if number and int(number, 16) > head else result

    if call.method == "eth_blockNumber":
        return forward().edited(lambda _: hex(head))
    answer = forward(ask(call.method, *map(known, call.params)))
    found_by_name = call.method in ("eth_getTransactionReceipt", "eth_getTransactionByHash", "eth_getBlockByNumber")
    return answer.edited(unless_newer) if found_by_name else answer


def test_no_bad_ethereum_node_and_no_clock_keeps_hospitals_from_the_same_model(town_of: MakeTown) -> None:
    """Each hospital's first nodes are bad in a way of their own; the chain's clock is five minutes slow."""
    town, over = town_of(rounds=3), Event()
    expected = undisturbed(town.local)
    town.chain_options = ("--timestamp", str(int(time.time()) - 300))
    town.found()
    bad = {
        1: [Harm(stalling(over))],
        2: [Harm(internal_error, every=2), Harm(server_error, every=2)],
        3: [Harm(one_block_behind)],
        4: [Harm(other_chain)],
        5: [Harm(dropping, every=3), Harm(one_block_behind)],
    }
    for hospital, nodes in bad.items():
        town.give_nodes(hospital, *nodes)
    town.configure(1, "chain", timeout_seconds=1.0)
    town.start_nodes()
    rounds = town.wait_until_closed().jobs[1].rounds
    over.set()

    assert 280 < time.time() - town.client.block().time < 320
    assert {number: record.silent() for number, record in rounds.items() if record.silent()} == {}
    assert rounds[3].model == expected
    assert all(node.done for nodes in bad.values() for node in nodes)
    assert bad[3][0].asked["eth_sendRawTransaction"] > 0, "who is behind is slow, not wrong"
    assert set(bad[4][0].asked) == {"eth_chainId"}, "nothing else is asked of another chain"
    assert town.leaks() == []
