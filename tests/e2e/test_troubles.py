"""Troubles of one hospital in a consortium at work: the rounds they fall into end as if nothing had happened."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
import requests
from eth_account.signers.local import LocalAccount

from hmchain.history import History, RoundRecord
from hmchain.rounds import Phase, RoundState
from hmchain.scores import is_score
from tests.e2e.proxy import Answer, Call, Forward, Rule, pass_on
from tests.e2e.town import Town, identity_of
from tests.e2e.undisturbed import keys_of, undisturbed_rounds
from trainers.status import awaited

SMALL_DISK, DISK_OF = "disk", 3  # a folder, and the hospital whose node keeps its state there
LIED_TO = 5


class BusyTown(Town):
    """One that works on while the tests come and go. Everybody is a master: a round needs them all."""

    def __init__(self, folder: Path, data: Path) -> None:
        super().__init__(folder, data, rounds=500, masters=5)
        self._undisturbed = undisturbed_rounds(self.local)
        self._expected = [next(self._undisturbed)]
        client = self._expected[0].clients[0]
        self.lonely = {client: next(n for n in self.rpc if n not in (client, DISK_OF))}
        self.disk = _mounted(self.folder(DISK_OF) / SMALL_DISK)
        if self.disk:
            self.configure(DISK_OF, state=f"{SMALL_DISK}/state.json")
        for n in self.rpc:
            self.configure(n, level="debug", format="json" if n == 1 else "text")

    def expected(self, number: int) -> RoundRecord:
        """A round as it is where nothing happens."""
        while len(self._expected) < number:
            self._expected.append(next(self._undisturbed))
        return self._expected[number - 1]

    def round(self) -> int:
        """The number of the latest."""
        return max(self.history().jobs[1].rounds)

    @contextmanager
    def trouble(self) -> Iterator[None]:
        """The rounds from the present one on until the trouble is over must end as if there had been none."""
        first = self.round()
        yield
        last = self.round()
        self.wait_for_round(last)
        rounds = self.history().jobs[1].rounds
        for number in range(first, last + 1):
            assert essence(rounds[number]) == essence(self.expected(number))
            assert rounds[number].silent() == {}

    def close(self) -> None:
        super().close()
        if self.disk:
            subprocess.run(["umount", self.disk], check=True)


def essence(record: RoundRecord) -> tuple[object, ...]:
    """Who was drawn, what was thought of whose update, and what came of it."""
    return record.number, record.clients, record.masters, record.scores, record.model


def _mounted(folder: Path) -> Path | None:
    """A disk of 1 MiB; None where it takes more rights than we have."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    with suppress(OSError):
        if os.geteuid() == 0 and subprocess.run(command, capture_output=True, check=False).returncode == 0:
            return folder
    return None


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Iterator[BusyTown]:
    """At work; one hospital's IPFS daemon gave wrong bytes when its node asked for the job's manifest."""
    town = BusyTown(tmp_path_factory.mktemp("busy") / "town", data)
    try:
        town.found()
        manifest = town.history().jobs[1].manifest_blob.cid
        town.ipfs[LIED_TO].rule = wrong_bytes(str(manifest))
        town.start_nodes()
        town.wait("a complaint about the manifest", partial(has_said, town, LIED_TO, f"other bytes for {manifest}"))
        town.ipfs[LIED_TO].rule = pass_on
        town.wait("the first round", lambda h: h.jobs[1].rounds)
        yield town
    finally:
        town.close()


def has_said(town: Town, hospital: int, text: str, _: History) -> bool:
    return text in town.log(hospital)


# ---------------------------------------------------------------- IPFS


def wrong_bytes(cid: str = "") -> Rule:
    """An IPFS daemon on a rotten disk: of one blob, or of all."""

    def rule(call: Call, forward: Forward) -> Answer:
        answer = forward()
        if not call.path.startswith("/api/v0/cat") or cid not in call.path or not answer.body:
            return answer
        return Answer(answer.status, answer.body[:-1] + bytes([answer.body[-1] ^ 1]), answer.headers)

    return rule


def test_whose_daemon_gives_wrong_bytes_says_so_and_judges_nobody_by_them(town: BusyTown) -> None:
    with town.trouble():
        town.ipfs[LIED_TO].rule = wrong_bytes()
        complaints = town.log(LIED_TO).count("gives other bytes for")
        town.wait("the complaint", lambda _: town.log(LIED_TO).count("gives other bytes for") > complaints)
        town.ipfs[LIED_TO].rule = pass_on
    assert "will try again" in town.log(LIED_TO)


