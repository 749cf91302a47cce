# SPDX-License-Identifier: Apache-2.0
"""From records to figures and a verdict: pure, so that a stored run can be judged again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from bench import stats, validity
from bench.bars import UNITS, Bar, parts
from bench.plan import RULELESS
from bench.records import Record, Role
from bench.result import (
    ClassRow,
    Control,
    Figure,
    GateRow,
    LedgerRow,
    Metric,
    Ratio,
    Verdict,
    Void,
    worst,
)
from bench.rows import Cell
from bench.scenario import OF_CLASSES, Scenario
from bench.validity import Measured, Values

SUBJECT = "neurowall"
ROBUST = ("latency_p99_us",)
"""Metrics of which a block counts by the median of its rounds: a stall of the machine in one of them would
outweigh all the others."""
AT_LEAST_ZERO = ("cost_ns", "feature_ns", *OF_CLASSES)
"""Metrics that may be nothing, or less: their means are arithmetic ones."""
ONCE_A_BLOCK = {"load_seconds": "seconds", "memory_mib": "memory_mib"}
"""Metrics with one value for each configuration, and the field of records.Load that holds it."""


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
    classes: list[ClassRow] = field(default_factory=list)


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
    proven = run.without({(row.system, row.point) for row in void})
    missing = [*void, *validity.overloaded(proven)]
    usable = run.without({(row.system, row.point) for row in missing})
    controls = validity.controls(run)
    broken = [validity.explain(control) for control in controls if control.verdict == "fail"]
    if interrupted:
        broken.append(f"interrupted by {interrupted}: not every block was measured")
    samples = _samples(usable)
    doubts = {c.point: validity.explain(c) for c in controls if c.verdict == "too-noisy"}
    floors = _noise_floor(usable, seed)
    judges = _Judges(usable, samples, floors, seed)
    figures = [_figure(bar, judges, missing, broken, skipped) for bar in scenario.bars]
    figures = [_doubt(figure, doubts) for figure in figures]
    return Judgement(
        verdict=_verdict(figures, samples, invalid=bool(void or broken)),
        reasons=[*broken, *(f"{v.system} at {v.point}: {reason}" for v in void for reason in v.reasons)],
        figures=figures,
        metrics={key: _metric(key, series, seed) for key, series in samples.items()},
        ratios=_ratios(usable, seed),
        samples=samples,
        noise_floor=floors,
        contention=validity.contention(run),
        controls=controls,
        ledger=validity.ledger(run),
        gates=validity.gates(run),
        void=missing,
        classes=validity.classes(run),
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


@dataclass(frozen=True)
class _Judges:
    """What a bar is judged by."""

    run: Measured
    samples: Mapping[str, list[list[float]]]
    floors: Mapping[str, float]
    seed: int

    def series(self, bar: Bar) -> list[list[float]]:
        """The values behind a ratio or a metric, by block."""
        if bar.ratio:
            return _pairs(self.run, bar.ratio)
        return _typical(_name(bar.key), self.samples.get(bar.key, []))

    def floor(self, bar: Bar) -> float | None:
        """What the A/A pairs of the bar's points could tell, the worse of two; None without such a pair.

        A pair says nothing about metrics that it was not measured by.
        """
        judged = {self.run.scenario.metrics_at(point)[0] for _, point in cells(bar)}
        if bar.metric and _name(bar.key) not in judged:
            return None
        return max((self.floors[point] for _, point in cells(bar) if point in self.floors), default=None)

    def judge(self, bar: Bar, series: list[list[float]], floor: float) -> stats.Verdict:
        """The verdict on one bar."""
        found = _average(_name(bar.key))(series, derive(self.seed, "bootstrap", bar.key))
        if bar.bar is not None:
            return stats.judge(found, bar.bar, floor)
        return stats.judge_at_most(found, bar.goal, floor)


def cells(bar: Bar | Figure) -> tuple[Cell, ...]:
    """The systems at points that a bar is about."""
    if bar.metric is not None:
        system, _, rest = bar.metric.partition("/")
        return ((system, rest.partition("@")[2]),)
    over, point, under, base = parts(bar.key)
    return (over, point), (under, base)


def _figure(
    bar: Bar, judges: _Judges, void: Sequence[Void], broken: Sequence[str], skipped: Mapping[Cell, str]
) -> Figure:
    judged = Figure(**bar.model_dump(), verdict="void", noise_floor=judges.floor(bar))
    for cell in cells(bar):
        if cell in skipped:
            return judged.model_copy(update={"verdict": "skipped", "reason": f"{cell[0]}: {skipped[cell]}"})
    reasons = [f"{v.system}: {v.reasons[0]}" for v in void if (v.system, v.point) in cells(bar)]
    series = judges.series(bar)
    if reasons or broken or not series:
        return judged.model_copy(update={"reason": [*reasons, *broken, "not measured"][0]})
    floor = judged.noise_floor or 0.0
    verdict = judges.judge(bar, series, floor)
    if verdict != "too-noisy":
        return judged.model_copy(update={"verdict": verdict})
    needed = stats.blocks_needed(series, bar.goal, floor) if min(map(min, series)) > 0 else None
    near = judges.judge(bar, series, 0.0) != "too-noisy"
    reason = f"the bar is within the noise floor, {floor:.1%}, of the estimate" if near else ""
    return judged.model_copy(update={"verdict": verdict, "blocks_needed": needed, "reason": reason})


def _doubt(figure: Figure, doubts: Mapping[str, str]) -> Figure:
    """A figure cannot be decided where it is not even sure that the firewall was what was measured."""
    doubt = next((doubts[point] for _, point in cells(figure) if point in doubts), None)
    if doubt is None or figure.verdict not in ("pass", "fail"):
        return figure
    return figure.model_copy(update={"verdict": "too-noisy", "reason": doubt})


def _samples(run: Measured) -> dict[str, list[list[float]]]:
    """Every metric's values by block."""
    found = {
        f"{system}/{metric}@{point}": _series(run, metric, system, point)
        for system, point in run.cells()
        for metric in run.scenario.metrics_at(point)
    }
    return {key: series for key, series in found.items() if series}


