"""Where a run's time goes, and what the chain costs: the same federation with and without it, one after the other.

python -m bench.share [--dataset NAME] [--data-root DIR] [--members N] [--rounds R]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from coordinator.options import EMBEDDED, RunOptions
from coordinator.progress import Silent
from coordinator.run import run


def measure(options: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Summaries of the same run without a chain and with one. They must end with the same model."""
    with tempfile.TemporaryDirectory() as folder:
        without = run(RunOptions(out=Path(folder) / "without", chain=None, **options), Silent())
        with_chain = run(RunOptions(out=Path(folder) / "with", chain=EMBEDDED, **options), Silent())
    assert without["model_digest"] == with_chain["model_digest"], "the chain changed the model"
    return without, with_chain


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.share", description=__doc__)
    parser.add_argument("--dataset", default="organamnist-sample")
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--members", type=int, default=20)
    parser.add_argument("--fraction", type=float, default=0.25)
    parser.add_argument("--rounds", type=int, default=10)
    options = vars(parser.parse_args())
    without, with_chain = measure(options)
    total, plain = with_chain["seconds"]["total"], without["seconds"]["total"]
    print(f"{with_chain['dataset']}, {with_chain['members']} members, {with_chain['rounds']} rounds")
    for name, seconds in with_chain["seconds"].items():
        print(f"  {name:12} {seconds:8.2f} s  {seconds / total:6.1%}")
    print(f"  without a chain {plain:.2f} s: the chain and its blobs add {total / plain - 1:+.1%}")


if __name__ == "__main__":
    main()
