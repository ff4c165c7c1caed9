"""The whole suite compiles with the pinned compiler, however it is started."""

import pytest

from tools import solc

# Tests that run consortia of processes: one at a time is enough for two cores. Beside them goes everything else.
TOWNS = {"test_faults.py", "test_scenarios.py", "test_troubles.py", "test_local.py", "test_story.py"}


def pytest_configure() -> None:
    """Point ape-solidity and py-solc-x at the compiler, fetching it the first time."""
    try:
        solc.use()
    except solc.CompilerMissing as error:
        raise pytest.UsageError(str(error)) from None


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist looks for the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """For several workers (loadgroup): the towns are one group, and first; each other file is a group of its own."""
    items.sort(key=lambda item: item.path.name not in TOWNS)
    for item in items:
        group = "towns" if item.path.name in TOWNS else item.path.name
        item.add_marker(pytest.mark.xdist_group(group))
