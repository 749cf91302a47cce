# SPDX-License-Identifier: Apache-2.0
"""The tables at the end of a run; they fit 80 columns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.report import curves, text
from bench.report.curves import Curve
from bench.result import ClassRow, Figure, Result, Summary

ROOM = 40
"""Columns for the names of metrics, where systems, interval and spread have theirs."""
_STYLE = {
    "pass": "bold green",
    "fail": "bold red",
    "void": "bold red",
    "too-noisy": "bold yellow",
    "skipped": "dim",
}


def show(console: Console, summary: Summary, results: list[Result], directory: Path) -> None:
    """For each scenario figures, rates and what stands behind them; then the verdict and the reports."""
    for result in results:
        console.print(_heading(result))
        for point in dict.fromkeys(text.split(figure.key)[2] for figure in result.figures):
            _titled(console, point, _figures(result, point))
        for line in text.open_figures(result):
            console.print(f"  {line}", highlight=False, markup=False)
        drawn = curves.of(result)
        for curve in drawn:
            _titled(console, curve.title, _curve(curve))
        on_curves = {point for curve in drawn for point in curve.points}
        for point in dict.fromkeys(text.split(key)[2] for key in result.metrics):
            if point not in on_curves:
                _titled(console, f"at {point}", _rates(result, point))
        if result.classes:
            _titled(console, "what became of each class of packets", _classes(result))
        console.print()
        _evidence(console, result)
    console.print(Text.assemble("verdict: ", (text.WORDS[summary.verdict], _STYLE[summary.verdict])))
    console.print(
        f"reports: {directory}/report.html, report.md, summary.json", highlight=False, soft_wrap=True
    )


def _titled(console: Console, title: str, table: Table) -> None:
    console.print(f"\n  {title}", highlight=False, markup=False)
    console.print(table)


def _heading(result: Result) -> Text:
    verdict = (text.WORDS[result.verdict], _STYLE[result.verdict])
    return Text.assemble(
        (result.scenario, "bold"), f" ({result.profile}, {result.run.seconds:.0f} s): ", verdict
    )


def _figures(result: Result, point: str) -> Table:
    """One row for every bar at a point; the A/A pair of the run says how small a difference it could tell."""
    table = _table()
    table.add_column("", no_wrap=True, min_width=3)
    table.add_column("ratio or metric", no_wrap=True)
    for name in ("value", "95 % CI", "bar", "A/A"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict")
    for figure in result.figures:
        if text.split(figure.key)[2] == point:
            table.add_row(*_figure(result, figure))
    return table


def _table() -> Table:
    return Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))


def _curve(curve: Curve) -> Table:
    """One row a system, one column a size."""
    table = _table()
    table.add_column(curve.unit, no_wrap=True, min_width=17)
    for size in curve.sizes:
        table.add_column(curves.short(size), justify="right", no_wrap=True)
    for system, line in curve.lines.items():
        table.add_row(
            system, *(text.number(line[size].value) if size in line else "" for size in curve.sizes)
        )
    return table


def _figure(result: Result, figure: Figure) -> tuple[str | Text, ...]:
    verdict = Text(text.WORDS[figure.verdict], style=_STYLE[figure.verdict])
    return figure.figure, figure.key.partition("@")[0], *text.judged(result, figure), verdict


def _rates(result: Result, point: str) -> Table:
    """One row for every system at a point; the interval is that of the first metric, the judged one.

    Or one row for every metric of each, where they do not fit beside each other.
    """
    keys = [text.split(key) for key in result.metrics if text.split(key)[2] == point]
    systems, metrics = (list(dict.fromkeys(key[i] for key in keys)) for i in (0, 1))
    table = _table()
    if sum(len(name) + 2 for name in metrics) > ROOM:
        for name in ("", "metric", "value", "", "95 % CI", "n"):
            table.add_column(name, justify="right" if name in ("value", "95 % CI", "n") else "left")
        for system, name, _ in keys:
            one = result.metrics[f"{system}/{name}@{point}"]
            table.add_row(system, name, text.number(one.value), one.unit, text.interval(one), str(one.n))
        return table
    table.add_column("", no_wrap=True, min_width=17)
    for name in (metrics[0], "95 % CI", "spread", *metrics[1:]):
        table.add_column(name, justify="right", no_wrap=True)
    for system in systems:
        found = [result.metrics.get(f"{system}/{metric}@{point}") for metric in metrics]
        values = [text.number(metric.value) if metric else "" for metric in found]
        rate = text.interval(found[0]) if found[0] else ""
        table.add_row(
            system, values[0], rate, text.spread(result, f"{system}/{metrics[0]}@{point}"), *values[1:]
        )
    return table


def _classes(result: Result) -> Table:
    """One row for each class at each point, one column a system: the share that passed."""
    table = _table()
    systems = list(dict.fromkeys(row.system for row in result.classes))
    for name in ("passed at", "class", "may pass", *systems):
        table.add_column(name, justify="right" if name in systems else "left")
    shares = {(row.point, row.name, row.system): row for row in result.classes}
    for point, name in dict.fromkeys((row.point, row.name) for row in result.classes):
        cells = [shares.get((point, name, system)) for system in systems]
        table.add_row(point, name, _may_pass(cells), *(_passed(cell) for cell in cells))
    return table


def _passed(row: ClassRow | None) -> str:
    return f"{row.passed / row.sent:.3%}" if row and row.sent else ""


def _may_pass(rows: Sequence[ClassRow | None]) -> str:
    """In words, since how many limits let through depends on how long a trial took."""
    allowed = [row.allowed for row in rows if row]
    return "all" if all(one is None for one in allowed) else "some" if any(allowed) else "none"


def _evidence(console: Console, result: Result) -> None:
    for line in (*text.evidence(result), *text.skips(result.skipped)):
        console.print(f"  {line}", highlight=False, markup=False)
    for reason in result.reasons:
        console.print(Text(f"  {reason}", style="red"))
    console.print()
