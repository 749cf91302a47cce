# SPDX-License-Identifier: Apache-2.0
"""The part of a policy that says how much of what may come in a time. XDP enforces it."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from neurowall.model.counters import Counter
from neurowall.model.duration import parse_duration
from neurowall.model.fields import DurationText, ItemName, OneOrMore, Ports, Strict, port_range

LimitKey = Literal["source", "source-prefix", "destination-port", "global"]
LimitMatch = Literal["all", "tcp-syn", "udp", "icmp", "fragment"]
LimitAction = Literal["drop", "monitor", "ban"]

MAX_LIMITS = 16  # the kernel has 32 slots: while a policy changes, old and new ones are asked
MAX_BURST_SECONDS = 300
PACKET_BYTES = 1514  # a burst in bytes is at least one full packet
PORT_MATCHES: tuple[LimitMatch, ...] = ("all", "tcp-syn", "udp")  # what has ports


class Limit(Strict):
    """One limit: each value of *key* has its own budget. One of the two rates is given.

    zones: whose interfaces' incoming packets; none: every external zone's. burst: so many packets or bytes
    may come at once. new_only: packets of known flows are not asked about.
    """

    name: ItemName
    zones: Annotated[tuple[str, ...], Field(strict=False), OneOrMore] = ()
    key: LimitKey
    prefix4: int | None = Field(default=None, ge=1, le=32)
    prefix6: int | None = Field(default=None, ge=1, le=128)
    match: LimitMatch = "all"
    ports: Annotated[tuple[Ports, ...], Field(strict=False), OneOrMore] = ()
    packets_per_second: int | None = Field(default=None, ge=1, le=10_000_000)
    bytes_per_second: int | None = Field(default=None, ge=1, le=12_500_000_000)
    burst: int | None = Field(default=None, ge=1)
    new_only: bool = False
    action: LimitAction = "drop"
    ban_ttl: DurationText | None = None

    @property
    def counts_bytes(self) -> bool:
        """Whether rate and burst are in bytes."""
        return self.bytes_per_second is not None

    @property
    def rate(self) -> int:
        """Packets or bytes a second."""
        return self.bytes_per_second or self.packets_per_second or 1

    @property
    def burst_size(self) -> int:
        """Packets or bytes that may come at once; by itself one second's worth, at least one packet."""
        return self.burst or (max(self.rate, PACKET_BYTES) if self.counts_bytes else self.rate)

    @property
    def ban_seconds(self) -> float:
        """ban_ttl in seconds, 0 without."""
        return parse_duration(self.ban_ttl) if self.ban_ttl else 0.0

    @property
    def lengths(self) -> tuple[int, int]:
        """How many bits of an IPv4 and of an IPv6 source make the key."""
        if self.key != "source-prefix":
            return 32, 128
        return self.prefix4 or 24, self.prefix6 or 64

    @property
    def port_ranges(self) -> tuple[tuple[int, int], ...]:
        """First and last of each entry of *ports*."""
        return tuple(port_range(each) for each in self.ports)


@dataclass(frozen=True)
class LimitGuard:
    """A limit, and the interfaces whose incoming packets it is about."""

    limit: Limit
    interfaces: tuple[str, ...]

    @property
    def shape(self) -> tuple[object, ...]:
        """All but where, how much and what then: as long as it stays, what keys have used stays true."""
        limit = self.limit
        return (
            *(limit.name, limit.key, limit.lengths, limit.match),
            *(limit.port_ranges, limit.counts_bytes, limit.new_only),
        )


@dataclass(frozen=True)
class LimitCounters:
    """What one limit counted, in bytes of IP packets. would: over a limit that only watches."""

    passed: Counter = field(default_factory=Counter)
    dropped: Counter = field(default_factory=Counter)
    would: Counter = field(default_factory=Counter)
    bans: int = 0
    bans_refused: int = 0


@dataclass(frozen=True)
class LimitBan:
    """A source that a limit banned, until Unix time; limit: its name, "" if the policy has it no more."""

    address: str
    until: float
    limit: str
