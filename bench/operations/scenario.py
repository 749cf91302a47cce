# SPDX-License-Identifier: Apache-2.0
"""Scenario files of `kind: operations`: which operations, on how large lists, and which figures to reach.

Points, systems and profiles are those of every scenario; instead of traffic there are tasks. Tasks at the
same system and point share one gateway, loaded once, and are done in the order of the file.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from bench.bars import NAME, Bar, Model, parts, wrong
from bench.points import PROFILES, Point, ProfileName, SystemName
from bench.rulebook import SMALLEST
from bench.scenario import Question

OPERATED: tuple[str, ...] = ("neurowall", "neurowall-classic", "nft-set", "ipset")
"""Systems that a list can be loaded into, replaced in and taken off."""
SERVING: tuple[str, ...] = ("neurowall", "neurowall-classic")
"""Systems with an API."""
POLICED: tuple[str, ...] = ("neurowall", "neurowall-classic", "nft-linear")
"""Systems whose stateful rules can be replaced."""
CHANGING: tuple[str, ...] = ("neurowall", "neurowall-classic", "nft-set")

Operation = Literal["load", "ban", "replace", "footprint", "churn", "apply", "change", "read", "scrape"]
Names = Annotated[tuple[str, ...], Field(min_length=1)]


class _Task(Model):
    points: Names
    systems: tuple[SystemName, ...] | None = Field(None, description="only these (default: all)")
    profiles: tuple[ProfileName, ...] = Field(PROFILES, description="only in these profiles (default: all)")
    blocks: int | None = Field(None, ge=2, description="only in the first so many blocks (default: all)")

    @property
    def remote(self) -> bool:
        """Whether it needs the API over TLS."""
        return False

    @property
    def metrics(self) -> tuple[str, ...]:
        """What it measures."""
        raise NotImplementedError

    @property
    def able(self) -> tuple[str, ...]:
        """Systems that have this operation."""
        return OPERATED

    def metrics_at(self, point: str) -> tuple[str, ...]:
        """What it measures at that point."""
        return self.metrics if point in self.points else ()


class Paired(_Task):
    """One that is measured with something at its point, and without it at its base: the control."""

    base: str = Field(description="the point without it; its rules are the same")

    @model_validator(mode="after")
    def _one_point(self) -> Self:
        if len(self.points) != 1:
            raise wrong("it has one point, and its base", "points")
        return self


class Load(_Task):
    """From the start of the operator's command until its last entry is seen to be blocked."""

    operation: Literal["load"]

    @property
    def metrics(self) -> tuple[str, ...]:
        """Its own time, and how long the API took to answer meanwhile."""
        return ("load_seconds", "api_ms")


class Ban(_Task):
    """One address over a kept-alive connection: from the request sent to the first blocked probe."""

    operation: Literal["ban"]
    pps: int = Field(1000, ge=100, le=5000, description="probes a second of the source that is to be banned")
    https: bool = Field(False, description="over TLS from another machine, with a token")

    @property
    def remote(self) -> bool:
        """As the scenario says."""
        return self.https

    @property
    def metrics(self) -> tuple[str, ...]:
        """Until it took effect, and until the answer came."""
        return ("effective_ms", "effective_p50_ms", "answer_ms")

    @property
    def able(self) -> tuple[str, ...]:
        """Those with a connection to keep alive."""
        return SERVING


class Replace(_Task):
    """The whole list replaced again and again, probed from all hosts that the old and new one share."""

    operation: Literal["replace"]
    common: float = Field(0.5, gt=0, lt=1, description="share of a list that its successor keeps")
    pps: int = Field(500_000, ge=1000, description="probes a second to send")
    at_least_pps: int = Field(100_000, ge=1000, description="fewer, while a list is replaced: void")
    packets_share: float = Field(1.0, gt=0, le=1, description="of the profile's probes")

    @property
    def metrics(self) -> tuple[str, ...]:
        """Leaks first; the number of probes says what that is worth."""
        return ("leaked_packets", "probed_packets", "replace_seconds", "probe_kpps")


class Footprint(_Task):
    """Memory with the point's list loaded, and so many replacements later."""

    operation: Literal["footprint"]
    replacements: int = Field(0, ge=0, le=20)
    common: float = Field(0.5, gt=0, lt=1)
    served: bool = Field(False, description="while the API over TLS and the console serve somebody")

    @property
    def remote(self) -> bool:
        """As the scenario says."""
        return self.served

    @property
    def metrics(self) -> tuple[str, ...]:
        """Of processes and of the kernel."""
        return ("daemon_pss_mib", "daemon_peak_mib", "kernel_maps_mib")


