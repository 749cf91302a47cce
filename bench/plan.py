# SPDX-License-Identifier: Apache-2.0
"""What a run will do, before it does it: groups, arms, what is skipped and why, and how long it takes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

from bench.lists import Counts
from bench.records import Role
from bench.scenario import Profile, ProfileName, Scenario

# Seconds on 2 cores: a chain with an empty system made and removed; of others start and each entry; what a
# trial takes beyond its length, gates included.
_CHAIN = 0.3
_LOAD = {
    "neurowall": (0.8, 2.5e-6),
    "neurowall-classic": (0.8, 2.5e-6),
    "nft-set": (0.05, 3e-6),
    "nft-linear": (0.05, 2e-5),
    "ipset": (0.05, 4e-6),
}
_TRIAL_OVERHEAD = 0.04


@dataclass(frozen=True)
class Arm:
    """One thing that is measured once in every round."""

    system: str
    point: str
    role: Role

    @property
    def station(self) -> Station:
        """Where it is measured."""
        return Station(self.system, "same" if self.role == "same" else "measured")


@dataclass(frozen=True)
class Station:
    """One configured gateway of a block: a system, or the second copy of the A/A system."""

    system: str
    role: Role

    def __str__(self) -> str:
        return self.system if self.role == "measured" else f"{self.system}-{self.role}"


@dataclass(frozen=True)
class Group:
    """Points with the same rules, which share their configured gateways."""

    counts: Counts
    points: tuple[str, ...]
    stations: tuple[Station, ...]
    arms: tuple[Arm, ...]

    def points_of(self, station: Station) -> tuple[str, ...]:
        """The points that are measured there."""
        return tuple(dict.fromkeys(arm.point for arm in self.arms if arm.station == station))


@dataclass(frozen=True)
class Plan:
    """A scenario in one profile on this machine."""

    name: str
    scenario: Scenario
    profile_name: ProfileName
    groups: tuple[Group, ...]
    skipped: dict[tuple[str, str], str]

    @property
    def profile(self) -> Profile:
        """Blocks, rounds and trial length."""
        return self.scenario.profile(self.profile_name)

    @property
    def trials(self) -> int:
        """How many trials count (warm-ups do not)."""
        return self.profile.blocks * self.profile.rounds * sum(len(group.arms) for group in self.groups)

    @property
    def seconds(self) -> float:
        """Expected duration."""
        return self.profile.blocks * sum(self._block_seconds(group) for group in self.groups)

    def _block_seconds(self, group: Group) -> float:
        entries = sum(dataclasses.astuple(group.counts))
        stations = 0.0
        for station in group.stations:
            start, per_entry = _LOAD.get(station.system, (0.0, 0.0))
            stations += _CHAIN + start + per_entry * entries + self.profile.warmup_seconds
        trials = self.profile.rounds * len(group.arms)
        return stations + trials * (self.profile.trial_seconds + _TRIAL_OVERHEAD)


Available = Callable[[str, Counts], str | None]
"""Why a system cannot be measured with so many entries here; None if it can."""


def make(name: str, scenario: Scenario, profile: ProfileName, available: Available) -> Plan:
    """Decide what runs."""
    skipped: dict[tuple[str, str], str] = {}
    by_counts: dict[Counts, list[str]] = {}
    for point, spec in scenario.points.items():
        counts = Counts(*spec.counts)
        if profile not in spec.profiles:
            reason = f"not in profile {profile}, only in {', '.join(spec.profiles)}"
            skipped.update({(system, point): reason for system in scenario.systems_at(point)})
            continue
        by_counts.setdefault(counts, []).append(point)
        for system in scenario.systems_at(point):
            if reason_not := available(system, counts):
                skipped[system, point] = reason_not
    groups = [_group(scenario, counts, points, skipped) for counts, points in by_counts.items()]
    return Plan(name, scenario, profile, tuple(g for g in groups if g.arms), skipped)


def _group(
    scenario: Scenario, counts: Counts, points: list[str], skipped: dict[tuple[str, str], str]
) -> Group:
    """The control and its A/A copy are arms of every point, or nothing there can be judged."""
    arms: list[Arm] = []
    for point in points:
        present = [s for s in scenario.systems_at(point) if (s, point) not in skipped]
        arms += [Arm(system, point, "measured") for system in present]
        if scenario.control.same in present:
            arms.append(Arm(scenario.control.same, point, "same"))
        if scenario.control.system in present:
            arms.append(Arm(scenario.control.system, point, "fixed"))
    stations = dict.fromkeys(arm.station for arm in arms)
    return Group(counts, tuple(points), tuple(stations), tuple(arms))
