# SPDX-License-Identifier: Apache-2.0
"""The result format `neurowall-bench/1`: models, files, and the JSON Schemas published in bench/schemas/.

A number that could not be had is absent, never zero: a void system has no metrics and no ratios.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bench import stats
from bench.bars import goal_text
from bench.points import ProfileName
from bench.records import GateKind

RESULT_SCHEMA: Literal["neurowall-bench/1"] = "neurowall-bench/1"
SUMMARY_SCHEMA: Literal["neurowall-bench-summary/1"] = "neurowall-bench-summary/1"

Verdict = Literal["pass", "fail", "void", "too-noisy", "skipped"]


class ResultError(Exception):
    """A result file that cannot be read; the message names it and says why."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_serialization_defaults_required=True)


class Metric(_Model):
    """`<system>/<metric>@<point>`."""

    value: float
    unit: str
    ci_low: float
    ci_high: float
    n: int


class Ratio(_Model):
    """`<system>/<system>@<point>`; the same system twice is the A/A pair of the run."""

    value: float
    ci_low: float
    ci_high: float
    n: int
    bar: float | None = None
    at_most: float | None = None


class Figure(_Model):
    """One row of design section 13, judged."""

    figure: str
    ratio: str | None = Field(None, description="what was judged: a ratio, or")
    metric: str | None = Field(None, description="a metric")
    bar: float | None = Field(None, description="at least this, or")
    at_most: float | None = Field(None, description="at most this")
    verdict: Verdict
    reason: str = Field("", description="why void or skipped")
    blocks_needed: int | None = Field(
        None, description="if too noisy: blocks that would decide; null: none would"
    )
    noise_floor: float | None = Field(
        None, description="smallest relative difference that the A/A pair beside it could tell"
    )

    @property
    def key(self) -> str:
        """Name of the judged ratio or metric."""
        return self.ratio or self.metric or ""

    @property
    def goal(self) -> str:
        """What it had to reach, as people read it."""
        return goal_text(self.bar, self.at_most)


class Control(_Model):
    """Checks of a whole point, without which no figure there means anything."""

    point: str
    check: Literal["sources", "core", "offered"]
    value: float
    bar: float
    verdict: stats.Verdict


class LedgerRow(_Model):
    """Sums over all trials of a system at a point; `worst` is the largest unaccounted share of one trial."""

    system: str
    point: str
    trials: int
    sent: int
    delivered: int
    dropped_by_rule: int
    elsewhere: dict[str, int]
    residual: int
    worst: float
    closed: bool


class GateRow(_Model):
    """All effectiveness gates of a system at a point."""

    system: str
    point: str
    kind: GateKind
    gates: int
    passed: int
    listed_sent: int
    listed_blocked: int
    near_sent: int
    near_passed: int
    detail: str = Field("", description="what the first failed gate saw")


class ClassRow(_Model):
    """What became of one class of packets, over all trials of a system at a point.

    `sent` is the generator's count, `passed` the receiver's. `allowed`: how many could pass by the limits of
    the policy; 0: none, null: no limit is asked about them.
    """

    system: str
    point: str
    name: str
    sent: int
    passed: int
    allowed: int | None


class Void(_Model):
    """A system whose figures at a point are worth nothing, and why."""

    system: str
    point: str
    reasons: list[str]


class Skip(_Model):
    """What the plan left out."""

    system: str
    point: str
    reason: str


class GivenList(_Model):
    """The list of LIST=FILE, or null where all is generated."""

    file: str
    sha256: str
    used: dict[str, str] = Field(description="by point: how many of its entries went into the rules")
    special: int = Field(description="entries left out because they touch special-purpose addresses")
    problems: int = Field(description="lines that were no entries")
    duplicates: int


class RunInfo(_Model):
    """How to run it again."""

    id: str
    started: str
    seconds: float
    seed: int
    blocks: int
    rounds: int
    trial_seconds: float
    blocks_done: int
    interrupted: str | None = Field(None, description="the signal that ended the run early")
    scenario_sha256: str
    scenario: dict[str, Any] = Field(description="the scenario as it ran, overrides included")
    given_list: GivenList | None = None
    version: str
    command: list[str] = []


