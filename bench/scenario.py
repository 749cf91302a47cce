# SPDX-License-Identifier: Apache-2.0
"""Scenario files: what a run asks, of which systems, and which bars its answer must reach.

A scenario is one YAML file whose first key is `purpose:`. Its `kind:` says what reads it: "packets" (the
default) is a Scenario, measured trial by trial; "operations" an Operations of bench/operations/scenario.py.
Unknown keys and bad values are errors that name file, line and field. The JSON Schemas are published in
bench/schemas/.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from bench.bars import NAME, Bar, MetricName, Model, parts, wrong
from bench.defence import Defence
from bench.points import Point, ProfileName, SystemName, Traffic
from bench.rulebook import SMALLEST, Size
from neurowall.model.errors import PolicyError
from neurowall.model.yamltext import Document, Location, read_yaml

if TYPE_CHECKING:
    from bench.operations.scenario import Operations

_PACKAGED = Path(__file__).resolve().parent / "scenarios"  # in a wheel
DIRECTORY = _PACKAGED if _PACKAGED.is_dir() else _PACKAGED.parent.parent / "scenarios"

RATES: tuple[MetricName, ...] = ("drop_mpps", "forward_mpps")
OF_CLASSES: tuple[MetricName, ...] = (
    "legit_loss_ratio",
    "attack_pass_ratio",
    "limit_error_ratio",
    "limit_worst_ratio",
)
"""Metrics that are counted by class of packets."""
JUDGED: tuple[MetricName, ...] = (*RATES, "cpu_ns_per_packet", "latency_p99_us", *OF_CLASSES)
"""What can be judged trial by trial, and so stand first among the metrics."""
STATEFUL: tuple[SystemName, ...] = ("none", "neurowall", "neurowall-classic", "nft-linear")
"""Systems that can be given stateful rules, and the one that filters nothing."""


_OF_TRAFFIC = {"family", "sources", "position", "connections", "ipv6_share", "load", "pps", "generators"}


class ScenarioError(Exception):
    """A scenario that cannot be used; every line of the message names file, line, field and the problem."""


class Control(Model):
    """What makes a run void: figures that say nothing about a firewall unless these hold."""

    system: SystemName = Field(
        "xdp-null", description="does nothing, so it shows what generator and path can do"
    )
    bar: float = Field(
        0.85, gt=0, le=1, description="its rate with the scenario's sources / with one fixed source, at least"
    )
    core_busy: float = Field(0.95, gt=0, le=1, description="share of the gateway's core that must be busy")
    same: SystemName = Field(
        "xdp-null", description="measured twice, A/A: shows what difference the run can tell"
    )


class Profile(Model):
    """How long a run takes: `blocks` fresh configurations, each with `rounds` trials of every system."""

    blocks: int = Field(ge=2, le=200)
    rounds: int = Field(ge=1, le=200)
    trial_seconds: float = Field(gt=0.01, le=3600)
    warmup_seconds: float = Field(0.1, gt=0, le=60, description="first trial after configuring, discarded")


class Profiles(Model):
    """All profiles of design section 11."""

    ci: Profile
    quick: Profile
    standard: Profile
    rfc: Profile


class Question(Model):
    """What scenarios of every kind have."""

    purpose: str = Field(
        min_length=20, description="the question that the scenario answers, in a sentence or two"
    )
    bars: tuple[Bar, ...] = ()

    @property
    def digest(self) -> str:
        """SHA-256 over the meaning of the scenario (overrides included, layout and comments not)."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()


