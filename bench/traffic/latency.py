# SPDX-License-Identifier: Apache-2.0
"""Percentiles from the buckets that bpf/xdpsink.bpf.c sorts stamped packets into. Pure.

A bucket of the top is 1/64 of its octave wide, so a percentile is known to 1.6 % of itself; within its bucket
it is interpolated, as if the packets there were spread evenly.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

STEP_BITS, OCTAVES = 6, 34
"""BENCHMARK_STEP_BITS and BENCHMARK_OCTAVES of bpf/benchmark.h."""
BUCKETS = (OCTAVES - STEP_BITS + 1) << STEP_BITS
ERROR = 1 / (1 << STEP_BITS)
"""Largest relative error of a percentile."""
PERCENTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999, "max": 1.0}

Array = npt.NDArray[Any]


def edges() -> Array:
    """Where each bucket begins, in nanoseconds, and where the last one ends; float64, BUCKETS + 1."""
    number = np.arange(BUCKETS + 1)
    octave = np.maximum(0, (number >> STEP_BITS) - 1)
    return np.asarray((number - (octave << STEP_BITS)) * 2.0**octave)


def percentiles(packets: Array) -> dict[str, float]:
    """Microseconds below which that share of the packets stayed; *packets* by bucket. {} without any."""
    reached = np.cumsum(packets)
    total = int(reached[-1])
    if not total:
        return {}
    return {name: _at(reached, share * total) / 1e3 for name, share in PERCENTILES.items()}


def _at(reached: Array, rank: float) -> float:
    """Nanoseconds below which *rank* packets stayed."""
    bucket = int(np.searchsorted(reached, rank))
    before = int(reached[bucket - 1]) if bucket else 0
    begin, end = edges()[bucket : bucket + 2].tolist()
    return float(begin + (end - begin) * (rank - before) / (int(reached[bucket]) - before))
