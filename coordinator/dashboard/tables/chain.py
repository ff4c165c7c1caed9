"""What the chain was asked to do, and what it cost."""

from __future__ import annotations

from collections import defaultdict
from statistics import median

from coordinator.dashboard.reading import View
from coordinator.dashboard.sheet import Column, Kind, Sheet, moment

INTEGER, HASH, TIME = Kind.INTEGER, Kind.HASH, Kind.TIME


def gas(view: View) -> Sheet:
    """Gas by call, dearest first."""
    by_call: dict[str, list[int]] = defaultdict(list)
    for transaction in view.transactions:
        cost = view.costs.get(transaction)
        if cost and cost.gas is not None:
            by_call[cost.call].append(cost.gas)
    rows = [(c, len(g), min(g), round(median(g)), max(g), sum(g)) for c, g in by_call.items()]
    rows.sort(key=lambda row: -row[-1])
    columns = Column("call"), *(Column(name, INTEGER) for name in ("times", "least", "median", "most", "sum"))
    known = sum(len(found) for found in by_call.values())
    about = f"Gas by call, of {known:,} transactions of {len(view.transactions):,}."
    waiting = len(view.transactions) - len(view.costs)
    return Sheet("Gas", about + (" The others are being looked up." if waiting > 0 else ""), columns, rows)


def events(view: View) -> Sheet:
    """Every event, latest first."""
    rows = [
        (
            event.block,
            event.index,
            moment(view.times.get(event.block)),
            event.name,
            event.args.get("job"),
            event.args.get("round"),
            event.args.get("member"),
            event.transaction,
        )
        for event in reversed(view.events)
    ]
    columns = (
        Column("block", INTEGER),
        Column("log", INTEGER),
        Column("time", TIME),
        Column("event"),
        Column("job", INTEGER),
        Column("round", INTEGER),
        Column("member", INTEGER),
        Column("transaction", HASH),
    )
    return Sheet("Events", "Every event of the consortium's contracts, latest first.", columns, rows)
