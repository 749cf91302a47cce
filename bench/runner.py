# SPDX-License-Identifier: Apache-2.0
"""Runs a plan: blocks of fresh gateways, rounds in random order, a gate before and after every trial.

Every random choice has its seed from the run's, so the same seed repeats lists, sources and order.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from bench import classsources, sources
from bench import plan as planning
from bench.evaluate import derive
from bench.lab import Gateway, Lab, LabError, Stream
from bench.lists import Counts
from bench.plan import Arm, Packets, Plan, Station
from bench.progress import Event, Kind
from bench.records import Difference, Load, Record, Trial
from bench.rulebook import Rulebook, Size, make
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
        self._streams: dict[Packets, Stream] = {}
        self._books: dict[Size, Rulebook] = {}
        self.blocks_done = 0
        self.systems: dict[str, Mapping[str, Any]] = {}

    def run(self) -> None:
        """All blocks. What ends it early (a signal, a defect) passes through once gateways are torn down."""
        plan, profile = self._plan, self._plan.profile
        for point in (point for group in plan.groups for point in group.points):
            self._stream(point)  # a list that has no such sources is known before anything is configured
        text = f"{plan.trials} trials in {profile.blocks} blocks, about {plan.seconds:.0f} s"
        self._say("scenario-started", text)
        for block in range(profile.blocks):
            for group in plan.groups:
                if arms := group.arms_in(block):
                    self._block(block, arms)
            self.blocks_done += 1
            self._say("block-finished", f"block {block + 1} of {profile.blocks} finished")
        self._say("scenario-finished", f"{self._done} trials measured")

    def _stream(self, point: str) -> Stream:
        """What is sent at a point, made once: points with the same packets share it."""
        wanted = planning.packets(self._plan.scenario, point)
        if wanted not in self._streams:
            seed = derive(self._seed, "sources", self._plan.name, point)
            self._streams[wanted] = self._make_stream(wanted, np.random.default_rng(seed))
        return self._streams[wanted]

    def _book(self, size: Size | None) -> Rulebook | None:
        """The stateful rules of a point, made once; those of the run are nested."""
        if size is None:
            return None
        if size not in self._books:
            self._books[size] = make(size, derive(self._seed, "rules"))
        return self._books[size]

    def _make_stream(self, wanted: Packets, rng: np.random.Generator) -> Stream:
        traffic, lists = wanted.traffic, (self._rules[wanted.drawn_from], self._rules[wanted.clean_of])
        if traffic.sources == "accepted" and (book := self._book(self._plan.scenario.book)):
            return Stream(traffic, book.sources(traffic.accepted_count, rng))
        if traffic.classes:
            classes = classsources.draw(traffic.classes, lists[0].v4, rng)
            return Stream(traffic, classes[traffic.classes[0].name], classes=classes, pps=traffic.pps)
        families = (traffic.family, 6) if traffic.ipv6_share else (traffic.family,)
        drawn = {f: sources.draw(traffic, lists[0].family(f), rng, lists[1].family(f)) for f in families}
        second = drawn[6] if traffic.ipv6_share else None
        stamp = "latency_p99_us" in self._plan.scenario.metrics
        return Stream(traffic, drawn[traffic.family], second, stamp=stamp)

    def _block(self, block: int, planned: Sequence[Arm]) -> None:
        points = dict.fromkeys(point for arm in planned for point in arm.points)
        rng = np.random.default_rng(derive(self._seed, "order", self._plan.name, block, *points))
        with contextlib.ExitStack() as gateways:
            ready = dict(self._configure(block, planned, rng, gateways))
            arms = [arm for arm in planned if arm.station in ready]
            for arm in {arm.station: arm for arm in arms}.values():
                self._warm_up(block, arm, ready[arm.station])
            rates = dict(self._flat_out(block, arms, ready))
            for number in range(self._plan.profile.rounds):
                for order, index in enumerate(rng.permutation(len(arms)).tolist()):
                    arm = arms[index]
                    trial = Trial(block, number, order, arm.system, arm.point, arm.role)
                    self._trial(trial, arm, ready[arm.station], rates)

    def _flat_out(
        self, block: int, arms: list[Arm], ready: Mapping[Station, Gateway]
    ) -> Iterator[tuple[str, float]]:
        """By point: packets a second that the control manages now, where trials keep a share of that."""
        scenario = self._plan.scenario
        for arm in arms:
            stream, control = self._stream(arm.point), scenario.control.system
            if stream.traffic.load is None or (arm.system, arm.role) != (control, "measured"):
                continue
            trial = Trial(block, 0, -1, arm.system, arm.point, "flat")
            measured = self._try(trial, arm, ready[arm.station], stream).measured
            if measured:
                rate = measured.rate("drop_mpps" if stream.traffic.dropped else "forward_mpps") * 1e6
                yield from ((point, rate) for point in arm.points)

    def _configure(
        self, block: int, arms: Sequence[Arm], rng: np.random.Generator, gateways: contextlib.ExitStack
    ) -> Iterator[tuple[Station, Gateway]]:
        """Every station that could be configured, in random order; that one could not is recorded."""
        parities: dict[Station, Mapping[str, Any]] = {}
        stations = list(planning.stations_of(arms).items())
        for index in rng.permutation(len(stations)).tolist():
            station, points = stations[index]
            load = Load(block, station.system, station.role, points, 0.0)
            traffic, rules = self._plan.scenario.traffic_at(points[0]), self._rules[station.counts]
            try:
                book = self._book(station.rules)
                label = f"b{block}-{station}"
                gateway = self._lab.place(station.system, rules, traffic, label, book, station.defence)
                gateways.callback(gateway.close)
                parities[station] = gateway.parity()
                self.systems.setdefault(station.system, gateway.describe())
            except LabError as error:
                self._write(dataclasses.replace(load, problem=str(error)))
                self._say("refused", f"block {block + 1}: {station} not configured: {error}")
                continue
            seconds, memory, notes = gateway.load_seconds, gateway.memory_mib, gateway.notes
            load = dataclasses.replace(load, seconds=seconds, memory_mib=memory, notes=notes)
            self._write(dataclasses.replace(load, parity=parities[station]))
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
        stream = dataclasses.replace(self._stream(arm.point), program_stats=True)
        try:
            measured = gateway.trial(stream, self._plan.profile.warmup_seconds)
            self._write(dataclasses.replace(warm_up, measured=measured))
        except LabError as error:
            self._write(dataclasses.replace(warm_up, problem=str(error)))
        self._say("warmed-up", f"block {block + 1}: {arm.station} warmed up")

    def _trial(self, trial: Trial, arm: Arm, gateway: Gateway, rates: Mapping[str, float]) -> None:
        try:
            stream = self._sent(arm, rates)
        except LabError as error:
            self._record(dataclasses.replace(trial, problem=str(error)), arm)
        else:
            trial = self._try(trial, arm, gateway, stream)
        self._done += 1
        self._tell_trial(trial)

    def _try(self, trial: Trial, arm: Arm, gateway: Gateway, stream: Stream) -> Trial:
        """Gate, trial, gate; the control with one fixed source shares its gateway with a gated arm."""
        rng = np.random.default_rng(derive(self._seed, "gate", trial.block, trial.round, trial.order))
        try:
            before = None if trial.role == "fixed" else gateway.gate(rng)
            measured = gateway.trial(stream, self._plan.profile.trial_seconds)
            after = None if trial.role == "fixed" else gateway.gate(rng)
            trial = dataclasses.replace(trial, measured=measured, before=before, after=after)
        except LabError as error:
            trial = dataclasses.replace(trial, problem=str(error))
        self._record(trial, arm)
        return trial

    def _record(self, trial: Trial, arm: Arm) -> None:
        """Once for each point that the arm serves."""
        self._write(trial)
        for point in arm.points[1:]:
            self._write(dataclasses.replace(trial, point=point, shared=True))

    def _sent(self, arm: Arm, rates: Mapping[str, float]) -> Stream:
        """An arm's packets: one source flat out for the role "fixed", else at their rate if they have one."""
        stream = self._stream(arm.point)
        if arm.role == "fixed":
            second = None if stream.sources6 is None else stream.sources6[:1]
            one = {name: column[:1] for name, column in stream.classes.items()}
            return dataclasses.replace(stream, sources=stream.sources[:1], sources6=second, classes=one)
        if (load := stream.traffic.load) is None:
            return stream
        if not rates.get(arm.point):
            raise LabError("the control's own rate, of which this is to be a share, could not be measured")
        return dataclasses.replace(stream, pps=load * rates[arm.point])

    def _tell_trial(self, trial: Trial) -> None:
        red = [gate.detail for gate in (trial.before, trial.after) if gate is not None and not gate.passed]
        problem = trial.problem or "; ".join(f"gate: {detail}" for detail in red)
        dropped = self._plan.scenario.traffic_at(trial.point).dropped
        rate = trial.measured.rate("drop_mpps" if dropped else "forward_mpps") if trial.measured else 0.0
        when = f"block {trial.block + 1} round {trial.round + 1}"
        text = f"{when}: {trial.system} at {trial.point}: {rate:.2f} Mpps"
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