class Churn(Paired):
    """A flood of listed sources with and without changes to other addresses, in interleaved pairs."""

    operation: Literal["churn"]
    rate: int = Field(10_000, ge=1, description="changes a second to make")
    batch: int = Field(500, ge=1, le=10_000, description="changes in one request")
    pool: int = Field(20_000, ge=2, le=200_000, description="addresses that come and go")

    @model_validator(mode="after")
    def _drawable(self) -> Self:
        if 2 * self.batch > self.pool:
            raise wrong(f"must hold at least two batches of {self.batch}", "pool")
        return self

    @property
    def metrics(self) -> tuple[str, ...]:
        """The rate, and whether every change was made and no other verdict touched."""
        return ("drop_mpps", "changes_per_second", "leaked_packets", "wrong_verdicts")

    @property
    def able(self) -> tuple[str, ...]:
        """Those that one process can change in batches."""
        return CHANGING

    def metrics_at(self, point: str) -> tuple[str, ...]:
        """At its base only the rate, and that nothing leaks."""
        return ("drop_mpps", "leaked_packets") if point == self.base else super().metrics_at(point)


class Apply(_Task):
    """The point's stateful rules put in place of the few of the smallest policy, again and again.

    From the request over a kept-alive connection until its answer; once a block by command as well.
    """

    operation: Literal["apply"]

    @property
    def metrics(self) -> tuple[str, ...]:
        """Mean and worst, and of the whole command."""
        return ("apply_seconds", "apply_worst_seconds", "command_seconds")

    @property
    def able(self) -> tuple[str, ...]:
        """Those with stateful rules."""
        return POLICED


class Change(_Task):
    """One of the point's stateful rules changed: its action, its ports, removed, one added, and back."""

    operation: Literal["change"]

    @property
    def metrics(self) -> tuple[str, ...]:
        """The distribution's mean, tail and worst."""
        return ("change_seconds", "change_p99_seconds", "change_worst_seconds")

    @property
    def able(self) -> tuple[str, ...]:
        """Those with stateful rules."""
        return POLICED


class Read(Paired):
    """Pages of the API asked for over TLS while a flood of listed sources is dropped, and without one.

    Over one kept-alive connection, at a rate; from the moment at which each was due until its answer.
    """

    operation: Literal["read"]
    per_second: int = Field(20, ge=1, le=1000)

    @property
    def remote(self) -> bool:
        """Always."""
        return True

    @property
    def metrics(self) -> tuple[str, ...]:
        """What it took, and what was dropped meanwhile."""
        return ("read_ms", "read_p50_ms", "drop_mpps")

    @property
    def able(self) -> tuple[str, ...]:
        """Those with an API."""
        return SERVING

    def metrics_at(self, point: str) -> tuple[str, ...]:
        """At its base nothing is dropped."""
        return ("read_ms", "read_p50_ms") if point == self.base else super().metrics_at(point)


class Scrape(_Task):
    """All metrics over TLS, again and again, with the point's list and rules in force."""

    operation: Literal["scrape"]
    pause: float = Field(0.02, ge=0, le=60, description="seconds between two")

    @property
    def remote(self) -> bool:
        """Always."""
        return True

    @property
    def metrics(self) -> tuple[str, ...]:
        """From the request to the whole answer."""
        return ("scrape_ms", "scrape_p50_ms")

    @property
    def able(self) -> tuple[str, ...]:
        """Those with an API."""
        return SERVING


Task = Annotated[
    Load | Ban | Replace | Footprint | Churn | Apply | Change | Read | Scrape,
    Field(discriminator="operation"),
]


class Profile(Model):
    """How long a run takes: so many fresh gateways of each system and point, and what is done on each."""

    blocks: int = Field(ge=2, le=200)
    rounds: int = Field(1, ge=1, le=200, description="pairs of trials of a churn or of reads")
    trial_seconds: float = Field(1.0, gt=0.01, le=3600, description="of each of these trials")
    bans: int = Field(1, ge=1, le=100_000, description="in all blocks together")
    applies: int = Field(1, ge=1, le=10_000, description="of whole policies, in all blocks together")
    changes: int = Field(1, ge=1, le=100_000, description="of one stateful rule, in all blocks together")
    packets: int = Field(1, ge=1, description="probes during replacements, in all blocks together")
    scrapes: int = Field(1, ge=1, le=100_000, description="of all metrics, in all blocks together")


