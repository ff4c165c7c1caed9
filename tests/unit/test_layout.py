"""The tree keeps its shape: imports go one way, one module reads the environment, no file knows a machine's paths."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import samples

ROOT = Path(__file__).resolve().parents[2]
MAY_IMPORT = {"hmchain": set(), "trainers": {"hmchain"}, "coordinator": {"hmchain", "trainers"}}
FOREIGN = {"bench", "coordinator", "hmchain", "tests", "tools", "trainers"}
SOURCES = [path for package in MAY_IMPORT for path in sorted((ROOT / package).rglob("*.py"))]
LISTED = ("hmchain", "trainers", "trainers/networks", "coordinator", "coordinator/dashboard", "bench", "tools")
MACHINE_PATH = re.compile(rb"(?<![\w.~$)}-])/(?:home|root|work|Users)/\w")


def imported(tree: ast.AST) -> Iterator[str]:
    """The top-level package of every absolute import, inside functions as well."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name.partition(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield str(node.module).partition(".")[0]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_go_one_way(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    assert set(imported(ast.parse(path.read_bytes()))) & FOREIGN <= MAY_IMPORT[package] | {package}


def test_only_the_command_line_reads_the_environment() -> None:
    readers = {
        path.relative_to(ROOT).as_posix()
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.Attribute | ast.alias)
        and (node.attr if isinstance(node, ast.Attribute) else node.name) in {"environ", "environb", "getenv"}
    }
    sets_a_library_s = "hmchain/__init__.py"
    assert readers <= {"hmchain/command.py", sets_a_library_s}


def test_the_environment_of_an_option_is_named_there_too() -> None:
    named = {path.relative_to(ROOT).as_posix() for path in SOURCES if "envvar=" in path.read_text()}
    assert named == {"hmchain/command.py"}


@pytest.mark.parametrize("folder", LISTED)
def test_the_documents_name_every_module(folder: str) -> None:
    """By its file in architecture.md or a document beside it."""
    documents = "".join(path.read_text() for path in (ROOT / "docs").glob("*.md"))
    modules = {path.name for path in (ROOT / folder).glob("*.py")} - {"__init__.py", "__main__.py"}
    assert {name for name in modules if not re.search(rf"(?<!\w){re.escape(name)}", documents)} == set()


def test_the_documents_name_every_folder_of_modules_and_every_contract() -> None:
    architecture = (ROOT / "docs/architecture.md").read_text()
    documents = architecture + "".join((ROOT / "docs" / name).read_text() for name in ("records.md", "dashboard.md"))
    folders = {path.parent.name for path in SOURCES}
    assert {name for name in folders if not re.search(rf"\b{name}\b", documents)} == set()
    contracts = {path.stem for path in (ROOT / "contracts").rglob("*.sol") if path.parent.name != "interfaces"}
    assert {name for name in contracts if not re.search(rf"\b{name}\b", architecture)} == set()


def test_no_file_names_a_path_of_somebodys_machine() -> None:
    listing = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(listing, capture_output=True, check=False)
    if done.returncode:
        pytest.skip("not a git checkout: which files belong to the project is unknown")
    files = [ROOT / name.decode() for name in done.stdout.split(b"\0") if name]
    assert [path for path in files if path.is_file() and MACHINE_PATH.search(path.read_bytes())] == []


def test_only_one_file_of_the_tests_knows_where_real_files_are() -> None:
    tests = {path.relative_to(ROOT / "tests").as_posix(): path.read_text() for path in (ROOT / "tests").rglob("*.py")}
    assert {name for name, text in tests.items() if re.search(r"shared[/\"', ]+data", text)} == {"samples.py"}


def test_who_lacks_the_real_files_is_told(tmp_path: Path) -> None:
    (tmp_path / "medmnist").mkdir()
    assert samples.header(tmp_path).startswith(
        f"real files: no samples in {tmp_path}, tests that need them are skipped"
    )
    (tmp_path / "samples").mkdir()
    assert samples.header(tmp_path) == f"real files: {tmp_path}"
