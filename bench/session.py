# SPDX-License-Identifier: Apache-2.0
"""One call of `neurowall-bench run`: lists prepared, scenarios measured in turn, files written."""

from __future__ import annotations

import hashlib
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from bench import evaluate, lists, plan, records, result
from bench.evaluate import derive
from bench.lab import Lab
from bench.lists import Counts, Filled
from bench.plan import Plan
from bench.points import ProfileName
from bench.progress import Event
from bench.records import Record
from bench.result import GivenList, Result, RunInfo, Skip
from bench.runner import Runner
from bench.scenario import Question, Scenario
from neurowall.model.entries import EntrySet
from neurowall.model.errors import Problem
from neurowall.model.listfile import parse_list

if TYPE_CHECKING:
    from bench.operations.scenario import Operations
    from bench.testbed.base import Run


class SessionError(Exception):
    """A run that cannot begin; the message says why and what to do."""


@dataclass(frozen=True)
class Given:
    """A list from a file, parsed."""

    file: str
    sha256: str
    entries: EntrySet
    problems: tuple[Problem, ...]
    duplicates: int

    @classmethod
    def read(cls, path: Path) -> Given:
        """SessionError when the file cannot be read or holds no entry at all."""
        try:
            content = path.read_bytes()
        except OSError as error:
            raise SessionError(
                f"{path}: {error.strerror}; give a text file with one address a line"
            ) from error
        parsed = parse_list(content)
        if not len(parsed.entries):
            shown = "".join(f"\n  {path}:{p.line}: {p.why}" for p in parsed.problems[:5])
            raise SessionError(
                f"{path}: no address or prefix in it ({len(parsed.problems)} bad lines){shown}"
            )
        digest = hashlib.sha256(content).hexdigest()
        return cls(str(path), digest, parsed.entries, parsed.problems, parsed.duplicates)


@dataclass(frozen=True)
class Began:
    """When something began: as people read it, and on the monotonic clock."""

    at: str
    clock: float

    @classmethod
    def now(cls) -> Began:
        """The present moment."""
        return cls(datetime.now(UTC).isoformat(timespec="seconds"), time.monotonic())


class Repeated(Protocol):
    """What profiles of every kind of scenario say."""

    @property
    def blocks(self) -> int:
        """Fresh configurations."""

    @property
    def rounds(self) -> int:
        """Repetitions in each."""

    @property
    def trial_seconds(self) -> float:
        """Length of each."""


