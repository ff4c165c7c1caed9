"""Processes of our own: what asks us to stop while one starts is heard when it has started."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from multiprocessing import get_context
from multiprocessing.process import BaseProcess

import pytest

from trainers import child

SIGNALS = [signal.SIGINT, signal.SIGTERM]


class Interrupted(BaseProcess):
    """Its parent is asked to stop before it is told anything."""

    def __init__(self, number: int) -> None:
        super().__init__(target=os.getpid)
        self.number, self.told = number, False

    def start(self) -> None:
        os.kill(os.getpid(), self.number)
        self.told = True


class Asked(Exception):
    """Raised where a signal arrives, as the node does."""


def asked(*_: object) -> None:
    raise Asked


@pytest.fixture
def handled() -> Iterator[None]:
    before = {number: signal.signal(number, asked) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.usefixtures("handled")
def test_what_asks_us_to_stop_waits_until_the_process_has_started(number: int) -> None:
    process = Interrupted(number)
    with pytest.raises(Asked):
        child.start(process)
    assert process.told
    assert [signal.getsignal(number) for number in SIGNALS] == [asked, asked]
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_a_child_is_deaf_to_ctrl_c_from_its_first_line_on() -> None:
    process = get_context("spawn").Process(target=os.getpid)
    child.start(process)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGINT)
    process.join()
    assert process.exitcode == 0


def test_a_process_can_be_started_from_any_thread() -> None:
    process = get_context("spawn").Process(target=os.getpid)
    thread = threading.Thread(target=child.start, args=(process,))
    thread.start()
    thread.join()
    process.join()
    assert process.exitcode == 0
