"""The committed ABI and bytecode are what the sources compile to."""

from pathlib import Path

import pytest

from tools import artifacts
from tools.artifacts import Artifact

TOY = "pragma solidity 0.8.37; contract HMChain { function answer() external pure returns (uint256) { return 42; } }"


def compiled(source: str, root: Path) -> Artifact:
    """What a source of one contract compiles to."""
    file = root / artifacts.source_of("HMChain")
    file.parent.mkdir(exist_ok=True)
    file.write_text(source)
    return artifacts.compile_contracts(["HMChain"], root)["HMChain"]


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """What a small contract compiles to, once: a compiler takes seconds to start."""
    return compiled(TOY, tmp_path_factory.mktemp("toy"))


@pytest.fixture
def committed(tmp_path: Path, toy: Artifact) -> Path:
    """Its artifact, in a file."""
    file = tmp_path / "artifact.json"
    file.write_text(artifacts.render(toy))
    return file


def test_committed_artifacts_are_what_the_sources_compile_to() -> None:
    made = artifacts.compile_contracts()
    assert {name: artifacts.drift(made[name], artifacts.artifact_of(name)) for name in artifacts.CONTRACTS} == {
        "HMChain": None,
        "Ballots": None,
        "Records": None,
    }


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (TOY, None),
        (TOY + "// a comment leaves the bytecode alone", "sources"),
        (TOY.replace("42", "43"), "sources, bytecode, deployedBytecode"),
        (TOY.replace("answer", "reply"), "sources, abi, bytecode, deployedBytecode"),
    ],
)
def test_drift_names_the_parts_that_differ(committed: Path, tmp_path: Path, source: str, expected: str | None) -> None:
    assert artifacts.drift(compiled(source, tmp_path), committed) == expected


def test_an_edited_artifact_is_noticed(toy: Artifact, committed: Path) -> None:
    committed.write_text(committed.read_text().replace('"0x60', '"0x61', 1))
    assert artifacts.drift(toy, committed) == "bytecode"


def test_an_artifact_spelt_otherwise_is_noticed(toy: Artifact, committed: Path) -> None:
    committed.write_text(committed.read_text() + "\n")
    assert artifacts.drift(toy, committed) == "the text form"


def test_a_missing_artifact_is_noticed(toy: Artifact, tmp_path: Path) -> None:
    assert artifacts.drift(toy, tmp_path / "nothing.json") == "the file"
