# SPDX-License-Identifier: Apache-2.0
"""What the other commands print: a plan before a run, a comparison of two results, a calibration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bench.lists import Counts
from bench.report import text

if TYPE_CHECKING:
    from bench.calibrate import Calibration
    from bench.compare import Comparison
    from bench.operations.scenario import Operations
    from bench.plan import Plan
    from bench.points import ProfileName
    from bench.session import Session


def plan(out: Console, made: Plan, session: Session) -> None:
    """Points, rules and systems of a scenario; points in one section are interleaved."""
    profile = made.profile
    out.print(
        f"[bold]{made.name}[/]: {made.trials} trials in {profile.blocks} blocks of {profile.rounds} rounds, "
        f"{profile.trial_seconds:g} s each, about {made.seconds:.0f} s",
        highlight=False,
    )
    table = Table("point", "rules", "of which given", "measured", "blocks")
    for group in made.groups:
        for point in group.points:
            systems = [arm.system for arm in group.arms if point in arm.points and arm.role == "measured"]
            spec = made.scenario.points[point]
            given = str(session.filled[Counts(*spec.counts)].given) or "none"
            table.add_row(point, spec.rules_text, given, ", ".join(systems), str(group.blocks[point]))
        table.add_section()
    out.print(table)
    for line in text.skips(session.skipped(made)):
        out.print(f"  {line}", markup=False, highlight=False)


def operations(out: Console, name: str, asked: Operations, profile: ProfileName) -> float:
    """Points of a scenario of operations; answers its expected seconds."""
    from bench.operations.run import expected_seconds

    seconds = expected_seconds(asked, profile)
    out.print(f"[bold]{name}[/]: about {seconds:.0f} s", highlight=False)
    table = Table("point", "rules", "measured")
    for point, spec in asked.points.items():
        systems = [system for system in asked.systems if asked.metrics_of(system, point, profile)]
        if systems:
            table.add_row(point, spec.rules_text, ", ".join(systems))
    out.print(table)
    return seconds


def comparison(out: Console, scenario: str, found: Comparison) -> None:
    """What changed between two results of a scenario."""
    table = Table(title=f"{scenario}: new / old", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("metric or ratio", overflow="fold")
    for name in ("old", "new", "new / old", "95 % CI"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("change", no_wrap=True)
    for change in found.changes:
        interval = f"{change.ci_low:.3f} to {change.ci_high:.3f}"
        values = (f"{change.old:.4g}", f"{change.new:.4g}", f"{change.factor:.3f}", interval)
        style = {"same": "dim", "higher": "bold", "lower": "bold"}[change.verdict]
        table.add_row(change.name, *values, change.verdict, style=style)
    out.print(table)
    for name in (*found.only_old, *found.only_new):
        out.print(f"  only in one of them: {name}", highlight=False)
    for warning in found.warnings:
        out.print(f"  [bold yellow]{escape(warning)}[/]", highlight=False)


def calibration(out: Console, found: Calibration, refused: Mapping[str, str], path: Path) -> None:
    """By system what difference these blocks could tell, and how many it takes for smaller ones."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("A/A", no_wrap=True, min_width=17)
    differences = list(dict.fromkeys(d for noise in found.systems.values() for d in noise.blocks_for))
    for name in ("ratio", "95 % CI", "noise floor", *(f"blocks: {d}" for d in differences)):
        table.add_column(name, justify="right", no_wrap=True)
    for system, noise in found.systems.items():
        blocks = (str(noise.blocks_for.get(d) or "many") for d in differences)
        ratio = text.number(noise.ratio.value), text.interval(noise.ratio)
        table.add_row(system, *ratio, text.share(noise.noise_floor), *blocks)
    out.print(table)
    for system, why in {**refused, **found.refused}.items():
        out.print(f"  {system}: not calibrated: {why}", markup=False, highlight=False)
    out.print(f"calibration: {path}", highlight=False, soft_wrap=True)
