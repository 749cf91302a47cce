# SPDX-License-Identifier: Apache-2.0
"""What has its time: a thread, for as long as the daemon runs.

Timed entries are taken out when they are over. The kernel stops honouring them by itself, to the nanosecond;
this only gives their room back, and sees to it that lists and counts show what is in force. A policy that
nobody confirmed in time is taken back.
"""

import logging
import time
from collections.abc import Callable
from typing import Protocol

from neurowall.management.daemon.background import Background

LOOK_SECONDS = 0.5  # all that ended meanwhile go out in one change, so there are at most two a second
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0  # after an attempt that failed

log = logging.getLogger(__name__)


class Expiring(Protocol):
    """What holds the timed entries and the bans: the engine."""

    def expire(self) -> int:
        """Take out what is over; how many entries those were."""

    def next_expiry(self) -> float | None:
        """When the first one is over, Unix seconds; None if there is none."""

    def tend_limits(self) -> int:
        """Take out bans by limits that are over; how many those were."""

    def take_back_unconfirmed(self) -> bool:
        """Go back if a policy was not confirmed in time; whether that happened."""


class Housekeeper(Background):
    """Calls *expiring*.expire() within a second after the first entry is over, and looks at the policy.

    If that fails it says so to *tell* and in the log, and tries again after FIRST_PAUSE, twice that,
    and so on up to LONGEST_PAUSE; `tell(None)` takes it back once it succeeds. *took_back* is called after a
    policy was taken back.
    """

    def __init__(
        self,
        expiring: Expiring,
        tell: Callable[[str | None], None],
        took_back: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__("housekeeping")
        self._expiring = expiring
        self._took_back = took_back
        self._tell = tell
        self._failures = 0

    def _work(self) -> None:
        while not self._ending.wait(self._pause()):
            try:
                self._look()
            except Exception as error:
                self._failed(error)
                log.exception("housekeeping failed; trying again in %.0f s", self._pause())
            else:
                self._succeeded()

    def _pause(self) -> float:
        if not self._failures:
            return LOOK_SECONDS
        # Bounded before it is a power: a disk may stay full for weeks.
        return min(FIRST_PAUSE * 2.0 ** min(self._failures - 1, 10), LONGEST_PAUSE)

    def _look(self) -> None:
        first = self._expiring.next_expiry()
        if first is not None and first <= time.time() and (ended := self._expiring.expire()):
            log.info("%d timed entries ended", ended)
        if ended := self._expiring.tend_limits():
            log.info("%d bans by limits ended", ended)
        if self._expiring.take_back_unconfirmed():
            log.warning("the policy was not confirmed in time: the one before is in force again")
            self._took_back()

    def _failed(self, error: Exception) -> None:
        self._failures += 1
        self._tell(f"what is over cannot be taken out or back: {error}")

    def _succeeded(self) -> None:
        if self._failures:
            log.warning("housekeeping works again")
            self._failures = 0
            self._tell(None)
