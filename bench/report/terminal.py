# SPDX-License-Identifier: Apache-2.0
"""The tables at the end of a run; they fit 80 columns."""

from __future__ import annotations

from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.report import text
from bench.result import Figure, Result, Summary

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
        for point in dict.fromkeys(text.split(figure.ratio)[2] for figure in result.figures):
            console.print(_figures(result, point))
        for line in text.open_figures(result):
            console.print(f"  {line}", highlight=False, markup=False)
        for point in dict.fromkeys(text.split(key)[2] for key in result.metrics):
            console.print(_rates(result, point))
        _evidence(console, result)
    console.print(Text.assemble("verdict: ", (text.WORDS[summary.verdict], _STYLE[summary.verdict])))
    console.print(
        f"reports: {directory}/report.html, report.md, summary.json", highlight=False, soft_wrap=True
    )


def _heading(result: Result) -> Text:
    verdict = (text.WORDS[result.verdict], _STYLE[result.verdict])
    return Text.assemble(
        (result.scenario, "bold"), f" ({result.profile}, {result.run.seconds:.0f} s): ", verdict
    )


def _figures(result: Result, point: str) -> Table:
    """One row for every bar at a point."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True, min_width=3)
    table.add_column(f"ratio at {point}", no_wrap=True)
    for name in ("value", "95 % CI", "bar"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for figure in result.figures:
        if text.split(figure.ratio)[2] == point:
            table.add_row(*_figure(result, figure))
    return table


def _figure(result: Result, figure: Figure) -> tuple[str | Text, ...]:
    ratio = result.ratios.get(figure.ratio)
    shown = (text.number(ratio.value), text.interval(ratio)) if ratio else ("", "")
    verdict = Text(text.WORDS[figure.verdict], style=_STYLE[figure.verdict])
    return figure.figure, figure.ratio.partition("@")[0], *shown, f">= {figure.bar:g}", verdict


def _rates(result: Result, point: str) -> Table:
    """One row for every system at a point; the interval is that of the rate, the judged metric."""
    metrics = [metric for metric in result.run.scenario["metrics"] if isinstance(metric, str)]
    systems = dict.fromkeys(text.split(key)[0] for key in result.metrics if text.split(key)[2] == point)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(point, no_wrap=True, min_width=17)
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


def _evidence(console: Console, result: Result) -> None:
    for line in (*text.evidence(result), *text.skips(result.skipped)):
        console.print(f"  {line}", highlight=False, markup=False)
    for reason in result.reasons:
        console.print(Text(f"  {reason}", style="red"))
    console.print()