@dataclass
class Session:
    """What all scenarios of a run have in common.

    `testbed` is where namespaces are made, `environment` the machine's fingerprint; both come with `run`.
    """

    directory: Path
    profile: ProfileName
    seed: int
    given: Given | None
    tell: Callable[[Event], None]
    command: Sequence[str] = ()
    testbed: Run | None = None
    environment: Mapping[str, Any] = field(default_factory=dict)
    filled: dict[Counts, Filled] = field(default_factory=dict)
    results: list[Result] = field(default_factory=list)

    def rules(self, counts: Counts) -> EntrySet:
        """The list of that size; the same for every scenario that asks for it, and nested with the others."""
        if counts not in self.filled:
            given = self.given.entries if self.given else EntrySet.empty()
            self.filled[counts] = lists.fill_up(given, counts, derive(self.seed, "list"))
        return self.filled[counts].entries

    def plan(self, name: str, scenario: Scenario, available: Callable[[str, EntrySet], str | None]) -> Plan:
        """What runs here; `available` says why a system cannot be measured with a list."""
        return plan.make(name, scenario, self.profile, lambda s, counts: available(s, self.rules(counts)))

    def skipped(self, planned: Plan) -> list[Skip]:
        """What the plan left out."""
        return [Skip(system=s, point=p, reason=why) for (s, p), why in planned.skipped.items()]

    def measure(self, planned: Plan, lab: Lab) -> Result:
        """Run one scenario and write its files. What ends it early is raised again after they are written."""
        began, kept, directory = Began.now(), list[Record](), self.subdirectory(planned.name)
        ended: BaseException | None = None
        with (directory / "raw.jsonl").open("w", encoding="utf-8") as file:
            write = _both(records.Writer(file).write, kept.append)
            rules = {counts: self.rules(counts) for counts in planned.lists}
            runner = Runner(planned, lab, rules, self.seed, write, self.tell)
            try:
                runner.run()
            except BaseException as error:  # noqa: BLE001  raised again below
                ended = error
        info = self.info(planned.scenario, planned.profile, began, runner.blocks_done, ended)
        info = info.model_copy(update={"given_list": self._given_list(planned)})
        environment = {**self.environment, **lab.describe(), "systems": runner.systems}
        self.keep(self._judge(planned, kept, info, environment))
        if ended is not None:
            raise ended
        return self.results[-1]

    def operate(self, name: str, scenario: Operations) -> Result:
        """Run one scenario of operations and write its files."""
        from bench.operations import run

        found = run.measure(scenario, name, self.profile, self.subdirectory(name), self, self.tell)
        self.keep(found)
        return found

    def subdirectory(self, name: str) -> Path:
        """A scenario's own directory, made."""
        directory = self.directory / name
        directory.mkdir(parents=True)
        return directory

    def keep(self, found: Result) -> None:
        """Write a result and count it among those of the run; one of the same scenario is replaced."""
        result.save(found, self.directory / found.scenario / "result.json")
        self.results = [*(r for r in self.results if r.scenario != found.scenario), found]

    def info(
        self, scenario: Question, profile: Repeated, began: Began, done: int, ended: BaseException | None
    ) -> RunInfo:
        """How to run it again; `done` blocks were finished, `ended` is what ended it before its time."""
        return RunInfo(
            id=self.directory.name,
            started=began.at,
            seconds=round(time.monotonic() - began.clock, 1),
            seed=self.seed,
            blocks=profile.blocks,
            rounds=profile.rounds,
            trial_seconds=profile.trial_seconds,
            blocks_done=done,
            interrupted=None if ended is None else why_ended(ended),
            scenario_sha256=scenario.digest,
            scenario=scenario.model_dump(mode="json"),
            version=metadata.version("neurowall"),
            command=list(self.command),
        )

    def _judge(
        self, planned: Plan, kept: Sequence[Record], info: RunInfo, environment: Mapping[str, Any]
    ) -> Result:
        judged = evaluate.evaluate(
            planned.scenario, kept, seed=self.seed, skipped=planned.skipped, interrupted=info.interrupted
        )
        return Result(
            scenario=planned.name,
            profile=planned.profile_name,
            **vars(judged),
            skipped=self.skipped(planned),
            environment=dict(environment),
            run=info,
            raw=["raw.jsonl"],
        )

    def _given_list(self, planned: Plan) -> GivenList | None:
        if self.given is None:
            return None
        points = [point for group in planned.groups for point in group.points]
        used = {p: self.filled[Counts(*planned.scenario.points[p].counts)] for p in points}
        return GivenList(
            file=self.given.file,
            sha256=self.given.sha256,
            used={point: str(filled.given) for point, filled in used.items()},
            special=max((filled.special for filled in used.values()), default=0),
            problems=len(self.given.problems),
            duplicates=self.given.duplicates,
        )


def why_ended(error: BaseException) -> str:
    """What ended a run early, in a few words."""
    if isinstance(error, KeyboardInterrupt):
        return "SIGINT"
    if isinstance(error, SystemExit):
        stopped = isinstance(error.code, int) and error.code > 128
        return signal.Signals(int(error.code or 0) - 128).name if stopped else "exit"
    return f"{type(error).__name__}: {error}"


def _both(first: Callable[[Record], None], second: Callable[[Record], None]) -> Callable[[Record], None]:
    def write(record: Record) -> None:
        first(record)
        second(record)

    return write
