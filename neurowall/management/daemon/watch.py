# SPDX-License-Identifier: Apache-2.0
"""Keeps the interfaces attached: a thread that acts on link events, for as long as the daemon runs."""

import logging
import threading
from collections.abc import Callable, Iterable
from typing import Protocol

RETRY_SECONDS = 1.0
SETTLE_SECONDS = 0.05  # one interface appearing is several events
QUIET_SECONDS = 1.0  # to read a large table back takes half as long as to change it: a series is read once
UNASKED_SECONDS = 10.0  # reconcile without an event: one may come before the first listener does

log = logging.getLogger(__name__)


class Watched(Protocol):
    """One interface as the data plane sees it."""

    @property
    def name(self) -> str:
        """Its name in the policy."""

    @property
    def problem(self) -> str | None:
        """Why it is not guarded, None if it is."""


class AfterQuiet:
    """Calls *act* in a thread of its own, *seconds* after the last of several calls of this object."""

    def __init__(self, act: Callable[[], None], seconds: float) -> None:
        self._act, self._seconds = act, seconds
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None

    def __call__(self) -> None:
        """Begin to wait, or begin anew."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = threading.Timer(self._seconds, self._act)
            self._timer.daemon = True
            self._timer.start()


class Watcher:
    """Calls *reconcile* after every burst of link events, and logs what got worse and what recovered.

    It also does so every UNASKED_SECONDS: that finds programs that somebody else took off.
    *watch(callback, stop)* delivers link events until *stop* is set. Should it fail (a lost netlink
    socket, say), it is started again, with a reconcile in case events were missed. `reconcile` runs
    in this object's thread only, never twice at once.
    """

    def __init__(
        self,
        watch: Callable[[Callable[..., None], threading.Event], None],
        reconcile: Callable[[], object],
        interfaces: Callable[[], Iterable[Watched]],
    ) -> None:
        self._watch = watch
        self._reconcile = reconcile
        self._interfaces = interfaces
        self._stop = threading.Event()
        self._pending = threading.Event()
        self._problems: dict[str, str] = {}
        self._threads = [
            threading.Thread(target=self._listen, name="link-events", daemon=True),
            threading.Thread(target=self._act, name="interface-watcher", daemon=True),
        ]

    def start(self) -> None:
        """Start watching; what is wrong now is logged as the starting point."""
        self._compare()
        for thread in self._threads:
            thread.start()

    def poke(self) -> None:
        """Have it look soon, as after an event."""
        self._pending.set()

    def end(self) -> None:
        """Have both threads end, without waiting for that."""
        self._stop.set()
        self._pending.set()

    def stop(self) -> None:
        """End both threads; returns when they are gone, or after two seconds."""
        self.end()
        for thread in self._threads:
            thread.join(timeout=2.0)

    def _listen(self) -> None:
        while not self._stop.is_set():
            try:
                self._watch(lambda *_event: self._pending.set(), self._stop)
            except Exception:
                log.exception("watching link events failed; starting again in %.0f s", RETRY_SECONDS)
            self._stop.wait(RETRY_SECONDS)
            self._pending.set()

    def _act(self) -> None:
        while True:
            self._pending.wait(UNASKED_SECONDS)
            if self._stop.wait(SETTLE_SECONDS):
                return
            # Cleared before acting: an event that arrives meanwhile causes another round.
            self._pending.clear()
            try:
                self._reconcile()
                self._compare()
            except Exception:
                log.exception("putting the interfaces in order failed; trying again in %.0f s", RETRY_SECONDS)
                self._stop.wait(RETRY_SECONDS)
                self._pending.set()

    def _compare(self) -> None:
        now = {interface.name: interface.problem for interface in self._interfaces()}
        for name, problem in now.items():
            before = self._problems.get(name)
            if problem and problem != before:
                log.warning("interface %s is not guarded: %s", name, problem)
            elif before and not problem:
                log.warning("interface %s is guarded again", name)
        self._problems = {name: problem for name, problem in now.items() if problem}
