# SPDX-License-Identifier: Apache-2.0
"""Flows: what XDP knows of the connections that the protected side has a part in."""

from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address

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
    zone: int
    age: float
    idle: float
    packets_out: int
    bytes_out: int
    packets_in: int
    bytes_in: int
