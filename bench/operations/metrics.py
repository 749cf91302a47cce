# SPDX-License-Identifier: Apache-2.0
"""The metrics of operations: unit, and how the samples of a run become one figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from bench import stats
from bench.stats import Estimate, Series

Summary = Literal["mean", "p50", "p99", "sum", "max"]


@dataclass(frozen=True)
class Definition:
    """`of` names the metric whose samples it is made from, if not its own."""

    unit: str
    summary: Summary
    of: str = ""


METRICS: dict[str, Definition] = {
    "load_seconds": Definition("s", "mean"),
    "api_ms": Definition("ms", "p99"),
    "effective_ms": Definition("ms", "p99"),
    "effective_p50_ms": Definition("ms", "p50", of="effective_ms"),
    "answer_ms": Definition("ms", "p99"),
    "read_ms": Definition("ms", "p99"),
    "read_p50_ms": Definition("ms", "p50", of="read_ms"),
    "scrape_ms": Definition("ms", "p99"),
    "scrape_p50_ms": Definition("ms", "p50", of="scrape_ms"),
    "replace_seconds": Definition("s", "mean"),
    "leaked_packets": Definition("packets", "sum"),
    "probed_packets": Definition("packets", "sum"),
    "probe_kpps": Definition("kpps", "mean"),
    "daemon_pss_mib": Definition("MiB", "mean"),
    "daemon_peak_mib": Definition("MiB", "mean"),
    "kernel_maps_mib": Definition("MiB", "mean"),
    "drop_mpps": Definition("Mpps", "mean"),
    "changes_per_second": Definition("1/s", "mean"),
    "wrong_verdicts": Definition("addresses", "sum"),
    "apply_seconds": Definition("s", "mean"),
    "apply_worst_seconds": Definition("s", "max", of="apply_seconds"),
    "command_seconds": Definition("s", "mean"),
    "change_seconds": Definition("s", "mean"),
    "change_p99_seconds": Definition("s", "p99", of="change_seconds"),
    "change_worst_seconds": Definition("s", "max", of="change_seconds"),
}

NEEDED: dict[str, int] = {"p99": 200}
"""Samples below which a figure of that kind is not judged: the p99 of fewer is just the largest."""


def estimate(metric: str, series: Series, seed: int) -> Estimate:
    """The figure of a metric with its 95 % interval. A sum and a worst have none: they were seen."""
    summary = METRICS[metric].summary
    if summary == "mean":
        positive = min(map(min, series)) > 0
        return stats.geometric_mean(series, seed) if positive else stats.mean(series, seed)
    if summary in ("sum", "max"):
        total = float(sum(map(sum, series)) if summary == "sum" else max(map(max, series)))
        return Estimate(total, total, total, n=sum(map(len, series)), blocks=len(series))
    return quantile(series, 0.99 if summary == "p99" else 0.5, seed)


def quantile(series: Sequence[Sequence[float]], share: float, seed: int) -> Estimate:
    """A quantile of all samples, with the percentile interval of a bootstrap.

    Whole blocks are drawn first, then samples within each: those of one daemon are not independent. Raises
    ValueError without samples.
    """
    blocks = [np.asarray(block, dtype=np.float64) for block in series if len(block)]
    if not blocks:
        raise ValueError("no samples")
    rng = np.random.default_rng(seed)
    found = np.empty(stats.RESAMPLES // 10)
    for index in range(len(found)):
        drawn = [blocks[i] for i in rng.integers(0, len(blocks), len(blocks))]
        found[index] = np.quantile(np.concatenate([rng.choice(b, len(b)) for b in drawn]), share)
    tail = (1 - stats.CONFIDENCE) / 2
    low, high = np.quantile(found, [tail, 1 - tail])
    value = float(np.quantile(np.concatenate(blocks), share))
    return Estimate(value, float(low), float(high), n=sum(map(len, blocks)), blocks=len(blocks))
