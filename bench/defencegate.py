# SPDX-License-Identifier: Apache-2.0
"""The effectiveness gate of what XDP does besides the lists, feature by feature; a part of every gate.

Limits: of a burst from a source that no limit has seen exactly its burst gets through, of one from a whole
/24 that prefix's, and other sources are not made to pay for it. Spoofing: no source of the server's network
gets through. Strict flows: a TCP packet of no connection does not, one that begins one does.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np

from bench import space
from bench.classes import FRESH, SERVER_NETWORK
from bench.defence import Protocol
from bench.sut.base import Defending, Rules, System
from bench.traffic.base import Array, Kind
from bench.traffic.blend import ACK, SYN, Blend, Part
from bench.traffic.wire import wire

if TYPE_CHECKING:
    from bench.defence import Defence, Limit
    from bench.testbed.base import Chain

TOLERANCE = 0.02
"""Share of a burst that may be admitted more or less; one packet may in any case."""
OTHERS = 32
"""Sources that must pass while others are limited, and as many that a feature must stop."""
TRIES = 3
_BEYOND = 2.0
_PROTOCOLS: tuple[tuple[Protocol, int | None], ...] = (("udp", None), ("tcp-syn", SYN))

_used: WeakKeyDictionary[Chain, int] = WeakKeyDictionary()


@dataclass
class Outcome:
    """What was seen: complaints in words, and probes by what had to become of them."""

    complaints: list[str] = field(default_factory=list)
    blocked: int = 0
    to_block: int = 0
    passed: int = 0
    to_pass: int = 0


def run(chain: Chain, system: System, rules: Rules) -> Outcome:
    """Prove every feature that the rules ask for and the system has; nothing is sent where there is none."""
    seen = Outcome()
    if rules.defence is None or not isinstance(system, Defending) or system.gate != "filter":
        return seen
    asked = rules.defence.only(system.enforces)
    if asked.limits:
        _limits(chain, rules, asked, seen)
    if asked.spoofing:
        hosts = np.arange(SERVER_NETWORK + 3, SERVER_NETWORK + 3 + OTHERS, dtype=np.uint32)
        _stopped(chain, hosts, None, "spoofed sources", seen)
    if asked.flows == "strict":
        _stopped(chain, _fresh(chain, rules, OTHERS), ACK, "TCP packets of no connection", seen)
        _admitted(chain, _fresh(chain, rules, OTHERS), SYN, "TCP packets that begin a connection", seen)
    return seen


def within(admitted: int, burst: float, seconds: float, rate: float) -> bool:
    """Whether so many of a burst are what a limit admits, the time that sending took included."""
    slack = max(1.0, TOLERANCE * burst)
    return burst - slack <= admitted <= burst + rate * seconds + slack


def _limits(chain: Chain, rules: Rules, asked: Defence, seen: Outcome) -> None:
    for protocol, flags in _PROTOCOLS:
        for name, sources, limit in _bursts(chain, rules, asked, protocol):
            sent = int(_BEYOND * limit.burst) + 16
            admitted, seconds = _count(chain, sources, flags, sent)
            seen.to_block += sent - limit.burst
            seen.blocked += sent - admitted
            if not within(admitted, limit.burst, seconds, limit.packets_per_second):
                what = f"of {sent} {protocol} packets at once from {name} {admitted} got through"
                seen.complaints.append(f"{what}, where limit {limit.name} has a burst of {limit.burst}")
    _admitted(chain, _fresh(chain, rules, OTHERS), None, "other sources beside limited ones", seen)


def _bursts(
    chain: Chain, rules: Rules, asked: Defence, protocol: Protocol
) -> Iterator[tuple[str, Array, Limit]]:
    """Sources to send a burst from, and the limit that they meet first."""
    of_source, of_prefix = (asked.limit(key, protocol) for key in ("source", "source-prefix"))
    if of_source and (of_prefix is None or of_source.burst < of_prefix.burst):
        yield "one source", _fresh(chain, rules, 1), of_source
    if of_prefix:
        first = _fresh(chain, rules, 1) & np.uint32(0xFFFFFF00)
        yield "one /24", (first + np.arange(256, dtype=np.uint32)).astype(np.uint32), of_prefix


def _fresh(chain: Chain, rules: Rules, count: int) -> Array:
    """Addresses of /24s that no limit of this gateway has seen, and no list holds."""
    found: list[int] = []
    while len(found) < count:
        _used[chain] = number = _used.get(chain, 0) + 1
        address = np.array([FRESH + (number % 65_536 << 8) + 77], np.uint32)
        network = np.arange(address[0] & 0xFFFFFF00, (address[0] | 0xFF) + 1, dtype=np.uint32)
        if not space.covered(rules.entries.v4, network).any():
            found.append(int(address[0]))
    return np.array(found, np.uint32)


def _stopped(chain: Chain, sources: Array, flags: int | None, what: str, seen: Outcome) -> None:
    """None of these may get through."""
    admitted, _ = _count(chain, sources, flags, len(sources))
    seen.to_block += len(sources)
    seen.blocked += len(sources) - admitted
    if admitted:
        seen.complaints.append(f"{admitted} of {len(sources)} {what} got through")


def _admitted(chain: Chain, sources: Array, flags: int | None, what: str, seen: Outcome) -> None:
    """Each of these must get through; what is lost is tried again."""
    ends, waiting = wire(chain), sources
    for _ in range(TRIES):
        ends.sink.clear(len(waiting))
        _send(chain, waiting, flags, len(waiting))
        waiting = waiting[ends.sink.arrivals(len(waiting)) == 0]
        if not len(waiting):
            break
    seen.to_pass += len(sources)
    seen.passed += len(sources) - len(waiting)
    if len(waiting):
        seen.complaints.append(f"{len(waiting)} of {len(sources)} {what} did not get through")


def _count(chain: Chain, sources: Array, flags: int | None, packets: int) -> tuple[int, float]:
    """How many of so many packets, from these sources in turn, got through; and what sending took."""
    sink = wire(chain).sink
    before, began = sink.packets(4, Kind.PROBE), time.monotonic()
    _send(chain, sources, flags, packets)
    return sink.packets(4, Kind.PROBE) - before, time.monotonic() - began


def _send(chain: Chain, sources: Array, flags: int | None, packets: int) -> None:
    ends = wire(chain)
    probes = Blend((Part(Kind.PROBE, sources, flags),), b"\0", chain.server_if.v4)
    ends.generator.run(chain, probes, packets=packets)
    ends.sink.settle()
