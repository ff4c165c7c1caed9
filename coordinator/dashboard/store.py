"""The index's database tables: its origin, its cursor, marks (blocks that it was read from), events, and gas."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    create_engine,
    event,
    func,
    inspect,
    select,
    text,
)
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from hmchain.contract import Event
from hmchain.errors import StorageError
from hmchain.ethereum import Head

TABLES_LOCK = 0x684D43  # PostgreSQL's advisory lock of whoever makes the tables
BUSY_SECONDS = 30  # that a writer waits for another one on the same SQLite file

METADATA = MetaData()
SOURCE = Table(
    "source",
    METADATA,
    Column("chain_id", String(80), primary_key=True),  # EIP-155 numbers may exceed 64 bits
    Column("genesis", String(66), nullable=False),
    Column("contract", String(42), nullable=False),
    Column("records", String(42), nullable=False),
    Column("next_block", BigInteger, nullable=False),
    Column("generation", BigInteger, nullable=False),  # one more whenever blocks are taken back
)
MARKS = Table(  # the last block of each range that was read: what a reorganisation is recognised by
    "marks",
    METADATA,
    Column("block", BigInteger, primary_key=True, autoincrement=False),
    Column("hash", String(66), nullable=False),
    Column("time", BigInteger, nullable=False),
)
EVENTS = Table(
    "events",
    METADATA,
    Column("block", BigInteger, primary_key=True, autoincrement=False),
    Column("log", Integer, primary_key=True),
    Column("tx", String(66), nullable=False),
    Column("name", String(64), nullable=False),
    Column("args", Text, nullable=False),
)
BLOCKS = Table(  # those that hold events, as far as their times are known
    "blocks",
    METADATA,
    Column("block", BigInteger, primary_key=True, autoincrement=False),
    Column("time", BigInteger, nullable=False),
)
COSTS = Table(  # transactions that made events, as far as their receipts were read
    "costs",
    METADATA,
    Column("tx", String(66), primary_key=True),
    Column("block", BigInteger, nullable=False, index=True),
    Column("call", String(64), nullable=False),
    Column("gas", BigInteger),
)


@dataclass(frozen=True)
class Origin:
    """The contracts that are indexed, on their chain; the genesis block tells apart chains that share a number.

    records is "" where the consortium has no Records contract.
    """

    chain_id: str
    genesis: str
    contract: str
    records: str


@dataclass(frozen=True)
class Cursor:
    """How far the index goes: blocks below next_block. generation grows when blocks are taken back."""

    origin: Origin
    next_block: int
    generation: int


@dataclass(frozen=True)
class Cost:
    """What a transaction was: the function that it called, and the gas that it used; None where no node knows it."""

    transaction: str
    block: int
    call: str
    gas: int | None


def open_database(url: str, rebuild: bool = False) -> Engine:
    """The database, with its tables; emptied first for a rebuild. Raises StorageError."""
    try:
        engine = create_engine(url)
        if engine.dialect.name == "sqlite":
            event.listen(engine, "connect", _share)
        elif engine.dialect.driver == "psycopg":
            from coordinator.dashboard.postgresql import connect  # psycopg is installed by those who need it

            event.listen(engine, "do_connect", connect)
        with engine.begin() as connection:
            if engine.dialect.name == "postgresql":  # where a table that another one is making at once is a fault
                connection.execute(select(func.pg_advisory_xact_lock(TABLES_LOCK)))
            if rebuild:
                _wait_for_readers(connection)
                METADATA.drop_all(connection)
            _check_whole(connection)
            METADATA.create_all(connection)
        with engine.connect() as connection:
            for table in METADATA.tables.values():
                connection.execute(select(table).limit(1))  # a database of another make is said now
    except (SQLAlchemyError, ImportError, ValueError) as fault:  # ValueError of a port that is no number
        raise StorageError(f"cannot use the database: {str(fault).splitlines()[0]}") from fault
    return engine


def _wait_for_readers(connection: Connection) -> None:
    """Locks the table that every reader and writer of an index begins with, in PostgreSQL: one of them and we would
    wait for each other's tables otherwise, until PostgreSQL ends either.
    """
    if connection.dialect.name == "postgresql" and inspect(connection).has_table(SOURCE.name):
        connection.execute(text(f"LOCK TABLE {SOURCE.name} IN ACCESS EXCLUSIVE MODE"))


def _check_whole(connection: Connection) -> None:
    """Raises StorageError for what is left of an index: with empty tables in place of those that are gone, it would be
    shown as if nothing had happened on the chain.
    """
    tables = METADATA.sorted_tables
    there = set(inspect(connection).get_table_names())
    gone = [table.name for table in tables if table.name not in there]
    if not gone:
        return
    if any(connection.execute(select(table).limit(1)).first() for table in tables if table.name in there):
        raise StorageError(f"the index in this database lacks {', '.join(gone)}; to read it again, use --rebuild")


def _share(connection: Any, _: Any) -> None:
    """Readers do not wait for the writer, and writers wait for one another."""
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")


# ---------------------------------------------------------------------- cursor


def cursor_of(connection: Connection) -> Cursor | None:
    """How far the index goes; None for an empty one."""
    row = connection.execute(SOURCE.select()).first()
    if row is None:
        return None
    return Cursor(Origin(row.chain_id, row.genesis, row.contract, row.records), row.next_block, row.generation)


def begin(connection: Connection, origin: Origin, first_block: int) -> Cursor:
    """Starts an empty index, at a random generation, so that no reader takes it for the index before.

    Where another dashboard starts it at the same time, theirs is the one.
    """
    generation = secrets.randbelow(1 << 31)
    row = SOURCE.insert().values(**asdict(origin), next_block=first_block, generation=generation)
    with suppress(IntegrityError), connection.begin_nested():
        connection.execute(row)
    cursor = cursor_of(connection)
    assert cursor is not None
    return cursor


def move(connection: Connection, before: Cursor, next_block: int, generation: int) -> bool:
    """Moves the cursor; False where another dashboard on the same database moved it first."""
    unmoved = (SOURCE.c.next_block == before.next_block) & (SOURCE.c.generation == before.generation)
    result = connection.execute(SOURCE.update().where(unmoved).values(next_block=next_block, generation=generation))
    return result.rowcount == 1


# ---------------------------------------------------------------------- what was read


def add(connection: Connection, events: Iterable[Event], times: Mapping[int, int], head: Head) -> None:
    """Adds a range of blocks: its events, the times of blocks that are known, and its last block as a mark."""
    if rows := [_row(event) for event in events]:
        connection.execute(EVENTS.insert(), rows)
    if moments := [{"block": block, "time": time} for block, time in times.items()]:
        connection.execute(BLOCKS.insert(), moments)
    connection.execute(MARKS.insert().values(block=head.number, hash=head.hash, time=head.time))


def add_costs(connection: Connection, costs: Iterable[Cost], times: Mapping[int, int]) -> None:
    """Adds what was found out about events that are in the index already."""
    rows = [{"tx": c.transaction, "block": c.block, "call": c.call, "gas": c.gas} for c in costs]
    moments = [{"block": block, "time": time} for block, time in times.items()]
    for table, key, new in ((COSTS, COSTS.c.tx, rows), (BLOCKS, BLOCKS.c.block, moments)):
        if new:  # another dashboard may have found out the same
            connection.execute(table.delete().where(key.in_([row[key.name] for row in new])))
            connection.execute(table.insert(), new)


def cut(connection: Connection, block: int) -> None:
    """Takes back everything from a block on."""
    for table in (EVENTS, MARKS, BLOCKS, COSTS):
        connection.execute(table.delete().where(table.c.block >= block))


def marks(connection: Connection) -> Iterator[Head]:
    """The marks, latest first."""
    for row in connection.execute(MARKS.select().order_by(MARKS.c.block.desc())):
        yield Head(row.block, row.hash, row.time)


def events_between(connection: Connection, first: int, end: int) -> Iterator[Event]:
    """The events of blocks first..end-1, in the order of the chain. Raises StorageError for one that is damaged."""
    span = (EVENTS.c.block >= first) & (EVENTS.c.block < end)
    for row in connection.execute(EVENTS.select().where(span).order_by(EVENTS.c.block, EVENTS.c.log)):
        try:
            args = json.loads(row.args, object_hook=_bytes)
        except (ValueError, TypeError) as fault:
            raise StorageError(f"the index is damaged at block {row.block}; start again with --rebuild") from fault
        yield Event(row.name, args, row.block, row.log, row.tx)


def times_of(connection: Connection) -> dict[int, int]:
    """Seconds since 1970 by block, as far as they are known."""
    return {row.block: row.time for row in connection.execute(BLOCKS.select())}


def costs_of(connection: Connection) -> Iterator[Cost]:
    """What is known of transactions, in the order of the chain."""
    for row in connection.execute(COSTS.select().order_by(COSTS.c.block)):
        yield Cost(row.tx, row.block, row.call, row.gas)


def unknown_costs(connection: Connection, most: int) -> list[tuple[str, int]]:
    """Transactions, with their blocks, whose receipts have not been read; the latest first."""
    known = select(COSTS.c.tx)
    wanted = select(EVENTS.c.tx, EVENTS.c.block).where(EVENTS.c.tx.not_in(known)).distinct()
    return [(row.tx, row.block) for row in connection.execute(wanted.order_by(EVENTS.c.block.desc()).limit(most))]


def unknown_times(connection: Connection, most: int) -> list[int]:
    """Blocks that hold events and whose times are not known; the latest first."""
    wanted = select(EVENTS.c.block).where(EVENTS.c.block.not_in(select(BLOCKS.c.block))).distinct()
    return [row.block for row in connection.execute(wanted.order_by(EVENTS.c.block.desc()).limit(most))]


def _row(event: Event) -> dict[str, Any]:
    args = json.dumps(event.args, default=_hex, separators=(",", ":"))
    return {"block": event.block, "log": event.index, "tx": event.transaction, "name": event.name, "args": args}


def _hex(value: bytes) -> dict[str, str]:
    return {"hex": value.hex()}


def _bytes(value: dict[str, Any]) -> Any:
    return bytes.fromhex(value["hex"]) if value.keys() == {"hex"} else value
