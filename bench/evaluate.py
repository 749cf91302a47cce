# SPDX-License-Identifier: Apache-2.0
"""From records to figures and a verdict: pure, so that a stored run can be judged again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench import stats, validity
from bench.records import Record, Role
from bench.result import Control, Figure, GateRow, LedgerRow, Metric, Ratio, Verdict, Void, worst
from bench.scenario import Bar, Scenario, parts
from bench.validity import Cell, Measured, Values

SUBJECT = "neurowall"
UNITS = {"drop_mpps": "Mpps", "forward_mpps": "Mpps", "cost_ns": "ns", "load_seconds": "s"}


@dataclass(frozen=True)
class Judgement:
    """The judged half of a result; the other half is what the runner knows."""

    verdict: Verdict
    reasons: list[str]
    figures: list[Figure]
    metrics: dict[str, Metric]
    ratios: dict[str, Ratio]
    samples: dict[str, list[list[float]]]
    noise_floor: dict[str, float]
    contention: dict[str, float]
    controls: list[Control]
    ledger: list[LedgerRow]
    gates: list[GateRow]
    void: list[Void]


def evaluate(
    scenario: Scenario,
    records: Iterable[Record],
    *,
    seed: int,
    skipped: Mapping[Cell, str],
    interrupted: str | None = None,
) -> Judgement:
    """Judge a run; `skipped` says why the plan left cells out, `interrupted` what ended the run early."""
    run = Measured.of(scenario, records)
    void = validity.void(run)
    usable = run.without({(row.system, row.point) for row in void})
    controls = validity.controls(run)
    broken = [validity.explain(control) for control in controls if control.verdict == "fail"]
    if interrupted:
        broken.append(f"interrupted by {interrupted}: not every block was measured")
    samples = _samples(usable)
    doubts = {c.point: validity.explain(c) for c in controls if c.verdict == "too-noisy"}
    figures = [_figure(bar, usable, void, broken, skipped, seed) for bar in scenario.bars]
    figures = [_doubt(figure, doubts) for figure in figures]
    return Judgement(
        verdict=_verdict(figures, samples, invalid=bool(void or broken)),
        reasons=[*broken, *(f"{v.system} at {v.point}: {reason}" for v in void for reason in v.reasons)],
        figures=figures,
        metrics={key: _metric(key, series, seed) for key, series in samples.items()},
        ratios=_ratios(usable, seed),
        samples=samples,
        noise_floor=_noise_floor(usable, seed),
        contention=validity.contention(run),
        controls=controls,
        ledger=validity.ledger(run),
        gates=validity.gates(run),
        void=void,
    )


def derive(seed: int, *names: object) -> int:
    """A seed for one purpose of a run: the same for the same names, unrelated to that of any other."""
    text = "/".join(map(str, (seed, *names)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def _verdict(figures: Sequence[Figure], samples: Mapping[str, object], *, invalid: bool) -> Verdict:
    if invalid:
        return "void"
    if figures:
        return worst([figure.verdict for figure in figures])
    return "pass" if samples else "skipped"


def _figure(
    bar: Bar,
    run: Measured,
    void: Sequence[Void],
    broken: Sequence[str],
    skipped: Mapping[Cell, str],
    seed: int,
) -> Figure:
    over, point, under, base = parts(bar.ratio)
    cells = (over, point), (under, base)
    judged = Figure(figure=bar.figure, ratio=bar.ratio, bar=bar.bar, verdict="void")
    for cell in cells:
        if cell in skipped:
            return judged.model_copy(update={"verdict": "skipped", "reason": f"{cell[0]}: {skipped[cell]}"})
    reasons = [f"{v.system}: {v.reasons[0]}" for v in void if (v.system, v.point) in cells]
    series = _pairs(run, bar.ratio)
    if reasons or broken or not series:
        return judged.model_copy(update={"reason": [*reasons, *broken, "not measured"][0]})
    verdict = stats.judge(_estimate(bar.ratio, series, seed), bar.bar)
    needed = stats.blocks_needed(series, bar.bar) if verdict == "too-noisy" else None
    return judged.model_copy(update={"verdict": verdict, "blocks_needed": needed})


def _doubt(figure: Figure, doubts: Mapping[str, str]) -> Figure:
    """A figure cannot be decided where it is not even sure that the firewall was what was measured."""
    _, point, _, base = parts(figure.ratio)
    doubt = doubts.get(point) or doubts.get(base)
    if doubt is None or figure.verdict not in ("pass", "fail"):
        return figure
    return figure.model_copy(update={"verdict": "too-noisy", "reason": doubt})


def _samples(run: Measured) -> dict[str, list[list[float]]]:
    """Every metric's values by block."""
    found = {
        f"{system}/{metric}@{point}": _series(run, metric, system, point)
        for metric in run.scenario.metrics
        for system, point in run.cells()
    }
    return {key: series for key, series in found.items() if series}


