# SPDX-License-Identifier: Apache-2.0
"""How many failed attempts a source has left."""

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable

BURST = 10.0
PER_SECOND = 1.0
REMEMBERED = 4096  # who failed; of more than these, whoever failed longest ago is forgotten


class Attempts:
    """A bucket for each key: BURST failures at once, then PER_SECOND. Only failures cost anything."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()  # what is left, when

    def wait(self, key: Hashable) -> float:
        """Seconds until *key* may try; 0 if it may now."""
        left = self._left(key)
        return 0.0 if left >= 1.0 else (1.0 - left) / PER_SECOND

    def failed(self, key: Hashable) -> None:
        """Count a failure."""
        self._buckets[key] = (self._left(key) - 1.0, self._clock())
        self._buckets.move_to_end(key)
        if len(self._buckets) > REMEMBERED:
            self._buckets.popitem(last=False)

    def _left(self, key: Hashable) -> float:
        left, when = self._buckets.get(key, (BURST, 0.0))
        return min(BURST, left + (self._clock() - when) * PER_SECOND) if when else left
