# SPDX-License-Identifier: Apache-2.0
"""Numbers and sentences that every report words alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from bench.result import Control, Figure, Metric, Ratio, Result, Skip

WORDS = {"pass": "pass", "fail": "FAIL", "void": "VOID", "too-noisy": "too noisy", "skipped": "skipped"}
"""Verdicts as words; colours only repeat them."""

CAVEAT = (
    "Measured over veth pairs in network namespaces: generator and gateway share one core, so rates are of "
    "both together and mean something only relative to each other within this run. They are no line rates of "
    "a network card."
)


def number(value: float) -> str:
    """Three significant digits, no exponent for what people read."""
    if value == 0:
        return "0"
    magnitude = abs(value)
    decimals = 0 if magnitude >= 100 else 1 if magnitude >= 10 else 2 if magnitude >= 0.1 else 4
    return f"{value:,.{decimals}f}"


def share(value: float) -> str:
    """A relative difference; one that is not even below 99 % needs no number."""
    return f"{value:.1%}" if value < 0.99 else ">99%"


def interval(estimate: Metric | Ratio) -> str:
    """The 95 % interval."""
    return f"{number(estimate.ci_low)} to {number(estimate.ci_high)}"


def split(key: str) -> tuple[str, str, str]:
    """(system, metric, point) of a metric's key, (over, under, point) of a ratio's."""
    left, _, point = key.partition("@")
    first, _, second = left.partition("/")
    return first, second, point


def decision(figure: Figure) -> str:
    """A figure's verdict, with what explains it."""
    word = WORDS[figure.verdict]
    if figure.verdict == "too-noisy" and not figure.reason:
        if figure.blocks_needed is None:
            return f"{word}: the ratio is at the bar, no number of blocks is sure to decide"
        return f"{word}: about {figure.blocks_needed} blocks would decide"
    return f"{word}: {figure.reason}" if figure.reason else word


def open_figures(result: Result) -> list[str]:
    """Figures that neither passed nor failed, with the reason."""
    undecided = [figure for figure in result.figures if figure.verdict not in ("pass", "fail")]
    return [f"{figure.key}: {decision(figure)}" for figure in undecided]


def judged(result: Result, figure: Figure) -> tuple[str, str, str, str]:
    """Value, interval, goal and noise floor of a figure, as far as they are known."""
    found: Metric | Ratio | None = result.ratios.get(figure.key) or result.metrics.get(figure.key)
    noise = "" if figure.noise_floor is None else share(figure.noise_floor)
    return (
        (number(found.value), interval(found), figure.goal, noise) if found else ("", "", figure.goal, noise)
    )


def spread(result: Result, key: str) -> str:
    """Coefficient of variation over all samples of a metric."""
    values = [value for block in result.samples.get(key, []) for value in block]
    if len(values) < 2 or not (mean := sum(values) / len(values)):
        return ""
    deviation = (sum((value - mean) ** 2 for value in values) / (len(values) - 1)) ** 0.5
    return f"{abs(deviation / mean):.0%}"


def gates_line(result: Result) -> str:
    """All gates in a sentence."""
    total, red = sum(row.gates for row in result.gates), sum(row.gates - row.passed for row in result.gates)
    probes = sum(row.listed_sent + row.near_sent for row in result.gates)
    colour = "none was tried" if not total else f"{red} RED" if red else "all green"
    return f"{total:,} effectiveness gates, {colour} ({probes:,} probes)"


def ledger_line(result: Result) -> str:
    """All ledgers in a sentence."""
    sent = sum(row.sent for row in result.ledger)
    residual = sum(abs(row.residual) for row in result.ledger)
    worst = max((row.worst for row in result.ledger), default=0.0)
    state = "closed" if all(row.closed for row in result.ledger) else "OPEN"
    lost = f"{residual:,} unaccounted for, at most {worst:.3%} of any trial"
    return f"ledger {state}: {sent:,} packets sent, {lost}"


def noise_line(result: Result) -> str:
    """What the run can tell apart."""
    floors = _together((point, share(floor)) for point, floor in result.noise_floor.items())
    return (
        f"smallest difference this run can tell: {'; '.join(floors)}"
        if floors
        else "no A/A pair was measured"
    )


def contention_lines(result: Result) -> list[str]:
    """Points that were disturbed: more than 2 % of the gateway's core went to other programs."""
    return _together(
        (point, f"other programs took {share:.0%} of the gateway's core; run it on a quieter machine")
        for point, share in result.contention.items()
        if share > 0.02
    )


def control_line(control: Control) -> str:
    """One check of a point."""
    state = {"pass": "ok", "fail": "VOID", "too-noisy": "too noisy to tell"}[control.verdict]
    if control.check == "core":
        return f"the gateway's core was busy {control.value:.0%} (at least {control.bar:.0%}: {state})"
    if control.check == "offered":
        reached = f"{control.value:.1%} (at least {control.bar:.0%}: {state})"
        return f"packets of the offered rate that were sent to the empty system: {reached}"
    value, bar = number(control.value), number(control.bar)
    return f"the empty system with these sources / with one source: {value} (at least {bar}: {state})"


def evidence(result: Result) -> list[str]:
    """What stands behind the figures, a sentence each."""
    controls = _together((control.point, control_line(control)) for control in result.controls)
    return [gates_line(result), ledger_line(result), noise_line(result), *controls, *contention_lines(result)]


def skips(skipped: Iterable[Skip]) -> list[str]:
    """What was skipped, systems and points with the same reason together."""
    systems: dict[tuple[str, str], list[str]] = {}
    for skip in skipped:
        systems.setdefault((skip.point, skip.reason), []).append(skip.system)
    lines = _together((at, f"{', '.join(those)}: {why}") for (at, why), those in systems.items())
    return [f"skipped at {line}" for line in lines]


def _together(lines: Iterable[tuple[str, str]]) -> list[str]:
    """Points before what is said of them, those with the same sentence together."""
    points: dict[str, list[str]] = {}
    for point, sentence in lines:
        points.setdefault(sentence, []).append(point)
    return [f"{', '.join(at)}: {sentence}" for sentence, at in points.items()]


def size_line(result: Result) -> str:
    """How much was measured."""
    run = result.run
    blocks = f"{run.blocks_done} of {run.blocks} blocks, {run.rounds} rounds each"
    return f"{blocks}, trials of {run.trial_seconds:g} s; {run.seconds:.0f} s in all."


def machine_line(result: Result) -> str:
    """The machine in a few words, as far as the fingerprint knows it."""
    cpu, kernel = result.environment.get("cpu", {}), result.environment.get("kernel", {})
    words = (cpu.get("model"), cpu.get("cpus") and f"{cpu['cpus']} CPUs", kernel.get("release"))
    return ", ".join(str(word) for word in words if word)


def flatten(facts: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested facts as dotted names and values."""
    rows: list[tuple[str, str]] = []
    for key, value in facts.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            rows += flatten(value, f"{name}.")
        elif isinstance(value, list):
            rows.append((name, ", ".join(map(str, value))))
        else:
            rows.append((name, str(value)))
    return rows
