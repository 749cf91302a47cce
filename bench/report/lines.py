# SPDX-License-Identifier: Apache-2.0
"""A curve as inline SVG: number of rules on a logarithmic axis, a line a system, its name at its end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from bench.report import curves, plots, text
from bench.report.curves import Curve
from bench.report.plots import Scale

HEIGHT = 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 330, 28, HEIGHT - 36
_NAMES = 348
_LINE = 15  # of text, in pixels
_SPREAD = 20  # from here on the largest value over the smallest makes the axis logarithmic


def draw(curve: Curve) -> str:
    """The plot; who cannot see it has its description, and the same numbers in a table of the report."""
    # Nothing at all stands where one would: a logarithm has no place for it.
    x = _log_scale(max(curve.sizes[0], 1), max(curve.sizes[-1], 1), _LEFT + 8, _RIGHT - 8)
    y, ticks = _vertical(curve)
    parts = [_grid(y(tick), tick) for tick in ticks]
    parts += [_tick(x(size), curves.short(size)) for size in _apart(curve.sizes, x)]
    ends = {system: y(line[max(line)].value) for system, line in curve.lines.items()}
    places = dict(zip(sorted(ends, key=ends.__getitem__), _spread_out(sorted(ends.values())), strict=True))
    for system, line in curve.lines.items():
        kind = escape(system, quote=True)
        path = "L".join(f"{x(size):.1f} {y(line[size].value):.1f}" for size in sorted(line))
        last = x(max(line))
        parts.append(
            f'<path class="leader" d="M{last:.1f} {ends[system]:.1f}L{_NAMES - 3} {places[system]:.1f}"/>'
        )
        parts.append(f'<path class="curve {kind}" d="M{path}"/>')
        parts += [
            _point(x(size), y, line[size].value, line[size].ci_low, line[size].ci_high, kind) for size in line
        ]
        parts.append(
            f'<text class="name {kind}" x="{_NAMES}" y="{places[system] + 4:.1f}">{escape(system)}</text>'
        )
    parts.append(f'<text class="tick" x="{_LEFT - 6}" y="12" text-anchor="end">{escape(curve.unit)}</text>')
    axis = f"{escape(curve.axis)} (log scale)"
    parts.append(f'<text class="tick" x="{_RIGHT}" y="{HEIGHT - 4}" text-anchor="end">{axis}</text>')
    label = escape(f"{curve.title}: {_words(curve)}", quote=True)
    return (
        f'<svg viewBox="0 0 {plots.WIDTH} {HEIGHT}" role="img" aria-label="{label}">'
        f"<title>{escape(curve.title)}</title>{''.join(parts)}</svg>"
    )


def _words(curve: Curve) -> str:
    """Every number of the plot."""
    lines = []
    for system, line in curve.lines.items():
        values = ", ".join(
            f"{text.number(line[size].value)} at {curves.short(size)}" for size in sorted(line)
        )
        lines.append(f"{system} {values}")
    return f"{'; '.join(lines)} ({curve.unit})"


def _vertical(curve: Curve) -> tuple[Scale, list[float]]:
    """From zero, or logarithmic where that would press most lines to the ground.

    Intervals do not count: those of a disturbed run may be any size, and end at the edge.
    """
    values = [metric.value for line in curve.lines.values() for metric in line.values()]
    positive = [value for value in values if value > 0]
    if len(positive) == len(values) and max(values) > _SPREAD * min(values):
        low, high = min(values) / 1.3, max(values) * 1.3
        return _log_scale(low, high, _BOTTOM, _TOP), plots.log_ticks(low, high)
    ticks = plots.round_ticks([1.05 * value for value in values])
    return (lambda value: _BOTTOM + (_TOP - _BOTTOM) * min(1.0, max(0.0, value / ticks[-1]))), ticks


def _log_scale(low: float, high: float, start: float, end: float) -> Scale:
    span = math.log(high / low) or 1.0
    return lambda value: start + (end - start) * math.log(min(max(value, low), high) / low) / span


def _spread_out(wanted: Sequence[float]) -> list[float]:
    """Heights for the names of lines, from top to bottom: as near to their ends as their size allows."""
    places: list[float] = []
    for height in wanted:
        places.append(max(height, places[-1] + _LINE) if places else height)
    floor = float(_BOTTOM)
    for number in reversed(range(len(places))):
        places[number] = min(places[number], floor)
        floor = places[number] - _LINE
    return places


def _apart(sizes: Sequence[int], x: Scale) -> list[int]:
    """Sizes whose labels do not touch; the ends are always among them."""
    shown = [sizes[-1]]
    for size in reversed(sizes[:-1]):
        if x(shown[-1]) - x(size) >= 34:
            shown.append(size)
    return shown if shown[-1] == sizes[0] or len(shown) == 1 else [*shown[:-1], sizes[0]]


def _grid(y: float, value: float) -> str:
    name = f'<text class="tick" x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>'
    return f'<path class="axis" d="M{_LEFT} {y:.1f}H{_RIGHT}"/>{name}'


def _tick(x: float, name: str) -> str:
    mark = f'<path class="axis" d="M{x:.1f} {_BOTTOM}v5"/>'
    return f'{mark}<text class="tick" x="{x:.1f}" y="{_BOTTOM + 17}" text-anchor="middle">{name}</text>'


def _point(x: float, y: Scale, value: float, low: float, high: float, kind: str) -> str:
    bar = f'<path class="curve {kind} interval-of" d="M{x:.1f} {y(low):.1f}V{y(high):.1f}"/>'
    return f'{bar}<circle class="point {kind}" cx="{x:.1f}" cy="{y(value):.1f}" r="3.5"/>'
