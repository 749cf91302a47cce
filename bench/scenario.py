# SPDX-License-Identifier: Apache-2.0
"""Scenario files: what a run asks, of which systems, and which bars its answer must reach.

A scenario is one YAML file whose first key is `purpose:`. Unknown keys and bad values are errors that name
file, line and field. The JSON Schema is published as bench/schemas/scenario.schema.json.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from neurowall.model.errors import PolicyError
from neurowall.model.yamltext import Document, Location, read_yaml

DIRECTORY = Path(__file__).resolve().parent.parent / "scenarios"

SystemName = Literal[
    "none", "xdp-null", "xdp-touch", "neurowall", "neurowall-classic", "nft-set", "nft-linear", "ipset"
]
MetricName = Literal["drop_mpps", "forward_mpps", "cost_ns", "load_seconds"]
ProfileName = Literal["ci", "quick", "standard", "rfc"]
Family = Literal[4, 6]
PROFILES: tuple[ProfileName, ...] = get_args(ProfileName)
NAME = "[a-z0-9]+(-[a-z0-9]+)*"


class ScenarioError(Exception):
    """A scenario that cannot be used; every line of the message names file, line, field and the problem."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Traffic(_Model):
    """What the generator sends.

    `listed`: uniform over the point's entries, one source for each, prefixes by a random member.
    `near-listed`: half from /24s (IPv6: /64s) that hold an entry, half from elsewhere, none listed itself.
    """

    kind: Literal["flood", "clean"]
    family: Family = 4
    frame: int = Field(60, ge=60, le=1514, description="frame size in bytes, without FCS")
    sources: Literal["listed", "near-listed"]
    source_count: int = Field(
        262_144,
        ge=1,
        le=4_194_304,
        description="distinct near-listed sources; listed ones come from the list",
    )

    @property
    def null_verdict(self) -> Literal["drop", "pass"]:
        """What `xdp-null`, the empty system, must do with this traffic to be its control."""
        return "drop" if self.kind == "flood" else "pass"


Count = Annotated[int, Field(ge=0, le=4_000_000)]


class Point(_Model):
    """One size of the rule set, and what differs there from the rest of the scenario."""

    hosts4: Count = 0
    prefixes4: Count = 0
    hosts6: Count = 0
    prefixes6: Count = 0
    family: Family | None = Field(None, description="traffic of this family instead of the scenario's")
    systems: tuple[SystemName, ...] | None = Field(None, description="only these systems (default: all)")
    profiles: tuple[ProfileName, ...] = Field(PROFILES, description="only in these profiles (default: all)")

    @property
    def counts(self) -> tuple[int, int, int, int]:
        """(hosts4, prefixes4, hosts6, prefixes6); points of equal counts share their configuration."""
        return self.hosts4, self.prefixes4, self.hosts6, self.prefixes6

    def entries_of(self, family: int) -> int:
        """Number of entries of that family."""
        return self.hosts4 + self.prefixes4 if family == 4 else self.hosts6 + self.prefixes6


class Bar(_Model):
    """One figure to reach: a ratio of the scenario's first metric, judged by its interval."""

    figure: str = Field(pattern=r"^N\d+$", description="row of design section 13")
    ratio: str = Field(
        pattern=f"^{NAME}/{NAME}@{NAME}(:{NAME})?$",
        description="SYSTEM/SYSTEM@POINT, or SYSTEM/SYSTEM@POINT:POINT for one system at two points",
    )
    bar: float = Field(gt=0)


class Control(_Model):
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


class Profile(_Model):
    """How long a run takes: `blocks` fresh configurations, each with `rounds` trials of every system."""

    blocks: int = Field(ge=2, le=200)
    rounds: int = Field(ge=1, le=200)
    trial_seconds: float = Field(gt=0.01, le=3600)
    warmup_seconds: float = Field(0.1, gt=0, le=60, description="first trial after configuring, discarded")


class Profiles(_Model):
    """All profiles of design section 11."""

    ci: Profile
    quick: Profile
    standard: Profile
    rfc: Profile


class Scenario(_Model):
    """A whole scenario file."""

    purpose: str = Field(
        min_length=20, description="the question that the scenario answers, in a sentence or two"
    )
    systems: tuple[SystemName, ...] = Field(min_length=1)
    points: dict[Annotated[str, Field(pattern=f"^{NAME}$")], Point] = Field(min_length=1)
    traffic: Traffic
    metrics: tuple[MetricName, ...] = Field(
        min_length=1, description="the first is the one whose ratios are judged"
    )
    bars: tuple[Bar, ...] = ()
    control: Control = Control()
    profiles: Profiles

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.metrics[0] not in ("drop_mpps", "forward_mpps"):
            raise _wrong("the first must be a rate, drop_mpps or forward_mpps", "metrics", 0)
        for role, system in (("system", self.control.system), ("same", self.control.same)):
            if system not in self.systems:
                raise _wrong(f"'{system}' is not among the scenario's systems", "control", role)
        for name, point in self.points.items():
            self._check_point(name, point)
        for number, bar in enumerate(self.bars):
            self._check_bar(number, bar)
        return self

    def _check_point(self, name: str, point: Point) -> None:
        family = self.traffic_at(name).family
        if point.entries_of(family) == 0:
            raise _wrong(f"sends IPv{family} traffic but has no IPv{family} entries", "points", name)
        for system in (*(point.systems or ()), self.control.system, self.control.same):
            if system not in self.systems_at(name):
                raise _wrong(
                    f"'{system}' must be here and among the scenario's systems", "points", name, "systems"
                )

    def _check_bar(self, number: int, bar: Bar) -> None:
        over, point, under, base = parts(bar.ratio)
        for system, at in ((over, point), (under, base)):
            if at not in self.points:
                why = f"there is no point '{at}'{_suggest(at, self.points)}"
            elif system not in self.systems_at(at):
                why = f"'{system}' is not measured at {at}"
            else:
                continue
            raise _wrong(why, "bars", number, "ratio")

    def systems_at(self, point: str) -> tuple[str, ...]:
        """Systems measured at that point, in the scenario's order."""
        only = self.points[point].systems
        return tuple(s for s in self.systems if only is None or s in only)

    def traffic_at(self, point: str) -> Traffic:
        """The scenario's traffic with the point's family."""
        family = self.points[point].family
        return self.traffic if family is None else self.traffic.model_copy(update={"family": family})

    def profile(self, name: ProfileName) -> Profile:
        """The named profile."""
        chosen: Profile = getattr(self.profiles, name)
        return chosen

    @property
    def digest(self) -> str:
        """SHA-256 over the meaning of the scenario (overrides included, layout and comments not)."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()


def parts(ratio: str) -> tuple[str, str, str, str]:
    """The name of a ratio as (system over, its point, system under, its point)."""
    systems, _, points = ratio.partition("@")
    over, _, under = systems.partition("/")
    point, _, base = points.partition(":")
    return over, point, under, base or point


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


def load(path: Path, overrides: dict[str, str] | None = None) -> Scenario:
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
        return Scenario.model_validate(document.data)
    except ValidationError as error:
        set_by_hand = [_steps(field) for field in overrides or {}]
        lines = [_explain(document, item, set_by_hand) for item in error.errors(include_url=False)]
        raise ScenarioError("\n".join(lines)) from error


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


def _wrong(message: str, *at: int | str) -> PydanticCustomError:
    """An error for a model validator to raise that knows which field of the model is wrong."""
    return PydanticCustomError("wrong", "{message}", {"message": message, "at": at})


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
