# SPDX-License-Identifier: Apache-2.0
"""What a run will do, before it does it: groups, arms, what is skipped and why, and how long it takes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from bench.bars import parts
from bench.defence import Defence, Limit
from bench.lists import Counts
from bench.points import ProfileName, Traffic
from bench.records import Role
from bench.rulebook import Size
from bench.scenario import OF_CLASSES, Profile, Scenario

RULELESS = ("none", "xdp-null", "xdp-touch", "xdp-lru-flows")
"""Systems that do the same whatever the rules: one gateway serves every point of a group."""

LISTS_ONLY = ("neurowall-lists",)
"""Systems whose features beside the lists are off."""

# Seconds on 2 cores: a chain with an empty system made and removed; of others start and each entry; what a
# trial takes beyond its length, gates included.
_CHAIN = 0.3
_LOAD = {
    "neurowall": (0.8, 2.5e-6),
    "neurowall-classic": (0.8, 2.5e-6),
    "neurowall-lists": (0.8, 2.5e-6),
    "nft-set": (0.05, 3e-6),
    "nft-limit": (0.1, 3e-6),
    "nft-linear": (0.05, 2e-5),
    "ipset": (0.05, 4e-6),
}
_TRIAL_OVERHEAD = 0.04
_DEFENDED = 0.15
"""Of a trial with features beside the lists: gates prove each, a flood drains the limits before it counts."""
_RULE, _TRACKED = 1e-3, 0.25
"""Of a stateful rule, and of a trial with any: connection tracking is emptied, gates have more parts."""


@dataclass(frozen=True)
class Station:
    """One configured gateway of a block: a system with its rules, or the second copy of the A/A system."""

    system: str
    role: Role
    counts: Counts
    null_verdict: Literal["drop", "pass"] = "drop"
    rules: Size | None = None
    defence: Defence | None = None
    queues: int = 1

    def __str__(self) -> str:
        words = [self.system]
        if self.role == "same":
            words.append("same")
        if self.null_verdict == "pass":
            words.append("pass")
        if self.system not in RULELESS:
            words += [text for text in (self.counts.short, str(self.rules or "")) if text]
        if self.defence is not None:
            words += [*self.defence.features, *(f"{limit.packets_per_second}pps" for limit in self.limits)]
        if self.queues > 1:
            words.append(f"{self.queues}q")
        return "-".join(words)

    @property
    def limits(self) -> tuple[Limit, ...]:
        """Those that it has."""
        return () if self.defence is None else self.defence.limits


@dataclass(frozen=True)
class Packets:
    """Which packets are sent: this traffic, from sources drawn from the entries of such a list.

    `clean_of`: those that must not be listed are in no list of that size either.
    """

    traffic: Traffic
    drawn_from: Counts
    clean_of: Counts


@dataclass(frozen=True)
class Arm:
    """One thing that is measured once in every round.

    Where a gateway is sent the very same packets for several points, one measurement serves all of them.
    """

    station: Station
    role: Role
    points: tuple[str, ...]

    @property
    def system(self) -> str:
        """What is measured."""
        return self.station.system

    @property
    def point(self) -> str:
        """The first of its points."""
        return self.points[0]


@dataclass(frozen=True)
class Group:
    """Points that are measured interleaved, in the same blocks and rounds: so they can be compared.

    `blocks` says by point how many of the run's blocks measure it.
    """

    blocks: Mapping[str, int]
    arms: tuple[Arm, ...]

    @property
    def points(self) -> tuple[str, ...]:
        """In the scenario's order."""
        return tuple(self.blocks)

    def arms_in(self, block: int) -> tuple[Arm, ...]:
        """What a block measures, for the points that it measures."""
        active = ((arm, tuple(p for p in arm.points if block < self.blocks[p])) for arm in self.arms)
        return tuple(dataclasses.replace(arm, points=points) for arm, points in active if points)


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
        blocks = range(self.profile.blocks)
        return self.profile.rounds * sum(len(g.arms_in(block)) for g in self.groups for block in blocks)

    @property
    def seconds(self) -> float:
        """Expected duration."""
        blocks = range(self.profile.blocks)
        return sum(self._block_seconds(g.arms_in(block)) for g in self.groups for block in blocks)

    @property
    def lists(self) -> tuple[Counts, ...]:
        """Every list that is loaded, or that sources are drawn from."""
        loaded = [arm.station.counts for group in self.groups for arm in group.arms]
        sent = [packets(self.scenario, point) for group in self.groups for point in group.points]
        return tuple(dict.fromkeys([*loaded, *(p.drawn_from for p in sent), *(p.clean_of for p in sent)]))

    def _block_seconds(self, arms: Sequence[Arm]) -> float:
        stations = 0.0
        for station in stations_of(arms):
            start, per_entry = _LOAD.get(station.system, (0.0, 0.0))
            entries = sum(dataclasses.astuple(station.counts))
            rules = _RULE * station.rules.rules if station.rules else 0.0
            stations += _CHAIN + start + per_entry * entries + rules + self.profile.warmup_seconds
        tracked = _TRACKED * sum(arm.station.rules is not None for arm in arms)
        tracked += sum(map(self._defended_seconds, arms))
        each = self.profile.trial_seconds + _TRIAL_OVERHEAD
        return stations + self.profile.rounds * (len(arms) * each + tracked)

    def _defended_seconds(self, arm: Arm) -> float:
        """Of a trial: until the buckets of limits are full again, where that is waited for."""
        if arm.station.defence is None:
            return 0.0
        paced = any(one.name == "paced" for one in self.scenario.traffic_at(arm.point).classes)
        return _DEFENDED + (arm.station.defence.refill_seconds("udp") if paced else 0.0)


