# SPDX-License-Identifier: Apache-2.0
"""Both ends of connections across the gateway: what leaves runs through egress, what comes through XDP.

Packets are written here byte by byte; checksums are zero, since neither program looks at them.
"""

import ctypes as c
import struct
import time
from dataclasses import dataclass
from ipaddress import ip_address

from neurowall.kernel import layout_flows, libbpf
from neurowall.model.flows import FlowEvent, FlowState
from neurowall.model.reasons import Reason
from tests.bpf.harness import Answer, Firewall

FIN, SYN, RST, PSH, ACK, URG, ECE, CWR = (1 << bit for bit in range(8))
TCP, UDP, ICMP, ICMP6 = 6, 17, 1, 58
INSIDE4, OUTSIDE4 = "192.0.2.10", "198.51.100.7"
INSIDE6, OUTSIDE6 = "2001:db8:1::10", "2001:db8:2::7"
SECOND = 1_000_000_000
TIMEOUTS = (60, 60, 432_000, 432_000, 600, 60, 10, 30, 180, 30)  # seconds, by FlowState
_ADDRESSES = b"\x02\0\0\0\0\1\x02\0\0\0\0\2"


def frame(source: str, destination: str, protocol: int, body: bytes, *, tags: int = 0) -> bytes:
    """An Ethernet frame with an IP packet in it."""
    tag = b"\x81\x00\x00\x05" * tags
    one, other = ip_address(source), ip_address(destination)
    if one.version == 4:
        head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 1, 0, 64, protocol, 0)
        return _ADDRESSES + tag + b"\x08\x00" + head + one.packed + other.packed + body
    head = struct.pack("!IHBB", 0x60000000, len(body), protocol, 64)
    return _ADDRESSES + tag + b"\x86\xdd" + head + one.packed + other.packed + body