def _series(run: Measured, metric: str, system: str, point: str) -> list[list[float]]:
    if metric in ONCE_A_BLOCK:
        loads = (v for v in run.loads if (v.system, v.role) == (system, "measured") and point in v.points)
        values = [getattr(load, ONCE_A_BLOCK[metric]) for load in loads]
        return [[value] for value in values if value]  # "none" loads nothing
    if metric == "cost_ns":
        return _costs(run.rates(system, point), run.rates(run.scenario.control.system, point))
    if metric == "feature_ns":
        base = run.scenario.base_of(point)
        rival = base is None or system in RULELESS or system not in run.scenario.systems_at(base)
        return [] if rival else _costs(run.rates(system, point), run.rates(system, base or ""))
    if metric in OF_CLASSES:
        judged = run.scenario.control.system != system or not run.scenario.traffic_at(point).dropped
        return _by_block(run.values(metric, system, point)) if judged else []
    return _by_block({k: value for k, value in run.values(metric, system, point).items() if value > 0})


def _costs(rates: Values, base: Values) -> list[list[float]]:
    """Nanoseconds of a packet more than those of the base in the same round."""
    both = {key: (rate, base[key]) for key, rate in rates.items() if rate > 0 and base.get(key, 0) > 0}
    return _by_block({key: 1e3 / rate - 1e3 / other for key, (rate, other) in both.items()})


def _by_block(values: Values) -> list[list[float]]:
    blocks: dict[int, list[float]] = {}
    for (block, _), value in sorted(values.items()):
        blocks.setdefault(block, []).append(value)
    return list(blocks.values())


