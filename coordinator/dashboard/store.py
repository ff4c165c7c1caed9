"""The index's tables: where it was read from, how far, the blocks it stands on, and the contract's events."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Column, Connection, Engine, Integer, MetaData, String, Table, Text, create_engine
from sqlalchemy.exc import SQLAlchemyError

from hmchain.chain import Head
from hmchain.contract import Event
from hmchain.errors import StorageError

METADATA = MetaData()
SOURCE = Table(
    "source",
    METADATA,
    Column("chain_id", String(80), primary_key=True),  # EIP-155 numbers may exceed 64 bits
    Column("genesis", String(66), nullable=False),
    Column("contract", String(42), nullable=False),
    Column("next_block", Integer, nullable=False),
    Column("generation", Integer, nullable=False),  # how often blocks were taken back
)
MARKS = Table(  # the last block of each range that was read: what a reorganisation is recognised by
    "marks",
    METADATA,
    Column("block", Integer, primary_key=True),
    Column("hash", String(66), nullable=False),
    Column("time", Integer, nullable=False),
)
EVENTS = Table(
    "events",
    METADATA,
    Column("block", Integer, primary_key=True),
    Column("log", Integer, primary_key=True),
    Column("tx", String(66), nullable=False),
    Column("name", String(64), nullable=False, index=True),
    Column("args", Text, nullable=False),
)


@dataclass(frozen=True)
class Origin:
    """The contract that is indexed, on its chain; the genesis block tells apart chains that share a number."""

    chain_id: str
    genesis: str
    contract: str


@dataclass(frozen=True)
class Cursor:
    """How far the index goes: blocks below next_block. generation counts the times that blocks were taken back."""

    origin: Origin
    next_block: int
    generation: int


def open_database(url: str, rebuild: bool = False) -> Engine:
    """The database, with its tables; emptied first for a rebuild. Raises StorageError."""
    try:
        engine = create_engine(url)
        if rebuild:
            METADATA.drop_all(engine)
        METADATA.create_all(engine)
    except (SQLAlchemyError, ImportError) as fault:
        raise StorageError(f"cannot use the database: {str(fault).splitlines()[0]}") from fault
    return engine


def cursor_of(connection: Connection) -> Cursor | None:
    """How far the index goes; None for an empty one."""
    row = connection.execute(SOURCE.select()).first()
    return Cursor(Origin(row.chain_id, row.genesis, row.contract), row.next_block, row.generation) if row else None


def begin(connection: Connection, origin: Origin, first_block: int) -> Cursor:
    """Starts an empty index."""
    connection.execute(SOURCE.insert().values(**asdict(origin), next_block=first_block, generation=0))
    return Cursor(origin, first_block, 0)


def move(connection: Connection, before: Cursor, next_block: int, generation: int) -> bool:
    """Moves the cursor; False where another dashboard on the same database moved it first."""
    unmoved = (SOURCE.c.next_block == before.next_block) & (SOURCE.c.generation == before.generation)
    result = connection.execute(SOURCE.update().where(unmoved).values(next_block=next_block, generation=generation))
    return result.rowcount == 1


def add(connection: Connection, events: Iterable[Event], head: Head) -> None:
    """Adds a range of blocks: its events, and its last block as a mark."""
    if rows := [_row(event) for event in events]:
        connection.execute(EVENTS.insert(), rows)
    connection.execute(MARKS.insert().values(block=head.number, hash=head.hash, time=head.time))


def cut(connection: Connection, block: int) -> None:
    """Takes back everything from a block on."""
    connection.execute(EVENTS.delete().where(EVENTS.c.block >= block))
    connection.execute(MARKS.delete().where(MARKS.c.block >= block))


def marks(connection: Connection) -> Iterator[Head]:
    """The marks, latest first."""
    for row in connection.execute(MARKS.select().order_by(MARKS.c.block.desc())):
        yield Head(row.block, row.hash, row.time)


def events_between(connection: Connection, first: int, end: int) -> Iterator[Event]:
    """The events of blocks first..end-1, in the order of the chain."""
    span = (EVENTS.c.block >= first) & (EVENTS.c.block < end)
    for row in connection.execute(EVENTS.select().where(span).order_by(EVENTS.c.block, EVENTS.c.log)):
        yield Event(row.name, json.loads(row.args, object_hook=_bytes), row.block, row.log, row.tx)


def _row(event: Event) -> dict[str, Any]:
    args = json.dumps(event.args, default=_hex, separators=(",", ":"))
    return {"block": event.block, "log": event.index, "tx": event.transaction, "name": event.name, "args": args}


def _hex(value: bytes) -> dict[str, str]:
    return {"hex": value.hex()}


def _bytes(value: dict[str, Any]) -> Any:
    return bytes.fromhex(value["hex"]) if value.keys() == {"hex"} else value
