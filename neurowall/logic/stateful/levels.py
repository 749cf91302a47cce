# SPDX-License-Identifier: Apache-2.0
"""Rules as disjoint boxes, in as few levels as their overlaps allow.

A level is looked up at once, however many rules it holds: its boxes do not overlap. First match decides all
the same, since of two rules that overlap the later one is either in a higher level, which is asked later, or
less what the earlier one takes away from it. What comes back after a match (monitor, limits), or has too
many boxes, takes nothing away, so whatever overlaps it is in a higher level.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurowall.model.spans import Span, Spans

WIDE = 64
"""A rule of more boxes than this is compared by an expression of its own."""
PIECES = 64
"""A rule is not cut into more boxes than this; it is asked later instead."""
CUTTERS = 8
"""Of those that take a corner of a box, which leaves several boxes, at most so many are tried."""

Box = tuple[Span, ...]
Ranks = NDArray[np.int32]


@dataclass(frozen=True)
class Item:
    """What a rule asks of each of the fields: disjoint spans. final: a match is decided by it."""

    values: tuple[tuple[Span, ...], ...]
    final: bool

    @property
    def boxes(self) -> int:
        """How many boxes the rule has."""
        count = 1
        for spans in self.values:
            count *= len(spans)
        return count


@dataclass(frozen=True)
class Placed:
    """Where an item, by its position, is asked. boxes None: by its own expression. cut: in part."""

    item: int
    level: int
    boxes: tuple[Box, ...] | None
    cut: bool


def place(items: Sequence[Item]) -> tuple[Placed, ...]:
    """Levels and boxes of items in order; one that earlier items leave nothing of is missing."""
    return _placed(tuple(items))


@lru_cache(maxsize=32)
def _placed(items: tuple[Item, ...]) -> tuple[Placed, ...]:
    """The same. Most of what compiling costs, and a change of one rule leaves most kinds as they were."""
    if not items:
        return ()
    space = _Space(items)
    found = []
    for number in range(len(items)):
        placed = space.place(number)
        if placed is not None:
            found.append(placed)
    return tuple(found)


class _Space:
    """All boxes so far, their edges as ranks among all edges of a field: 128 bits become 32."""

    def __init__(self, items: Sequence[Item]) -> None:
        self._items = items
        self._edges: list[list[int]] = []
        ranks: list[Mapping[int, int]] = []
        for field in range(len(items[0].values)):
            edges = {edge for item in items for span in item.values[field] for edge in (span[0], span[1] + 1)}
            self._edges.append(sorted(edges))
            ranks.append({edge: rank for rank, edge in enumerate(self._edges[-1])})
        self._ends = [len(edges) - 1 for edges in self._edges]
        self._shapes = [_ranked(item, ranks) for item in items]
        fields = len(ranks)
        total = sum(shape.shape[2] for shape in self._shapes)
        # First and one beyond the last, of every field and box.
        self._low: Ranks = np.empty((fields, total), np.int32)
        self._high: Ranks = np.empty((fields, total), np.int32)
        self._level: Ranks = np.empty(total, np.int32)
        self._cuts: NDArray[np.bool_] = np.empty(total, np.bool_)
        self._used = 0

    def place(self, number: int) -> Placed | None:
        """The level of the next item."""
        item, shape = self._items[number], self._shapes[number]
        wide = item.boxes > WIDE
        met = self._met(shape)
        if not len(met):
            self._add(shape, 0, cuts=item.final and not wide)
            return Placed(number, 0, None if wide else tuple(product(*item.values)), cut=False)
        levels = self._level[met]
        lowest = int(levels[~self._cuts[met]].max(initial=-1)) + 1
        level, boxes = int(levels.max(initial=-1)) + 1, shape
        if not wide:
            for tried in _some(lowest, levels):
                pieces = self._cut(shape, met[levels >= tried])
                if pieces is not None:
                    level, boxes = tried, pieces
                    break
        if not boxes.shape[2]:
            return None
        # All of it takes part in what follows, also what earlier ones cut away: they come first there too.
        self._add(shape, level, cuts=item.final and not wide)
        if boxes is shape:
            return Placed(number, level, None if wide else tuple(product(*item.values)), cut=False)
        return Placed(number, level, self._boxes(boxes), cut=True)

    def _met(self, shape: Ranks) -> NDArray[np.intp]:
        """Which boxes so far have anything in common with one of these."""
        low, high = self._low[:, : self._used], self._high[:, : self._used]
        found = np.zeros(self._used, np.bool_)
        for firsts, ends in shape.transpose(2, 0, 1).tolist():
            common = np.ones(self._used, np.bool_)
            for field, (first, end) in enumerate(zip(firsts, ends, strict=True)):
                if end < self._ends[field]:
                    common &= low[field] < end
                if first:
                    common &= high[field] > first
            found |= common
        return np.flatnonzero(found)

    def _cut(self, shape: Ranks, cutters: NDArray[np.intp]) -> Ranks | None:
        """What the cutters leave of some boxes; None where that takes too many boxes."""
        if not len(cutters):
            return shape
        low, high = self._low[:, cutters], self._high[:, cutters]
        pieces: list[list[tuple[int, int]]] = []
        for box in range(shape.shape[2]):
            left = _less(shape[:, :, box], low, high)
            if left is None or len(pieces) + len(left) > PIECES:
                return None
            pieces.extend(left)
        if not pieces:
            return np.empty((2, len(low), 0), np.int32)
        return np.array(pieces, np.int32).transpose(2, 1, 0)

    def _add(self, shape: Ranks, level: int, *, cuts: bool) -> None:
        end = self._used + shape.shape[2]
        self._low[:, self._used : end] = shape[0]
        self._high[:, self._used : end] = shape[1]
        self._level[self._used : end] = level
        self._cuts[self._used : end] = cuts
        self._used = end

    def _boxes(self, shape: Ranks) -> tuple[Box, ...]:
        """Ranks back as values."""
        columns = [
            [(edges[low], edges[high] - 1) for low, high in zip(lows, highs, strict=True)]
            for edges, lows, highs in zip(self._edges, shape[0].tolist(), shape[1].tolist(), strict=True)
        ]
        return tuple(zip(*columns, strict=True))


def _some(lowest: int, levels: Ranks) -> list[int]:
    """Levels worth a try, from the lowest one: those with few enough boxes in it and above."""
    top = int(levels.max(initial=-1)) + 1
    if lowest >= top:
        return [lowest]
    above = np.sort(levels)[::-1]
    if len(above) > PIECES * 4:
        lowest = max(lowest, int(above[PIECES * 4]) + 1)
    return sorted({lowest, (lowest + top) // 2, top - 1, top})


def _ranked(item: Item, ranks: Sequence[Mapping[int, int]]) -> Ranks:
    """The boxes of an item; of a wide one fewer, which hold all of it. First low, then high edges."""
    values = item.values
    if item.boxes > WIDE:
        values = tuple(((spans[0][0], spans[-1][1]),) for spans in values)
    edges = [
        [(rank[first], rank[last + 1]) for first, last in spans]
        for rank, spans in zip(ranks, values, strict=True)
    ]
    return np.array(list(product(*edges)), np.int32).transpose(2, 1, 0)


def _less(box: Any, low: Ranks, high: Ranks) -> list[list[tuple[int, int]]] | None:
    """One box less others, as boxes; None where too many are in the way."""
    overlapping = ((low < box[1][:, None]) & (high > box[0][:, None])).all(axis=0)
    low, high = low[:, overlapping], high[:, overlapping]
    # Where a cutter does not span the box. One that spans it in all fields but one takes a slice off it.
    narrower = (low > box[0][:, None]) | (high < box[1][:, None])
    count = narrower.sum(axis=0)
    if (count == 0).any():
        return []
    corners = np.flatnonzero(count > 1)
    if len(corners) > CUTTERS:
        return None
    left: list[list[tuple[int, int]]] = []
    size = 1
    for field in range(len(low)):
        slices = np.flatnonzero(narrower[field] & (count == 1))
        taken = zip(low[field][slices].tolist(), (high[field][slices] - 1).tolist(), strict=True)
        left.append(_rest(int(box[0][field]), int(box[1][field]), Spans(taken).spans))
        size *= len(left[-1])
        if size > PIECES:
            return None
    pieces = [list(piece) for piece in product(*left)]
    for corner in corners:
        cutter = list(zip(low[:, corner].tolist(), high[:, corner].tolist(), strict=True))
        pieces = [rest for piece in pieces for rest in _without(piece, cutter)]
        if len(pieces) > PIECES:
            return None
    return pieces


def _rest(low: int, high: int, taken: Sequence[Span]) -> list[tuple[int, int]]:
    """What disjoint spans in order leave of low to high, high not included."""
    left = []
    for first, last in taken:
        if low < first:
            left.append((low, first))
        low = max(low, last + 1)
    if low < high:
        left.append((low, high))
    return left


def _without(piece: list[tuple[int, int]], cutter: Sequence[tuple[int, int]]) -> list[list[tuple[int, int]]]:
    """One box less another."""
    if any(
        low >= beyond or high <= first for (low, high), (first, beyond) in zip(piece, cutter, strict=True)
    ):
        return [piece]
    left = []
    middle = list(piece)
    for field, (first, beyond) in enumerate(cutter):
        low, high = middle[field]
        outside = ((low, first), (beyond, high))
        left += [[*middle[:field], part, *middle[field + 1 :]] for part in outside if part[0] < part[1]]
        middle[field] = max(low, first), min(high, beyond)
    return left