def _metric(key: str, series: list[list[float]], seed: int) -> Metric:
    name = _name(key)
    found = _average(name)(_typical(name, series), derive(seed, "bootstrap", key))
    return Metric(value=found.value, unit=UNITS[name], ci_low=found.ci_low, ci_high=found.ci_high, n=found.n)


def _name(key: str) -> str:
    """The metric of `<system>/<metric>@<point>`; of a ratio, the system it is over."""
    return key.partition("/")[2].partition("@")[0]


def _average(metric: str) -> Callable[[stats.Series, int], stats.Estimate]:
    return stats.mean if metric in AT_LEAST_ZERO else stats.geometric_mean


def _ratios(run: Measured, seed: int) -> dict[str, Ratio]:
    """Every bar's ratio, Neurowall over each other system, and the A/A pair of each point."""
    scenario, same = run.scenario, run.scenario.control.same
    bars = {bar.ratio: bar for bar in scenario.bars if bar.ratio}
    wanted = list(bars)
    for point in scenario.points:
        if scenario.metrics_at(point)[0] in OF_CLASSES:
            continue  # how much one error is of another's says nothing
        systems = scenario.systems_at(point)
        wanted += [f"{SUBJECT}/{s}@{point}" for s in systems if s != SUBJECT and SUBJECT in systems]
        wanted.append(f"{same}/{same}@{point}")
        wanted += [f"{SUBJECT}/{SUBJECT}@{point}:{base}" for base in _with_fewer_rules(scenario, point)]
        base = scenario.base_of(point)
        if base is not None and SUBJECT in systems and SUBJECT in scenario.systems_at(base):
            wanted.append(f"{SUBJECT}/{SUBJECT}@{point}:{base}")
    found = {}
    for name in dict.fromkeys(wanted):
        if series := _pairs(run, name):
            ratio = _estimate(name, series, seed)
            goal = bars[name].model_dump(include={"bar", "at_most"}) if name in bars else {}
            found[name] = Ratio(
                value=ratio.value, ci_low=ratio.ci_low, ci_high=ratio.ci_high, n=ratio.n, **goal
            )
    return found


def _with_fewer_rules(scenario: Scenario, point: str) -> list[str]:
    """For a point with stateful rules those sent the same packets: without any, and with the fewest."""
    own, sent = scenario.points[point], scenario.traffic_at(point)
    if not own.rules or SUBJECT not in scenario.systems_at(point):
        return []
    alike = {
        base: spec.rules
        for base, spec in scenario.points.items()
        if spec.rules is not None and spec.rules < own.rules and SUBJECT in scenario.systems_at(base)
        if scenario.traffic_at(base) == sent
    }
    fewest = min((rules for rules in alike.values() if rules), default=0)
    return [base for base, rules in alike.items() if rules in (0, fewest)]


def _pairs(run: Measured, name: str) -> list[list[float]]:
    """The ratio of that name by block; a cell over itself is the A/A pair."""
    over, point, under, base = parts(name)
    role: Role = "same" if (over, point) == (under, base) else "measured"
    pairs = stats.pair(run.judged(over, point), run.judged(under, base, role))
    return _typical(run.scenario.metrics_at(point)[0], pairs)


def _typical(metric: str, series: list[list[float]]) -> list[list[float]]:
    """What of each block is judged: all its rounds, or their median."""
    return [[median(block)] for block in series] if metric in ROBUST else series


def _estimate(name: str, series: list[list[float]], seed: int) -> stats.Estimate:
    return stats.geometric_mean(series, derive(seed, "bootstrap", name))


def _noise_floor(run: Measured, seed: int) -> dict[str, float]:
    same, floors = run.scenario.control.same, {}
    for point in run.scenario.points:
        name = f"{same}/{same}@{point}"
        if series := _pairs(run, name):
            floors[point] = stats.noise_floor(_estimate(name, series, seed))
    return floors
