# SPDX-License-Identifier: Apache-2.0
"""What XDP filters usually do about floods: an LRU hash of buckets, and one of flows. Both without lists."""

import struct
from typing import TYPE_CHECKING

import numpy as np

from bench.defence import Defence, Feature, Limit
from bench.sut.base import ConfigureReport, Gate, Rules, RulesetRejected, SystemCounters
from bench.sut.xdp import XdpSystem
from bench.traffic import percpu
from neurowall.kernel import libbpf

if TYPE_CHECKING:
    from bench.testbed.base import Chain

ENTRIES = 262_144
"""Of each LRU hash of buckets: sources, and prefixes."""
FLOWS = 65_536
"""As many as Neurowall's flow table holds by default."""


class XdpLru(XdpSystem):
    """What both have: nothing but the lists' absence."""

    def available(self, rules: Rules | None = None) -> str | None:
        """Root, the compiled object, and no list."""
        if rules is not None and len(rules.entries):
            return f"{self.name} has no lists"
        return super().available(rules)


class XdpLruLimiter(XdpLru):
    """bpf/xdplru.bpf.c: a token bucket for each source and each /24, in LRU hashes."""

    name = "xdp-lru-limiter"
    gate: Gate = "filter"
    program = "xdplru"
    enforces: tuple[Feature, ...] = ("limits",)

    def __init__(self, entries: int = ENTRIES) -> None:
        super().__init__()
        self._entries = entries
        self._defence = Defence()

    def configure(self, chain: "Chain", rules: Rules) -> ConfigureReport:
        """Load with the limits as constants. RulesetRejected where it has no such limit."""
        self._defence = rules.defence or Defence()
        if any(limit.match != "all" for limit in self._defence.limits):
            raise RulesetRejected(f"{self.name} limits all packets alike, not only some")
        return super().configure(chain, rules)

    def _prepare(self, loading: libbpf.Object) -> None:
        for name in ("by_source", "by_prefix"):
            loading.set_max_entries(name, self._entries)
        limits = (self._defence.limit(key) for key in ("source", "source-prefix"))
        loading.set_constants(b"".join(map(_rule, limits)))

    def counters(self) -> SystemCounters:
        """Its own per-CPU counters."""
        _, loaded = self.loaded()
        dropped, passed = (
            int(percpu.read(loaded.map_fd("verdicts"), index, np.uint64).sum()) for index in (0, 1)
        )
        return SystemCounters(dropped, passed, "map verdicts of xdplru")

    def describe(self) -> dict[str, object]:
        """Also how many keys it holds."""
        return {
            **super().describe(),
            "entries": self._entries,
            "limits": self._defence.model_dump()["limits"],
        }


class XdpLruFlows(XdpLru):
    """bpf/xdplruflow.bpf.c: whatever comes in has an entry in an LRU hash. It drops nothing."""

    name = "xdp-lru-flows"
    gate: Gate = "pass"
    program = "xdplruflow"

    def __init__(self, entries: int = FLOWS) -> None:
        super().__init__()
        self._entries = entries

    def _prepare(self, loading: libbpf.Object) -> None:
        loading.set_max_entries("flows", self._entries)

    def counters(self) -> SystemCounters:
        """Packets that it tracked."""
        _, loaded = self.loaded()
        seen = sum(int(percpu.read(loaded.map_fd("tracked"), index, np.uint64).sum()) for index in (0, 1))
        return SystemCounters(0, seen, "map tracked of xdplruflow")

    def describe(self) -> dict[str, object]:
        """Also how many flows it holds."""
        return {**super().describe(), "entries": self._entries}


def _rule(limit: Limit | None) -> bytes:
    """A struct lru_rule; zeros where there is no limit."""
    if limit is None:
        return bytes(16)
    gap = round(1e9 / limit.packets_per_second)
    return struct.pack("=QQ", gap, (limit.burst - 1) * gap)