def _series(run: Measured, metric: str, system: str, point: str) -> list[list[float]]:
    if metric == "load_seconds":
        loads = (v for v in run.loads if (v.system, v.role, v.points[0]) == (system, "measured", point))
        return [[load.seconds] for load in loads if load.seconds > 0]  # "none" loads nothing
    own = {key: rate for key, rate in run.rates(system, point).items() if rate > 0}
    if metric == "cost_ns":
        null = run.rates(run.scenario.control.system, point)
        own = {key: 1e3 / rate - 1e3 / null[key] for key, rate in own.items() if null.get(key, 0) > 0}
    return _by_block(own)


def _by_block(values: Values) -> list[list[float]]:
    blocks: dict[int, list[float]] = {}
    for (block, _), value in sorted(values.items()):
        blocks.setdefault(block, []).append(value)
    return list(blocks.values())


def _metric(key: str, series: list[list[float]], seed: int) -> Metric:
    name = key.partition("/")[2].partition("@")[0]
    average = stats.mean if name == "cost_ns" else stats.geometric_mean
    found = average(series, derive(seed, "bootstrap", key))
    return Metric(value=found.value, unit=UNITS[name], ci_low=found.ci_low, ci_high=found.ci_high, n=found.n)


def _ratios(run: Measured, seed: int) -> dict[str, Ratio]:
    """Every bar's ratio, Neurowall over each other system, and the A/A pair of each point."""
    scenario, same = run.scenario, run.scenario.control.same
    bars = {bar.ratio: bar.bar for bar in scenario.bars}
    wanted = list(bars)
    for point in scenario.points:
        systems = scenario.systems_at(point)
        wanted += [f"{SUBJECT}/{s}@{point}" for s in systems if s != SUBJECT and SUBJECT in systems]
        wanted.append(f"{same}/{same}@{point}")
    found = {}
    for name in dict.fromkeys(wanted):
        if series := _pairs(run, name):
            ratio = _estimate(name, series, seed)
            found[name] = Ratio(
                value=ratio.value, ci_low=ratio.ci_low, ci_high=ratio.ci_high, n=ratio.n, bar=bars.get(name)
            )
    return found


def _pairs(run: Measured, name: str) -> list[list[float]]:
    """The ratio of that name by block; a cell over itself is the A/A pair."""
    over, point, under, base = parts(name)
    role: Role = "same" if (over, point) == (under, base) else "measured"
    return stats.pair(run.rates(over, point), run.rates(under, base, role))


def _estimate(name: str, series: list[list[float]], seed: int) -> stats.Estimate:
    return stats.geometric_mean(series, derive(seed, "bootstrap", name))


def _noise_floor(run: Measured, seed: int) -> dict[str, float]:
    same, floors = run.scenario.control.same, {}
    for point in run.scenario.points:
        name = f"{same}/{same}@{point}"
        if series := _pairs(run, name):
            floors[point] = stats.noise_floor(_estimate(name, series, seed))
    return floors
