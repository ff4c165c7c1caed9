"""The whole suite compiles with the pinned compiler, however it is started."""

import pytest

from tests import samples
from tools import solc

# Tests that run consortia of processes, which wait much: two at a time for two cores, in groups that take equally long.
# Beside them the third worker does everything else.
TOWNS = {
    "test_faults.py": "town of faults",
    "test_troubles.py": "town of faults",
    "test_story.py": "town of stories",
    "test_local.py": "town of stories",
    "test_scenarios.py": "town of stories",
}


def pytest_configure() -> None:
    """Point ape-solidity and py-solc-x at the compiler, fetching it the first time."""
    try:
        solc.use()
    except solc.CompilerMissing as error:
        raise pytest.UsageError(str(error)) from None


def pytest_report_header() -> str:
    """Whether tests on real files run."""
    return samples.header()


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist looks for the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """For several workers (loadgroup): two groups of towns, and first; each other file is a group of its own."""
    order = list(TOWNS)
    items.sort(key=lambda item: order.index(item.path.name) if item.path.name in TOWNS else len(order))
    for item in items:
        group = TOWNS.get(item.path.name, item.path.name)
        item.add_marker(pytest.mark.xdist_group(group))