class Result(_Model):
    """One scenario of one run."""

    format: Literal["neurowall-bench/1"] = Field(RESULT_SCHEMA, alias="schema")
    scenario: str
    profile: ProfileName
    verdict: Verdict
    reasons: list[str] = Field(description="what decided the verdict")
    figures: list[Figure]
    metrics: dict[str, Metric]
    ratios: dict[str, Ratio]
    samples: dict[str, list[list[float]]] = Field(description="every value behind a metric, by block")
    noise_floor: dict[str, float] = Field(
        description="by point: smallest relative difference the run can tell"
    )
    contention: dict[str, float] = Field(description="by point: share of the core that other programs took")
    controls: list[Control]
    ledger: list[LedgerRow]
    gates: list[GateRow]
    void: list[Void]
    classes: list[ClassRow] = Field([], description="confusion matrix: what became of each class of packets")
    skipped: list[Skip]
    environment: dict[str, Any]
    run: RunInfo
    raw: list[str]

    model_config = ConfigDict(populate_by_name=True)


class SummaryRow(_Model):
    """One scenario in short."""

    scenario: str
    verdict: Verdict
    reasons: list[str]
    figures: list[Figure]
    ratios: dict[str, Ratio]
    metrics: dict[str, Metric] = Field(description="those that were judged themselves")
    result: str = Field(description="its result.json, relative to the summary")


class Summary(_Model):
    """All scenarios of a run."""

    format: Literal["neurowall-bench-summary/1"] = Field(SUMMARY_SCHEMA, alias="schema")
    run: str
    profile: str
    verdict: Verdict
    seconds: float
    scenarios: list[SummaryRow]

    model_config = ConfigDict(populate_by_name=True)


SEVERITY: tuple[Verdict, ...] = ("void", "fail", "too-noisy", "pass", "skipped")
"""Worst first: the verdict over several parts is the first that any of them has."""


def worst(verdicts: Sequence[Verdict]) -> Verdict:
    """The verdict over several parts; of none, skipped."""
    return next((verdict for verdict in SEVERITY if verdict in verdicts), "skipped")


def summarise(run: str, results: dict[str, Result]) -> Summary:
    """The summary of a run; `results` by the path of their files, relative to the summary."""
    rows = [
        SummaryRow(
            scenario=result.scenario,
            verdict=result.verdict,
            reasons=result.reasons,
            figures=result.figures,
            ratios={f.ratio: result.ratios[f.ratio] for f in result.figures if f.ratio in result.ratios},
            metrics={
                f.metric: result.metrics[f.metric] for f in result.figures if f.metric in result.metrics
            },
            result=path,
        )
        for path, result in results.items()
    ]
    return Summary(
        run=run,
        profile=next((result.profile for result in results.values()), ""),
        verdict=worst([row.verdict for row in rows]),
        seconds=sum(result.run.seconds for result in results.values()),
        scenarios=rows,
    )


def dump(model: BaseModel) -> dict[str, Any]:
    """Plain data as it stands in the file."""
    return model.model_dump(mode="json", by_alias=True)


def save(model: BaseModel, path: Path) -> None:
    """Write a result or summary whole or not at all."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(dump(model), indent=1) + "\n", encoding="utf-8")
    temporary.replace(path)


def load(path: Path) -> Result:
    """Read a result.json, or the one in a directory; raises ResultError."""
    file = path / "result.json" if path.is_dir() else path
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ResultError(f"{file}: {error.strerror}; give a result.json or its directory") from error
    except ValueError as error:
        raise ResultError(f"{file}: not JSON: {error}") from error
    if not isinstance(data, dict) or data.get("schema") != RESULT_SCHEMA:
        found = data.get("schema") if isinstance(data, dict) else type(data).__name__
        raise ResultError(f"{file}: its schema is {found!r}, this program reads {RESULT_SCHEMA!r}")
    try:
        return Result.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise ResultError(
            f"{file}: {error.error_count()} errors, the first in {field}: {first['msg']}"
        ) from error
