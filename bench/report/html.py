# SPDX-License-Identifier: Apache-2.0
"""The report as one HTML file that needs nothing else: style and plots inline, no script."""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Any

import jinja2
from markupsafe import Markup

from bench import scenario
from bench.bars import UNITS
from bench.report import curves, lines, plots, tables, text
from bench.report.plots import Row
from bench.result import Result, Summary

_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("bench.report"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render(summary: Summary, results: list[Result]) -> str:
    """All scenarios of a run on one page."""
    return _TEMPLATES.get_template("report.html.j2").render(
        summary=summary,
        words=text.WORDS,
        caveat=text.CAVEAT,
        started=results[0].run.started if results else "",
        machine=text.machine_line(results[0]) if results else "",
        pages=[_page(result) for result in results],
        again=tables.again(results),
        environment=tables.environment(results[0]) if results else None,
    )


def _page(result: Result) -> dict[str, Any]:
    return {
        "name": result.scenario,
        "verdict": result.verdict,
        "purpose": str(result.run.scenario["purpose"]).strip(),
        "size": text.size_line(result),
        "reasons": result.reasons,
        "figures": [_figure(result, position) for position in range(len(result.figures))],
        "plots": list(_plots(result)),
        "evidence": text.evidence(result),
        "tables": [
            table
            for table in (
                tables.metrics(result),
                tables.ratios(result),
                tables.classes(result),
                tables.ledger(result),
                tables.gates(result),
                tables.skipped(result),
            )
            if table.rows
        ],
    }


def _figure(result: Result, position: int) -> dict[str, str]:
    figure = result.figures[position]
    value, interval, goal, noise = text.judged(result, figure)
    return {
        "figure": figure.figure,
        "name": Markup("<wbr>").join(_breakable(figure.key)),
        "value": value,
        "interval": interval,
        "bar": goal,
        "noise": noise,
        "verdict": figure.verdict,
        "decision": text.decision(figure),
    }


def _breakable(ratio: str) -> list[str]:
    """Where a narrow screen may break a ratio's name."""
    return ratio.replace("/", "/\0").replace("@", "\0@").replace(":", ":\0").split("\0")


def _plots(result: Result) -> Iterable[dict[str, Any]]:
    """One forest of all ratios, the curves, and for each point on none of them the rates and the costs."""
    drawn = curves.of(result)
    on_curves = {point for curve in drawn for point in curve.points}
    if rows := _ratio_rows(result, on_curves):
        caption = (
            "Dot: ratio. Line: its 95 % interval. Thick tick: the bar it must reach. Dashed: no difference."
        )
        yield {"title": "Ratios", "svg": Markup(plots.forest(rows, "Ratios")), "caption": caption}  # noqa: S704
    for curve in drawn:
        caption = f"{curve.note} Bars: 95 % intervals."
        yield {"title": curve.title, "svg": Markup(lines.draw(curve)), "caption": caption}  # noqa: S704
    for point in (p for p in result.run.scenario["points"] if p not in on_curves):
        rate = _judged_metric(result, point)
        if rows := _metric_rows(result, rate, point):
            title = f"{rate} at {point}"
            caption = (
                "Small dots: trials, a line of them for each block. Large dot, line: mean, 95 % interval."
            )
            unit = UNITS.get(rate, "")
            yield {"title": title, "svg": Markup(plots.strips(rows, title, unit)), "caption": caption}  # noqa: S704
        if rows := _metric_rows(result, "cost_ns", point):
            title = f"Cost of a packet above the empty system at {point}"
            caption = (
                "1/rate of the system less 1/rate of xdp-null in the same round, with its 95 % interval."
            )
            yield {"title": title, "svg": Markup(plots.bars(rows, title, "ns")), "caption": caption}  # noqa: S704


def _judged_metric(result: Result, point: str) -> str:
    """The first of the scenario's metrics, in its form for that point."""
    asked = scenario.restore(result.run.scenario)
    if isinstance(asked, scenario.Scenario):
        return asked.metrics_at(point)[0]
    return next((text.split(key)[1] for key in result.metrics if text.split(key)[2] == point), "")


def _ratio_rows(result: Result, on_curves: Container[str]) -> list[Row]:
    """Every ratio that is judged, and the others at points that no curve shows."""
    tones = {figure.key: figure.verdict for figure in result.figures}
    found = []
    for key, ratio in result.ratios.items():
        if key not in tones and text.split(key)[2] in on_curves:
            continue
        bar = ratio.at_most if ratio.bar is None else ratio.bar
        shown, tone = text.number(ratio.value), tones.get(key, "plain")
        found.append(Row(key, ratio.value, ratio.ci_low, ratio.ci_high, shown, bar=bar, tone=tone))
    return found


def _metric_rows(result: Result, name: str, point: str) -> list[Row]:
    found = []
    for key, metric in result.metrics.items():
        system, metric_name, at = text.split(key)
        control = name == "cost_ns" and not any(any(block) for block in result.samples[key])
        if (metric_name, at) == (name, point) and not control:
            shown = f"{text.number(metric.value)} {metric.unit}"
            found.append(Row(system, metric.value, metric.ci_low, metric.ci_high, shown, result.samples[key]))
    return found
