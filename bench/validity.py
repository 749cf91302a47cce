# SPDX-License-Identifier: Apache-2.0
"""What a run proves about itself: gates, ledgers, controls, and which figures are void.

Void is a system at a point whose configuration was refused, whose gate failed once, whose ledger stayed open,
whose arm differed from the others, or that passed or dropped what it must not. And a whole point, where
sources cost too much to make, or the gateway's core had time to spare (flat out), or not even the control
could be sent the offered rate (at a load).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from bench import stats
from bench.records import OFFERED, Core, Difference, Gate, Ledger, Load, Record, Role, Trial
from bench.records import Measured as Seen
from bench.result import ClassRow, Control, GateRow, LedgerRow, Void
from bench.rows import Cell, gate_row, ledger_row, unproven, voided
from bench.scenario import Scenario

LIMITED = 0.01
"""Share of a flood that limits may let through: more, and it is not their drops that are measured."""

BEYOND = 1.2
"""How many times what limits admit paced sources must have sent."""
HIGHEST_LOAD = 0.9
"""Above this share of what it does flat out not even the empty system need keep a pace."""

PACED: tuple[Role, ...] = ("measured", "same")
"""Trials that keep the point's load, if it has one; the others are flat out."""

Values = dict[tuple[int, int], float]
"""One value for each block and round."""


@dataclass(frozen=True)
class Measured:
    """The records of a run, ready to be asked."""

    scenario: Scenario
    trials: tuple[Trial, ...]
    loads: tuple[Load, ...]
    differences: tuple[Difference, ...]

    @classmethod
    def of(cls, scenario: Scenario, records: Iterable[Record]) -> Measured:
        """Sort records by kind; warm-ups are dropped."""
        stored = list(records)
        return cls(
            scenario,
            tuple(r for r in stored if isinstance(r, Trial) and r.role != "warmup"),
            tuple(r for r in stored if isinstance(r, Load)),
            tuple(r for r in stored if isinstance(r, Difference)),
        )

    def without(self, cells: set[Cell]) -> Measured:
        """The same run as if these cells had not been measured."""
        trials = tuple(t for t in self.trials if (t.system, t.point) not in cells)
        loads = tuple(load for load in self.loads if not any((load.system, p) in cells for p in load.points))
        return Measured(self.scenario, trials, loads, self.differences)

    def cells(self) -> list[Cell]:
        """Every system at every point, in the scenario's order."""
        return [
            (system, point) for point in self.scenario.points for system in self.scenario.systems_at(point)
        ]

    def values(self, metric: str, system: str, point: str, role: Role = "measured") -> Values:
        """A metric that is measured trial by trial; what a trial says nothing about is left out."""
        chosen = (t for t in self.trials if (t.system, t.point, t.role) == (system, point, role))
        found = {(t.block, t.round): t.measured.value(metric) for t in chosen if t.measured}
        return {key: value for key, value in found.items() if value is not None}

    def judged(self, system: str, point: str, role: Role = "measured") -> Values:
        """The point's first metric."""
        return self.values(self.scenario.metrics_at(point)[0], system, point, role)

    def rates(self, system: str, point: str, role: Role = "measured") -> Values:
        """Packets that were dropped or forwarded, as the point's traffic asks for, in Mpps."""
        metric = "drop_mpps" if self.scenario.traffic_at(point).dropped else "forward_mpps"
        return self.values(metric, system, point, role)


def void(run: Measured) -> list[Void]:
    """Every void cell with its reasons."""
    return voided(itertools.chain(_bad_loads(run), _red_gates(run), _bad_trials(run), _different(run)))


def _bad_loads(run: Measured) -> Iterable[tuple[Cell, str]]:
    for load in run.loads:
        if load.problem:
            for point in load.points:
                yield (load.system, point), f"not configured: {_shorten(load.problem)}"


def _different(run: Measured) -> Iterable[tuple[Cell, str]]:
    for difference in run.differences:
        for system, point in run.cells():
            if system == difference.system:
                yield (system, point), f"its arm differs from the others: {difference.what}"


def _bad_trials(run: Measured) -> Iterable[tuple[Cell, str]]:
    for trial in run.trials:
        cell = trial.system, trial.point
        if trial.measured is None:
            yield cell, f"no trial: {_shorten(trial.problem or 'unknown')}"
            continue
        traffic = run.scenario.traffic_at(trial.point)
        if traffic.classes:
            reason = _of_classes(trial.system, trial.measured, dropped=traffic.dropped)
        else:
            reason = _betrayed(trial.system, trial.measured.ledger, dropped=traffic.dropped)
        if reason:
            yield cell, reason


