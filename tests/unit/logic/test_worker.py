# SPDX-License-Identifier: Apache-2.0
"""Large lists are read in a process of their own: what becomes of them when it dies, hangs or grows."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from neurowall.logic.worker import Worker
from neurowall.model.errors import ListError
from neurowall.model.listfile import ParsedList, parse_list

LARGE = b"192.0.2.9/24\n2001:db8::1\nbad.example\n198.51.100.1\n\xff\n192.0.2.7\n" * 20_000
ENDLESS = b"bad.example\n" * 5_000_000  # every line takes microseconds
SECONDS = 30.0  # what is waited for here may take that long on a busy machine

PARENT = """
import sys
from neurowall.logic.worker import Worker
Worker().parse(b"bad.example\\n" * 5_000_000)
"""


def until(ask: Callable[[], object]) -> None:
    """Return once *ask* answers something true."""
    deadline = time.monotonic() + SECONDS
    while not ask():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.01)


def children(parent: int) -> list[int]:
    """The processes that *parent* has not waited for, zombies included."""
    found: list[int] = []
    for task in Path(f"/proc/{parent}/task").glob("*/children"):
        found += map(int, task.read_text(encoding="ascii").split())
    return found


def state(process: int) -> str:
    """R, S, T (stopped), Z (zombie), or nothing if it is gone."""
    try:
        text = Path(f"/proc/{process}/stat").read_text(encoding="ascii")
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return text.rpartition(")")[2].split()[0]


def is_reading(process: int) -> bool:
    """Whether it has started and bound itself: from then on it dies with its parent."""
    try:
        limits = Path(f"/proc/{process}/limits").read_text(encoding="ascii")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return "unlimited" not in next(
        line for line in limits.splitlines() if line.startswith("Max address space")
    )


@pytest.fixture(autouse=True)
def _leaves_no_child() -> Iterator[None]:
    """Whatever happened: no process and no zombie is left."""
    before = set(children(os.getpid()))
    yield
    assert set(children(os.getpid())) <= before


class Reading:
    """A list that takes for ever, being read in a thread; *process* is the one that reads it."""

    def __init__(self, worker: Worker) -> None:
        before = set(children(os.getpid()))
        self._pool = ThreadPoolExecutor(1)
        self.answer: Future[ParsedList] = self._pool.submit(worker.parse, ENDLESS)
        until(lambda: set(children(os.getpid())) - before)
        (self.process,) = set(children(os.getpid())) - before
        until(lambda: is_reading(self.process))

    def error(self) -> str:
        """What the thread got instead of the list."""
        with self._pool, pytest.raises(ListError) as caught:
            self.answer.result(SECONDS)
        return str(caught.value)


def test_answers_as_the_daemon_itself_would() -> None:
    """Entries of both families, problems, duplicates and host bits; the columns cannot be written."""
    parsed = Worker().parse(LARGE)
    assert parsed == parse_list(LARGE)
    assert len(parsed.problems) == 40_000
    assert len(parsed.entries) == 4
    assert not parsed.entries.v4.address.flags.writeable
    assert Worker().parse(LARGE.decode("latin-1")).problems == parse_list(LARGE.decode("latin-1")).problems


def test_only_large_lists_need_a_process() -> None:
    """With no time for one, a short text is read and a long one is not, by lines or by bytes."""
    worker = Worker(seconds=0.0)
    assert len(worker.parse("192.0.2.1\n2001:db8::1").entries) == 2
    for large in (b"\n" * 20_000, b"#" * (5 << 20)):
        with pytest.raises(ListError, match="took more than 0 s"):
            worker.parse(large)


def test_a_killed_process_is_an_error_and_the_next_one_works() -> None:
    """As by the kernel when memory is short."""
    worker = Worker()
    reading = Reading(worker)
    os.kill(reading.process, signal.SIGKILL)
    assert "was killed (SIGKILL)" in reading.error()
    assert len(worker.parse(LARGE).entries) == 4


def test_a_stopped_process_is_ended_when_its_time_is_over() -> None:
    """It would not end by itself, nor by a signal that it could handle."""
    worker = Worker(seconds=4.0)
    reading = Reading(worker)
    os.kill(reading.process, signal.SIGSTOP)
    assert "took more than 4 s" in reading.error()
    assert not state(reading.process)


def test_a_list_that_takes_too_much_memory_is_refused() -> None:
    """By the process's own bound; the next list is read."""
    worker = Worker(memory=400 << 20)
    with pytest.raises(ListError, match="more than 400 MiB"):
        worker.parse(b"\n" * 60_000_000)
    assert len(worker.parse(LARGE).entries) == 4


def test_close_ends_what_runs_and_refuses_what_comes() -> None:
    """The daemon is told to exit and does not wait for a list."""
    worker = Worker()
    reading = Reading(worker)
    worker.close()
    assert "exiting" in reading.error()
    assert not state(reading.process)
    with pytest.raises(ListError, match="exiting"):
        worker.parse(LARGE)


@pytest.mark.parametrize("stopped", [False, True])
def test_the_process_dies_with_its_parent(stopped: bool) -> None:
    """However that dies, and whatever the process is doing."""
    parent = subprocess.Popen([sys.executable, "-c", PARENT])
    try:
        until(lambda: children(parent.pid))
        (child,) = children(parent.pid)
        until(lambda: is_reading(child))
        if stopped:
            os.kill(child, signal.SIGSTOP)
    finally:
        parent.kill()
        parent.wait()
    until(lambda: state(child) in ("", "Z"))  # a zombie is whoever adopted it to bury


def test_an_interrupt_at_the_terminal_is_not_for_it() -> None:
    """It has a session of its own: the daemon decides what is finished."""
    worker = Worker()
    reading = Reading(worker)
    assert os.getsid(reading.process) == reading.process != os.getsid(0)
    worker.close()
    reading.error()
