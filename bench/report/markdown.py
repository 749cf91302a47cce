# SPDX-License-Identifier: Apache-2.0
"""The report as Markdown, for a pull request or a ticket."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.report import curves, tables, text
from bench.report.tables import Table
from bench.result import Result, Summary


def render(summary: Summary, results: list[Result]) -> str:
    """All scenarios of a run."""
    parts = [f"# Neurowall benchmark: {text.WORDS[summary.verdict]}", ""]
    parts += [f"Profile {summary.profile}, {summary.seconds:.0f} s, run `{summary.run}`. {text.CAVEAT}", ""]
    for result in results:
        parts += _scenario(result)
    if results:
        note = "`neurowall-bench replay RESULT.json` repeats lists, sources and order of trials."
        parts += ["## How to run it again", "", note, "", *_table(tables.again(results))]
        parts += ["## Environment", "", *_table(tables.environment(results[0]))]
    return "\n".join(parts) + "\n"


def _scenario(result: Result) -> list[str]:
    purpose = str(result.run.scenario["purpose"]).strip()
    parts = [
        f"## {result.scenario}: {text.WORDS[result.verdict]}",
        "",
        purpose,
        "",
        text.size_line(result),
        "",
    ]
    if result.reasons:
        parts += [*(f"- **{reason}**" for reason in result.reasons), ""]
    parts += _rows(tables.FIGURES, _figures(result))
    parts += [*(f"- {line}" for line in text.evidence(result)), ""]
    for curve in curves.of(result):
        made = tables.curve(curve)
        parts += [f"### {made.title}", "", *_table(made)]
    made_of = (
        tables.metrics, tables.ratios, tables.classes, tables.ledger, tables.gates, tables.skipped,
    )  # fmt: skip
    for table in made_of:
        if (made := table(result)).rows:
            parts += [f"### {made.title}", "", *_table(made)]
    return parts


def _figures(result: Result) -> Iterable[Sequence[str]]:
    for figure in result.figures:
        yield figure.figure, f"`{figure.key}`", *text.judged(result, figure), text.decision(figure)


def _table(table: Table) -> list[str]:
    return _rows(table.header, table.rows)


def _rows(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header), *lines, ""] if lines else []
