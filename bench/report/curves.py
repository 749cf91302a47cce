# SPDX-License-Identifier: Apache-2.0
"""Metrics against the number of rules, or the offered rate: which points make a curve, and its lines."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bench import scenario as scenarios
from bench.plan import RULELESS
from bench.points import Point
from bench.report import text
from bench.result import Metric, Result
from bench.scenario import Scenario

if TYPE_CHECKING:
    from bench.operations.scenario import Operations

_KINDS = ("IPv4 hosts", "IPv4 prefixes", "IPv6 hosts", "IPv6 prefixes")
_OF_RULES = ("load_seconds", "memory_mib", "daemon_pss_mib", "kernel_maps_mib")
"""Metrics that depend on the rules alone, whatever is sent."""
_TITLES = {
    "drop_mpps": "Packets dropped",
    "forward_mpps": "Packets forwarded",
    "cost_ns": "Cost of a packet above the empty system",
    "load_seconds": "Time to load",
    "memory_mib": "Memory",
    "daemon_pss_mib": "Memory of processes",
    "kernel_maps_mib": "Memory of kernel maps",
    "cpu_ns_per_packet": "CPU time of a packet",
    "latency_p99_us": "Latency, 99th percentile",
    "legit_loss_ratio": "Legitimate packets lost",
    "attack_pass_ratio": "Attack packets passed beyond the limits",
}
_SOURCES = {
    "fixed-set": "All points were sent the same sources.",
    "listed": "Sources were uniform over all entries, other ones at each point.",
    "near-listed": "Sources were near listed ones, other ones at each point.",
    "accepted": "All points were sent the same sources, which the rules accept.",
    "classes": "All points were sent the same classes of packets; see the table of what became of each.",
}
RULES, LOAD = "rules", "offered rate, % of what the empty system forwards"
"""What is on the axis of a curve."""


@dataclass(frozen=True)
class Curve:
    """One metric against the number of rules, or the offered rate in per cent: by system, by size.

    `points` are those of the scenario whose figures it holds.
    """

    metric: str
    title: str
    unit: str
    note: str
    points: tuple[str, ...]
    lines: Mapping[str, Mapping[int, Metric]]
    axis: str = RULES

    @property
    def sizes(self) -> list[int]:
        """Every number of rules, or every rate, that was measured."""
        return sorted({size for line in self.lines.values() for size in line})


def of(result: Result) -> list[Curve]:
    """Every curve of at least two sizes, in the order of points and metrics."""
    asked = scenarios.restore(result.run.scenario)
    measured = {text.split(key)[2] for key in result.metrics}
    drawn = []
    for metric in dict.fromkeys(text.split(key)[1] for key in result.metrics):
        series: dict[Hashable, list[str]] = {}
        for point, spec in asked.points.items():
            if point in measured:
                series.setdefault((spec.kind, _alike(asked, metric, point)), []).append(point)
        for points in series.values():
            sizes = {point: _size(asked, point) for point in points}
            curve = _curve(result, metric, sizes, asked.points, _note(asked, metric, points[0]))
            if _by_load(asked, points[0]):
                title = f"{_TITLES.get(metric, metric)}, by offered rate"
                curve = replace(curve, title=title, axis=LOAD)
            if len(curve.sizes) >= 2:
                drawn.append(curve)
    order = list(asked.points)
    return sorted(drawn, key=lambda curve: min(map(order.index, curve.points)))


def short(size: int) -> str:
    """A number of rules in three characters or so: 1k, 250k, 1M."""
    for factor, unit in ((1_000_000, "M"), (1_000, "k")):
        if size >= factor:
            return f"{size / factor:g}{unit}"
    return str(size)


def _by_load(asked: object, point: str) -> bool:
    """Whether points differ in the rate at which classes of packets are sent."""
    return isinstance(asked, Scenario) and bool((sent := asked.traffic_at(point)).classes and sent.load)


def _alike(asked: object, metric: str, point: str) -> Hashable:
    """What points must have in common to be on one curve of that metric."""
    if not isinstance(asked, Scenario) or metric in _OF_RULES:
        return None
    sent, features = asked.traffic_at(point), asked.defence_at(point)
    return (sent.model_copy(update={"load": None}), "load") if _by_load(asked, point) else (sent, features)


def _size(asked: Scenario | Operations, point: str) -> int:
    """Where a point is on the axis."""
    if isinstance(asked, Scenario) and _by_load(asked, point):
        return round(100 * (asked.traffic_at(point).load or 0.0))
    return asked.points[point].total


def _curve(
    result: Result, metric: str, sizes: Mapping[str, int], specs: Mapping[str, Point], note: str
) -> Curve:
    points = list(sizes)
    lines: dict[str, dict[int, Metric]] = {}
    for key, found in result.metrics.items():
        system, name, point = text.split(key)
        idle = metric in _OF_RULES and system in RULELESS
        if name == metric and point in points and not idle and not _is_the_reference(result, key, metric):
            lines.setdefault(system, {}).setdefault(sizes[point], found)
    kinds = [kind for kind, present in zip(_KINDS, specs[points[0]].shape, strict=True) if present]
    kinds += ["stateful rules"] if specs[points[0]].rules is not None else []
    title = f"{_TITLES.get(metric, metric)}, by number of {' and '.join(kinds)}"
    unit = next((m.unit for line in lines.values() for m in line.values()), "")
    return Curve(metric, title, unit, note, tuple(points), lines)


def _is_the_reference(result: Result, key: str, metric: str) -> bool:
    """The cost of the system that cost is measured from is zero, and nothing to draw."""
    return metric == "cost_ns" and not any(any(block) for block in result.samples[key])


def _note(asked: object, metric: str, point: str) -> str:
    if metric in _OF_RULES or not isinstance(asked, Scenario):
        return "Means over blocks."
    return _SOURCES[asked.traffic_at(point).sources]
