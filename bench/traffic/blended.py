# SPDX-License-Identifier: Apache-2.0
"""A trial of several classes of packets: what passed of each, and how near to its limits each source came."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bench.classes import KINDS, ClassCount, TrafficClass, pattern
from bench.traffic.base import Array, TrafficError
from bench.traffic.blend import SYN, Blend, Part
from bench.traffic.trial import Trial, trial
from bench.traffic.wire import wire

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.defence import Defence
    from bench.points import Traffic
    from bench.sut.base import System
    from bench.testbed.base import Chain

DRAINED = 4.0
"""Before a flood that is measured, so many times what the bursts of its limits hold is sent."""


@dataclass(frozen=True)
class Blended:
    """What a trial saw; the errors are those of `paced` sources, mean and worst, None without any."""

    trial: Trial
    classes: tuple[ClassCount, ...] = ()
    limit_error: float | None = None
    limit_worst: float | None = None


def blend(chain: Chain, traffic: Traffic, sources: Mapping[str, Array]) -> Blend:
    """The stream of the classes of this traffic."""
    parts = tuple(
        Part(KINDS[one.name], sources[one.name], SYN if one.protocol == "tcp-syn" else None)
        for one in traffic.classes
    )
    server = chain.server_if.v4
    return Blend(parts, pattern(traffic.classes), server, traffic.frame, generators=traffic.generators)


def blended_trial(
    chain: Chain,
    system: System,
    stream: Blend,
    traffic: Traffic,
    defence: Defence | None,
    seconds: float,
    pps: float | None = None,
) -> Blended:
    """Send a blend. Limits begin with full buckets where their accuracy is asked, drained in a flood."""
    ends, limited = wire(chain), system.gate == "filter"
    paced = next((one for one in traffic.classes if one.name == "paced"), None)
    if paced is not None:
        if paced.sources > ends.sink.probes:
            raise TrafficError(f"the sink tells {ends.sink.probes} sources apart, not {paced.sources}")
        ends.sink.clear(paced.sources)
        if limited and defence is not None:
            time.sleep(defence.refill_seconds(paced.protocol))
    elif limited and traffic.kind == "flood":
        ends.generator.run(chain, stream, packets=_draining(traffic, defence))
        ends.sink.settle()
    before = {kind: ends.sink.packets(4, kind) for _, kind in stream.counted}
    seen = trial(chain, system, stream, seconds, pps=pps)
    counts = []
    for one in traffic.classes:
        kind = KINDS[one.name]
        passed = ends.sink.packets(4, kind) - before[kind]
        allowed = one.admitted(defence, seen.seconds)
        counts.append(ClassCount(one.name, seen.offered.by_kind[kind], passed, allowed))
    if paced is None or not limited or defence is None:
        return Blended(seen, tuple(counts))
    errors = limit_errors(ends.sink.arrivals(paced.sources), paced, defence, seen.seconds)
    return Blended(seen, tuple(counts), float(errors.mean()), float(errors.max()))


def _draining(traffic: Traffic, defence: Defence | None) -> int:
    """Packets after which nothing is left of bursts."""
    bursts = sum(one.admitted(defence, 0.0) or 0.0 for one in traffic.classes)
    return max(1, round(DRAINED * bursts))


def limit_errors(arrivals: Array, paced: TrafficClass, defence: Defence, seconds: float) -> Array:
    """By source: how far what arrived is from what its limits admit, as a share of that."""
    admitted = paced.admitted(defence, seconds)
    if not admitted:
        raise TrafficError("no limit is asked about the paced sources")
    wanted = admitted / paced.sources
    return np.asarray(np.abs(arrivals.astype(np.float64) - wanted) / wanted)
