"""/metrics and /healthz, asked over real HTTP on loopback."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.server import ThreadingHTTPServer
from typing import Any

import pytest

from hmchain.contract import Receipt
from hmchain.errors import UsageError
from hmchain.ethereum import Head
from hmchain.rounds import MAX_CLIENTS, Phase
from trainers.health import Health, longest_step, serve

HEAD = Head(17, "0x11", 990)
RECEIPT = Receipt(gas=50_000, block=17, transaction="0x22", events=())


class Clock:
    """The hospital's own, which only this page reads; also its stopwatch, where nobody sets the clock."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def health(clock: Clock) -> Health:
    """Of a node that has looked at a chain whose head is ten seconds old."""
    health = Health(60.0, clock, clock)
    health.looked(HEAD)
    return health


@pytest.fixture(scope="module")
def listen() -> Iterator[Callable[..., str]]:
    """Serves a page and returns its URL. All end together: each takes half a second to notice."""
    servers: list[ThreadingHTTPServer] = []

    def start(health: Health, host: str = "127.0.0.1") -> str:
        servers.append(serve(health, (host, 0)))
        return f"http://{f'[{host}]' if ':' in host else host}:{servers[-1].server_address[1]}"

    yield start
    with ThreadPoolExecutor(len(servers)) as pool:
        list(pool.map(ThreadingHTTPServer.shutdown, servers))
    for server in servers:
        server.server_close()


