# SPDX-License-Identifier: Apache-2.0
"""How many notes of one kind the audit takes: guessing tokens must not push all else out of it."""

import threading
from collections.abc import Callable

BURST = 10  # notes of one action at once
EVERY = 60.0  # seconds for each one more


class NoteBudget:
    """A bucket for each action; those are a few words of ours, not a caller's."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets: dict[str, tuple[float, float, int]] = {}  # left, when, suppressed since

    def take(self, action: str) -> int | None:
        """How many of them were suppressed before this one; None if this one is."""
        with self._lock:
            now = self._clock()
            left, then, suppressed = self._buckets.get(action, (float(BURST), now, 0))
            left = min(left + (now - then) / EVERY, float(BURST))
            if left < 1:
                self._buckets[action] = (left, now, suppressed + 1)
                return None
            self._buckets[action] = (left - 1, now, 0)
            return suppressed
