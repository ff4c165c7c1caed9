"""The `hmchain` command: `run`, `verify` and `story`, and the commands of the other *_cli modules."""

from __future__ import annotations

import json
import shlex
import sys
from contextlib import redirect_stdout
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from coordinator.consortium_cli import deploy, job, members
from coordinator.dashboard_cli import dashboard
from coordinator.experiment_cli import experiment
from coordinator.export_cli import export
from coordinator.job_options import JobOptions, with_job
from coordinator.local_cli import down, up
from coordinator.recipe_options import with_recipe
from hmchain.command import EXIT_CODES, FilePath, data_root_option, given, guarded, json_option, on_one_line
from hmchain.errors import UsageError, VerificationError
from hmchain.interrupts import loading
from trainers.cli import CONTEXT, init, node, status, unlock
from trainers.config import load as load_config
from trainers.services.cli import records

if TYPE_CHECKING:
    from coordinator.options import RunOptions


@click.group(epilog=EXIT_CODES, context_settings=CONTEXT)
@click.version_option(package_name="fl-hmchain")
def main() -> None:
    """Hospitals train one model together through smart contracts, and anyone can check every step.

    \b
    In one process, to see what it does:
      hmchain run                      train a federation on real images, on a chain inside this process
      hmchain verify runs/my-run       execute its ledger again and recompute every global model
      hmchain export runs/my-run       its last model, as files that can be used without a chain
      hmchain dashboard --run DIR      look at it in a browser; or at a live consortium, with --config
      hmchain experiment table3        the paper's tables and figures, run again
    \b
    On this machine, in real processes:
      hmchain up | down                a consortium of hospitals: anvil, IPFS daemons, nodes
      hmchain story                    a tour of everything, on such a consortium
    \b
    One hospital:
      hmchain init DIR                 make its keys and a commented hospital.toml
      hmchain node                     watch the chain and do this hospital's part
      hmchain status                   chain, blobs, members, jobs
    \b
    Records:
      hmchain records import PATH...   bring in FHIR, HL7, DICOM, VCF, EEG, wearables; seal, store, register them
      hmchain records --help           share under consent, read, revoke, erase, verify, audit
    \b
    The consortium:
      hmchain deploy CARD...           found it
      hmchain members | job            govern it: admit, vote, rotate keys; create and list jobs
    """


for command in (export, experiment, dashboard, up, down, init, node, status, deploy, members, job, records):
    main.add_command(command)


@main.command(epilog=EXIT_CODES)
@click.option(
    "--dataset", default="organamnist-sample", show_default=True, help="A 2D MedMNIST set, or NAME of a NAME.npz."
)
@click.option("--members", default=20, show_default=True, help="Hospitals in the consortium.")
@click.option("--fraction", default=0.25, show_default=True, help="Share of them that trains in a round.")
@click.option("--masters", default=4, show_default=True, help="Masters that judge a round; 3f+1 tolerates f faults.")
@click.option("--rounds", default=10, show_default=True, help="Rounds of the job, failed ones included.")
@click.option("--epochs", default=3, show_default=True, help="Local epochs a round.")
@click.option("--batch-size", default=128, show_default=True, help="Samples in a batch of local training.")
@click.option("--lr", "learning_rate", default=0.1, show_default=True, help="Learning rate of local SGD.")
@click.option("--partition", default="iid", show_default=True, help="iid, or dirichlet:A for label skew.")
@click.option(
    "--standard",
    default="relative:-0.2",
    show_default=True,
    help="Standard value: absolute:X, or relative:-D, at most D below what the base model scores.",
)
@click.option(
    "--metric",
    type=click.Choice(["accuracy", "balanced_accuracy"]),
    default="accuracy",
    show_default=True,
    help="What masters score.",
)
@with_recipe
@click.option("--seed", default=0, show_default=True, help="For partition, initial weights, shuffles and draws.")
@click.option(
    "--chain", default="embedded", show_default=True, help="embedded, or the URL of an Ethereum node; - asks."
)
@click.option("--blobs", default=None, help="A folder, or ipfs:MULTIADDR. [default: DIR/blobs]")
@data_root_option("Folder with NAME.npz. [default: medmnist's own download]")
@click.option("--workers", type=int, help="Clients that train at once; the model is the same. [default: one per core]")
@click.option("--validate", is_flag=True, help="Measure the last model on the validation split too, to choose by it.")
@click.option("--no-chain", is_flag=True, help="Same protocol in plain Python: no EVM, blobs or encryption.")
@click.option("--out", type=FilePath, default=None, help="New folder for the run. [default: runs/NAME-TIME]")
@json_option("Print the summary as JSON, and nothing else.")
@guarded
def run(no_chain: bool, out: Path | None, as_json: bool, data_root: Path | None, chain: str, **options: Any) -> None:
    """Train a whole consortium in this process.

    Every hospital has its own data, keys and account; what they exchange goes through the contract and sealed blobs.
    The same seed gives the same model, with and without a chain.
    """
    with loading():
        from coordinator.options import EMBEDDED, RunOptions
        from coordinator.progress import ConsoleProgress, Silent, Terminal
        from coordinator.run import run as run_federation

    if no_chain and (chain != EMBEDDED or options["blobs"] is not None):
        raise UsageError("--no-chain has neither a chain nor blobs: leave --chain and --blobs out")
    chain = given(chain, "URL")
    folder = out or Path("runs") / f"{options['dataset']}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    chosen = RunOptions(out=folder, data_root=data_root, chain=None if no_chain else chain, **options)
    if as_json:
        with redirect_stdout(sys.stderr):  # a custom network may print
            summary = run_federation(chosen, Silent())
        click.echo(json.dumps(summary, sort_keys=True))
        return
    progress = ConsoleProgress(Terminal(), chosen.rounds)
    try:
        summary = run_federation(chosen, progress)
    finally:
        progress.close()
    _print_summary(summary)
    hint = "" if no_chain else f"; check it with: {verify_command(chosen)}"
    click.echo(f"report in {folder}{hint}")


