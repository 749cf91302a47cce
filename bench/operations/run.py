# SPDX-License-Identifier: Apache-2.0
"""Runs a scenario of operations: blocks of fresh gateways, on each of which its tasks are done in turn."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.evaluate import derive
from bench.lists import Counts
from bench.operations import asking, churn, evaluate, footprint, https, loading, policy
from bench.operations.base import Operated, Remoted
from bench.operations.footprint import Peak
from bench.operations.records import Observation, Writer
from bench.operations.scenario import (
    Apply,
    Ban,
    Change,
    Churn,
    Footprint,
    Operations,
    Paired,
    Profile,
    Read,
    Replace,
    Scrape,
    Task,
)
from bench.operations.site import EXPECTED, Site, SiteError
from bench.operations.systems import SYSTEMS
from bench.progress import Event, Kind
from bench.result import GivenList, Result, Skip
from bench.rulebook import make
from bench.session import Began
from bench.sut.base import Rules
from bench.testbed.base import Chain, Run, TestbedError
from bench.traffic.wire import generator, own_cpus, release

if TYPE_CHECKING:
    from bench.points import Point, ProfileName
    from bench.session import Session

BANS_SPARE = 1000
"""Addresses that fit beside the list, where some are banned."""

# Seconds on 2 cores, for the plan: a gateway with a system started, what an entry costs at its load and at
# each replacement (files included), a ban, and gates.
_GATEWAY, _ENTRY, _REPLACED, _BAN, _TASK = 1.5, 4e-6, 8e-6, 0.04, 0.1
_RIVALS_ENTRY = 6e-6
_APPLY, _CHANGE, _SCRAPE = 2.0, 0.2, 0.02

Cell = tuple[str, str]


def measure(
    scenario: Operations,
    name: str,
    profile: ProfileName,
    directory: Path,
    session: Session,
    tell: Callable[[Event], None],
) -> Result:
    """Run a scenario in namespaces of the session's testbed and judge it; raw.jsonl goes into `directory`.

    What ends it early is raised again when its gateways are torn down and the partial result is kept.
    """
    if session.testbed is None:
        raise TestbedError("operations need a testbed: begin a run and give it to the session")
    work = _Work(scenario, name, session, tell, profile)
    began, ended = Began.now(), None
    with (directory / "raw.jsonl").open("w", encoding="utf-8") as file, own_cpus():
        try:
            work.run(session.testbed, Writer(file).write)
        except BaseException as error:  # noqa: BLE001  raised again below
            ended = error
    info = session.info(scenario, scenario.profile(profile), began, work.blocks_done, ended)
    judged = evaluate.evaluate(
        scenario,
        profile,
        work.kept,
        seed=session.seed,
        skipped=work.skipped,
        interrupted=info.interrupted,
    )
    found = Result(
        scenario=name,
        profile=profile,
        **vars(judged),
        skipped=[Skip(system=s, point=p, reason=why) for (s, p), why in work.shown_skips().items()],
        environment={**session.environment, **_cpus(), "systems": work.systems},
        run=info.model_copy(update={"given_list": _given_list(work)}),
        raw=["raw.jsonl"],
    )
    if ended is not None:
        session.keep(found)
        raise ended
    return found


def expected_seconds(scenario: Operations, profile: ProfileName) -> float:
    """About how long a run takes."""
    chosen = scenario.profile(profile)
    total = 0.0
    for point, spec in scenario.points.items():
        for system in scenario.systems:
            total += _seconds_at(system, sum(spec.counts), scenario.tasks_at(system, point, profile), chosen)
    return total


def _seconds_at(system: str, entries: int, tasks: tuple[Task, ...], profile: Profile) -> float:
    """Of all blocks: each gateway is loaded once for all of its tasks."""
    if not tasks:
        return 0.0
    blocks = [min(profile.blocks, task.blocks or profile.blocks) for task in tasks]
    loaded = _GATEWAY + entries * (_ENTRY if system.startswith("neurowall") else _RIVALS_ENTRY)
    done = sum(n * _task_seconds(task, entries, profile, n) for n, task in zip(blocks, tasks, strict=True))
    return max(blocks) * loaded + done


def _task_seconds(task: Task, entries: int, profile: Profile, blocks: int) -> float:
    """Of one of so many blocks."""
    match task:
        case Ban():
            found = _TASK + _BAN * profile.bans / blocks
        case Replace():
            wanted = task.packets_share * profile.packets / blocks / task.pps
            found = entries * _REPLACED + max(1.1 * wanted, 1 + loading.FIRST_FITS * entries * _ENTRY)
        case Footprint():
            rest = footprint.SERVED if task.served else footprint.REST
            found = rest + task.replacements * entries * _REPLACED
        case Apply():
            found = _APPLY * profile.applies / blocks
        case Change():
            found = _CHANGE * profile.changes / blocks
        case Churn():
            found = 3 * profile.rounds * profile.trial_seconds
        case Read():
            found = 2 * profile.rounds * profile.trial_seconds
        case Scrape():
            found = _APPLY + (_SCRAPE + task.pause) * profile.scrapes / blocks
        case _:
            found = _TASK
    return found


@dataclass
class _Work:
    """A scenario under way."""

    scenario: Operations
    name: str
    session: Session
    tell: Callable[[Event], None]
    profile_name: ProfileName
    kept: list[Observation] = field(default_factory=list)
    systems: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    skipped: dict[Cell, str] = field(default_factory=dict)
    blocks_done: int = 0
    done: int = 0
    total: int = 0

    @property
    def profile(self) -> Profile:
        """How long it may take."""
        return self.scenario.profile(self.profile_name)

    def tasks(self, block: int, system: str, point: str) -> tuple[Task, ...]:
        """What is done there in a block."""
        tasks = self.scenario.tasks_at(system, point, self.profile_name)
        return tuple(task for task in tasks if task.blocks is None or block < task.blocks)

    def run(self, run: Run, write: Callable[[Observation], None]) -> None:
        """All blocks; within one, systems and points in random order."""
        self.skipped.update(_skipped(self.scenario, self.profile_name, self.session))
        cells = [(system, point) for point in self.scenario.points for system in self.scenario.systems]
        cells = [cell for cell in cells if cell not in self.skipped and self.tasks(0, *cell)]
        self.total = sum(len(self.tasks(b, *cell)) for b in range(self.profile.blocks) for cell in cells)
        self._say("scenario-started", f"{self.total} operations in {self.profile.blocks} blocks")
        for block in range(self.profile.blocks):
            rng = np.random.default_rng(derive(self.session.seed, "order", self.name, block))
            for index in rng.permutation(len(cells)).tolist():
                with contextlib.closing(self._gateway(run, block, *cells[index])) as gateway:
                    for seen in gateway:
                        self.kept.append(seen)
                        write(seen)
            self.blocks_done += 1
            self._say("block-finished", f"block {block + 1} of {self.profile.blocks} finished")
        self._say("scenario-finished", f"{self.done} operations measured")

    def shown_skips(self) -> dict[Cell, str]:
        """What was left out, and what a system could not tell."""
        wanting = {
            (seen.system, seen.point): f"{metric}: {why}"
            for seen in self.kept
            for metric, why in seen.wanting.items()
            if metric == "kernel_maps_mib"
        }
        return {**self.skipped, **wanting}

    def _gateway(self, run: Run, block: int, system: str, point: str) -> Generator[Observation, None, None]:
        """One fresh gateway: load, then every task in turn; the first that fails ends it."""
        tasks = self.tasks(block, system, point)
        if not tasks:
            return
        with contextlib.ExitStack() as undo:
            task = tasks[0]
            try:
                peak = self._enter(undo, site := self._site(undo, run, block, system, point), tasks)
                for task in tasks:
                    yield from _perform(site, task, peak)
                    self.done += 1
                    self._say("trial", f"block {block + 1}: {system} at {point}: {task.operation} done")
            except (*EXPECTED, SiteError) as error:
                self.done += 1
                self._say("refused", f"block {block + 1}: {system} at {point}: {task.operation}: {error}")
                problem = str(error)
                yield Observation(block, system, point, task.operation, problem=problem)
                if isinstance(task, Paired):
                    yield Observation(block, system, task.base, task.operation, problem=problem)

    def _site(self, undo: contextlib.ExitStack, run: Run, block: int, system: str, point: str) -> Site:
        chain = Chain(run, f"b{block}-{system}")
        undo.callback(chain.close)
        chain.build()
        undo.callback(release, chain)
        operated: Operated = SYSTEMS[system]()
        undo.callback(operated.close)
        return Site(
            chain=chain,
            operated=operated,
            rules=_rules(self.session, self.scenario.points[point]),
            block=block,
            blocks=self.profile.blocks,
            point=point,
            profile=self.profile,
            seed=derive(self.session.seed, "lists", self.name, point, block),
            rng=np.random.default_rng(derive(self.session.seed, "probes", self.name, system, point, block)),
            tell=lambda text: self._say("configured", f"block {block + 1}: {text}"),
        )

    def _enter(self, undo: contextlib.ExitStack, site: Site, tasks: tuple[Task, ...]) -> Peak | None:
        """Load the list; memory is watched from before that where it is asked for."""
        if any(task.remote for task in tasks) and isinstance(site.operated, Remoted):
            site.operated.listen()
        weighed = any(isinstance(task, Footprint) for task in tasks)
        peak = undo.enter_context(Peak(site.operated)) if weighed else None
        site.load(_room(tasks))
        if site.operated.name not in self.systems:
            self.systems[site.operated.name] = site.operated.system.describe()
        return peak

    def _say(self, kind: Kind, text: str) -> None:
        self.tell(Event(kind, self.name, text, self.done, self.total))


_OPERATIONS: Mapping[str, Callable[[Site, Any], Observation]] = {
    "load": loading.load,
    "ban": loading.ban,
    "replace": loading.replace,
    "apply": policy.apply,
    "change": policy.change,
    "scrape": asking.scrape,
}


def _perform(site: Site, task: Task, peak: Peak | None) -> tuple[Observation, ...]:
    if isinstance(task, Churn):
        return churn.churn(site, task)
    if isinstance(task, Read):
        return asking.read(site, task)
    if not isinstance(task, Footprint):
        return (_OPERATIONS[task.operation](site, task),)
    if peak is None:
        raise SiteError("memory was not watched")
    return (footprint.footprint(site, task, peak),)


def _rules(session: Session, spec: Point) -> Rules:
    """A point's entries and stateful rules."""
    book = None if spec.size is None else make(spec.size, derive(session.seed, "rules"))
    return Rules(session.rules(Counts(*spec.counts)), book=book)