def test_whose_daemon_gave_another_manifest_refused_no_job(town: BusyTown) -> None:
    assert "job opened" in town.log(LIED_TO)
    assert "job refused" not in town.log(LIED_TO)


def test_what_only_one_daemon_can_serve_reaches_all_through_those_that_it_knows(town: BusyTown) -> None:
    """By bitswap: the one has the blob from its author, and whoever asked in vain has it from that one."""
    [(author, friend)] = town.lonely.items()
    town.wait_for_round(1)
    first = town.history().jobs[1].rounds[1]
    position = first.clients.index(author)
    judges = set(town.rpc) - {author}
    assert {judge for judge in judges if is_score(first.scores[judge][position])} == judges
    assert first.model == town.expected(1).model

    names = {identity_of(kubo): n for n, kubo in enumerate(town.local.kubos, start=1)}
    kubos = dict(enumerate(town.local.kubos, start=1))
    neighbours = {}
    for n, kubo in kubos.items():
        answer = requests.post(f"http://127.0.0.1:{kubo.api_port}/api/v0/swarm/peers", timeout=10).json()
        neighbours[n] = {names[peer["Peer"]] for peer in answer["Peers"]}
    assert neighbours[author] == {friend}
    assert [n for n in town.rpc if author in neighbours[n]] == [friend]


# ---------------------------------------------------------------- the disk


def test_whose_disk_is_full_sends_nothing_until_there_is_room_again(town: BusyTown) -> None:
    """What could not be written down before is not sent: it might be sent twice."""
    if town.disk is None:
        pytest.skip("a small disk can be mounted by root alone")
    filler = town.disk / "filler"

    def complains(_: History) -> bool:
        fill(filler)  # again: a write that was in progress may have given room back
        return "No space left on device" in town.log(DISK_OF)

    with town.trouble():
        town.wait("the complaint", complains)
        before = town.nonce(DISK_OF)
        town.wait("that all wait for it alone", lambda _: stuck(town.state(), DISK_OF))
        block = town.web3.eth.block_number
        town.wait("some blocks", lambda _: town.web3.eth.block_number > block + 2)
        assert town.nonce(DISK_OF) == before
        assert stuck(town.state(), DISK_OF)
        filler.unlink()


def stuck(state: RoundState, hospital: int) -> bool:
    return state.phase in (Phase.REQUEST, Phase.PRE_PREPARE, Phase.PREPARE) and awaited(state) == [hospital]


def fill(file: Path) -> None:
    with suppress(OSError), file.open("ab", buffering=0) as disk:
        while True:
            disk.write(bytes(4096))


# ---------------------------------------------------------------- the account


def test_a_transaction_of_the_same_account_from_elsewhere_loses_no_message(town: BusyTown) -> None:
    """Sent with the very nonce of the node's next message, just before it; and at every block beside it."""
    hospital = 1
    account = keys_of(town.folder(hospital)).identity.account
    clashed: list[str] = []

    def rule(call: Call, forward: Forward) -> Answer:
        if call.function and call.function not in clashed:
            pay_oneself(town, account)
            clashed.append(call.function)
        return forward()

    with town.trouble():
        town.rpc[hospital].rule = rule
        town.wait("two clashes", lambda _: {"commitScores", "revealScores"} <= set(clashed))
        town.rpc[hospital].rule = pass_on
        town.wait("the complaint", partial(has_said, town, hospital, "another transaction of this account came first"))
    for function in clashed:
        counts = [n for (name, sender, *_), n in town.sent().items() if (name, sender) == (function, account.address)]
        assert counts
        assert set(counts) == {1}


def pay_oneself(town: Town, account: LocalAccount) -> None:
    """The plainest transaction there is."""
    web3 = town.web3
    nonce = web3.eth.get_transaction_count(account.address)
    fields = {"chainId": web3.eth.chain_id, "nonce": nonce, "gas": 21_000, "value": 0, "to": account.address}
    fees = {"maxFeePerGas": 2 * web3.eth.get_block("latest")["baseFeePerGas"], "maxPriorityFeePerGas": 0}
    sent = web3.eth.send_raw_transaction(account.sign_transaction(fields | fees).raw_transaction)
    assert web3.eth.wait_for_transaction_receipt(sent, timeout=10)["status"] == 1


# ---------------------------------------------------------------- secrets


def test_no_log_and_no_command_line_holds_a_secret(town: BusyTown) -> None:
    town.wait_for_round(1)
    assert town.leaks() == []
    log = town.folder(2) / "planted.log"
    log.write_text((town.folder(2) / "password").read_text())
    assert town.leaks() == [f"hospital 2's password in {log}"]
    log.unlink()