class Profiles(Model):
    """All profiles of design section 11."""

    ci: Profile
    quick: Profile
    standard: Profile
    rfc: Profile


class Operations(Question):
    """A whole scenario file of `kind: operations`."""

    kind: Literal["operations"]
    systems: tuple[SystemName, ...] = Field(min_length=1)
    points: dict[Annotated[str, Field(pattern=f"^{NAME}$")], Point] = Field(min_length=1)
    tasks: tuple[Task, ...] = Field(min_length=1)
    profiles: Profiles

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for number, task in enumerate(self.tasks):
            self._check_task(number, task)
        for number, bar in enumerate(self.bars):
            self._check_bar(number, bar)
        return self

    def _check_task(self, number: int, task: Task) -> None:
        named = (*task.points, task.base) if isinstance(task, Paired) else task.points
        for point in named:
            if point not in self.points:
                raise wrong(f"there is no point '{point}'", "tasks", number, "points")
            if isinstance(task, Paired) and self.points[point].counts != self.points[task.base].counts:
                raise wrong(
                    f"must have the same rules as the {task.operation}'s point", "tasks", number, "base"
                )
            spec, of_rules = self.points[point], isinstance(task, Apply | Change)
            if of_rules != (spec.rules is not None) and not isinstance(task, Scrape):
                raise wrong(f"'{point}' must have stateful rules, or none of its tasks", "tasks", number)
            if of_rules and (spec.rules or 0) <= SMALLEST:
                raise wrong(f"'{point}' needs more than {SMALLEST} rules", "tasks", number, "points")
            if not of_rules and not isinstance(task, Footprint | Scrape) and not spec.hosts4:
                raise wrong(f"'{point}' needs IPv4 hosts to probe from", "tasks", number, "points")
        for system in task.systems or ():
            if system not in self.systems:
                raise wrong(f"'{system}' is not among the scenario's systems", "tasks", number, "systems")
            if system not in task.able:
                raise wrong(f"'{system}' has no operation {task.operation}", "tasks", number, "systems")

    def _check_bar(self, number: int, bar: Bar) -> None:
        if bar.metric:
            system, _, rest = bar.metric.partition("/")
            metric, _, point = rest.partition("@")
            if metric not in self.metrics_of(system, point):
                raise wrong(f"no task measures {metric} of {system} at {point}", "bars", number, "metric")
            return
        over, point, under, base = parts(bar.key)
        for system, at in ((over, point), (under, base)):
            if "drop_mpps" not in self.metrics_of(system, at):
                raise wrong(f"no task measures drop_mpps of {system} at {at}", "bars", number, "ratio")

    def tasks_at(self, system: str, point: str, profile: ProfileName | None = None) -> tuple[Task, ...]:
        """What is done with a system at a point, in order; in one profile, or in any."""
        spec = self.points[point] if point in self.points else Point(profiles=())
        if system not in self.systems or system not in (spec.systems or self.systems):
            return ()
        return tuple(
            task
            for task in self.tasks
            if point in task.points
            and system in task.able
            and system in (task.systems or self.systems)
            and (profile is None or (profile in task.profiles and profile in spec.profiles))
        )

    def metrics_of(self, system: str, point: str, profile: ProfileName | None = None) -> tuple[str, ...]:
        """What is measured of a system at a point; that of a base comes from its task."""
        bases = [t.points[0] for t in self.tasks if isinstance(t, Paired) and t.base == point]
        tasks = [task for at in (point, *bases) for task in self.tasks_at(system, at, profile)]
        return tuple(dict.fromkeys(metric for task in tasks for metric in task.metrics_at(point)))

    def systems_at(self, point: str) -> tuple[str, ...]:
        """Systems measured at that point, in the scenario's order."""
        return tuple(system for system in self.systems if self.metrics_of(system, point))

    def profile(self, name: ProfileName) -> Profile:
        """The named profile."""
        chosen: Profile = getattr(self.profiles, name)
        return chosen

    @property
    def metrics(self) -> tuple[str, ...]:
        """Everything that is measured."""
        return tuple(dict.fromkeys(metric for task in self.tasks for metric in task.metrics))
