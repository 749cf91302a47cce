# SPDX-License-Identifier: Apache-2.0
"""What to send, what was sent, and what every generator offers."""

import ipaddress
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Protocol

import numpy.typing as npt

from neurowall.model.entries import DTYPE

if TYPE_CHECKING:
    from bench.testbed.base import Chain

Array = npt.NDArray[Any]

SMALLEST: dict[int, int] = {4: 60, 6: 74}
"""Smallest frame by family, without FCS: Ethernet's own minimum; headers and the 12 bytes of payload."""
LARGEST = 1514
"""Largest frame: an MTU of 1500 and the Ethernet header."""


class TrafficError(Exception):
    """Traffic could not be sent or received; the message says what, why and what to do next."""


class Kind(IntEnum):
    """What a packet is for; be32 in its payload. PROBE mirrors BENCHMARK_KIND_PROBE of bpf/benchmark.h."""

    FLOOD = 0
    CLEAN = 1
    PROBE = 2


@dataclass(frozen=True, eq=False)
class Flow:
    """UDP packets from many sources to one destination.

    sources has dtype V4 (host byte order) or V6 (16 bytes, network order) and is read in sequence, again and
    again: shuffle it beforehand. size counts bytes without FCS; `frame_bytes` is what is really sent. ports
    are (source, destination).
    """

    family: int
    sources: Array
    destination: str
    size: int = 60
    kind: Kind = Kind.FLOOD
    ports: tuple[int, int] = (1024, 9)

    def __post_init__(self) -> None:
        if self.sources.dtype != DTYPE[self.family] or self.sources.ndim != 1 or not len(self.sources):
            wanted = f"a non-empty column of {DTYPE[self.family]}"
            raise ValueError(f"sources: expected {wanted}, got {self.sources.dtype} {self.sources.shape}")
        if not SMALLEST[4] <= self.size <= LARGEST:
            raise ValueError(f"size: expected {SMALLEST[4]}..{LARGEST} bytes, got {self.size}")
        if ipaddress.ip_address(self.destination).version != self.family:
            raise ValueError(f"destination: {self.destination} is not an IPv{self.family} address")

    @property
    def frame_bytes(self) -> int:
        """Size of each frame: *size*, or the smallest that the family's headers need."""
        return max(self.size, SMALLEST[self.family])


@dataclass(frozen=True)
class Offered:
    """What a generator handed to its interface; whether it arrived is for others to say.

    seconds is from the first slice to the end of the last. errors counts slices that failed and were
    repeated.
    """

    sent: int
    seconds: float
    pps_target: float | None
    errors: int = 0

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
        flow: Flow,
        *,
        seconds: float | None = None,
        packets: int | None = None,
        pps: float | None = None,
    ) -> Offered:
        """Send from the chain's client, for some seconds or so many packets, at a rate or flat out."""
