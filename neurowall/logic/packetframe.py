# SPDX-License-Identifier: Apache-2.0
"""The frame of a packet in words, as it would arrive."""

import struct
from ipaddress import ip_address

from neurowall.logic.packettext import FLAGS, Packet

_MACS = bytes.fromhex("020000000001 020000000002")
_NUMBERS = {"icmp": 1, "ipip": 4, "tcp": 6, "udp": 17, "ipv6": 41, "gre": 47, "esp": 50, "ah": 51}
_NUMBERS |= {"icmpv6": 58, "sctp": 132}
_AH = bytes((59, 4)) + bytes(22)  # nothing behind it, which IPv6 reads as an extension header


def frame_of(packet: Packet) -> bytes:
    """Ethernet, IP and the transport header; zeros behind it up to the packet's size. Checksums are 0."""
    source, destination = (ip_address(text).packed for text in (packet.source, packet.destination))
    content = _transport(packet)
    header = 20 if packet.family == 4 else 40
    content += bytes(max(0, packet.size - header - len(content)))
    number = _NUMBERS[packet.protocol]
    if packet.family == 4:
        total = header + len(content)
        head = struct.pack("!BBHHHBBH", 0x45, 0, total, 1, 0, packet.hop_limit, number, 0)
        return _MACS + b"\x08\x00" + head + source + destination + content
    head = struct.pack("!IHBB", 6 << 28, len(content), number, packet.hop_limit)
    return _MACS + b"\x86\xdd" + head + source + destination + content


def _transport(packet: Packet) -> bytes:
    ports = packet.source_port or 0, packet.destination_port or 0
    if packet.protocol == "tcp":
        flags = sum(1 << FLAGS.index(each) for each in set(packet.tcp_flags))
        numbers = packet.sequence, packet.acknowledgement
        return struct.pack("!HHIIBBHHH", *ports, *numbers, 5 << 4, flags, 65535, 0, 0)
    if packet.protocol == "udp":
        data = max(0, packet.size - (20 if packet.family == 4 else 40) - 8)
        return struct.pack("!HHHH", *ports, 8 + data, 0)
    if packet.protocol == "sctp":
        return struct.pack("!HHII", *ports, 0, 0)
    if packet.icmp_type is not None:
        return struct.pack("!BBHI", packet.icmp_type, 0, 0, 0)
    return _AH if packet.protocol == "ah" else bytes(24)
