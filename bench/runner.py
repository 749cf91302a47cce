# SPDX-License-Identifier: Apache-2.0
"""Runs a plan: blocks of fresh gateways, rounds in random order, a gate before and after every trial.

Every random choice has its seed from the run's, so the same seed repeats lists, sources and order.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from bench import sources
from bench.evaluate import derive
from bench.lab import Gateway, Lab, LabError, Stream
from bench.lists import Counts
from bench.plan import Arm, Group, Plan, Station
from bench.progress import Event, Kind
from bench.records import Difference, Load, Record, Trial
from neurowall.model.entries import EntrySet


class Runner:
    """One scenario of a run; records are handed to `write` as they come, events to `tell`."""

    def __init__(
        self,
        plan: Plan,
        lab: Lab,
        rules: Mapping[Counts, EntrySet],
        seed: int,
        write: Callable[[Record], None],
        tell: Callable[[Event], None],
    ) -> None:
        self._plan = plan
        self._lab = lab
        self._rules = rules
        self._seed = seed
        self._write = write
        self._tell = tell
        self._done = 0
        self._streams: dict[str, Stream] = {}
        self.blocks_done = 0
        self.systems: dict[str, Mapping[str, Any]] = {}

    def run(self) -> None:
        """All blocks. What ends it early (a signal, a defect) passes through once gateways are torn down."""
        plan, profile = self._plan, self._plan.profile
        self._streams = {point: self._stream(group, point) for group in plan.groups for point in group.points}
        text = f"{plan.trials} trials in {profile.blocks} blocks, about {plan.seconds:.0f} s"
        self._say("scenario-started", text)
        for block in range(profile.blocks):
            for group in plan.groups:
                self._block(block, group)
            self.blocks_done += 1
            self._say("block-finished", f"block {block + 1} of {profile.blocks} finished")
        self._say("scenario-finished", f"{self._done} trials measured")

    def _stream(self, group: Group, point: str) -> Stream:
        traffic = self._plan.scenario.traffic_at(point)
        entries = self._rules[group.counts].family(traffic.family)
        rng = np.random.default_rng(derive(self._seed, "sources", self._plan.name, point))
        if traffic.sources == "listed":
            return Stream(traffic, sources.listed(entries, rng))
        return Stream(traffic, sources.near_listed(entries, traffic.source_count, rng))

    def _block(self, block: int, group: Group) -> None:
        rng = np.random.default_rng(derive(self._seed, "order", self._plan.name, block, *group.points))
        with contextlib.ExitStack() as gateways:
            ready = dict(self._configure(block, group, rng, gateways))
            arms = [arm for arm in group.arms if arm.station in ready]
            for arm in {arm.station: arm for arm in arms}.values():
                self._warm_up(block, arm, ready[arm.station])
            for number in range(self._plan.profile.rounds):
                for order, index in enumerate(rng.permutation(len(arms)).tolist()):
                    arm = arms[index]
                    trial = Trial(block, number, order, arm.system, arm.point, arm.role)
                    self._trial(trial, ready[arm.station])

    def _configure(
        self, block: int, group: Group, rng: np.random.Generator, gateways: contextlib.ExitStack
    ) -> Iterator[tuple[Station, Gateway]]:
        """Every station that could be configured, in random order; that one could not is recorded."""
        traffic = self._plan.scenario.traffic_at(group.points[0])
        parities: dict[Station, Mapping[str, Any]] = {}
        for index in rng.permutation(len(group.stations)).tolist():
            station = group.stations[index]
            load = Load(block, station.system, station.role, group.points_of(station), 0.0)
            try:
                gateway = self._lab.place(
                    station.system, self._rules[group.counts], traffic, f"b{block}-{station}"
                )
                gateways.callback(gateway.close)
                parities[station] = gateway.parity()
                self.systems.setdefault(station.system, gateway.describe())
            except LabError as error:
                self._write(dataclasses.replace(load, problem=str(error)))
                self._say("refused", f"block {block + 1}: {station} not configured: {error}")
                continue
            seconds, notes = gateway.load_seconds, gateway.notes
            self._write(dataclasses.replace(load, seconds=seconds, notes=notes, parity=parities[station]))
            self._say(
                "configured", f"block {block + 1}: {station} configured, rules loaded in {seconds:.2f} s"
            )
            yield station, gateway
        self._compare(block, parities)

    def _compare(self, block: int, parities: Mapping[Station, Mapping[str, Any]]) -> None:
        by_name = {str(station): parity for station, parity in parities.items()}
        systems = {str(station): station.system for station in parities}
        for name, what in self._lab.differences(by_name):
            self._write(Difference(block, systems[name], what))
            self._say("refused", f"block {block + 1}: {name} differs from the others: {what}")

    def _warm_up(self, block: int, arm: Arm, gateway: Gateway) -> None:
        """The first trial after configuring fills caches; what it says is kept raw and never judged."""
        warm_up = Trial(block, -1, -1, arm.system, arm.point, "warmup")
        try:
            measured = gateway.trial(self._streams[arm.point], self._plan.profile.warmup_seconds)
            self._write(dataclasses.replace(warm_up, measured=measured))
        except LabError as error:
            self._write(dataclasses.replace(warm_up, problem=str(error)))
        self._say("warmed-up", f"block {block + 1}: {arm.system} warmed up")

    def _trial(self, trial: Trial, gateway: Gateway) -> None:
        """Gate, trial, gate; the control with one fixed source shares its gateway with a gated arm."""
        stream = self._streams[trial.point]
        if trial.role == "fixed":
            stream = Stream(stream.traffic, stream.sources[:1])
        rng = np.random.default_rng(derive(self._seed, "gate", trial.block, trial.round, trial.order))
        try:
            before = None if trial.role == "fixed" else gateway.gate(rng)
            measured = gateway.trial(stream, self._plan.profile.trial_seconds)
            after = None if trial.role == "fixed" else gateway.gate(rng)
            trial = dataclasses.replace(trial, measured=measured, before=before, after=after)
        except LabError as error:
            trial = dataclasses.replace(trial, problem=str(error))
        self._write(trial)
        self._done += 1
        self._tell_trial(trial)

    def _tell_trial(self, trial: Trial) -> None:
        red = [gate.detail for gate in (trial.before, trial.after) if gate is not None and not gate.passed]
        problem = trial.problem or "; ".join(f"gate: {detail}" for detail in red)
        rate = trial.measured.rate(self._plan.scenario.metrics[0]) if trial.measured else 0.0
        text = f"block {trial.block + 1} round {trial.round + 1}: {trial.system} {rate:.2f} Mpps"
        details = {
            "system": trial.system,
            "point": trial.point,
            "role": trial.role,
            "mpps": rate,
            "problem": problem,
        }
        self._say("trial", f"{text} {problem}".rstrip(), details)

    def _say(self, kind: Kind, text: str, details: dict[str, Any] | None = None) -> None:
        self._tell(Event(kind, self._plan.name, text, self._done, self._plan.trials, details or {}))
