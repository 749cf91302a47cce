# SPDX-License-Identifier: Apache-2.0
"""From observations to figures and a verdict: pure, so that a stored run can be judged again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench import stats
from bench.bars import Bar, parts
from bench.evaluate import Judgement, cells, derive
from bench.operations import metrics
from bench.operations.metrics import METRICS
from bench.operations.records import Observation
from bench.operations.scenario import Operations
from bench.points import ProfileName
from bench.result import Figure, GateRow, LedgerRow, Metric, Ratio, Verdict, Void, worst
from bench.rows import Cell, gate_row, ledger_row, unproven, voided
from bench.stats import Estimate

RATE = "drop_mpps"

Samples = dict[str, list[list[float]]]


@dataclass(frozen=True)
class Judge:
    """The observations of a run, of which those of void cells are not `usable`."""

    scenario: Operations
    profile: ProfileName
    usable: tuple[Observation, ...]
    samples: Samples
    void: tuple[Void, ...]
    broken: tuple[str, ...]
    skipped: Mapping[Cell, str]
    seed: int

    def figure(self, bar: Bar) -> Figure:
        """One bar, judged."""
        floor = self.noise_floors().get(parts(bar.key)[3]) if bar.ratio else None
        judged = Figure(**bar.model_dump(), verdict="void", noise_floor=floor)
        for cell in cells(bar):
            if why := self.skipped.get(cell) or self._left_out(bar, cell):
                return judged.model_copy(update={"verdict": "skipped", "reason": f"{cell[0]}: {why}"})
        reasons = [f"{v.system}: {v.reasons[0]}" for v in self.void if (v.system, v.point) in cells(bar)]
        estimate = self.ratio(bar.ratio) if bar.ratio else self.metric(bar.key)
        if reasons or self.broken or estimate is None:
            return judged.model_copy(update={"reason": [*reasons, *self.broken, "not measured"][0]})
        verdict, reason = judge(bar, estimate, floor or 0.0)
        return judged.model_copy(update={"verdict": verdict, "reason": reason or self._remark(bar)})

    def _left_out(self, bar: Bar, cell: Cell) -> str | None:
        measured = (RATE if bar.ratio else _metric_name(bar.key)) in self.scenario.metrics_of(
            *cell, self.profile
        )
        return None if measured else f"not in profile {self.profile}"

    def metric(self, key: str) -> Estimate | None:
        """One metric over the whole run."""
        series, seed = self.samples.get(key), derive(self.seed, "bootstrap", key)
        return metrics.estimate(_metric_name(key), series, seed) if series else None

    def ratio(self, name: str) -> Estimate | None:
        """A ratio of drop_mpps at two points, paired by block and round."""
        over, point, under, base = parts(name)
        same = (over, point) == (under, base)
        pairs = stats.pair(self._rates(over, point), self._rates(under, base, again=same))
        return stats.geometric_mean(pairs, derive(self.seed, "bootstrap", name)) if pairs else None

    def ratios(self) -> dict[str, Ratio]:
        """Every churn against its base, each base against itself, and Neurowall against the others."""
        bars = {bar.ratio: bar for bar in self.scenario.bars if bar.ratio}
        found = {}
        for name in dict.fromkeys((*bars, *_ratio_names(self.scenario))):
            if ratio := self.ratio(name):
                bar = bars.get(name)
                found[name] = Ratio(
                    value=ratio.value,
                    ci_low=ratio.ci_low,
                    ci_high=ratio.ci_high,
                    n=ratio.n,
                    bar=bar.bar if bar else None,
                    at_most=bar.at_most if bar else None,
                )
        return found

    def noise_floors(self) -> dict[str, float]:
        """By point: what the A/A pairs there can tell, the worst of them."""
        found: dict[str, float] = {}
        for seen in self.usable:
            if seen.again and (ratio := self.ratio(f"{seen.system}/{seen.system}@{seen.point}")):
                found[seen.point] = max(found.get(seen.point, 0.0), stats.noise_floor(ratio))
        return found

    def _rates(self, system: str, point: str, *, again: bool = False) -> dict[tuple[int, int], float]:
        chosen = (o for o in self.usable if (o.system, o.point) == (system, point))
        return {
            (o.block, number): value
            for o in chosen
            for number, value in enumerate(o.again if again else o.samples.get(RATE, []))
        }

    def _remark(self, bar: Bar) -> str:
        """How many probes an absence of leaks was seen with."""
        if bar.metric is None or _metric_name(bar.metric) != "leaked_packets":
            return ""
        probed = self.metric(bar.metric.replace("leaked_packets", "probed_packets"))
        return f"of {probed.value:,.0f} probes" if probed else ""


def evaluate(
    scenario: Operations,
    profile: ProfileName,
    observations: Iterable[Observation],
    *,
    seed: int,
    skipped: Mapping[Cell, str],
    interrupted: str | None = None,
) -> Judgement:
    """Judge a run; `skipped` says why cells were left out, `interrupted` what ended the run early."""
    seen = tuple(observations)
    void = _void(seen)
    bad = {(row.system, row.point) for row in void}
    usable = tuple(o for o in seen if (o.system, o.point) not in bad)
    broken = [f"interrupted by {interrupted}: not every block was measured"] if interrupted else []
    run = Judge(scenario, profile, usable, _samples(usable), tuple(void), tuple(broken), skipped, seed)
    figures = [run.figure(bar) for bar in scenario.bars]
    return Judgement(
        verdict=_verdict(figures, run.samples, invalid=bool(void or broken)),
        reasons=[*broken, *(f"{v.system} at {v.point}: {reason}" for v in void for reason in v.reasons)],
        figures=figures,
        metrics=_metrics(run),
        ratios=run.ratios(),
        samples=run.samples,
        noise_floor=run.noise_floors(),
        contention={},
        controls=[],
        ledger=_ledger(seen),
        gates=_gates(seen),
        void=void,
    )


def judge(bar: Bar, estimate: Estimate, floor: float) -> tuple[Verdict, str]:
    """Verdict, and why it cannot be given where that is not the noise."""
    summary = "" if bar.ratio else METRICS[_metric_name(bar.key)].summary
    needed = metrics.NEEDED.get(summary, 0)
    if estimate.n < needed:
        return "too-noisy", f"{estimate.n} samples, where a {summary} needs {needed}"
    if bar.bar is not None:
        return stats.judge(estimate, bar.bar, floor), ""
    return stats.judge_at_most(estimate, bar.goal, floor), ""


def _verdict(figures: Sequence[Figure], samples: Samples, *, invalid: bool) -> Verdict:
    if invalid:
        return "void"
    judged = [figure.verdict for figure in figures if figure.verdict != "skipped"]
    if judged:
        return worst(judged)
    return "pass" if samples else "skipped"


def _metrics(run: Judge) -> dict[str, Metric]:
    """Every metric that there are samples of."""
    found = {}
    for key in run.samples:
        if value := run.metric(key):
            unit = METRICS[_metric_name(key)].unit
            found[key] = Metric(
                value=value.value, unit=unit, ci_low=value.ci_low, ci_high=value.ci_high, n=value.n
            )
    return found


def _samples(observations: Sequence[Observation]) -> Samples:
    """Every metric's samples by block; one that sums up another's samples has these too."""
    found: dict[str, dict[int, list[float]]] = {}
    for seen in observations:
        for metric, definition in METRICS.items():
            if values := seen.samples.get(definition.of or metric):
                key = f"{seen.system}/{metric}@{seen.point}"
                found.setdefault(key, {}).setdefault(seen.block, []).extend(values)
    return {key: [blocks[number] for number in sorted(blocks)] for key, blocks in found.items()}


def _void(observations: Sequence[Observation]) -> list[Void]:
    """Cells with a problem, a red gate or an open ledger in any block."""
    return voided(
        ((seen.system, seen.point), reason) for seen in observations for reason in _wrong_with(seen)
    )


def _wrong_with(seen: Observation) -> Iterable[str]:
    if seen.problem:
        yield f"{seen.operation}: {seen.problem}"
    for gate in seen.gates:
        if not gate.passed:
            yield f"{seen.operation}: an effectiveness gate failed because {gate.detail}"
            break
    for ledger in seen.ledgers:
        if why := unproven(ledger):
            yield f"{seen.operation}: {why}"


def _ledger(observations: Sequence[Observation]) -> list[LedgerRow]:
    of_cell = [(cell, [v for each in seen for v in each.ledgers]) for cell, seen in _by_cell(observations)]
    return [ledger_row(cell, ledgers) for cell, ledgers in of_cell if ledgers]


def _gates(observations: Sequence[Observation]) -> list[GateRow]:
    of_cell = [(cell, [v for each in seen for v in each.gates]) for cell, seen in _by_cell(observations)]
    return [gate_row(cell, gates) for cell, gates in of_cell if gates]


def _by_cell(observations: Sequence[Observation]) -> list[tuple[Cell, list[Observation]]]:
    found: dict[Cell, list[Observation]] = {}
    for seen in observations:
        found.setdefault((seen.system, seen.point), []).append(seen)
    return list(found.items())


def _ratio_names(scenario: Operations) -> list[str]:
    """Ratios that every report shows, whether they have a bar or not."""
    names = []
    for point in scenario.points:
        systems = [s for s in scenario.systems_at(point) if RATE in scenario.metrics_of(s, point)]
        bases = [t.base for t in scenario.tasks if t.operation == "churn" and point in t.points]
        names += [f"{system}/{system}@{point}:{base}" for base in bases for system in systems]
        names += [f"{system}/{system}@{point}" for system in systems if not bases]
        names += [f"neurowall/{s}@{point}" for s in systems if s != "neurowall" and "neurowall" in systems]
    return names


def _metric_name(key: str) -> str:
    """load_seconds of neurowall/load_seconds@hosts-250000."""
    return key.partition("/")[2].partition("@")[0]
