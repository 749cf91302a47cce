# SPDX-License-Identifier: Apache-2.0
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from neurowall.management.daemon import watch
from neurowall.management.daemon.watch import AfterQuiet, Watcher


@dataclass
class Interface:
    name: str
    problem: str | None = None


@dataclass
class Machine:
    """Link events and interfaces under the test's control."""

    interfaces: list[Interface] = field(default_factory=lambda: [Interface("eth0")])
    failures: list[Exception] = field(default_factory=list)
    listen_failures: list[Exception] = field(default_factory=list)
    reconciled: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    listening: threading.Event = field(default_factory=threading.Event)
    event: Callable[[], None] = lambda: None
    rounds: int = 0

    def watch_links(self, callback: Callable[[], None], stop: threading.Event) -> None:
        """What delivers events until told to stop."""
        if self.listen_failures:
            raise self.listen_failures.pop()
        self.event = callback
        self.listening.set()
        stop.wait()

    def reconcile(self) -> None:
        """What puts the interfaces in order."""
        self.rounds += 1
        self.reconciled.release()
        if self.failures:
            raise self.failures.pop()

    def wait(self) -> bool:
        """Wait for one more reconcile."""
        return self.reconciled.acquire(timeout=5)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Milliseconds instead of seconds."""
    monkeypatch.setattr(watch, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(watch, "SETTLE_SECONDS", 0.02)


@contextmanager
def watching(machine: Machine) -> Iterator[Watcher]:
    """A started watcher that is always stopped."""
    watcher = Watcher(machine.watch_links, machine.reconcile, lambda: machine.interfaces)
    watcher.start()
    try:
        assert machine.listening.wait(5)
        yield watcher
    finally:
        watcher.stop()


def test_an_event_leads_to_a_reconcile() -> None:
    """Link events are acted on."""
    machine = Machine()
    with watching(machine):
        assert machine.rounds == 0
        machine.event()
        assert machine.wait()


def test_a_burst_is_one_reconcile() -> None:
    """One interface appearing is several events within milliseconds."""
    machine = Machine()
    with watching(machine):
        for _ in range(50):
            machine.event()
        assert machine.wait()
        assert not machine.reconciled.acquire(timeout=0.2)


def test_a_failed_reconcile_is_tried_again() -> None:
    """The thread survives, and does not need another event."""
    machine = Machine(failures=[OSError("netlink says no")])
    with watching(machine):
        machine.event()
        assert machine.wait()
        assert machine.wait()


def test_a_lost_listener_is_started_again_and_nothing_is_missed() -> None:
    """Events may have been lost meanwhile, so a new listener implies a reconcile."""
    machine = Machine(listen_failures=[OSError("socket died")])
    with watching(machine):
        assert machine.wait()


def test_loss_and_return_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """An operator reads when an interface went and when it was guarded again, not every event between."""
    caplog.set_level(logging.WARNING)
    machine = Machine()
    with watching(machine):
        for problem in ("it has gone", "it has gone", None, None):
            machine.interfaces = [Interface("eth0", problem)]
            machine.event()
            assert machine.wait()
            assert not machine.reconciled.acquire(timeout=0.05)  # and the comparison after it is done
    said = [record.getMessage() for record in caplog.records]
    assert said == ["interface eth0 is not guarded: it has gone", "interface eth0 is guarded again"]


def test_it_looks_without_an_event_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """An event may have come before anybody listened."""
    monkeypatch.setattr(watch, "UNASKED_SECONDS", 0.01)
    machine = Machine()
    with watching(machine):
        assert machine.wait()
        assert machine.wait()


def test_stop_ends_both_threads() -> None:
    """Nothing is left running."""
    machine = Machine()
    before = threading.active_count()
    with watching(machine):
        assert threading.active_count() == before + 2
    assert threading.active_count() == before


def test_a_series_of_calls_is_acted_on_once_after_it() -> None:
    """Not before the last one is so long ago. On a busy machine a series may be two, which prove nothing."""
    acted: list[float] = []
    after = AfterQuiet(lambda: acted.append(time.monotonic()), 0.2)
    for _ in range(20):
        acted.clear()
        calls = []
        for _ in range(5):
            calls.append(time.monotonic())
            after()
            time.sleep(0.05)
        time.sleep(0.5)
        if max(later - call for call, later in pairwise(calls)) < 0.15:
            break
    assert len(acted) == 1
    assert acted[0] - calls[-1] >= 0.2
    after()
    time.sleep(0.5)
    assert len(acted) == 2
