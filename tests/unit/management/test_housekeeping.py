# SPDX-License-Identifier: Apache-2.0
"""The thread that sees to what has its time, against an engine that the test plays."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from neurowall.management.daemon import housekeeping
from neurowall.management.daemon.housekeeping import Housekeeper
from neurowall.model.errors import StateError


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(housekeeping, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(housekeeping, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(housekeeping, "LONGEST_PAUSE", 0.04)


class Entries:
    """Moments at which entries end; counts the changes that took them out."""

    def __init__(self, *ends: float) -> None:
        self.ends = list(ends)
        self.failures: list[Exception] = []
        self.unreadable: list[Exception] = []
        self.changes: list[tuple[float, int]] = []  # when, and how many entries
        self.changed = threading.Semaphore(0)
        self.looked = threading.Semaphore(0)
        self.said: list[str | None] = []
        self.unconfirmed = False
        self.taken_back = threading.Semaphore(0)

    def tend_limits(self) -> int:
        """No limit bans anybody."""
        return 0

    def take_back_unconfirmed(self) -> bool:
        """Take the policy back that nobody confirmed, once."""
        was, self.unconfirmed = self.unconfirmed, False
        if was:
            self.taken_back.release()
        return was

    def next_expiry(self) -> float | None:
        """The first end."""
        self.looked.release()
        if self.unreadable:
            raise self.unreadable.pop()
        return min(self.ends, default=None)

    def expire(self) -> int:
        """Take out what is over."""
        if self.failures:
            raise self.failures.pop()
        now = time.time()
        over = [end for end in self.ends if end <= now]
        self.ends = [end for end in self.ends if end > now]
        self.changes.append((now, len(over)))
        self.changed.release()
        return len(over)


@contextmanager
def keeping(entries: Entries) -> Iterator[Housekeeper]:
    """A housekeeper that is always stopped."""
    keeper = Housekeeper(entries, entries.said.append)
    keeper.start()
    try:
        yield keeper
    finally:
        keeper.stop()


def looks(entries: Entries, times: int) -> None:
    """Wait until it has looked so often from now on."""
    while entries.looked.acquire(blocking=False):
        pass
    for _ in range(times):
        assert entries.looked.acquire(timeout=10)


def test_nothing_is_taken_out_before_its_end() -> None:
    """However often it looks."""
    entries = Entries(time.time() + 3600)
    with keeping(entries):
        looks(entries, 5)
    assert entries.changes == []
    assert entries.said == []


def test_what_is_over_is_taken_out_after_its_end() -> None:
    """By itself, and the rest stays."""
    end, later = time.time() + 0.1, time.time() + 3600
    entries = Entries(end, later)
    with keeping(entries):
        assert entries.changed.acquire(timeout=10)
    assert entries.ends == [later]
    assert entries.changes[0][0] >= end


def test_an_entry_that_comes_later_and_ends_sooner_is_seen() -> None:
    """It does not sleep until the first end that it knew."""
    entries = Entries(time.time() + 3600)
    with keeping(entries):
        looks(entries, 1)
        entries.ends.append(time.time())
        assert entries.changed.acquire(timeout=10)


def test_many_ends_are_few_changes() -> None:
    """Each change writes to disk and waits for the kernel: a thousand bans may end in one second."""
    entries = Entries(*(time.time() - 1 for _ in range(1000)))
    with keeping(entries):
        assert entries.changed.acquire(timeout=10)
        looks(entries, 3)
    assert [count for _, count in entries.changes] == [1000]


def test_failures_are_told_tried_again_and_taken_back(caplog: pytest.LogCaptureFixture) -> None:
    """The thread survives whatever it meets, and the problem ends with its cause."""
    caplog.set_level(logging.INFO)
    entries = Entries(time.time())
    entries.failures = [StateError("state.json: no space left"), ZeroDivisionError()]
    entries.unreadable = [OSError("no")]
    with keeping(entries):
        assert entries.changed.acquire(timeout=10)
        looks(entries, 2)
    assert [problem is None for problem in entries.said] == [False, False, False, True]
    assert "no space left" in str(entries.said[2])
    texts = [record.getMessage() for record in caplog.records]
    assert sum("failed; trying again" in text for text in texts) == 3
    assert texts.count("housekeeping works again") == 1


def test_a_policy_that_nobody_confirmed_is_taken_back(caplog: pytest.LogCaptureFixture) -> None:
    """Also where no entry ever ends; and the log says so, once."""
    entries = Entries()
    with keeping(entries):
        looks(entries, 2)
        assert not entries.taken_back.acquire(blocking=False)
        entries.unconfirmed = True
        assert entries.taken_back.acquire(timeout=10)
        looks(entries, 2)
    assert [record.getMessage() for record in caplog.records] == [
        "the policy was not confirmed in time: the one before is in force again"
    ]


def test_pauses_grow_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is not hammered, nor forgotten; and a year of failures is no overflow."""
    monkeypatch.setattr(housekeeping, "FIRST_PAUSE", 1.0)
    monkeypatch.setattr(housekeeping, "LONGEST_PAUSE", 60.0)
    keeper = Housekeeper(Entries(), lambda _: None)
    pauses = []
    for failures in (0, 1, 2, 3, 6, 7, 8, 500_000):
        keeper._failures = failures
        pauses.append(keeper._pause())
    assert pauses == [0.01, 1, 2, 4, 32, 60, 60, 60]


def test_stop_ends_the_thread_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also while it waits after a failure."""
    monkeypatch.setattr(housekeeping, "FIRST_PAUSE", 3600.0)
    monkeypatch.setattr(housekeeping, "LONGEST_PAUSE", 3600.0)
    entries = Entries(time.time())
    entries.failures = [OSError("no")]
    before = threading.active_count()
    with keeping(entries):
        looks(entries, 1)
        assert threading.active_count() == before + 1
    assert threading.active_count() == before
