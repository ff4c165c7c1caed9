"""Compile the contract into the package data that running needs instead of a compiler.

    python -m tools.artifacts            write hmchain/artifacts/HMChain.json
    python -m tools.artifacts --check    fail, in one line, when the committed file is not what the sources compile to

The settings are those of ape-config.yaml, with one addition: no metadata hash in the bytecode, so that it does not
depend on comments, on formatting or on where the sources lie.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any, cast

import solcx
from solcx.exceptions import SolcError

from tools import solc

CONTRACT = "HMChain"
SOURCE = f"contracts/{CONTRACT}.sol"
ARTIFACT = solc.ROOT / "hmchain" / "artifacts" / f"{CONTRACT}.json"


def compiler_settings() -> dict[str, Any]:
    """The standard JSON settings that ape-solidity derives from ape-config.yaml, without metadata hash."""
    config = solc.settings()
    return {
        "evmVersion": config["evm_version"],
        "viaIR": config["via_ir"],
        "optimizer": {"enabled": config["optimize"], "runs": config["optimization_runs"]},
        "metadata": {"bytecodeHash": "none"},
    }


def compile_contract(root: Path = solc.ROOT) -> dict[str, Any]:
    """Compile contracts/HMChain.sol below root, and what it imports, into the artifact's content.

    Raises tools.solc.CompilerMissing, solcx.exceptions.SolcError when the sources do not compile.
    """
    binary = solc.use()
    settings = compiler_settings()
    selection = {SOURCE: {CONTRACT: ["abi", "evm.bytecode.object", "evm.deployedBytecode.object"]}}
    output = solcx.compile_standard(
        {
            "language": "Solidity",
            "sources": {SOURCE: {"content": (root / SOURCE).read_text(encoding="utf8")}},
            "settings": settings | {"outputSelection": selection},
        },
        base_path=root,
        allow_paths=root / "contracts",
        solc_binary=binary,
    )
    compiled = output["contracts"][SOURCE][CONTRACT]
    return {
        "contractName": CONTRACT,
        "compiler": {"name": "solc", "version": solc.version(), "settings": settings},
        "sources": {name: hashlib.sha256((root / name).read_bytes()).hexdigest() for name in sorted(output["sources"])},
        "abi": compiled["abi"],
        "bytecode": "0x" + compiled["evm"]["bytecode"]["object"],
        "deployedBytecode": "0x" + compiled["evm"]["deployedBytecode"]["object"],
    }


def render(artifact: dict[str, Any]) -> str:
    """The artifact's one text form."""
    return json.dumps(artifact, indent=1, ensure_ascii=True) + "\n"


def drift(root: Path = solc.ROOT, artifact: Path = ARTIFACT) -> str | None:
    """Which part of the committed artifact is not what the sources below root compile to; None when all is well."""
    if not artifact.is_file():
        return "the file"
    committed = cast(dict[str, Any], json.loads(artifact.read_text(encoding="utf8")))
    compiled = compile_contract(root)
    different = [part for part in compiled if committed.get(part) != compiled[part]]
    if not different and artifact.read_text(encoding="utf8") != render(compiled):
        return "the text form"
    return ", ".join(different) or None


def main(arguments: list[str]) -> int:
    """Write the artifact, or check it; one line and 1 on any fault."""
    try:
        if arguments == ["--check"]:
            if different := drift():
                name = ARTIFACT.relative_to(solc.ROOT)
                print(f"{name} differs from the sources in: {different}; run: make artifacts", file=sys.stderr)
                return 1
            return 0
        ARTIFACT.parent.mkdir(parents=True, exist_ok=True)
        ARTIFACT.write_text(render(compile_contract()), encoding="utf8")
    except (OSError, solc.CompilerMissing) as error:
        print(error, file=sys.stderr)
        return 1
    except SolcError as error:
        print(error.message, file=sys.stderr)  # the compiler's own report
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
