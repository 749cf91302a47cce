# SPDX-License-Identifier: Apache-2.0
"""The tables of a report as rows of text; Markdown and HTML only set them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.report import text
from bench.report.curves import Curve
from bench.result import Metric, Result

Cells = tuple[str, ...]
FIGURES: Cells = ("figure", "ratio or metric", "value", "95 % CI", "bar", "A/A noise floor", "verdict")
"""Header of the table of verdicts."""


@dataclass(frozen=True)
class Table:
    """`numbers` are the columns to align to the right."""

    title: str
    header: Cells
    rows: Sequence[Cells]
    numbers: tuple[int, ...] = ()


def curve(drawn: Curve) -> Table:
    """One row a system, one column a size."""
    rows = [
        (system, *(_estimate(line[size]) if size in line else "" for size in drawn.sizes))
        for system, line in drawn.lines.items()
    ]
    header = ("system", *(f"{size:,}" for size in drawn.sizes))
    return Table(f"{drawn.title} ({drawn.unit})", header, rows, tuple(range(1, len(header))))


def metrics(result: Result) -> Table:
    """Every metric of every system."""
    rows = []
    for key, found in result.metrics.items():
        system, metric, point = text.split(key)
        estimate = (text.number(found.value), found.unit, text.interval(found))
        rows.append((system, metric, point, *estimate, text.spread(result, key), str(found.n)))
    header = ("system", "metric", "point", "value", "unit", "95 % CI", "spread", "n")
    return Table("Metrics", header, rows, (3, 5, 6, 7))


def ratios(result: Result) -> Table:
    """Every ratio, whether it has a bar or not."""
    rows = [(key, text.number(r.value), text.interval(r), str(r.n)) for key, r in result.ratios.items()]
    return Table("All ratios", ("ratio", "value", "95 % CI", "n"), rows, (1, 2, 3))


def ledger(result: Result) -> Table:
    """Where the packets went."""
    rows = []
    for row in result.ledger:
        counts = (f"{row.sent:,}", f"{row.delivered:,}", f"{row.dropped_by_rule:,}", _places(row.elsewhere))
        rows.append((row.system, row.point, *counts, f"{row.residual:,}", "yes" if row.closed else "NO"))
    header = ("system", "point", "sent", "delivered", "dropped by rule", "elsewhere", "unaccounted", "closed")
    title = "Packet ledger: sent = delivered + dropped by rule + dropped elsewhere"
    return Table(title, header, rows, (2, 3, 4, 6))


def classes(result: Result) -> Table:
    """The confusion matrix: what became of each class of packets."""
    rows = []
    for row in result.classes:
        share = row.passed / row.sent if row.sent else 0.0
        must = "pass" if row.allowed is None else f"at most {row.allowed:,}" if row.allowed else "none"
        counts = (f"{row.sent:,}", f"{row.passed:,}", f"{row.sent - row.passed:,}")
        rows.append((row.system, row.point, row.name, *counts, f"{share:.4%}", must))
    header = ("system", "point", "class", "sent", "passed", "stopped", "passed share", "may pass")
    return Table("What became of each class of packets", header, rows, (3, 4, 5, 6, 7))


def gates(result: Result) -> Table:
    """What the gates saw."""
    rows = []
    for row in result.gates:
        stopped = f"{row.listed_blocked:,} of {row.listed_sent:,}"
        passed = f"{row.near_passed:,} of {row.near_sent:,}"
        must = {"filter": "stop listed, pass near", "pass": "pass all", "drop": "stop all"}[row.kind]
        green = f"{row.passed} of {row.gates}"
        rows.append((row.system, row.point, must, green, stopped, passed, row.detail))
    header = ("system", "point", "must", "green", "listed stopped", "near misses passed", "first failure")
    return Table("Effectiveness gates, before and after every trial", header, rows, (3, 4, 5))


def skipped(result: Result) -> Table:
    """What the plan left out."""
    return Table(
        "Skipped", ("system", "point", "why"), [(s.system, s.point, s.reason) for s in result.skipped]
    )


def environment(result: Result) -> Table:
    """The machine and its software."""
    rows: list[Cells] = [(name, value.replace("\n", " ")) for name, value in text.flatten(result.environment)]
    return Table("Environment", ("fact", "value"), rows)


def again(results: list[Result]) -> Table:
    """What a repetition starts from."""
    rows = []
    for result in results:
        run = result.run
        source = run.given_list.file if run.given_list else "generated"
        rows.append((result.scenario, str(run.seed), run.scenario_sha256[:16], source, " ".join(run.command)))
    return Table("How to run it again", ("scenario", "seed", "scenario SHA-256", "list", "command"), rows)


def _estimate(metric: Metric) -> str:
    return f"{text.number(metric.value)} ({text.interval(metric)})"


def _places(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{place}: {count:,}" for place, count in counts.items() if count) or "nowhere"