def _of_classes(system: str, seen: Seen, *, dropped: bool) -> str | None:
    """The same of classes of packets, in a flood of which limits let something through."""
    if why := unproven(seen.ledger):
        return why
    paced = next((one for one in seen.classes if one.name == "paced" and one.allowed), None)
    if paced is not None and paced.sent < BEYOND * (paced.allowed or 0.0):
        return f"paced sources sent {paced.sent} packets, too few to exceed what limits admit"
    if not dropped:
        return None if seen.ledger.delivered else "nothing reached the server"
    if system in ("none", "xdp-null"):
        return _betrayed(system, seen.ledger, dropped=True)
    over = seen.attack_passed or 0.0
    if _flood_passed(seen) > LIMITED and over > 0:
        return f"more than {LIMITED:.0%} of the flood got through, and more than limits admit"
    return None


def _flood_passed(seen: Seen) -> float:
    """Share of a flood that got through."""
    flood = [one for one in seen.classes if one.name != "legit"]
    sent = sum(one.sent for one in flood)
    return sum(one.passed for one in flood) / sent if sent else 0.0


def overloaded(run: Measured) -> list[Void]:
    """Cells that could not be sent the offered rate: what they would have cost at it is not known.

    Systems slower than the load that others take are a finding, not a fault of the run. So are those so slow
    that what limits admit is no small part of the flood that they took: it is not dropping that they did.
    """
    shares = {cell: _offered_share(run, *cell) for cell in run.cells() if not _loss_counts(run, cell[1])}
    slow = {
        cell: f"only {share:.1%} of the offered rate could be sent to it"
        for cell, share in shares.items()
        if share is not None and share < OFFERED
    }
    for trial in run.trials:
        cell = trial.system, trial.point
        is_flood = cell[0] not in ("none", "xdp-null") and run.scenario.traffic_at(cell[1]).dropped
        if is_flood and trial.measured and (share := _flood_passed(trial.measured)) > LIMITED:
            slow[cell] = f"limits let {share:.1%} of the flood through, as much as they may at so low a rate"
    return [Void(system=system, point=point, reasons=[why]) for (system, point), why in slow.items()]


def _loss_counts(run: Measured, point: str) -> bool:
    """Whether what could not be sent counts as lost there, and so is a figure and no reason to have none.

    Paced sources only have to send more than limits admit, which is asked of each trial.
    """
    return bool(run.scenario.traffic_at(point).classes)


def _offered_share(run: Measured, system: str, point: str) -> float | None:
    """Share of the packets of a fixed rate that were sent; None where traffic is flat out or was not sent."""
    if not run.scenario.traffic_at(point).paced:
        return None
    paced = [
        trial.measured
        for trial in run.trials
        if (trial.system, trial.point) == (system, point) and trial.role in PACED and trial.measured
    ]
    wanted = sum(measured.ledger.sent + measured.unsent for measured in paced)
    return sum(measured.ledger.sent for measured in paced) / wanted if wanted else None


def _red_gates(run: Measured) -> Iterable[tuple[Cell, str]]:
    """One reason for each cell with a red gate; every gate sees other probes, so the first speaks for all."""
    for cell, trials in _by_cell(run, lambda t: t.before is not None):
        row = gate_row(cell, _gates_of(trials))
        if red := row.gates - row.passed:
            reason = f"{red} of {row.gates} effectiveness gates failed, the first because {row.detail}"
            yield cell, reason


def _shorten(problem: str) -> str:
    """First and last line of what may be a whole log; all of it is in the raw records."""
    lines = [line.strip() for line in problem.splitlines() if line.strip()] or [""]
    kept = lines if len(lines) <= 2 else [lines[0], "...", lines[-1]]
    return " ".join(line if len(line) <= 200 else f"{line[:200]}..." for line in kept)


def _betrayed(system: str, ledger: Ledger, *, dropped: bool) -> str | None:
    """What the counts of a trial alone say against it, independent of the gates."""
    if why := unproven(ledger):
        return why
    if dropped:
        return "listed packets reached the server" if ledger.delivered and system != "none" else None
    if ledger.dropped_by_rule:
        return "clean packets were dropped by a rule"
    return None if ledger.delivered else "nothing reached the server"


def controls(run: Measured) -> list[Control]:
    """The checks of every point that was measured."""
    checks = (_sources, _core, _offered)
    return [found for point in run.scenario.points for check in checks for found in check(run, point)]