class Scenario(Question):
    """A scenario file of kind "packets"."""

    kind: Literal["packets"] = "packets"
    systems: tuple[SystemName, ...] = Field(min_length=1)
    points: dict[Annotated[str, Field(pattern=f"^{NAME}$")], Point] = Field(min_length=1)
    traffic: Traffic
    defence: Defence | None = Field(
        None, description="features beside the lists; default: what each system does by itself"
    )
    metrics: tuple[MetricName, ...] = Field(
        min_length=1, description="the first is the one whose ratios are judged"
    )
    control: Control = Control()
    profiles: Profiles

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.metrics[0] not in JUDGED:
            raise wrong(f"the first must be one of {', '.join(JUDGED)}", "metrics", 0)
        for role, system in (("system", self.control.system), ("same", self.control.same)):
            if system not in self.systems:
                raise wrong(f"'{system}' is not among the scenario's systems", "control", role)
        for name, point in self.points.items():
            self._check_point(name, point)
        for number, bar in enumerate(self.bars):
            self._check_bar(number, bar)
        return self

    def _check_point(self, name: str, point: Point) -> None:
        traffic = self.traffic_at(name)
        if why := traffic.problem():
            raise wrong(why, "points", name)
        self._check_rules(name, point, traffic)
        self._check_defence(name, point, traffic)
        for family in (traffic.family, *((6,) if traffic.ipv6_share else ())):
            if traffic.sources not in ("accepted", "classes") and point.entries_of(family) == 0:
                raise wrong(f"sends IPv{family} traffic but has no IPv{family} entries", "points", name)
        if traffic.sources == "fixed-set" and traffic.set_size > self.smallest(name).entries_of(
            traffic.family
        ):
            raise wrong(f"has fewer than {traffic.set_size} entries in common with its like", "points", name)
        # Where packets must arrive, a system that drops all cannot be the A/A pair.
        same = () if traffic.kind == "flood" and not traffic.dropped else (self.control.same,)
        for system in (*(point.systems or ()), self.control.system, *same):
            if system not in self.systems_at(name):
                raise wrong(
                    f"'{system}' must be here and among the scenario's systems", "points", name, "systems"
                )

    def _check_rules(self, name: str, point: Point, traffic: Traffic) -> None:
        """Stateful rules and the traffic that they accept come together."""
        if (point.rules is not None) != (traffic.sources == "accepted"):
            raise wrong("rules go with accepted sources, and these with rules", "points", name)
        if point.rules is not None and 0 < point.rules < SMALLEST:
            raise wrong(f"expected no rule, or {SMALLEST} and more", "points", name, "rules")
        for system in self.systems_at(name) if point.rules is not None else ():
            if system not in STATEFUL:
                raise wrong(f"'{system}' has no stateful rules", "points", name)

    def _check_defence(self, name: str, point: Point, traffic: Traffic) -> None:
        """Features are chosen among those of the scenario, and limits are what their traffic needs."""
        if self.defence is None and (point.features is not None or point.limits is not None):
            raise wrong("there is no `defence` to choose from", "points", name)
        defence, names = self.defence_at(name), {one.name for one in traffic.classes}
        if {"flood", "paced"} & names and not (defence and defence.limits):
            raise wrong("floods and paced classes need limits", "points", name)
        if "listed" in names and not point.entries_of(4):
            raise wrong("listed sources need IPv4 entries", "points", name)
        for metric in self.metrics:
            if metric in OF_CLASSES and not names:
                raise wrong(f"{metric} is of classes of packets", "points", name)

    def _check_bar(self, number: int, bar: Bar) -> None:
        if bar.metric is not None:
            system, _, rest = bar.metric.partition("/")
            metric, _, point = rest.partition("@")
            if metric not in self.metrics:
                raise wrong(f"'{metric}' is not among the scenario's metrics", "bars", number, "metric")
            cells = [(system, point)]
        else:
            over, point, under, base = parts(bar.key)
            cells = [(over, point), (under, base)]
        for system, at in cells:
            if at not in self.points:
                why = f"there is no point '{at}'{_suggest(at, self.points)}"
            elif system not in self.systems_at(at):
                why = f"'{system}' is not measured at {at}"
            else:
                continue
            raise wrong(why, "bars", number, "ratio" if bar.metric is None else "metric")

    def systems_at(self, point: str) -> tuple[str, ...]:
        """Systems measured at that point, in the scenario's order."""
        only = self.points[point].systems
        return tuple(s for s in self.systems if only is None or s in only)

    def traffic_at(self, point: str) -> Traffic:
        """The scenario's traffic with what the point has of its own."""
        spec = self.points[point]
        own = spec.model_dump(include=_OF_TRAFFIC) | {"classes": spec.classes}
        return self.traffic.model_copy(update={name: v for name, v in own.items() if v is not None})

    def defence_at(self, point: str) -> Defence | None:
        """What is on there beside the lists; None: what each system does by itself."""
        spec = self.points[point]
        if self.defence is None:
            return None
        own = {} if spec.limits is None else {"limits": spec.limits}
        found = self.defence.model_copy(update=own)
        return found if spec.features is None else found.only(spec.features)

    def base_of(self, point: str) -> str | None:
        """The point with the same rules and packets but no feature, over which one's cost is told."""
        if self.defence is None or not (defence := self.defence_at(point)) or not defence.features:
            return None
        alike = (
            base
            for base, spec in self.points.items()
            if spec.counts == self.points[point].counts and self.traffic_at(base) == self.traffic_at(point)
        )
        return next((base for base in alike if not (self.defence_at(base) or Defence()).features), None)

    def metrics_at(self, point: str) -> tuple[MetricName, ...]:
        """The scenario's metrics; where packets must arrive, the rate is of those that did."""
        rate: MetricName = "drop_mpps" if self.traffic_at(point).dropped else "forward_mpps"
        return tuple(rate if metric in RATES else metric for metric in self.metrics)

    def smallest(self, point: str) -> Point:
        """The entries that all points of this one's shape have in common: the fewest of each kind."""
        return self._of_shape(point, min)

    @property
    def book(self) -> Size:
        """Of all points' stateful rules the most; accepted by these is what is accepted everywhere."""
        return Size(max((point.rules or 0 for point in self.points.values()), default=0))

    def largest(self, point: str) -> Point:
        """The entries that any point of this one's shape has: the most of each kind."""
        return self._of_shape(point, max)

    def _of_shape(self, point: str, choose: Callable[[tuple[int, ...]], int]) -> Point:
        alike = [p for p in self.points.values() if p.shape == self.points[point].shape]
        hosts4, prefixes4, hosts6, prefixes6 = (
            choose(column) for column in zip(*(p.counts for p in alike), strict=True)
        )
        return Point(hosts4=hosts4, prefixes4=prefixes4, hosts6=hosts6, prefixes6=prefixes6)

    def profile(self, name: ProfileName) -> Profile:
        """The named profile."""
        chosen: Profile = getattr(self.profiles, name)
        return chosen


