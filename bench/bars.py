# SPDX-License-Identifier: Apache-2.0
"""Metrics by name, and the bars of design section 13 that figures made of them must reach."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

MetricName = Literal[
    "drop_mpps",
    "forward_mpps",
    "cost_ns",
    "feature_ns",
    "load_seconds",
    "memory_mib",
    "cpu_ns_per_packet",
    "latency_p99_us",
    "legit_loss_ratio",
    "attack_pass_ratio",
    "limit_error_ratio",
    "limit_worst_ratio",
    "effective_ms",
    "leaked_packets",
    "daemon_pss_mib",
    "kernel_maps_mib",
    "changes_per_second",
]
METRICS: tuple[MetricName, ...] = get_args(MetricName)
UNITS: Mapping[str, str] = {
    "drop_mpps": "Mpps",
    "forward_mpps": "Mpps",
    "cost_ns": "ns",
    "feature_ns": "ns",
    "load_seconds": "s",
    "memory_mib": "MiB",
    "cpu_ns_per_packet": "ns",
    "latency_p99_us": "us",
    "legit_loss_ratio": "",
    "attack_pass_ratio": "",
    "limit_error_ratio": "",
    "limit_worst_ratio": "",
    "effective_ms": "ms",
    "leaked_packets": "packets",
    "daemon_pss_mib": "MiB",
    "kernel_maps_mib": "MiB",
    "changes_per_second": "1/s",
}
NAME = "[a-z0-9]+(-[a-z0-9]+)*"
_METRIC = "[a-z0-9]+(_[a-z0-9]+)*"


class Model(BaseModel):
    """Base of what a scenario file holds: unknown keys are errors, nothing changes after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Bar(Model):
    """One figure to reach, judged by its interval.

    Either a ratio of the scenario's first metric, or a metric itself; at least `bar`, or at most `at_most`.
    """

    figure: str = Field(pattern=r"^N\d+$", description="row of design section 13")
    ratio: str | None = Field(
        None,
        pattern=f"^{NAME}/{NAME}@{NAME}(:{NAME})?$",
        description="SYSTEM/SYSTEM@POINT, or SYSTEM/SYSTEM@POINT:POINT for one system at two points",
    )
    metric: str | None = Field(
        None, pattern=f"^{NAME}/{_METRIC}@{NAME}$", description="SYSTEM/METRIC@POINT: an absolute figure"
    )
    bar: float | None = Field(None, gt=0, description="at least this")
    at_most: float | None = Field(None, ge=0, description="at most this")

    @model_validator(mode="after")
    def _one_of_each(self) -> Self:
        if (self.ratio is None) == (self.metric is None):
            raise wrong("give a ratio or a metric, one of them")
        if (self.bar is None) == (self.at_most is None):
            raise wrong("give bar (at least) or at_most, one of them")
        return self

    @property
    def key(self) -> str:
        """Name of the judged ratio or metric, as in a result."""
        return self.ratio or self.metric or ""

    @property
    def goal(self) -> float:
        """The number to reach, from below or from above."""
        return self.bar if self.bar is not None else self.at_most or 0.0

    @property
    def text(self) -> str:
        """The goal as people read it: '>= 0.92', '<= 4'."""
        return goal_text(self.bar, self.at_most)


def goal_text(bar: float | None, at_most: float | None) -> str:
    """A goal as people read it; empty where there is none."""
    if bar is not None:
        return f">= {bar:g}"
    return "" if at_most is None else f"<= {at_most:g}"


def parts(ratio: str) -> tuple[str, str, str, str]:
    """The name of a ratio as (system over, its point, system under, its point)."""
    systems, _, points = ratio.partition("@")
    over, _, under = systems.partition("/")
    point, _, base = points.partition(":")
    return over, point, under, base or point


def wrong(message: str, *at: int | str) -> PydanticCustomError:
    """An error for a model validator to raise that knows which field of the model is wrong."""
    return PydanticCustomError("wrong", "{message}", {"message": message, "at": at})
