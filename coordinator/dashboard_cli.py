"""`hmchain dashboard`."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from hmchain.command import EXIT_CODES, guarded
from hmchain.errors import UsageError


@click.command(epilog=EXIT_CODES)
@click.option("--chain", help="URL of an Ethereum node; needs --contract.")
@click.option("--contract", help="Address of the consortium's contract.")
@click.option("--run", "folder", type=click.Path(path_type=Path), help="Folder of a finished hmchain run.")
@click.option("--port", default=8088, show_default=True, type=click.IntRange(0, 65535), help="0 picks a free one.")
@click.option("--db", help="SQLAlchemy URL of the index. [default: a temporary SQLite file]")
@click.option("--rebuild", is_flag=True, help="Forget the index and read the chain from its beginning.")
@guarded
def dashboard(
    chain: str | None, contract: str | None, folder: Path | None, port: int, db: str | None, rebuild: bool
) -> None:
    """Show what the contract's events say, in a browser on this machine.

    \b
    hmchain dashboard --run runs/my-run                            a finished run: its ledger is executed again
    hmchain dashboard --chain http://127.0.0.1:8545 --contract 0x…   a live chain, followed block by block

    It only reads, listens on the loopback interface alone and asks no other host. With --db sqlite:///index.sqlite the
    index is kept, and the next start goes on where this one stopped. Ctrl-C ends it.
    """
    if (folder is None) == (chain is None) or (chain is None) != (contract is None):
        raise UsageError("name a run's folder with --run, or a node with --chain and the --contract on it")
    from coordinator.dashboard.serve import serve
    from coordinator.dashboard.source import live, recorded
    from coordinator.dashboard.store import open_database

    client, first = recorded(folder) if folder else (live(chain or "", contract or ""), 0)
    with tempfile.TemporaryDirectory(prefix="hmchain-dashboard-") as scratch:
        engine = open_database(db or f"sqlite:///{scratch}/index.sqlite", rebuild)
        try:
            serve(client, engine, first, port, click.echo)
        finally:
            engine.dispose()
