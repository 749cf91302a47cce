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
from typing import Any

from bench import evaluate, lists, plan, records, result
from bench.evaluate import derive
from bench.lab import Lab
from bench.lists import Counts, Filled
from bench.plan import Plan
from bench.progress import Event
from bench.records import Record
from bench.result import GivenList, Result, RunInfo, Skip
from bench.runner import Runner
from bench.scenario import ProfileName, Scenario
from neurowall.model.entries import EntrySet
from neurowall.model.errors import Problem
from neurowall.model.listfile import parse_list


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


@dataclass
class Session:
    """What all scenarios of a run have in common."""

    directory: Path
    profile: ProfileName
    seed: int
    given: Given | None
    tell: Callable[[Event], None]
    command: Sequence[str] = ()
    filled: dict[Counts, Filled] = field(default_factory=dict)
    results: list[Result] = field(default_factory=list)

    def rules(self, counts: Counts) -> EntrySet:
        """The list of that size; the same for every scenario that asks for it."""
        if counts not in self.filled:
            given = self.given.entries if self.given else EntrySet.empty()
            self.filled[counts] = lists.fill_up(given, counts, derive(self.seed, "list", counts))
        return self.filled[counts].entries

    def plan(self, name: str, scenario: Scenario, available: Callable[[str, EntrySet], str | None]) -> Plan:
        """What runs here; `available` says why a system cannot be measured with a list."""
        return plan.make(name, scenario, self.profile, lambda s, counts: available(s, self.rules(counts)))

    def skipped(self, planned: Plan) -> list[Skip]:
        """What the plan left out."""
        return [Skip(system=s, point=p, reason=why) for (s, p), why in planned.skipped.items()]

    def measure(self, planned: Plan, lab: Lab, environment: Mapping[str, Any]) -> Result:
        """Run one scenario and write its files. What ends it early is raised again after they are written."""
        directory = self.directory / planned.name
        directory.mkdir(parents=True)
        started, kept = time.monotonic(), list[Record]()
        began = datetime.now(UTC).isoformat(timespec="seconds")
        ended: BaseException | None = None
        with (directory / "raw.jsonl").open("w", encoding="utf-8") as file:
            write = _both(records.Writer(file).write, kept.append)
            rules = {group.counts: self.rules(group.counts) for group in planned.groups}
            runner = Runner(planned, lab, rules, self.seed, write, self.tell)
            try:
                runner.run()
            except BaseException as error:  # noqa: BLE001  raised again below
                ended = error
        info = self._info(planned, began, time.monotonic() - started, runner.blocks_done, ended)
        found = self._judge(planned, kept, info, {**environment, **lab.describe(), "systems": runner.systems})
        result.save(found, directory / "result.json")
        self.results.append(found)
        if ended is not None:
            raise ended
        return found

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

    def _info(
        self, planned: Plan, began: str, seconds: float, blocks_done: int, ended: BaseException | None
    ) -> RunInfo:
        return RunInfo(
            id=self.directory.name,
            started=began,
            seconds=round(seconds, 1),
            seed=self.seed,
            blocks=planned.profile.blocks,
            rounds=planned.profile.rounds,
            trial_seconds=planned.profile.trial_seconds,
            blocks_done=blocks_done,
            interrupted=None if ended is None else why_ended(ended),
            scenario_sha256=planned.scenario.digest,
            scenario=planned.scenario.model_dump(mode="json"),
            given_list=self._given_list(planned),
            version=metadata.version("neurowall"),
            command=list(self.command),
        )

    def _given_list(self, planned: Plan) -> GivenList | None:
        if self.given is None:
            return None
        used = [self.filled[group.counts] for group in planned.groups]
        return GivenList(
            file=self.given.file,
            sha256=self.given.sha256,
            used={
                group.points[0]: str(filled.given) for group, filled in zip(planned.groups, used, strict=True)
            },
            special=max((filled.special for filled in used), default=0),
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
