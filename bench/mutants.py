"""Mutation tests of the invariants: each mutant is the contracts with one rule removed, and forge must find it.

Rules that a hundred random calls can reach; the others, such as 32 unreviewed emergencies, are tests/contracts' own.

python -m bench.mutants [--only TEXT]     some minutes each; exit 1 where one lives
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.contracts.test_invariants import forge
from tools import solc

TREE = ("contracts", "tests/invariants", "foundry.toml")


@dataclass(frozen=True)
class Mutant:
    """A rule, where it stands, and what stands there without it. suite: the test contract that keeps it."""

    rule: str
    file: str
    before: str
    after: str
    suite: str = "RecordsTest"


MUTANTS = (
    Mutant("a grant ends", "Permissions.sol", "if (grant.expiry <= block.timestamp)", "if (grant.expiry == 0)"),
    Mutant("a use counts once", "Permissions.sol", "grant.uses = a.use;", ""),
    Mutant("a consent is needed", "Permissions.sol", "if (purposes & (1 << uint256(purpose)) == 0)", "if (false)"),
    Mutant(
        "a delegation ends", "Permissions.sol", "if (d.expiry <= block.timestamp)", "if (d.expiry < block.timestamp)"
    ),
    Mutant(
        "a suspended institution lends nothing",
        "Permissions.sol",
        "number == member ? status == IConsortium.Status.Active : _isActive(member)",
        "number == member || _isActive(member)",
    ),
    Mutant("a consent is signed once", "Permissions.sol", "if (nonce != last + 1)", "if (nonce > last + 1)"),
    Mutant("an acceptance names its member", "Persons.sol", "if (a.member != member)", "if (false)"),
    Mutant(
        "an acceptance ends", "Persons.sol", "if (block.timestamp > deadline)", "if (block.timestamp > deadline + 1)"
    ),
    Mutant(
        "a review is due in 72 hours",
        "Emergency.sol",
        "block.timestamp > d.since + R",
        "block.timestamp > d.since + 2 * R",
    ),
    Mutant(
        "none is opened over a holder that is suspended",
        "Emergency.sol",
        "if (!_isActive(e.holder))",
        "if (e.holder == 0)",
    ),
    Mutant("who vouched does not review", "Emergency.sol", "if (reviewer == c.institution) return false;", ""),
    Mutant(
        "half of the members are too few", "Ballots.sol", "activeCount() / 2 + 1", "activeCount() / 2", "BallotsTest"
    ),
    Mutant("nobody votes on itself", "Ballots.sol", "if (voter == b.member)", "if (false)", "BallotsTest"),
    Mutant(
        "a vote says for what",
        "Ballots.sol",
        "if (matter != keccak256",
        "if (matter == 0 && matter != keccak256",
        "BallotsTest",
    ),
    Mutant("a member votes once", "Ballots.sol", "if (_voted[id][voter])", "if (false)", "BallotsTest"),
    Mutant(
        "the draws close by the clock",
        "Rounds.sol",
        "if (failed || (r.phase()",
        "if (failed && (r.phase()",
        "FourMastersOfNineTest",
    ),
    Mutant(
        "a commitment opens", "Training.sol", "if (uint256(opened) != ballot[0])", "if (false)", "FourMastersOfNineTest"
    ),
    Mutant(
        "the first to come back wait for the others",
        "Rounds.sol",
        "if (complete || until != 0)",
        "if (complete || until != 1)",
        "FourMastersOfNineTest",
    ),
    Mutant(
        "the draws close where a job has waited",
        "Rounds.sol",
        "if (r.phase() == Phase.Waiting && r.deadline() != 0",
        "if (r.phase() == Phase.None && r.deadline() != 0",
        "OneMasterTest",
    ),
    Mutant(
        "an attestation is of one proposal",
        "Training.sol",
        "if (proposed != r.proposed())",
        "if (proposed > 0xffff)",
        "FourMastersOfNineTest",
    ),
)


def copy_of(suite: str, root: Path) -> Path:
    """The contracts and, of the tests, those of a suite: what else there is takes half of the compiler's time."""
    for name in TREE:
        source, copy = solc.ROOT / name, root / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, copy) if source.is_dir() else shutil.copy(source, copy)
    for tests in (root / "tests/invariants").glob("*.t.sol"):
        if f"contract {suite} " not in tests.read_text():
            tests.unlink()
    return root


def is_found(mutant: Mutant, root: Path) -> bool:
    """Whether forge's tests fail on a copy with the mutant. Raises SystemExit where the contract has changed there."""
    file = root / "contracts" / mutant.file
    content = file.read_text()
    if content.count(mutant.before) != 1:
        sys.exit(f"{mutant.file} does not say {mutant.before!r} once: adapt the mutant")
    file.write_text(content.replace(mutant.before, mutant.after))
    shutil.rmtree(root / ".build/forge-cache/invariant", ignore_errors=True)  # what made the last mutant fail
    command = [forge(), "test", "--root", str(root), "--use", str(solc.use()), "--match-contract", mutant.suite]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    file.write_text(content)
    told = done.stdout + done.stderr
    if "Compiler run failed" in told or "Suite result" not in told:
        sys.exit(f"{mutant.rule}: it does not compile\n{told[-2000:]}")
    return done.returncode != 0


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.mutants", description=__doc__)
    parser.add_argument("--only", default="", help="those that have this in their rule or file")
    only = parser.parse_args().only
    lives = 0
    with tempfile.TemporaryDirectory() as folder:
        copies = {suite: copy_of(suite, Path(folder, suite)) for suite in {mutant.suite for mutant in MUTANTS}}
        for mutant in MUTANTS:
            if only in mutant.rule or only in mutant.file:
                began, found = time.monotonic(), is_found(mutant, copies[mutant.suite])
                lives += not found
                took = f"{time.monotonic() - began:.0f} s"
                print(f"{'found' if found else 'LIVES'}  {mutant.rule} ({mutant.file}, {took})", flush=True)
    return int(lives > 0)


if __name__ == "__main__":
    sys.exit(main())
