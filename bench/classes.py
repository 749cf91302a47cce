# SPDX-License-Identifier: Apache-2.0
"""Classes of packets that are sent mixed, each with a kind of its own that the receiver counts.

What must become of a class: `legit` arrives; `listed` and `spoofed` do not; `flood`, `udp-flood` and
`syn-flood` are more than limits admit; `paced` is what the accuracy of limits is measured with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from bench.bars import Model
from bench.defence import Defence, Protocol
from bench.traffic.base import Kind

ClassName = Literal["legit", "paced", "listed", "spoofed", "flood", "udp-flood", "syn-flood"]

KINDS: Mapping[str, Kind] = {
    "legit": Kind.CLEAN,
    "paced": Kind.PROBE,
    "listed": Kind.LISTED,
    "spoofed": Kind.SPOOFED,
    "flood": Kind.FLOOD,
    "udp-flood": Kind.UDP_FLOOD,
    "syn-flood": Kind.SYN_FLOOD,
}
"""The kind in the payload; that of probes is counted source by source."""
ATTACKS = ("listed", "spoofed", "flood", "udp-flood", "syn-flood")
STOPPED = ("listed", "spoofed")
"""Of these nothing may pass; of other attacks what limits admit."""
FRESH = 45 << 24
"""Gates take sources that no limit has seen from this /8."""
OWN = range(46, 80)
"""Classes have their sources in these /8s, and gates have none there: a flood has emptied their buckets."""
TURNS = 4096
"""XDPGEN_TURNS of bpf/xdpgen.bpf.c: shares are so many packets of that many at most."""
SERVER_NETWORK = (198 << 24) + (19 << 16)
SERVER_NETWORK6 = "2001:2:0:2::/64"
"""198.19.0.0/24 and this, of bench/testbed/chain.py: the networks behind the gateway."""


class TrafficClass(Model):
    """One class, by name. `share` counts packets of a turn, in which each class has its own."""

    name: ClassName
    share: int = Field(ge=1, le=TURNS)
    sources: int = Field(65_536, ge=1, le=4_194_304, description="distinct; of listed ones all are taken")
    networks: int | None = Field(
        None, ge=1, le=65_536, description="/24s that they are uniform over (default: one for each source)"
    )

    @property
    def protocol(self) -> Protocol:
        """What its packets are."""
        return "tcp-syn" if self.name == "syn-flood" else "udp"

    @property
    def prefixes(self) -> int:
        """How many /24s its sources are in."""
        return self.networks or self.sources

    def problem(self) -> str | None:
        """What in it contradicts itself."""
        if self.networks and not self.networks <= self.sources <= 256 * self.networks:
            return f"{self.name}: {self.sources} sources do not fill {self.networks} /24s"
        if self.networks is None and self.name not in ("listed", "spoofed") and self.sources > 65_536:
            return f"{self.name}: more than 65,536 sources need `networks`"
        return None

    def admitted(self, defence: Defence | None, seconds: float) -> float | None:
        """How many may pass in a time; None where nothing limits them."""
        if self.name == "legit":
            return None
        if self.name in STOPPED:
            return 0.0
        return defence.admitted(self.protocol, self.sources, self.prefixes, seconds) if defence else None


@dataclass(frozen=True)
class ClassCount:
    """Packets of one class in a trial: sent by the generator's count, passed by the receiver's.

    `allowed` is how many could pass by the limits, None where none is asked about them.
    """

    name: str
    sent: int
    passed: int
    allowed: float | None


def pattern(classes: tuple[TrafficClass, ...]) -> bytes:
    """Which class each packet of a turn is of: every class as evenly spread as its share allows."""
    places = [
        ((number + 0.5) / one.share, index)
        for index, one in enumerate(classes)
        for number in range(one.share)
    ]
    return bytes(index for _, index in sorted(places))
