"""The whole suite compiles with the pinned compiler, however it is started."""

import pytest

from tools import solc


def pytest_configure() -> None:
    """Point ape-solidity and py-solc-x at the compiler, fetching it the first time."""
    try:
        solc.use()
    except solc.CompilerMissing as error:
        raise pytest.UsageError(str(error)) from None
