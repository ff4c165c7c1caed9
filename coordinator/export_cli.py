"""`hmchain export`: a trained model, out of a run or a consortium's job."""

from __future__ import annotations

import json
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import click

from coordinator.job_options import JobOptions, with_job
from hmchain.command import EXIT_CODES, FilePath, guarded, json_option, on_one_line
from hmchain.interrupts import loading
from trainers.cli import unlock
from trainers.config import load as load_config


@click.command(epilog=EXIT_CODES)
@with_job
@click.option("--round", type=click.IntRange(0), help="The model of this round; 0 is the initial one. [default: last]")
@click.option("--out", type=FilePath, default=Path("model"), show_default=True, help="New folder for the model.")
@json_option("Print what was written as JSON, and nothing else.")
@guarded
def export(round: int | None, out: Path, as_json: bool, **named: Any) -> None:
    """Write a global model as files that can be used without a chain.

    Of a run in DIR, or of a consortium's job (--config and --job), of which the hospital must have been told the key.
    OUT gets model.safetensors, whose SHA-256 is the model's digest on chain, and manifest.json, which names the network
    and its classes. In Python, trainers.exported.open_model(OUT).predict(images) gives the classes' probabilities.

    This model is what the round's masters attested; hmchain verify recomputes it from the updates.
    """
    which = JobOptions.of(**named)
    with loading():
        from coordinator.audit import evidence_of
        from coordinator.evidence import gather
        from coordinator.export import export as write_model
        from coordinator.export import refuse_existing
        from coordinator.folder import RunFile

    refuse_existing(out)  # now, and not once the ledger was executed
    with redirect_stdout(sys.stderr if as_json else sys.stdout):  # a custom network may print
        if which.config is not None and which.number is not None:
            hospital = load_config(which.config)
            evidence = evidence_of(hospital, unlock(hospital, which.password_file), which.number)
            written = write_model(evidence, round, out, hospital.roles.modules)
        else:
            assert which.folder is not None
            evidence = gather(which.folder, RunFile.read(which.folder).on(which.url))
            written = write_model(evidence, round, out, which.modules)
    if as_json:
        click.echo(json.dumps(written, sort_keys=True))
        return
    click.echo(f"model of round {written['round']}, {written['model_digest']}, {written['bytes']:,} bytes")
    click.echo(on_one_line(f"{written['architecture']} for {', '.join(written['classes'])}"))
    click.echo(f"in {out}")
