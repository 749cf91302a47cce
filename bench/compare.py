# SPDX-License-Identifier: Apache-2.0
"""Two results side by side: what changed beyond what both runs can tell. Pure.

Runs are not paired, so a change counts only when the intervals of the two leave no doubt; rates of different
machines are not compared at all unless somebody insists.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from bench.result import Metric, Ratio, Result


class Incomparable(Exception):
    """Two results that say nothing about each other; the message says why."""


@dataclass(frozen=True)
class Change:
    """One metric or ratio in both results; `factor` is new / old with its 95 % interval."""

    name: str
    old: float
    new: float
    factor: float
    ci_low: float
    ci_high: float
    verdict: Literal["same", "higher", "lower"]


@dataclass(frozen=True)
class Comparison:
    """All that both results hold, and what only one of them does; `warnings` say why to read it with care."""

    changes: tuple[Change, ...]
    only_old: tuple[str, ...]
    only_new: tuple[str, ...]
    warnings: tuple[str, ...]


def compare(old: Result, new: Result, *, force: bool = False) -> Comparison:
    """Compare metrics and ratios; raises Incomparable for different scenarios, or machines unless forced."""
    if old.scenario != new.scenario:
        raise Incomparable(f"different scenarios: {old.scenario} and {new.scenario}")
    warnings = []
    if machines := _machines(old, new):
        if not force:
            raise Incomparable(f"different machines ({machines}); --force compares them nevertheless")
        warnings.append(f"DIFFERENT MACHINES: {machines}; only ratios mean anything, if at all")
    if old.run.scenario_sha256 != new.run.scenario_sha256:
        warnings.append("the scenario was changed between the two runs")
    warnings += [f"the {name} run is void" for name, r in (("old", old), ("new", new)) if r.verdict == "void"]
    first: dict[str, Metric | Ratio] = {**old.ratios, **old.metrics}
    second: dict[str, Metric | Ratio] = {**new.ratios, **new.metrics}
    both = [name for name in first if name in second]
    return Comparison(
        changes=tuple(change for name in both if (change := _change(name, first[name], second[name]))),
        only_old=tuple(name for name in first if name not in second),
        only_new=tuple(name for name in second if name not in first),
        warnings=tuple(warnings),
    )


def _machines(old: Result, new: Result) -> str:
    """What differs in the fingerprints, or nothing."""
    if old.environment.get("machine") == new.environment.get("machine"):
        return ""
    keys = ("cpu", "kernel", "memory_mib", "hypervisor", "mitigations", "clocksource")
    differing = [key for key in keys if old.environment.get(key) != new.environment.get(key)]
    return ", ".join(differing) or "fingerprint"


def _change(name: str, old: Metric | Ratio, new: Metric | Ratio) -> Change | None:
    """Quotient of two independent estimates on the log scale; None where there is no such scale."""
    values = (old.value, old.ci_low, old.ci_high, new.value, new.ci_low, new.ci_high)
    if min(values) <= 0:
        return None
    middle = math.log(new.value / old.value)
    down = math.hypot(math.log(new.value / new.ci_low), math.log(old.ci_high / old.value))
    up = math.hypot(math.log(new.ci_high / new.value), math.log(old.value / old.ci_low))
    low, high = math.exp(middle - down), math.exp(middle + up)
    verdict: Literal["same", "higher", "lower"] = "higher" if low > 1 else "lower" if high < 1 else "same"
    return Change(name, old.value, new.value, math.exp(middle), low, high, verdict)