def names(directory: Path = DIRECTORY) -> list[str]:
    """Names of the scenarios that come with Neurowall."""
    return sorted(path.stem for path in directory.glob("*.yaml"))


def locate(name: str, directory: Path = DIRECTORY) -> Path:
    """File of a scenario given by name or path; ScenarioError with the nearest names when there is none."""
    if name.endswith((".yaml", ".yml")) or "/" in name:
        path = Path(name)
        if not path.is_file():
            raise ScenarioError(f"{name}: no such scenario file")
        return path
    if name not in names(directory):
        raise ScenarioError(f"there is no scenario '{name}'{_suggest(name, names(directory))}")
    return directory / f"{name}.yaml"


def load(path: Path, overrides: dict[str, str] | None = None) -> Scenario | Operations:
    """The scenario in `path`, with `overrides` (dotted field -> YAML value) put over it, or ScenarioError."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ScenarioError(f"{path}: {error.strerror}") from error
    if not content.strip():
        raise ScenarioError(f"{path}:1: is empty: a scenario begins with `purpose:`")
    try:
        document = read_yaml(content, str(path))
    except PolicyError as error:
        raise ScenarioError(str(error)) from error
    if next(iter(document.data), None) != "purpose":
        raise ScenarioError(f"{path}:1: purpose: must be the first key of a scenario")
    for field, value in (overrides or {}).items():
        override(document.data, field, value)
    try:
        return restore(document.data)
    except ValidationError as error:
        set_by_hand = [_steps(field) for field in overrides or {}]
        lines = [_explain(document, item, set_by_hand) for item in error.errors(include_url=False)]
        raise ScenarioError("\n".join(lines)) from error


def restore(data: Mapping[str, Any]) -> Scenario | Operations:
    """The scenario of a document or of a result, by its kind; pydantic's ValidationError if it is none."""
    if data.get("kind", "packets") != "operations":
        return Scenario.model_validate(data)
    from bench.operations.scenario import Operations

    return Operations.model_validate(data)


def override(data: Any, field: str, value: str) -> None:
    """Set a dotted field (`profiles.quick.blocks`, `bars.0.bar`) of a document in place; value in YAML."""
    *parents, last = field.split(".")
    try:
        for parent in parents:
            data = data[int(parent)] if isinstance(data, list) else data[parent]
        if isinstance(data, list):
            data[int(last)] = yaml.safe_load(value)
        else:
            data[last] = yaml.safe_load(value)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ScenarioError(f"--set {field}={value}: the scenario has no such field") from error
    except yaml.YAMLError as error:
        raise ScenarioError(f"--set {field}={value}: the value is not YAML") from error


def _steps(field: str) -> Location:
    return tuple(int(step) if step.isdigit() else step for step in field.split("."))


def _explain(document: Document, item: Any, set_by_hand: list[Location]) -> str:
    """One error with file, line and field; a value that came from `--set` has no line."""
    location = (*item["loc"], *item.get("ctx", {}).get("at", ()))
    if item["type"] == "extra_forbidden":
        why = "unknown key"
    elif item["type"] == "missing":
        why = "is missing"
    elif item["type"] == "wrong":
        why = item["msg"]
    else:
        why = f"{item['msg'][0].lower()}{item['msg'][1:]}, not {item['input']!r}"
    message = document.message(location, why, key=item["type"] in ("extra_forbidden", "missing"))
    if any(location[: len(steps)] == steps for steps in set_by_hand):
        return f"--set: {message.split(': ', 1)[1]}"
    return message


def _suggest(word: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown word: its nearest neighbour, or all that are known."""
    options = sorted(known)
    near = difflib.get_close_matches(word, options, n=1)
    return f"; did you mean '{near[0]}'?" if near else f" (known: {', '.join(options) or 'none'})"
