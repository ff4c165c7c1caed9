"""The committed ABI and bytecode are what the sources compile to."""

from pathlib import Path

import pytest

from tools import artifacts

TOY = "pragma solidity 0.8.37; contract HMChain { function answer() external pure returns (uint256) { return 42; } }"


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    """A source tree with a small contract, and the artifact it compiles to."""
    (tmp_path / "contracts").mkdir()
    (tmp_path / artifacts.source_of("HMChain")).write_text(TOY)
    (tmp_path / "artifact.json").write_text(artifacts.render(artifacts.compile_contract("HMChain", tmp_path)))
    return tmp_path


@pytest.mark.parametrize("contract", artifacts.CONTRACTS)
def test_committed_artifact_is_what_the_sources_compile_to(contract: str) -> None:
    assert artifacts.drift(contract) is None


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (TOY, None),
        (TOY + "// a comment leaves the bytecode alone", "sources"),
        (TOY.replace("42", "43"), "sources, bytecode, deployedBytecode"),
        (TOY.replace("answer", "reply"), "sources, abi, bytecode, deployedBytecode"),
    ],
)
def test_drift_names_the_parts_that_differ(toy: Path, source: str, expected: str | None) -> None:
    (toy / artifacts.source_of("HMChain")).write_text(source)
    assert artifacts.drift("HMChain", toy, toy / "artifact.json") == expected


def test_an_edited_artifact_is_noticed(toy: Path) -> None:
    artifact = toy / "artifact.json"
    artifact.write_text(artifact.read_text().replace('"0x60', '"0x61', 1))
    assert artifacts.drift("HMChain", toy, artifact) == "bytecode"


def test_a_missing_artifact_is_noticed(toy: Path) -> None:
    assert artifacts.drift("HMChain", toy, toy / "nothing.json") == "the file"
