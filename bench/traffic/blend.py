# SPDX-License-Identifier: Apache-2.0
"""Several classes of IPv4 packets in one stream, each with its own sources and kind; some are TCP SYNs.

bpf/xdpgen.bpf.c (xdpgen_blend) takes the class of each packet from a pattern. The id of a packet is the
number of its source within the class.
"""

import ipaddress
import struct
from dataclasses import dataclass

from bench.traffic.base import Array, Flow, Kind
from bench.traffic.frame import TEMPLATE_BYTES, Template, checksum_sum, template

SYN, ACK = 0x02, 0x10
SMALLEST = 66
"""Smallest frame: that of a TCP packet with its payload, for all classes alike."""

_TCP = 6
_TCP_AT, _IP_AT, _PAYLOAD_BYTES = 34, 14, 12
_TCP_HEADER = struct.Struct("!HHIIBBHHH")


@dataclass(frozen=True, eq=False)
class Part:
    """One class. tcp_flags: its packets are TCP with these; else they are UDP."""

    kind: Kind
    sources: Array
    tcp_flags: int | None = None


@dataclass(frozen=True, eq=False)
class Blend:
    """*pattern* says of each packet of a turn which part it is of. Ports are (source, destination).

    generators: from how many CPUs at once a trial sends it, each of them all of it.
    """

    parts: tuple[Part, ...]
    pattern: bytes
    destination: str
    size: int = SMALLEST
    ports: tuple[int, int] = (1024, 9)
    generators: int = 1

    def __post_init__(self) -> None:
        if not self.parts or len(self.parts) > 8:
            raise ValueError(f"a blend has 1 to 8 parts, not {len(self.parts)}")
        if len({part.kind for part in self.parts}) < len(self.parts):
            raise ValueError("parts of a blend are told apart by their kinds: two have the same")
        if not self.pattern or len(self.pattern) > 4096 or max(self.pattern) >= len(self.parts):
            raise ValueError("pattern: expected 1 to 4096 numbers of parts")

    @property
    def columns(self) -> tuple[Array, ...]:
        """Its sources as they are uploaded, one array a part."""
        return tuple(part.sources for part in self.parts)

    @property
    def counted(self) -> tuple[tuple[int, Kind], ...]:
        """(family, kind) of everything in it, as the sink counts."""
        return tuple((4, part.kind) for part in self.parts)

    @property
    def frame_bytes(self) -> int:
        """Size of each frame."""
        return max(self.size, SMALLEST)

    @property
    def stamp(self) -> bool:
        """Its packets carry no time."""
        return False


def layout(blend: Blend, part: Part, source_mac: str, destination_mac: str) -> tuple[Template, int]:
    """The frames of a part, and the sum of what TCP's checksum covers (0 for UDP)."""
    flow = Flow(4, part.sources, blend.destination, blend.frame_bytes, part.kind, blend.ports)
    made = template(flow, 4, source_mac, destination_mac)
    if part.tcp_flags is None:
        return made, 0
    words = bytearray(made.words)
    payload = bytes(words[42 : 42 + _PAYLOAD_BYTES])
    words[_IP_AT + 9] = _TCP
    tcp = _TCP_HEADER.pack(*blend.ports, 1, 0, 5 << 4, part.tcp_flags, 0xFFFF, 0, 0)
    words[_TCP_AT:] = (tcp + payload).ljust(TEMPLATE_BYTES - _TCP_AT, b"\0")
    length = blend.frame_bytes - _TCP_AT
    pseudo = ipaddress.IPv4Address(blend.destination).packed + struct.pack("!HH", _TCP, length)
    covered = bytes(words[_IP_AT:_TCP_AT])
    return Template(bytes(words), checksum_sum(covered)), checksum_sum(pseudo + tcp + payload)
