"""`hmchain dashboard`."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from hmchain.command import EXIT_CODES, FilePath, data_root_option, given, guarded
from hmchain.errors import UsageError


@click.command(epilog=EXIT_CODES)
@click.option("--run", "folder", type=FilePath, help="Folder of a finished hmchain run.")
@click.option("--config", "-c", type=FilePath, help="A hospital.toml: its consortium, through its Ethereum nodes.")
@click.option("--chain", help="URL of an Ethereum node; needs --contract; - asks.")
@click.option("--contract", help="With --chain: address of the consortium's contract.")
@click.option("--records", help="With --chain: address of its Records contract, where there is one.")
@click.option("--port", default=8088, show_default=True, type=click.IntRange(0, 65535), help="TCP port; 0: a free one.")
@click.option("--db", help="SQLAlchemy URL of the index; - asks. [default: a temporary SQLite file]")
@click.option("--rebuild", is_flag=True, help="Forget the index and read the chain from its beginning.")
@data_root_option("Folder with NAME.npz, for the button that verifies.")
@guarded
def dashboard(
    folder: Path | None,
    config: Path | None,
    chain: str | None,
    contract: str | None,
    records: str | None,
    port: int,
    db: str | None,
    rebuild: bool,
    data_root: Path | None,
) -> None:
    """Show what the contracts' events say, in a browser on this machine.

    \b
    hmchain dashboard --run runs/my-run                             a finished run: its ledger is executed again
    hmchain dashboard --config hospital.toml                        the consortium of a hospital, live
    hmchain dashboard --chain http://127.0.0.1:8545 --contract 0x…  any consortium, live

    It only reads, listens on the loopback interface alone and asks no host but the chain's node. With
    --db sqlite:///index.sqlite (or postgresql+psycopg://…) the index is kept, and the next start continues from where
    this one stopped. A URL with a password need not stand on the command line: for - it is asked for, or read from
    standard input. Ctrl-C ends it, and pressed again, at once.
    """
    if sum(source is not None for source in (folder, config, chain)) != 1:
        raise UsageError("name one source: a run's folder with --run, a hospital's --config, or a node with --chain")
    if (chain is None) != (contract is None) or (records is not None and chain is None):
        raise UsageError("--chain and --contract go together, and --records with both")
    chain, db = (url and given(url, name) for url, name in ((chain, "chain's URL"), (db, "database's URL")))
    from coordinator.dashboard.serve import serve
    from coordinator.dashboard.source import configured, live, recorded
    from coordinator.dashboard.store import open_database

    source = (
        recorded(folder) if folder else configured(config) if config else live(chain or "", contract or "", records)
    )
    with tempfile.TemporaryDirectory(prefix="hmchain-dashboard-") as scratch:
        engine = open_database(db or f"sqlite:///{scratch}/index.sqlite", rebuild)
        try:
            serve(source, engine, port, data_root, click.echo)
        finally:
            engine.dispose()
