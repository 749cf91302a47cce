# SPDX-License-Identifier: Apache-2.0
"""Who was dropped most lately, as far as the kernel told: a bounded count that fades.

A count halves every HALF_LIFE seconds, so it says who is busy now, not who ever was. Instead of making all
counts smaller, a later event weighs more, and counts are divided by the weight of the moment when asked.
A flood from random sources costs no memory: when there are too many, the lightest half goes.
"""

import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from neurowall.model.events import EventKind, Told

KEPT = 1024  # sources, after the lightest went; up to twice as many before
HALF_LIFE = 60.0  # seconds
_RESCALE = 512.0  # half-lives; a float's exponent ends at 1023


@dataclass(frozen=True)
class TopSource:
    """One source. events: told drops, fading; reason, list ("": none), last (Unix time): of the last one."""

    address: str
    reason: str
    list: str
    events: float
    last: float


@dataclass
class _Count:
    weight: float
    told: Told


class TopSources:
    """Counts told drops by source. Any thread may call. clock: seconds that only go forward."""

    def __init__(self, kept: int = KEPT, clock: Callable[[], float] = time.monotonic) -> None:
        self._kept = kept
        self._clock = clock
        self._begun = clock()
        self._counts: dict[str, _Count] = {}
        self._lock = threading.Lock()

    def note(self, events: Sequence[Told]) -> None:
        """Count those that are drops of packets with a source."""
        with self._lock:
            weight = self._weight()
            for told in events:
                if told.event.kind is EventKind.DROP and told.event.source:
                    self._add(told, weight)

    def top(self, most: int) -> list[TopSource]:
        """The *most* busiest ones, the busiest first; of equals the later one."""
        with self._lock:
            weight = self._weight()
            held = sorted(self._counts.values(), key=_rank, reverse=True)[:most]
        return [
            TopSource(
                address=each.told.event.source,
                reason=each.told.event.reason.label,
                list=each.told.name,
                events=each.weight / weight,
                last=each.told.time,
            )
            for each in held
        ]

    def _add(self, told: Told, weight: float) -> None:
        held = self._counts.get(told.event.source)
        if held:
            held.weight += weight
            held.told = told
            return
        if len(self._counts) >= 2 * self._kept:
            # Equal ones go by age: who comes again and again gains weight and stays.
            heaviest = sorted(self._counts.items(), key=lambda item: _rank(item[1]), reverse=True)
            self._counts = dict(heaviest[: self._kept])
        self._counts[told.event.source] = _Count(weight, told)

    def _weight(self) -> float:
        """What an event of now weighs."""
        age = (self._clock() - self._begun) / HALF_LIFE
        if age > _RESCALE:
            factor = math.exp2(-age)
            for each in self._counts.values():
                each.weight *= factor
            self._begun, age = self._clock(), 0.0
        return math.exp2(age)


def _rank(count: _Count) -> tuple[float, float]:
    return count.weight, count.told.time
