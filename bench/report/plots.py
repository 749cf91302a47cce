# SPDX-License-Identifier: Apache-2.0
"""Inline SVG plots without a library: narrow enough for a phone, coloured by the page's style sheet.

Labels stand above their rows instead of beside them. Who cannot see a plot has its description, and a table
with the same numbers in the report.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH = 460
_LEFT, _RIGHT = 10, 450
_ROW = 44
_TOP = 8
_AXIS = 34

Scale = Callable[[float], float]


@dataclass(frozen=True)
class Row:
    """One line of a plot: an estimate with its interval; perhaps its samples by block, or a bar to reach."""

    label: str
    value: float
    low: float
    high: float
    text: str
    samples: Sequence[Sequence[float]] = ()
    bar: float | None = None
    tone: str = "plain"


def forest(rows: Sequence[Row], title: str) -> str:
    """Ratios on a logarithmic axis, each against its bar; 1 means no difference."""
    values = [value for row in rows for value in (row.low, row.high, row.bar or 1.0)]
    low, high = min([*values, 1.0]) / 1.1, max([*values, 1.0]) * 1.1
    ticks = log_ticks(low, high)
    scale = _scale(math.log(low), math.log(high), math.log)
    parts = [_line(scale(1.0), _TOP, _height(rows) - _AXIS, "reference")]
    for number, row in enumerate(rows):
        y = _TOP + number * _ROW
        parts += [_label(row, y), _interval(row, scale, y + 28)]
        if row.bar is not None:
            parts.append(_goal(scale(row.bar), y + 28, f"bar {row.bar:g}"))
    return _svg(title, rows, [*parts, *_axis(ticks, scale, _height(rows), "ratio (log scale)")])


def strips(rows: Sequence[Row], title: str, unit: str) -> str:
    """Every sample as a dot, a line of dots for each block; over them their mean and its interval."""
    samples = [value for row in rows for block in row.samples for value in block]
    scale, ticks = _linear([*samples, *(row.value for row in rows)])
    parts = []
    for number, row in enumerate(rows):
        y = _TOP + number * _ROW
        parts.append(_label(row, y))
        for block, values in enumerate(row.samples):
            height = y + 22 + 12 * (block + 0.5) / len(row.samples)
            parts += [_dot(scale(value), height) for value in values]
        parts.append(_interval(row, scale, y + 28))
    return _svg(title, rows, [*parts, *_axis(ticks, scale, _height(rows), unit)])


def bars(rows: Sequence[Row], title: str, unit: str) -> str:
    """Lengths from zero, with intervals."""
    scale, ticks = _linear([1.2 * row.value for row in rows])
    parts = []
    for number, row in enumerate(rows):
        y = _TOP + number * _ROW
        parts.append(_label(row, y))
        parts.append(_box(scale(0), scale(max(0.0, row.value)), y + 21, row.tone))
        parts.append(_whisker(scale(max(0.0, row.low)), scale(max(0.0, row.high)), y + 28, "whisker"))
    return _svg(title, rows, [*parts, *_axis(ticks, scale, _height(rows), unit)])


def _svg(title: str, rows: Sequence[Row], parts: Sequence[str]) -> str:
    text = f"{title}: " + "; ".join(f"{row.label} {row.text}" for row in rows)
    body = "".join(parts)
    return (
        f'<svg viewBox="0 0 {WIDTH} {_height(rows)}" role="img" aria-label="{escape(text, quote=True)}">'
        f"<title>{escape(title)}</title>{body}</svg>"
    )


def _height(rows: Sequence[Row]) -> int:
    return _TOP + len(rows) * _ROW + _AXIS


def _label(row: Row, y: float) -> str:
    name = f'<text class="label" x="{_LEFT}" y="{y + 14}">{escape(row.label)}</text>'
    place = f'x="{_RIGHT}" y="{y + 14}" text-anchor="end"'
    return f'{name}<text class="number {row.tone}" {place}>{escape(row.text)}</text>'


def _interval(row: Row, scale: Scale, y: float) -> str:
    return (
        f"{_whisker(scale(row.low), scale(row.high), y, f'interval {row.tone}')}"
        f'<circle class="mean {row.tone}" cx="{scale(row.value):.1f}" cy="{y}" r="4.5"/>'
    )


def _whisker(x1: float, x2: float, y: float, kind: str) -> str:
    ends = "".join(f"M{x:.1f} {y - 5}V{y + 5}" for x in (x1, x2))
    return f'<path class="{kind}" d="{ends}M{x1:.1f} {y}H{x2:.1f}"/>'


def _goal(x: float, y: float, text: str) -> str:
    return f'<path class="goal" d="M{x:.1f} {y - 9}V{y + 9}"><title>{escape(text)}</title></path>'


def _line(x: float, y1: float, y2: float, kind: str) -> str:
    return f'<path class="{kind}" d="M{x:.1f} {y1:.1f}V{y2:.1f}"/>'


def _dot(x: float, y: float) -> str:
    return f'<circle class="sample" cx="{x:.1f}" cy="{y:.1f}" r="2.2"/>'


def _box(x1: float, x2: float, y: float, tone: str) -> str:
    return f'<rect class="amount {tone}" x="{x1:.1f}" y="{y:.1f}" width="{x2 - x1:.1f}" height="14"/>'


def _axis(ticks: Sequence[float], scale: Scale, height: float, unit: str) -> list[str]:
    y = height - _AXIS + 4
    parts = [f'<path class="axis" d="M{_LEFT} {y}H{_RIGHT}"/>']
    for tick in ticks:
        x = f"{scale(tick):.1f}"
        parts.append(f'<path class="axis" d="M{x} {y}v4"/>')
        parts.append(f'<text class="tick" x="{x}" y="{y + 16}" text-anchor="middle">{tick:g}</text>')
    parts.append(f'<text class="tick" x="{_RIGHT}" y="{height - 2}" text-anchor="end">{escape(unit)}</text>')
    return parts


def _scale(low: float, high: float, transform: Callable[[float], float]) -> Scale:
    span = (high - low) or 1.0
    return lambda value: _LEFT + 6 + (transform(value) - low) / span * (_RIGHT - _LEFT - 12)


def _linear(values: Sequence[float]) -> tuple[Scale, list[float]]:
    """From zero to a round number above the largest value; what reaches further ends at the edge."""
    ticks = round_ticks(values)
    return _scale(0.0, ticks[-1], lambda value: min(value, ticks[-1])), ticks


def round_ticks(values: Sequence[float]) -> list[float]:
    """Round numbers from zero to above the largest value."""
    top = max([*values, 1e-9])
    step = next(s for s in _round_numbers(top / 6) if s * 6 >= top)
    return [round(step * number, 10) for number in range(math.ceil(top / step) + 1)]


def _round_numbers(near: float) -> list[float]:
    base = 10.0 ** math.floor(math.log10(near))
    return [base * factor for factor in (1, 2, 2.5, 5, 10)]


def log_ticks(low: float, high: float) -> list[float]:
    """Between three and about seven of the usual round numbers."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 2, 5), (1, 3), (1,)):
        ticks = [round(f * 10.0**d, 10) for d in decades for f in factors if low <= f * 10.0**d <= high]
        if len(ticks) <= 8:
            return ticks
    return ticks
