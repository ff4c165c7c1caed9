"""The committed ABI and bytecode are what the sources compile to."""

from pathlib import Path

import pytest

from tools import artifacts

TOY = "pragma solidity 0.8.37; contract HMChain { function answer() external pure returns (uint256) { return 42; } }"


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the small contract compiles to, once: a compiler takes seconds to start."""
    return artifacts.render(artifacts.compile_contract("HMChain", written(tmp_path_factory.mktemp("toy"))))


@pytest.fixture
def toy(tmp_path: Path, compiled: str) -> Path:
    """A source tree with a small contract, and the artifact it compiles to."""
    (written(tmp_path) / "artifact.json").write_text(compiled)
    return tmp_path


def written(folder: Path) -> Path:
    (folder / "contracts").mkdir()
    (folder / artifacts.source_of("HMChain")).write_text(TOY)
    return folder


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
