# SPDX-License-Identifier: Apache-2.0
"""The files of a finished run, written from its results and re-written from result.json at any time."""

from __future__ import annotations

from pathlib import Path

from bench import result as results
from bench.report import html, markdown
from bench.result import Result, ResultError, Summary


def write(directory: Path, found: list[Result]) -> Summary:
    """summary.json, report.md and report.html over all scenarios of a run."""
    summary = results.summarise(
        directory.resolve().name, {f"{result.scenario}/result.json": result for result in found}
    )
    results.save(summary, directory / "summary.json")
    (directory / "report.md").write_text(markdown.render(summary, found), encoding="utf-8")
    (directory / "report.html").write_text(html.render(summary, found), encoding="utf-8")
    return summary


def read(directory: Path) -> list[Result]:
    """The results below a run's directory, oldest first; raises ResultError if there are none."""
    paths = sorted(directory.glob("*/result.json"), key=lambda path: path.stat().st_mtime)
    if not paths:
        raise ResultError(f"{directory}: no */result.json here; give the directory of a run")
    return [results.load(path) for path in paths]
