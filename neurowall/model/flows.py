# SPDX-License-Identifier: Apache-2.0
"""Flows: what XDP knows of the connections that the protected side has a part in."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

SECOND_NS = 1_000_000_000


class FlowState(IntEnum):
    """enum nw_flow_state of the kernel, see bpf/neurowall.h."""

    SYN_SENT = 0
    SYN_RECEIVED = 1
    ADOPTED = 2
    ESTABLISHED = 3
    HALF_CLOSED = 4
    CLOSED = 5
    RESET = 6
    UDP = 7
    UDP_ANSWERED = 8
    ICMP = 9

    @property
    def label(self) -> str:
        """As in metrics and answers."""
        return self.name.lower().replace("_", "-")


class FlowEvent(IntEnum):
    """enum nw_flow_event: what is counted of the tables of flows."""

    INSERTED = 0
    PROVEN = 1
    PICKED_UP = 2
    GUARDED = 3
    FAILED = 4
    SPARED = 5

    @property
    def label(self) -> str:
        """As in metrics and answers."""
        return self.name.lower()


@dataclass(frozen=True)
class FlowRules:
    """How flows are kept: how many, how long without a packet (seconds), and how many new ones a CPU takes.

    adopt: for how many seconds what is out of state passes once flows are switched on.
    """

    max_entries: int
    timeouts: tuple[float, ...]  # by FlowState
    new_per_second: int
    adopt: float


@dataclass(frozen=True)
class Flow:
    """One flow as it is seen outside. idle and age are in seconds; counts are of IP packets."""

    protocol: str
    state: FlowState
    inside: IPv4Address | IPv6Address
    inside_port: int
    outside: IPv4Address | IPv6Address
    outside_port: int
    zone: str
    age: float
    idle: float
    packets_out: int
    bytes_out: int
    packets_in: int
    bytes_in: int


@dataclass(frozen=True)
class FlowQuery:
    """Which flows are wanted. source: at either end."""

    source: IPv4Network | IPv6Network | None = None
    protocol: str | None = None
    state: FlowState | None = None
    limit: int = 100


@dataclass(frozen=True)
class FlowCounts:
    """What the tables of flows hold, and what happened to them.

    capacity: of TCP, and as much of the rest; 0 if flows are off. adopting: for how many more seconds what is
    out of state passes. is_guarded: it does for now, since there are too many new flows.
    """

    states: Mapping[FlowState, int]
    events: Mapping[FlowEvent, int]
    capacity: int
    adopting: float
    is_guarded: bool

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self.states.values())
