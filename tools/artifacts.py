"""Compile the contracts into the package data that running needs instead of a compiler.

    python -m tools.artifacts            write hmchain/artifacts/*.json
    python -m tools.artifacts --check    fail, in one line, when a committed file is not what the sources compile to

The settings are those of ape-config.yaml, with one addition: no metadata hash in the bytecode, so that it does not
depend on comments, on formatting or on where the sources lie.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import solcx
from solcx.exceptions import SolcError

from tools import solc

CONTRACTS = ("HMChain", "Ballots", "Records")  # Ballots is created by HMChain; its ABI is what voting needs
OUTPUT = ["abi", "metadata", "evm.bytecode.object", "evm.deployedBytecode.object"]

Artifact = dict[str, Any]


def source_of(contract: str) -> str:
    """Where a contract's source is, from the root."""
    return f"contracts/{contract}.sol"


def artifact_of(contract: str) -> Path:
    """Where its artifact is committed."""
    return solc.ROOT / "hmchain" / "artifacts" / f"{contract}.json"


def compiler_settings() -> dict[str, Any]:
    """The standard JSON settings that ape-solidity derives from ape-config.yaml, without metadata hash."""
    config = solc.settings()
    return {
        "evmVersion": config["evm_version"],
        "viaIR": config["via_ir"],
        "optimizer": {"enabled": config["optimize"], "runs": config["optimization_runs"]},
        "metadata": {"bytecodeHash": "none"},
    }


def compile_contracts(contracts: Sequence[str] = CONTRACTS, root: Path = solc.ROOT) -> dict[str, Artifact]:
    """Compile contracts below root, and what they import, in one go, into each artifact's content.

    Raises tools.solc.CompilerMissing, solcx.exceptions.SolcError when the sources do not compile.
    """
    binary = solc.use()
    sources = [source_of(contract) for contract in contracts]
    output = solcx.compile_standard(
        {
            "language": "Solidity",
            "sources": {source: {"content": (root / source).read_text(encoding="utf8")} for source in sources},
            "settings": compiler_settings() | {"outputSelection": {source: {"*": OUTPUT} for source in sources}},
        },
        base_path=root,
        allow_paths=root / "contracts",
        solc_binary=binary,
    )
    return {
        contract: _artifact(contract, output["contracts"][source][contract], root)
        for contract, source in zip(contracts, sources, strict=True)
    }


def _artifact(contract: str, compiled: dict[str, Any], root: Path) -> Artifact:
    sources = json.loads(compiled["metadata"])["sources"]  # those that this contract is made of
    return {
        "contractName": contract,
        "compiler": {"name": "solc", "version": solc.version(), "settings": compiler_settings()},
        "sources": {name: hashlib.sha256((root / name).read_bytes()).hexdigest() for name in sorted(sources)},
        "abi": compiled["abi"],
        "bytecode": "0x" + compiled["evm"]["bytecode"]["object"],
        "deployedBytecode": "0x" + compiled["evm"]["deployedBytecode"]["object"],
    }


def render(artifact: Artifact) -> str:
    """The artifact's one text form."""
    return json.dumps(artifact, indent=1, ensure_ascii=True) + "\n"


def drift(compiled: Artifact, file: Path) -> str | None:
    """Which part of the committed artifact in file is not what the sources compile to; None when all is well."""
    if not file.is_file():
        return "the file"
    text = file.read_text(encoding="utf8")
    committed = cast(Artifact, json.loads(text))
    different = [part for part in compiled if committed.get(part) != compiled[part]]
    if not different and text != render(compiled):
        return "the text form"
    return ", ".join(different) or None


def main(arguments: list[str]) -> int:
    """Write the artifacts, or check them; one line and 1 on any fault."""
    try:
        for contract, compiled in compile_contracts().items():
            file = artifact_of(contract)
            if arguments != ["--check"]:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(render(compiled), encoding="utf8")
            elif different := drift(compiled, file):
                name = file.relative_to(solc.ROOT)
                print(f"{name} differs from the sources in: {different}; run: make artifacts", file=sys.stderr)
                return 1
    except (OSError, solc.CompilerMissing) as error:
        print(error, file=sys.stderr)
        return 1
    except SolcError as error:
        print(error.message, file=sys.stderr)  # the compiler's own report
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
