"""Gas of every call and of whole rounds, on the real contract with made-up scores: no training, so it takes seconds.

python -m bench.gas            the table for consortia of 3, 20, 100 and 200 members, and that of records
python -m bench.gas --check    the two budgeted consortia and records only; exit 1 where a budget is missed
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from bench import records
from coordinator.deploy import Founder, create_job, found_consortium
from coordinator.report import GasTable
from hmchain.blobs import BlobRef
from hmchain.chain import ChainClient
from hmchain.cid import Cid, codec_for
from hmchain.embedded import EmbeddedChain
from hmchain.identity import MemberIdentity
from hmchain.ledger import ContractLedger, JobFeed
from hmchain.manifest import Manifest
from hmchain.rounds import Phase, quorum_of
from hmchain.scores import word_of_score

ROUNDS = 9  # the first writes fresh slots, every fourth elects a new committee
BLOB_BYTES = 950_000  # the paper's CNN, sealed


@dataclass(frozen=True)
class Shape:
    """A consortium: how many members, clients a round and masters; what a round and an update may cost."""

    members: int
    clients: int
    masters: int
    budget: int | None = None

    def __str__(self) -> str:
        return f"{self.members} members, k = {self.clients}, M = {self.masters}"


UPDATE_BUDGET = 60_000
BUDGETED = (Shape(3, 3, 3, 650_000), Shape(100, 10, 4, 1_000_000))
GROWTH = (Shape(20, 10, 4), Shape(200, 10, 4))


def measure(shape: Shape) -> GasTable:
    """Plays ROUNDS rounds in which everybody does its part."""
    ledgers, gas = _consortium(shape)
    for number in range(1, ROUNDS + 1):
        _play(ledgers, number)
    return gas


def _consortium(shape: Shape) -> tuple[list[ContractLedger], GasTable]:
    """Index 0 is the coordinator's ledger, index n that of member n."""
    identities = [MemberIdentity.create(_digest("salt", n)) for n in range(shape.members + 1)]
    chain = EmbeddedChain([identity.account.address for identity in identities])
    founders = [
        Founder(identity, f"Hospital {n}", _digest("root", n), 500) for n, identity in enumerate(identities[1:], 1)
    ]
    clients, _ = found_consortium(chain.web3, identities[0].account, founders)
    manifest = _manifest(shape)
    blobs = (_blob("manifest"), _blob("initial"))
    job = create_job(clients[1], clients[0].sender, manifest, blobs, _digest("model", 0))
    _enrol(clients, job)
    feed, gas = JobFeed(clients[0], 0), GasTable()
    return [ContractLedger(client, feed, job, n, on_gas=gas.add) for n, client in enumerate(clients)], gas


def _enrol(clients: list[ChainClient], job: int) -> None:
    for client in clients[1:]:
        client.transact("enrol", job)
    clients[0].transact("startJob", job)


def _manifest(shape: Shape) -> Manifest:
    fraction = -(-shape.clients * 10_000 // shape.members) / 10_000
    return Manifest("bench", 1, ("a", "b"), 0, rounds=ROUNDS, fraction=fraction, masters=shape.masters)


def _play(ledgers: list[ContractLedger], number: int) -> None:
    coordinator = ledgers[0]
    state = coordinator.state()
    for member in state.clients:
        ledgers[member].submit_update(state, 500, _blob("update", number, member))
    # Scores differ between masters and move between rounds, so that reputations move as they do in a real run.
    words = {
        m: [word_of_score(7000 + 100 * number + 37 * (m + c) % 900) for c in (*state.clients, 0)] for m in state.masters
    }
    for master in state.masters:
        ledgers[master].commit_scores(state, words[master], _digest("salt", number, master))
    for master in state.masters:
        ledgers[master].reveal_scores(state, words[master], _digest("salt", number, master))
    coordinator.propose_model(state, _digest("model", number), _blob("model", number))
    for master in state.masters[: quorum_of(len(state.masters))]:
        ledgers[master].attest_model(state, ledgers[master].record(number).proposals[-1])
    after = coordinator.state()
    assert after.completed == number, f"round {number} ended in {Phase(after.phase).name}"


def _digest(*parts: object) -> bytes:
    return hashlib.sha256(repr(parts).encode()).digest()


def _blob(*parts: object) -> BlobRef:
    return BlobRef(_digest(*parts), Cid(codec_for(BLOB_BYTES), _digest("cid", *parts)), BLOB_BYTES)


def table(results: dict[Shape, GasTable]) -> Iterator[str]:
    """The results as lines of Markdown, medians with extremes."""
    yield "| gas, median (min - max) | " + " | ".join(map(str, results)) + " |"
    yield "|---|" + "---:|" * len(results)
    rows = {shape: gas.summary() for shape, gas in results.items()}
    for name in next(iter(rows.values())):
        cells = (rows[shape][name] for shape in results)
        yield f"| {name} | " + " | ".join(f"{c['median']:,} ({c['min']:,} - {c['max']:,})" for c in cells) + " |"


def missed(results: dict[Shape, GasTable]) -> Iterator[str]:
    """A line for each budget that is not met."""
    for shape, gas in results.items():
        used = {name: row["median"] for name, row in gas.summary().items()}
        if shape.budget and used["round_total"] > shape.budget:
            yield f"{shape}: a round takes {used['round_total']:,} gas, the budget is {shape.budget:,}"
        if used["submit_update"] > UPDATE_BUDGET:
            yield f"{shape}: an update takes {used['submit_update']:,} gas, the budget is {UPDATE_BUDGET:,}"


def growth(results: dict[Shape, GasTable]) -> str:
    """How gas grows with the membership."""
    shapes = sorted(results, key=lambda shape: shape.members)
    updates = {shape.members: results[shape].summary()["submit_update"]["median"] for shape in shapes}
    rounds = {s.members: results[s].summary()["round_total"]["median"] for s in shapes if s.clients == 10}
    few, many = min(updates), max(updates)
    first, last = min(rounds), max(rounds)
    return (
        f"a client's update, {few} to {many} members: {updates[many] / updates[few] - 1:+.2%}; "
        f"a round of 10 clients and 4 masters, {first} to {last} members: {rounds[last] / rounds[first] - 1:+.2%}"
    )


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.gas", description=__doc__)
    parser.add_argument("--check", action="store_true", help="only the budgeted consortia; exit 1 where one is missed")
    check = parser.parse_args().check
    shapes = BUDGETED if check else sorted((*BUDGETED, *GROWTH), key=lambda shape: shape.members)
    results = {shape: measure(shape) for shape in shapes}
    print("\n".join(table(results)))
    if not check:
        print(growth(results))
    health = records.measure()
    print("", *health.lines(), "", sep="\n")
    over = [*missed(results), *health.missed()]
    print("\n".join(over) if over else "every budget is met")
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