Available = Callable[[str, Counts], str | None]
"""Why a system cannot be measured with so many entries here; None if it can."""


def make(name: str, scenario: Scenario, profile: ProfileName, available: Available) -> Plan:
    """Decide what runs."""
    skipped: dict[tuple[str, str], str] = {}
    chosen = []
    for point, spec in scenario.points.items():
        if profile not in spec.profiles:
            reason = f"not in profile {profile}, only in {', '.join(spec.profiles)}"
            skipped.update({(system, point): reason for system in scenario.systems_at(point)})
            continue
        chosen.append(point)
        for system in scenario.systems_at(point):
            if system not in spec.systems_in.get(profile, (system,)):
                skipped[system, point] = f"not in profile {profile} at this point"
            elif reason_not := available(system, Counts(*spec.counts)):
                skipped[system, point] = reason_not
    most = scenario.profile(profile).blocks
    groups = [
        Group(
            {point: max(2, math.ceil(scenario.points[point].share * most)) for point in points},
            _arms(scenario, points, skipped),
        )
        for points in _together(scenario, chosen)
    ]
    return Plan(name, scenario, profile, tuple(g for g in groups if g.arms), skipped)


def packets(scenario: Scenario, point: str) -> Packets:
    """What is sent at a point; equal for points that must be measured with the very same packets."""
    traffic, spec = scenario.traffic_at(point), scenario.points[point]
    if traffic.sources == "accepted":
        return Packets(traffic, Counts(), Counts())
    if traffic.sources != "fixed-set":
        return Packets(traffic, Counts(*spec.counts), Counts(*spec.counts))
    smallest, largest = scenario.smallest(point), scenario.largest(point)
    return Packets(traffic, Counts(*smallest.counts), Counts(*largest.counts))


def _together(scenario: Scenario, points: Sequence[str]) -> list[list[str]]:
    """Points with the same rules and features share gateways.

    Those with the same packets share the controls' measurements, and points that a bar compares are together
    for its sake.
    """
    groups = [[point] for point in points]
    rules = {point: _configured(scenario, point) for point in points}
    sent = {point: packets(scenario, point) for point in points}
    pairs = [(a, b) for a in points for b in points if rules[a] == rules[b] or sent[a] == sent[b]]
    compared = [parts(bar.ratio) for bar in scenario.bars if bar.ratio is not None]
    for a, b in (*pairs, *((point, base) for _, point, _, base in compared)):
        ours = [group for group in groups if a in group or b in group]
        if len(ours) == 2:
            groups.remove(ours[1])
            ours[0].extend(ours[1])
    order = {point: number for number, point in enumerate(points)}
    return [sorted(group, key=order.__getitem__) for group in groups]


def _configured(scenario: Scenario, point: str) -> tuple[object, ...]:
    """What gateways are made for; those with more queues are another machine."""
    generators = scenario.traffic_at(point).generators
    return scenario.points[point].counts, scenario.defence_at(point), generators


def stations_of(arms: Sequence[Arm]) -> dict[Station, tuple[str, ...]]:
    """The gateways of these arms, each with the points that are measured there."""
    stations: dict[Station, dict[str, None]] = {}
    for arm in arms:
        stations.setdefault(arm.station, {}).update(dict.fromkeys(arm.points))
    return {station: tuple(points) for station, points in stations.items()}


def _arms(scenario: Scenario, points: list[str], skipped: dict[tuple[str, str], str]) -> tuple[Arm, ...]:
    """The control and its A/A copy are arms of every point, or nothing there can be judged."""
    found: dict[tuple[Station, Role, Packets], list[str]] = {}
    for point in points:
        present = [s for s in scenario.systems_at(point) if (s, point) not in skipped]
        wanted: list[tuple[str, Role]] = [(system, "measured") for system in present]
        judged_alone = scenario.metrics_at(point)[0] in OF_CLASSES  # no ratio is made of it
        if scenario.control.same in present and not judged_alone:
            wanted.append((scenario.control.same, "same"))
        if scenario.control.system in present and not judged_alone:
            wanted.append((scenario.control.system, "fixed"))
        for system, role in wanted:
            key = _station(scenario, system, role, point, points[0]), role, packets(scenario, point)
            found.setdefault(key, []).append(point)
    return tuple(Arm(station, role, tuple(at)) for (station, role, _), at in found.items())


def _station(scenario: Scenario, system: str, role: Role, point: str, first: str) -> Station:
    """The gateway that an arm is measured at; `first` is the first point of its group."""
    spec = scenario.points[first if system in RULELESS else point]
    verdict = scenario.traffic_at(point).null_verdict if system == "xdp-null" else "drop"
    own: Role = "same" if role == "same" else "measured"
    defence = None if system in RULELESS else scenario.defence_at(point)
    if defence is not None and system in LISTS_ONLY:
        defence = defence.only(())
    queues = scenario.traffic_at(point).generators
    return Station(system, own, Counts(*spec.counts), verdict, spec.size, defence, queues)