def get(url: str, method: str = "GET") -> tuple[int, str, str]:
    """Status, content type, body."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=5) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, refusal.headers["Content-Type"], refusal.read().decode()


def metrics(url: str) -> dict[str, float]:
    """Samples by name and labels."""
    status, kind, body = get(f"{url}/metrics")
    assert status == 200
    assert kind.startswith("text/plain; version=")
    lines = [line for line in body.splitlines() if not line.startswith("#") and "_created" not in line]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def healthz(url: str) -> tuple[int, dict[str, Any]]:
    status, kind, body = get(f"{url}/healthz")
    assert kind == "application/json"
    facts = json.loads(body)
    assert facts["healthy"] == (status == 200)
    return status, facts


# ---------------------------------------------------------------- metrics


def test_every_metric_has_its_name_and_its_meaning(health: Health, clock: Clock, listen: Callable[..., str]) -> None:
    clock.now = 1007.5
    health.acted("submitUpdate", RECEIPT)
    health.acted("submitUpdate", RECEIPT)
    health.acted("enrol", RECEIPT)
    health.failed("blobs", chain=False)
    health.at(1, 4, Phase.PREPARE)
    health.at(2, 0, Phase.ENROLMENT)
    assert metrics(listen(health)) == {
        "hmchain_head_block": 17,
        "hmchain_block_age_seconds": 17.5,
        "hmchain_chain_up": 1,
        "hmchain_blob_store_up": 1,
        "hmchain_last_action_timestamp_seconds": 1007.5,
        'hmchain_actions_total{action="submitUpdate"}': 2,
        'hmchain_actions_total{action="enrol"}': 1,
        'hmchain_faults_total{kind="blobs"}': 1,
        "hmchain_gas_used_total": 150_000,
        'hmchain_round{job="1"}': 4,
        'hmchain_round{job="2"}': 0,
        'hmchain_phase{job="1"}': 5,
        'hmchain_phase{job="2"}': 1,
    }


def test_what_is_down_is_zero_and_comes_back(health: Health, listen: Callable[..., str]) -> None:
    url = listen(health)
    health.failed("chain", chain=True)
    health.stored(False)
    seen = metrics(url)
    assert (seen["hmchain_chain_up"], seen["hmchain_blob_store_up"]) == (0, 0)
    assert seen['hmchain_faults_total{kind="chain"}'] == 1
    health.looked(HEAD)
    health.stored(True)
    seen = metrics(url)
    assert (seen["hmchain_chain_up"], seen["hmchain_blob_store_up"]) == (1, 1)


def test_before_a_block_was_seen_its_age_is_infinite(clock: Clock, listen: Callable[..., str]) -> None:
    seen = metrics(listen(Health(60.0, clock, clock)))
    assert seen["hmchain_block_age_seconds"] == float("inf")
    assert seen["hmchain_last_action_timestamp_seconds"] == 0


def test_two_nodes_in_one_process_do_not_share_their_metrics(clock: Clock, listen: Callable[..., str]) -> None:
    one, other = Health(60.0, clock, clock), Health(60.0, clock, clock)
    one.acted("enrol", RECEIPT)
    assert metrics(listen(one))["hmchain_gas_used_total"] == 50_000
    assert metrics(listen(other))["hmchain_gas_used_total"] == 0


# ---------------------------------------------------------------- healthz


def test_a_node_that_is_well_says_so(health: Health, listen: Callable[..., str]) -> None:
    assert healthz(listen(health)) == (
        200,
        {"healthy": True, "chain": True, "block_age_seconds": 10.0, "blob_store": True, "seconds_since_look": 0.0},
    )


def test_a_node_that_has_seen_no_block_yet_is_not_well(clock: Clock, listen: Callable[..., str]) -> None:
    status, facts = healthz(listen(Health(60.0, clock, clock)))
    assert (status, facts["block_age_seconds"]) == (503, None)


def chain_down(health: Health, clock: Clock) -> None:
    health.failed("chain", chain=True)


def store_down(health: Health, clock: Clock) -> None:
    health.stored(False)


def chain_stands_still(health: Health, clock: Clock) -> None:
    clock.now = HEAD.time + 61


def node_hangs(health: Health, clock: Clock) -> None:
    clock.now += longest_step(30.0) + 1
    health._max_block_age = 10**6


@pytest.mark.parametrize("what", [chain_down, store_down, chain_stands_still, node_hangs])
def test_a_node_that_is_not_well_says_so_until_it_is(
    what: Callable[[Health, Clock], None], health: Health, clock: Clock, listen: Callable[..., str]
) -> None:
    url = listen(health)
    what(health, clock)
    assert healthz(url)[0] == 503
    health.looked(Head(18, "0x12", int(clock.now)))
    health.stored(True)
    assert healthz(url)[0] == 200


def test_a_chain_that_stands_still_is_noticed_whatever_the_clock_says(listen: Callable[..., str]) -> None:
    """A clock that is hours slow would make each block seem to come from the future, hours before it is old."""
    clock, stopwatch = Clock(), Clock()
    health, behind = Health(60.0, clock, stopwatch), clock.now - 7200
    url, clock.now = listen(health), behind
    health.looked(HEAD)
    assert healthz(url)[1]["block_age_seconds"] == 0
    stopwatch.now += 61
    clock.now += 61
    health.looked(HEAD)
    status, facts = healthz(url)
    assert (status, facts["block_age_seconds"], facts["chain"]) == (503, 61, True)
    assert metrics(url)["hmchain_block_age_seconds"] == 61
    health.looked(Head(18, "0x12", 1061))
    assert healthz(url)[0] == 200


def test_a_clock_that_is_set_makes_no_step_long_and_no_long_step_short(listen: Callable[..., str]) -> None:
    clock, stopwatch = Clock(), Clock()
    health = Health(10**6, clock, stopwatch)
    health.looked(HEAD)
    url, clock.now = listen(health), clock.now + 7200
    assert healthz(url)[1]["seconds_since_look"] == 0
    clock.now, stopwatch.now = clock.now - 14_400, stopwatch.now + longest_step(30.0) + 1
    status, facts = healthz(url)
    assert (status, facts["seconds_since_look"]) == (503, round(longest_step(30.0) + 1, 1))


def test_a_step_may_take_as_long_as_every_clients_blob_and_no_longer(clock: Clock, listen: Callable[..., str]) -> None:
    health = Health(10**6, clock, clock, blob_seconds=60.0)
    health.looked(HEAD)
    clock.now += MAX_CLIENTS * 60 + 60  # all of them sought in vain, and what else a step does
    assert healthz(listen(health))[0] == 200
    clock.now += 600
    assert healthz(listen(health))[0] == 503


def test_a_step_that_failed_for_another_reason_is_no_illness(health: Health, listen: Callable[..., str]) -> None:
    health.failed("refused", chain=False)
    assert healthz(listen(health))[0] == 200


# ---------------------------------------------------------------- the server


@pytest.mark.parametrize("path", ["/", "/metrics/", "/healthz?x", "/../etc/passwd"])
def test_there_is_nothing_else(path: str, health: Health, listen: Callable[..., str]) -> None:
    assert get(listen(health) + path) == (404, "text/plain", "there are /metrics and /healthz\n")


def test_nothing_can_be_changed_through_it(health: Health, listen: Callable[..., str]) -> None:
    url = listen(health)
    assert [get(f"{url}/metrics", method)[0] for method in ("POST", "PUT", "DELETE")] == [501] * 3


def test_a_scrape_is_not_logged(health: Health, listen: Callable[..., str], capfd: pytest.CaptureFixture[str]) -> None:
    get(f"{listen(health)}/healthz")
    assert capfd.readouterr() == ("", "")


def has_ipv6() -> bool:
    try:
        with closing(socket.socket(socket.AF_INET6)) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback")
def test_it_listens_on_ipv6_too(health: Health, listen: Callable[..., str]) -> None:
    assert healthz(listen(health, "::1"))[0] == 200


def test_a_port_in_use_is_one_line(health: Health) -> None:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=rf"^cannot listen on 127\.0\.0\.1:{port}: Address already in use$"):
            serve(health, ("127.0.0.1", port))


def test_an_address_of_another_machine_is_one_line(health: Health) -> None:
    with pytest.raises(UsageError, match=r"^cannot listen on 192\.0\.2\.1:0: "):
        serve(health, ("192.0.2.1", 0))
