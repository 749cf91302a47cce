# SPDX-License-Identifier: Apache-2.0
import random
from collections.abc import Sequence
from itertools import product

import pytest

from neurowall.logic.stateful.levels import PIECES, WIDE, Item, Placed, place
from neurowall.model.spans import Spans

SIZE = 9
POINTS = list(product(range(SIZE), repeat=3))


def random_items(seed: int, count: int) -> list[Item]:
    """Rules over three fields of nine values each."""
    rng = random.Random(seed)

    def values() -> tuple[tuple[int, int], ...]:
        if rng.random() < 0.35:
            return ((0, SIZE - 1),)
        firsts = [rng.randrange(SIZE) for _ in range(rng.choice((1, 1, 2)))]
        return Spans((first, min(SIZE - 1, first + rng.choice((0, 0, 1, 4)))) for first in firsts).spans

    return [Item((values(), values(), values()), rng.random() < 0.8) for _ in range(count)]


def holds(item: Item, point: Sequence[int]) -> bool:
    """Whether the rule matches a packet with these fields."""
    return all(
        any(low <= value <= high for low, high in spans)
        for spans, value in zip(item.values, point, strict=True)
    )


def asked(items: Sequence[Item], point: Sequence[int]) -> list[int]:
    """The rules that match, up to the first that decides."""
    found = []
    for number, item in enumerate(items):
        if holds(item, point):
            found.append(number)
            if item.final:
                break
    return found


def found_by_level(items: Sequence[Item], placed: Sequence[Placed], point: Sequence[int]) -> list[int]:
    """The same from levels, each of which must hold the packet once at most."""
    found = []
    for level in sorted({each.level for each in placed}):
        hits = [
            each.item
            for each in placed
            if each.level == level
            for box in each.boxes or ()
            if all(low <= value <= high for (low, high), value in zip(box, point, strict=True))
        ]
        assert len(hits) <= 1
        found += hits
        if hits and items[hits[0]].final:
            break
    return found


@pytest.mark.parametrize("seed", range(40))
def test_levels_find_the_first_match(seed: int) -> None:
    """Asked level by level, every point meets the same rules as asked one rule after the other."""
    items = random_items(seed, 3 + seed)
    placed = place(items)
    for point in POINTS:
        assert found_by_level(items, placed, point) == asked(items, point)


def test_a_covered_rule_is_left_out() -> None:
    """A rule that earlier ones leave nothing of is looked up nowhere."""
    items = [Item((((0, 3),),), True), Item((((4, 9),),), True), Item((((2, 7),),), True)]
    assert [each.item for each in place(items)] == [0, 1]


def test_what_comes_back_is_asked_before_what_it_overlaps() -> None:
    """A rule that may come back takes nothing away: what overlaps it waits for the next level."""
    items = [Item((((0, 9),),), False), Item((((3, 4),),), True)]
    assert [(each.level, each.boxes) for each in place(items)] == [(0, (((0, 9),),)), (1, (((3, 4),),))]


def test_a_rule_is_not_cut_into_more_boxes_than_it_is_worth() -> None:
    """Behind many narrow rules a broad one is asked later, whole."""
    narrow = [Item((((10 * n, 10 * n),), ((0, 99),)), True) for n in range(PIECES + 1)]
    (last,) = place([*narrow, Item((((0, 9999),), ((7, 7),)), True)])[-1:]
    assert (last.level, last.cut) == (1, False)
    (last,) = place([*narrow[:-2], Item((((0, 9999),), ((7, 7),)), True)])[-1:]
    assert (last.level, last.cut) == (0, True)


def test_a_rule_of_many_boxes_is_compared_by_itself() -> None:
    """It has no boxes, and whatever overlaps it is on another level."""
    wide = Item((tuple((2 * n, 2 * n) for n in range(WIDE + 1)),), True)
    placed = place([Item((((4, 4),),), True), wide, Item((((8, 8),),), True)])
    assert [(each.level, each.boxes is None) for each in placed] == [(0, False), (1, True), (2, False)]
