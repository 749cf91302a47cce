# SPDX-License-Identifier: Apache-2.0
"""Who was dropped most: counts that fade, in bounded memory."""

from dataclasses import dataclass
from random import Random

import pytest

from neurowall.logic.top import HALF_LIFE, TopSources
from neurowall.model.events import Event, EventKind, Told
from neurowall.model.reasons import Reason


@dataclass
class Clock:
    """Seconds as the test says."""

    now: float = 1000.0

    def __call__(self) -> float:
        """The time."""
        return self.now


def drop(source: str, *, name: str = "", when: float = 0.0, kind: EventKind = EventKind.DROP) -> Told:
    """One event."""
    reason = Reason.BLOCK_LIST if name else Reason.LIMITED
    return Told(Event(0, kind, reason, 2, source, "192.0.2.1", 17, 1, 2, 60), when, "wan0", name)


def test_the_busiest_come_first_with_what_was_last() -> None:
    """Only drops with a source count."""
    top = TopSources(clock=Clock())
    top.note([drop("a"), drop("b", name="abuse", when=1.0), drop("b", name="feed", when=2.0), drop("")])
    top.note([drop("c", kind=EventKind.BAN)] * 3)
    busiest, other = top.top(10)
    assert (busiest.address, busiest.reason, busiest.list, busiest.last) == ("b", "block-list", "feed", 2.0)
    assert (other.address, other.reason, other.list) == ("a", "limited", "")
    assert [each.events for each in (busiest, other)] == pytest.approx([2, 1])
    assert top.top(1) == [busiest]
    assert top.top(0) == []


def test_a_count_halves_with_time() -> None:
    """Who is busy now overtakes who was; also beyond what a float could hold without rescaling."""
    clock = Clock()
    top = TopSources(clock=clock)
    for _ in range(3):
        top.note([drop("old")] * 10)
        clock.now += HALF_LIFE
        assert top.top(1)[0].events == pytest.approx(5)
        clock.now += 3 * HALF_LIFE
        top.note([drop("new")])
        assert [each.address for each in top.top(2)] == ["new", "old"]
        clock.now += 2000 * HALF_LIFE
        assert top.top(1)[0].events == pytest.approx(0, abs=1e-9)


def test_random_sources_neither_fill_memory_nor_hide_the_busy_ones() -> None:
    """Three that come again and again stay in front of a hundred thousand that come once."""
    top, random, busy = TopSources(kept=64, clock=Clock()), Random(6), ["x", "y", "z"]
    for number in range(5000):
        top.note([drop(str(random.getrandbits(64)), when=number) for _ in range(20)])
        top.note([drop(random.choice(busy), when=number)])
    assert len(top.top(10**6)) <= 128
    assert sorted(each.address for each in top.top(3)) == busy
    assert sum(each.events for each in top.top(3)) == pytest.approx(5000, rel=0.01)
