# SPDX-License-Identifier: Apache-2.0
"""The template of a generated frame: all its bytes but source, checksum, id and stamp.

bpf/xdpgen.bpf.c writes those into each packet, at the offsets of its enum xdpgen_offset. Pure.
"""

import ipaddress
import struct
from dataclasses import dataclass

from bench.traffic.base import Flow

MAGIC = 0x4E57626E
"""'NWbn', BENCHMARK_MAGIC of bpf/benchmark.h."""
MAGIC_STAMPED = 0x4E576273
"""'NWbs', BENCHMARK_MAGIC_STAMPED: eight bytes of time follow the id."""
TEMPLATE_BYTES = 80
"""Bytes that the program takes from the template: ten 64-bit words, the longest header and its payload."""

_UDP, _TTL, _DONT_FRAGMENT = 17, 64, 0x4000
_IPV4 = struct.Struct("!BBHHHBBH4s4s")
_IPV6 = struct.Struct("!IHBB16s16s")
_UDP_HEADER = struct.Struct("!HHHH")
_PAYLOAD = struct.Struct("!III")


@dataclass(frozen=True)
class Template:
    """*words* is TEMPLATE_BYTES long; *sum* the folded sum of the 16-bit words that the checksum covers.

    sum adds words as this machine reads them from memory (RFC 1071 section 2: the byte order does not matter
    as long as the result is stored the same way).
    """

    words: bytes
    sum: int


def template(flow: Flow, family: int, source_mac: str, destination_mac: str) -> Template:
    """Lay out the frames that *flow* has of *family*, between two MAC addresses ('02:..' notation)."""
    ethernet = _mac(destination_mac) + _mac(source_mac)
    payload = _PAYLOAD.pack(MAGIC_STAMPED if flow.stamp else MAGIC, flow.kind, 0)
    _, destination = flow.parts[family]
    if family == 4:
        header, covered = _headers4(flow, destination)
    else:
        header, covered = _headers6(flow, destination)
        covered += payload
    words = (ethernet + header + payload).ljust(TEMPLATE_BYTES, b"\0")
    return Template(words, checksum_sum(covered))


def checksum_sum(data: bytes) -> int:
    """One's complement sum of the 16-bit words of *data*, folded to 16 bits, not complemented."""
    words = struct.unpack(f"={(len(data) + 1) // 2}H", data + bytes(len(data) % 2))
    total = int(sum(words))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def _headers4(flow: Flow, destination: str) -> tuple[bytes, bytes]:
    """EtherType, IPv4 and UDP headers; and the IPv4 header, which its checksum covers. No UDP checksum."""
    total = flow.frame_bytes - 14
    server = ipaddress.IPv4Address(destination).packed
    ip = _IPV4.pack(0x45, 0, total, 0, _DONT_FRAGMENT, _TTL, _UDP, 0, bytes(4), server)
    return b"\x08\x00" + ip + _UDP_HEADER.pack(*flow.ports, total - 20, 0), ip


def _headers6(flow: Flow, destination: str) -> tuple[bytes, bytes]:
    """EtherType, IPv6 and UDP headers; and pseudo-header and UDP header, which UDP's checksum covers."""
    length = flow.frame_bytes - 14 - 40
    server = ipaddress.IPv6Address(destination).packed
    ip = _IPV6.pack(6 << 28, length, _UDP, _TTL, bytes(16), server)
    udp = _UDP_HEADER.pack(*flow.ports, length, 0)
    return b"\x86\xdd" + ip + udp, server + struct.pack("!II", length, _UDP) + udp


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))
