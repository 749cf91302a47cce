# SPDX-License-Identifier: Apache-2.0
"""What to send, what was sent, and what every generator offers."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Protocol

import numpy.typing as npt

from neurowall.model.entries import DTYPE

if TYPE_CHECKING:
    from bench.testbed.base import Chain
    from bench.traffic.blend import Blend

Array = npt.NDArray[Any]

SMALLEST: dict[int, int] = {4: 60, 6: 74}
"""Smallest frame by family, without FCS: Ethernet's own minimum; headers and the 12 bytes of payload."""
SMALLEST_STAMPED: dict[int, int] = {4: 62, 6: 82}
"""The same with eight more bytes of payload, for the time."""
LARGEST = 1514
"""Largest frame: an MTU of 1500 and the Ethernet header."""


class TrafficError(Exception):
    """Traffic could not be sent or received; the message says what, why and what to do next."""


class Kind(IntEnum):
    """What a packet is for; be32 in its payload. PROBE mirrors BENCHMARK_KIND_PROBE of bpf/benchmark.h."""

    FLOOD = 0
    CLEAN = 1
    PROBE = 2
    LISTED = 3
    SPOOFED = 4
    UDP_FLOOD = 5
    SYN_FLOOD = 6


@dataclass(frozen=True, eq=False)
class Flow:
    """UDP packets from many sources to one destination.

    sources has dtype V4 (host byte order) or V6 (16 bytes, network order) and is read in sequence, again and
    again: shuffle it beforehand. size counts bytes without FCS; `frame_bytes` is what is really sent. ports
    are (source, destination).

    A mixed flow is an IPv4 one of which every ipv6_every-th packet is IPv6, from sources6 to destination6. A
    stamped one carries in each packet the time at which it was due, so that the sink can tell how long it
    took.
    """

    family: int
    sources: Array
    destination: str
    size: int = 60
    kind: Kind = Kind.FLOOD
    ports: tuple[int, int] = (1024, 9)
    sources6: Array | None = None
    destination6: str = ""
    ipv6_every: int = 0
    stamp: bool = False

    def __post_init__(self) -> None:
        _check_end(self.family, self.sources, self.destination)
        if not SMALLEST[4] <= self.size <= LARGEST:
            raise ValueError(f"size: expected {SMALLEST[4]}..{LARGEST} bytes, got {self.size}")
        if self.sources6 is not None:
            if self.family != 4 or self.ipv6_every < 2:
                raise ValueError("a mixed flow: expected family 4 and ipv6_every >= 2")
            _check_end(6, self.sources6, self.destination6)
        elif self.ipv6_every:
            raise ValueError("ipv6_every: expected sources6 as well")

    @property
    def parts(self) -> dict[int, tuple[Array, str]]:
        """(sources, destination) by family."""
        found = {self.family: (self.sources, self.destination)}
        return found if self.sources6 is None else {**found, 6: (self.sources6, self.destination6)}

    @property
    def columns(self) -> tuple[Array, ...]:
        """Its sources as they are uploaded, one array a family."""
        return tuple(sources for sources, _ in self.parts.values())

    @property
    def counted(self) -> tuple[tuple[int, Kind], ...]:
        """(family, kind) of everything in it, as the sink counts."""
        return tuple((family, self.kind) for family in self.parts)

    @property
    def frame_bytes(self) -> int:
        """Size of each frame: *size*, or the smallest that the headers of each family need."""
        smallest = SMALLEST_STAMPED if self.stamp else SMALLEST
        return max(self.size, *(smallest[family] for family in self.parts))


def _check_end(family: int, sources: Array, destination: str) -> None:
    if sources.dtype != DTYPE[family] or sources.ndim != 1 or not len(sources):
        wanted = f"a non-empty column of {DTYPE[family]}"
        raise ValueError(f"sources: expected {wanted}, got {sources.dtype} {sources.shape}")
    if ipaddress.ip_address(destination).version != family:
        raise ValueError(f"destination: {destination} is not an IPv{family} address")


@dataclass(frozen=True)
class Offered:
    """What a generator handed to its interface; whether it arrived is for others to say.

    seconds is from the first slice to the end of the last. errors counts slices that failed and were
    repeated. cpu_seconds is the CPU time of the sending calls alone, the gateway's work in it included (see
    `bench.traffic.xdpgen`), without the generator's own calculations and sleep between them; None where the
    calls wait for packets to become due. by_kind is of a blend. began is when the first was sent (monotonic).
    """

    sent: int
    seconds: float
    pps_target: float | None
    errors: int = 0
    cpu_seconds: float | None = None
    by_kind: Mapping[Kind, int] = field(default_factory=dict)
    began: float = 0.0

    @property
    def pps(self) -> float:
        """Packets offered in a second."""
        return self.sent / self.seconds if self.seconds else 0.0


class Traffic(Protocol):
    """A generator."""

    def available(self) -> str | None:
        """Why it cannot run here, with the next step; None if it can."""

    def run(
        self,
        chain: "Chain",
        flow: "Flow | Blend",
        *,
        seconds: float | None = None,
        packets: int | None = None,
        pps: float | None = None,
    ) -> Offered:
        """Send from the chain's client, for some seconds or so many packets, at a rate or flat out."""
