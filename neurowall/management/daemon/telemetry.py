# SPDX-License-Identifier: Apache-2.0
"""The thread that hands on what the kernel tells, for as long as the daemon runs."""

import logging
import threading
from typing import Protocol

WAIT_SECONDS = 0.2  # for an event, at most; the end of the daemon may take so long
PAUSE_SECONDS = 5.0  # after an attempt that failed

log = logging.getLogger(__name__)


class Telling(Protocol):
    """What has the events: the engine."""

    def pass_on_events(self, seconds: float) -> bool:
        """Wait so long at most for events, and hand them on; False if there never are any."""


class Teller:
    """Calls *telling*.pass_on_events() again and again; a failure is logged, and tried again later."""

    def __init__(self, telling: Telling, pause: float = PAUSE_SECONDS) -> None:
        self._telling = telling
        self._pause = pause
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="events", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def end(self) -> None:
        """Have the thread end, without waiting for that."""
        self._stop.set()

    def stop(self) -> None:
        """End the thread; returns when it is gone, or after ten seconds."""
        self.end()
        self._thread.join(timeout=10.0)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                if not self._telling.pass_on_events(WAIT_SECONDS):
                    log.warning("this kernel has no BPF ring buffers (Linux 5.8): no events, only counters")
                    return
            except Exception:
                log.exception("events cannot be read; trying again in %.0f s", self._pause)
                self._stop.wait(self._pause)
