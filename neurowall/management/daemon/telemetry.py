# SPDX-License-Identifier: Apache-2.0
"""The thread that hands on what the kernel tells, for as long as the daemon runs."""

import logging
from typing import Protocol

from neurowall.management.daemon.background import Background

WAIT_SECONDS = 0.2  # for an event, at most; the end of the daemon may take so long
PAUSE_SECONDS = 5.0  # after an attempt that failed

log = logging.getLogger(__name__)


class Telling(Protocol):
    """What has the events: the engine."""

    def pass_on_events(self, seconds: float) -> bool:
        """Wait so long at most for events, and hand them on; False if there never are any."""


class Teller(Background):
    """Calls *telling*.pass_on_events() again and again; a failure is logged, and tried again later."""

    def __init__(self, telling: Telling, pause: float = PAUSE_SECONDS) -> None:
        super().__init__("events")
        self._telling = telling
        self._pause = pause

    def _work(self) -> None:
        while not self._ending.is_set():
            try:
                if not self._telling.pass_on_events(WAIT_SECONDS):
                    log.warning("this kernel has no BPF ring buffers (Linux 5.8): no events, only counters")
                    return
            except Exception:
                log.exception("events cannot be read; trying again in %.0f s", self._pause)
                self._ending.wait(self._pause)
