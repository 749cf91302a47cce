# SPDX-License-Identifier: Apache-2.0
"""Events on their way from the kernel to whoever follows them.

Nobody waits for anybody: each subscriber has a bounded queue of its own, and one that is too slow loses its
own oldest events, and is told how many.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from neurowall.model.events import Filter, Told

RECENT = 1000  # kept for those who come later
QUEUE = 1000  # waiting for one subscriber
MOST_SUBSCRIBERS = 32


class TooManySubscribers(Exception):
    """There are as many as there may be."""


class Subscription:
    """One subscriber's queue. *wake* is called, by any thread, when there is something to take."""

    def __init__(self, wanted: Filter, wake: Callable[[], None], size: int) -> None:
        self._wanted = wanted
        self._wake = wake
        self._waiting: deque[Told] = deque()
        self._size = size
        self._lost = 0
        self._lock = threading.Lock()
        self.is_closed = False

    def offer(self, events: Sequence[Told]) -> int:
        """Put those in that are wanted; how many of older ones that cost."""
        wanted = [told for told in events if self._wanted.wants(told.event)]
        if not wanted:
            return 0
        with self._lock:
            self._waiting.extend(wanted)
            over = max(0, len(self._waiting) - self._size)
            for _ in range(over):
                self._waiting.popleft()
            self._lost += over
        self._wake()
        return over

    def take(self, most: int) -> tuple[int, list[Told]]:
        """How many were lost since the last call, and the next ones; oldest first."""
        with self._lock:
            lost, self._lost = self._lost, 0
            return lost, [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]

    def close(self) -> None:
        """Nothing more comes."""
        self.is_closed = True
        self._wake()


class EventHub:
    """Hands events on. Any thread may call. lost: what slow subscribers did not get, all together."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._recent: deque[Told] = deque(maxlen=RECENT)
        self._subscriptions: set[Subscription] = set()
        self._is_closed = False
        self.lost = 0

    @property
    def subscribers(self) -> int:
        """How many there are."""
        return len(self._subscriptions)

    def publish(self, events: Sequence[Told]) -> None:
        """Hand these on to everybody who wants them."""
        with self._lock:
            self._recent.extend(events)
            for each in self._subscriptions:
                self.lost += each.offer(events)

    def recent(self, wanted: Filter, most: int) -> list[Told]:
        """The last ones, oldest first."""
        with self._lock:
            found = [told for told in self._recent if wanted.wants(told.event)]
        return found[-most:]

    def subscribe(self, wanted: Filter, wake: Callable[[], None], size: int = QUEUE) -> Subscription:
        """What happens from now on. Give it back with unsubscribe(). TooManySubscribers."""
        made = Subscription(wanted, wake, size)
        with self._lock:
            if len(self._subscriptions) >= MOST_SUBSCRIBERS:
                raise TooManySubscribers
            self._subscriptions.add(made)
            made.is_closed = self._is_closed
        return made

    def unsubscribe(self, subscription: Subscription) -> None:
        """Give a place back."""
        with self._lock:
            self._subscriptions.discard(subscription)

    def close(self) -> None:
        """End every subscription, those to come as well: the daemon exits."""
        with self._lock:
            self._is_closed = True
            ending = list(self._subscriptions)
        for each in ending:
            each.close()


def ahead_of_monotonic() -> float:
    """How far Unix time is ahead of CLOCK_MONOTONIC now, in seconds."""
    return time.time() - time.monotonic()