def _sources(run: Measured, point: str) -> Iterable[Control]:
    """Does the empty system keep its rate with the scenario's sources? Void only when it clearly does not.

    Both are flat out, also where the trials that count are not.
    """
    wanted = run.scenario.control
    flat: Role = "measured" if run.scenario.traffic_at(point).load is None else "flat"
    pairs = stats.pair(run.rates(wanted.system, point, flat), run.rates(wanted.system, point, "fixed"))
    if pairs:
        ratio = stats.geometric_mean(pairs, 0)
        below: stats.Verdict = "fail" if ratio.ci_high < wanted.bar else "too-noisy"
        verdict = "pass" if ratio.value >= wanted.bar else below
        yield Control(point=point, check="sources", value=ratio.value, bar=wanted.bar, verdict=verdict)


def _core(run: Measured, point: str) -> Iterable[Control]:
    """Was the gateway's core the bottleneck? Stolen time is not time to spare."""
    if run.scenario.traffic_at(point).paced:
        return
    bar, cores = run.scenario.control.core_busy, _cores(run, point)
    if total := sum(core.total for core in cores):
        value = sum(core.busy + core.steal for core in cores) / total
        yield Control(
            point=point, check="core", value=value, bar=bar, verdict="pass" if value >= bar else "fail"
        )


def _offered(run: Measured, point: str) -> Iterable[Control]:
    """Could the generator keep the pace at all? The empty system shows it, below its own limit."""
    if (run.scenario.traffic_at(point).load or 0.0) > HIGHEST_LOAD:
        return
    value = _offered_share(run, run.scenario.control.system, point)
    if value is not None:
        verdict: stats.Verdict = "pass" if value >= OFFERED else "fail"
        yield Control(point=point, check="offered", value=value, bar=OFFERED, verdict=verdict)


def _cores(run: Measured, point: str) -> list[Core]:
    return [trial.measured.core for trial in run.trials if trial.point == point and trial.measured]


def contention(run: Measured) -> dict[str, float]:
    """By point: the share of the time in which other programs held the core that the gateway needed."""
    shares = {}
    for point in run.scenario.points:
        cores = _cores(run, point)
        if total := sum(core.total for core in cores):
            shares[point] = sum(core.waited for core in cores) / total
    return shares


def explain(control: Control) -> str:
    """A control that is not passed, in a sentence."""
    if control.check == "core":
        return (
            f"{control.point}: the gateway's core was busy for {control.value:.0%} of the time, below "
            f"{control.bar:.0%}: the firewall was not the bottleneck"
        )
    if control.check == "offered":
        return (
            f"{control.point}: of the offered rate only {control.value:.1%} of the packets were sent, below "
            f"{control.bar:.0%}, even to the control: the generator could not keep its pace"
        )
    return (
        f"{control.point}: with the scenario's sources the control reached {control.value:.2f} of its rate "
        f"with one source, below {control.bar}: the generator "
        f"{'was' if control.verdict == 'fail' else 'may have been'} the bottleneck"
    )


def ledger(run: Measured) -> list[LedgerRow]:
    """Where the packets went, by cell; a trial that serves several points counts at its own."""
    own = _by_cell(run, lambda t: t.measured is not None and not t.shared)
    return [ledger_row(cell, [t.measured.ledger for t in trials if t.measured]) for cell, trials in own]


def classes(run: Measured) -> list[ClassRow]:
    """What became of each class of packets, by cell; the trials with one source of each are left out."""
    rows = []
    for (system, point), trials in _by_cell(run, lambda t: t.measured is not None and not t.shared):
        counts = [one for t in trials if t.measured and t.role in PACED for one in t.measured.classes]
        for name in dict.fromkeys(one.name for one in counts):
            own = [one for one in counts if one.name == name]
            allowed = [one.allowed for one in own]
            rows.append(
                ClassRow(
                    system=system,
                    point=point,
                    name=name,
                    sent=sum(one.sent for one in own),
                    passed=sum(one.passed for one in own),
                    allowed=_allowed([value for value in allowed if value is not None]),
                )
            )
    return rows


def _allowed(values: Sequence[float]) -> int | None:
    """The sum of what could pass; None where nothing limits."""
    return round(sum(values)) if values else None


def gates(run: Measured) -> list[GateRow]:
    """What the gates saw, by cell, as in `ledger`; the trials with one fixed source have none."""
    own = _by_cell(run, lambda t: t.before is not None and not t.shared)
    return [gate_row(cell, _gates_of(trials)) for cell, trials in own]


def _by_cell(run: Measured, wanted: Callable[[Trial], bool]) -> Iterable[tuple[Cell, list[Trial]]]:
    for system, point in run.cells():
        trials = [t for t in run.trials if (t.system, t.point) == (system, point) and wanted(t)]
        if trials:
            yield (system, point), trials


def _gates_of(trials: Sequence[Trial]) -> list[Gate]:
    return [gate for trial in trials for gate in (trial.before, trial.after) if gate is not None]