def tcp_header(
    ports: tuple[int, int], flags: int, seq: int, ack: int = 0, window: int = 64240, options: bytes = b""
) -> bytes:
    """A TCP header; options are padded to whole words."""
    options = options.ljust(-(-len(options) // 4) * 4, b"\0")
    numbers = struct.pack("!HHII", *ports, seq % 2**32, ack % 2**32)
    return numbers + struct.pack("!BBHHH", (5 + len(options) // 4) << 4, flags, window, 0, 0) + options


def scale(shift: int) -> bytes:
    """Options as Linux sends them: MSS, SACK permitted, timestamps, NOP, window scale."""
    return b"\x02\x04\x05\xb4\x04\x02\x08\x0a" + bytes(8) + b"\x01\x03\x03" + bytes([shift])


@dataclass
class Ends:
    """A tuple: what our end and the peer send each other. Numbers are as on the wire."""

    firewall: Firewall
    family: int = 4
    inside_port: int = 40000
    outside_port: int = 443

    @property
    def inside(self) -> str:
        """Our end's address."""
        return INSIDE4 if self.family == 4 else INSIDE6

    @property
    def outside(self) -> str:
        """The peer's."""
        return OUTSIDE4 if self.family == 4 else OUTSIDE6

    # -- frames

    def from_inside(self, flags: int, seq: int, ack: int = 0, data: int = 0, **header: object) -> bytes:
        """A TCP frame that leaves."""
        ports = self.inside_port, self.outside_port
        body = tcp_header(ports, flags, seq, ack, **header) + bytes(data)  # type: ignore[arg-type]
        return frame(self.inside, self.outside, TCP, body)

    def from_outside(self, flags: int, seq: int, ack: int = 0, data: int = 0, **header: object) -> bytes:
        """A TCP frame that comes in."""
        ports = self.outside_port, self.inside_port
        body = tcp_header(ports, flags, seq, ack, **header) + bytes(data)  # type: ignore[arg-type]
        return frame(self.outside, self.inside, TCP, body)

    def datagram(self, *, leaves: bool, data: int = 4) -> bytes:
        """A UDP frame."""
        if leaves:
            head = struct.pack("!HHHH", self.inside_port, self.outside_port, 8 + data, 0)
            return frame(self.inside, self.outside, UDP, head + bytes(data))
        head = struct.pack("!HHHH", self.outside_port, self.inside_port, 8 + data, 0)
        return frame(self.outside, self.inside, UDP, head + bytes(data))

    def echo(self, *, leaves: bool, reply: bool, identifier: int = 77) -> bytes:
        """An ICMP echo request or reply."""
        kinds = (8, 0) if self.family == 4 else (128, 129)
        body = struct.pack("!BBHHH", kinds[reply], 0, 0, identifier, 1)
        protocol = ICMP if self.family == 4 else ICMP6
        ends = (self.inside, self.outside) if leaves else (self.outside, self.inside)
        return frame(*ends, protocol, body)

    def error(self, inner: bytes, source: str | None = None, kind: int | None = None) -> bytes:
        """An ICMP error (default: destination unreachable) about a frame of ours, from some router."""
        kind = kind if kind is not None else (3 if self.family == 4 else 1)
        body = struct.pack("!BBHI", kind, 1, 0, 0) + inner[14 : 14 + (28 if self.family == 4 else 48)]
        router = source or ("203.0.113.1" if self.family == 4 else "2001:db8:3::1")
        return frame(router, self.inside, ICMP if self.family == 4 else ICMP6, body)

    # -- the two programs

    def out(self, flags: int, seq: int, ack: int = 0, data: int = 0, **header: object) -> None:
        """Our end sends TCP."""
        self.firewall.leave(self.from_inside(flags, seq, ack, data, **header))

    def come(self, flags: int, seq: int, ack: int = 0, data: int = 0, **header: object) -> Reason:
        """The peer, or whoever says so, sends TCP: under which reason it was counted."""
        return self.firewall.run(self.from_outside(flags, seq, ack, data, **header)).reason

    def receive(self, packet: bytes) -> Answer:
        """Any frame comes in."""
        return self.firewall.run(packet)

    # -- shapes

    def connect(self, ours: int = 1000, theirs: int = 5000, *, window: int = 2000) -> tuple[int, int]:
        """Our end opens a connection; answers the next numbers of both."""
        self.out(SYN, ours, options=scale(7), window=window)
        assert self.come(SYN | ACK, theirs, ours + 1, options=scale(7)) is Reason.FLOW
        self.out(ACK, ours + 1, theirs + 1, window=501)
        return ours + 1, theirs + 1

    def accept(self, ours: int = 1000, theirs: int = 5000) -> tuple[int, int]:
        """The peer opens a connection to our end; answers the next numbers of both."""
        assert self.come(SYN, theirs, options=scale(7)) is Reason.DEFAULT
        self.out(SYN | ACK, ours, theirs + 1, options=scale(7))
        assert self.come(ACK, theirs + 1, ours + 1, window=501) is Reason.FLOW
        return ours + 1, theirs + 1


# -- the tables


def control(
    firewall: Firewall,
    *,
    timeouts: tuple[float, ...] = TIMEOUTS,
    per_second: int = 1_000_000,
    adopt_until: int = 0,
    guarded_until: int = 0,
) -> None:
    """Say how flows are kept. Ends are nanoseconds of CLOCK_MONOTONIC."""
    numbers = [int(seconds * SECOND) for seconds in timeouts]
    value = struct.pack("=12QII", adopt_until, guarded_until, *numbers, per_second, 0)
    libbpf.map_update(firewall.map_fd("flow_control"), bytes(4), value)


def entries(firewall: Firewall, name: str) -> dict[bytes, layout_flows.Flow]:
    """The flows of a table by key."""
    found = {}
    key = libbpf.map_next_key(firewall.map_fd(name), None, 44)
    while key is not None:
        raw = libbpf.map_lookup(firewall.map_fd(name), key, c.sizeof(layout_flows.Flow))
        if raw is not None:
            found[key] = layout_flows.Flow.from_buffer_copy(raw)
        key = libbpf.map_next_key(firewall.map_fd(name), key, 44)
    return found


def only(firewall: Firewall) -> tuple[str, layout_flows.Flow]:
    """The one flow that there is, and its table."""
    found = [(name, flow) for name in ("flows", "half_flows") for flow in entries(firewall, name).values()]
    assert len(found) == 1, found
    return found[0]


def state(firewall: Firewall) -> FlowState:
    """What the one flow is stored as."""
    return FlowState(only(firewall)[1].state)


def grow_older(firewall: Firewall, seconds: float) -> None:
    """Let time pass for every flow: they were seen so much earlier."""
    for name in ("flows", "half_flows"):
        for key, flow in entries(firewall, name).items():
            flow.seen -= int(seconds * SECOND)
            libbpf.map_update(firewall.map_fd(name), key, bytes(flow))


def events(firewall: Firewall) -> dict[str, int]:
    """What was counted of the tables, without zeros."""
    counts = {}
    for event in FlowEvent:
        raw = libbpf.map_lookup(firewall.map_fd("flow_events"), struct.pack("=I", event), 8 * firewall.cpus)
        assert raw is not None
        if total := sum(struct.unpack(f"={firewall.cpus}Q", raw)):
            counts[event.name.lower()] = total
    return counts


def now() -> int:
    """CLOCK_MONOTONIC."""
    return time.monotonic_ns()