def verify_command(run: RunOptions) -> str:
    """The command line that checks a run, with every option that this run needs: `--chain URL` stands for a URL that
    holds what may be secret.
    """
    chain = ["--chain", "URL"] if run.chain and run.chain.rstrip("/") != run.chain_shown else []
    data = [] if run.data_root is None else ["--data-root", str(run.data_root)]
    module = ["--allow-module", run.architecture] if ":" in run.architecture else []
    return shlex.join(["hmchain", "verify", str(run.out), *chain, *data, *module])


def _print_summary(summary: dict[str, Any]) -> None:
    click.echo(
        f"{summary['completed_rounds']} rounds completed, {summary['failed_rounds']} failed in "
        f"{summary['seconds']['total']:.1f} s"
    )
    if summary["test_auc"] is not None:
        click.echo(
            f"test AUC {summary['test_auc']:.4f}  ACC {summary['test_acc']:.4f}  model {summary['model_digest']}"
        )
    if summary.get("val_auc") is not None:
        click.echo(f"validation AUC {summary['val_auc']:.4f}  ACC {summary['val_acc']:.4f}")
    if summary["gas"]:
        click.echo(f"gas a round: {summary['gas']['round_total']['median']:,} (median)")


@main.command(epilog=EXIT_CODES)
@with_job
@data_root_option("Folder with NAME.npz, to measure every round's model again.")
@json_option("Print the verdict as JSON, and nothing else.")
@guarded
def verify(data_root: Path | None, as_json: bool, **named: Any) -> None:
    """Check a run in DIR, or a job of a consortium, from chain and blobs alone.

    A run in DIR: executes every transaction again, as its sender signed it, be it in the run's ledger or on the chain
    that it used, recomputes every model from the clients' updates, and compares the report with both. A job (--config
    and --job): does so from the hospital's own chain and blobs, for which it needs the hospital's keys, and has no
    report to compare. Prints VALID, or INVALID and the first thing that is wrong.
    """
    which = JobOptions.of(**named)

    def check() -> dict[str, Any]:
        if which.config is not None and which.number is not None:
            with loading():
                from coordinator.audit import audit

            hospital = load_config(which.config)
            return audit(hospital, unlock(hospital, which.password_file), which.number)
        with loading():
            from coordinator.progress import Terminal
            from coordinator.verify import verify as verify_run

        assert which.folder is not None
        return verify_run(which.folder, data_root, Terminal(quiet=as_json), which.modules, which.url)

    try:
        with redirect_stdout(sys.stderr if as_json else sys.stdout):  # a custom network may print
            verdict = check()
    except VerificationError as fault:
        if not as_json:
            click.echo(f"INVALID  {on_one_line(str(fault))}")
        else:
            click.echo(
                json.dumps({"valid": False, "round": fault.round, "member": fault.member, "reason": fault.reason})
            )
        sys.exit(fault.exit_code)
    click.echo(json.dumps({"valid": True, **verdict}, sort_keys=True) if as_json else _valid_text(verdict))


def _valid_text(verdict: dict[str, Any]) -> str:
    lines = [
        f"VALID  {verdict['completed_rounds']} rounds, {verdict['updates']} updates and {verdict['models']} models "
        f"checked in {verdict['seconds']:.1f} s",
        f"model  {verdict['model_digest'] or 'none yet'}",
        f"chain  {verdict['chain']}, contract {verdict['contract']}, block {verdict['head']} {verdict['head_hash']}",
    ]
    return "\n".join(map(on_one_line, [*lines, *(f"note   {note}" for note in verdict["notes"])]))


@main.command(epilog=EXIT_CODES)
@click.argument("folder", metavar="[DIR]", type=FilePath, default=Path("story"))
@guarded
def story(folder: Path) -> None:
    """Show everything once, with real processes: about two minutes.

    All files and processes are in DIR, a new folder, on this machine.
    Two hospitals import records, a patient consents, a physician reads, the federation trains on what is consented to,
    the patient withdraws, an auditor verifies. Every step is a command that you could type yourself, and is shown.
    """
    from coordinator.story import tell

    if folder.exists():
        raise UsageError(f"{folder} exists: name a new folder")
    tell(folder, click.echo)
    click.echo(f"\nevery step ended as it should; keys, chain and logs are in {folder}")


if __name__ == "__main__":
    main(prog_name="hmchain")
