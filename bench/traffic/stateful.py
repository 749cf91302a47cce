# SPDX-License-Identifier: Apache-2.0
"""A trial of stateful rules: it must be the rules that were asked, and connection tracking that had room.

Packets of connections that the table knows are a trial as any other. Where each packet is to open one, the
table is emptied before, so that it does not know them, and after, so that what is measured next does not find
it full: its buckets are shared by all namespaces.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from bench.measure import conntrack
from bench.sut.base import Stateful
from bench.traffic.base import Flow, TrafficError
from bench.traffic.trial import TOLERANCE, Trial, trial

if TYPE_CHECKING:
    from bench.measure.conntrack import Table
    from bench.rulebook import Rulebook
    from bench.sut.base import System
    from bench.testbed.base import Chain

FULL = 0.75
"""Share of the limit of connection tracking that may be reached; beyond it the kernel looks for victims."""


def stateful_trial(
    chain: Chain, system: System, book: Rulebook, flow: Flow, seconds: float, *, opened: bool
) -> Trial:
    """Send *flow* flat out and account for every packet; with *opened* each source once at most.

    TrafficError where rules in use did not decide about each packet that arrived, or the table was too full.
    """
    filters = system if system.gate == "filter" and isinstance(system, Stateful) else None
    if opened:
        conntrack.flush(chain.gateway)
    before = conntrack.read(chain.gateway)
    if opened and before.limit and len(flow.sources) > FULL * before.limit:
        raise TrafficError(
            f"{len(flow.sources)} connections to open, but nf_conntrack_max is {before.limit}: fewer sources"
        )
    counted = filters.rule_packets() if filters else {}
    try:
        seen = trial(chain, system, flow, seconds, packets=len(flow.sources) if opened else None)
        after = conntrack.read(chain.gateway)
    finally:
        if opened:
            conntrack.flush(chain.gateway)
    problem = crowded(before, after)
    if filters:
        decided = _decided(book, filters.rule_packets()) - _decided(book, counted)
        problem = problem or undecided(seen, decided)
        if opened:
            problem = problem or unopened(seen, after.entries - before.entries)
    if problem:
        raise TrafficError(problem)
    return seen


def crowded(before: Table, after: Table) -> str | None:
    """Why connection tracking had too little room; None if it had enough."""
    if refused := after.refused - before.refused:
        return f"connection tracking refused {refused} packets or connections: its table was full"
    if after.limit and after.entries > FULL * after.limit:
        return f"connection tracking holds {after.entries} of {after.limit} entries: too full to measure"
    return None


def undecided(seen: Trial, decided: int) -> str | None:
    """Why it was not the rules that let the packets through."""
    if abs(decided - seen.delivered) <= TOLERANCE * seen.sent:
        return None
    return f"{seen.delivered} packets arrived, but the rules that accept them counted {decided}"


def unopened(seen: Trial, entries: int) -> str | None:
    """Why packets did not open connections."""
    if abs(entries - seen.delivered) <= TOLERANCE * seen.sent:
        return None
    return f"{seen.delivered} packets arrived, but {entries} connections were opened"


def _decided(book: Rulebook, packets: Mapping[str, int]) -> int:
    return sum(packets.get(name, 0) for name in book.used)