def _room(tasks: tuple[Task, ...]) -> int:
    """For how many addresses beside the list there must be room."""
    bans = BANS_SPARE if any(isinstance(task, Ban) for task in tasks) else 0
    return bans + sum(task.pool for task in tasks if isinstance(task, Churn))


def _skipped(scenario: Operations, profile: ProfileName, session: Session) -> dict[Cell, str]:
    """Cells that are not measured in this profile or on this machine, and why."""
    found = {}
    for point, spec in scenario.points.items():
        for system in scenario.systems_at(point):
            if not scenario.metrics_of(system, point, profile):
                found[system, point] = f"not in profile {profile}"
            elif tasks := scenario.tasks_at(system, point, profile):
                rules = _rules(session, spec)
                why = https.available() if any(task.remote for task in tasks) else None
                if why := why or SYSTEMS[system]().system.available(rules):
                    found[system, point] = why
    return found


def _cpus() -> dict[str, Any]:
    return {"testbed": "netns", "generator_and_gateway_cpu": generator().cpu}


def _given_list(work: _Work) -> GivenList | None:
    given = work.session.given
    if given is None:
        return None
    used = {
        point: work.session.filled[Counts(*spec.counts)]
        for point, spec in work.scenario.points.items()
        if Counts(*spec.counts) in work.session.filled
    }
    return GivenList(
        file=given.file,
        sha256=given.sha256,
        used={point: str(filled.given) for point, filled in used.items()},
        special=max((filled.special for filled in used.values()), default=0),
        problems=len(given.problems),
        duplicates=given.duplicates,
    )
