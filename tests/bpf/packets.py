# SPDX-License-Identifier: Apache-2.0
"""Words of the packet tests: addresses of the documentation ranges and the packets made most often."""

from typing import Any

from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

SOURCE, OTHER = "198.51.100.7", "203.0.113.9"
SOURCE6, OTHER6 = "2001:db8:bad::7", "2001:db8:600d::9"
GATEWAY, GATEWAY6 = "192.0.2.1", "2001:db8:1::1"
HOST, HOST6 = "192.0.2.10", "2001:db8:1::10"  # behind the gateway
LINK_LOCAL, ALL_NODES = "fe80::1", "ff02::1"
ETHER: Any = Ether(dst="02:00:00:00:00:01", src="02:00:00:00:00:02")
ADDRESSES = bytes.fromhex("020000000001020000000002")


def frame4(source: str = SOURCE, destination: str = HOST) -> Any:
    """Ethernet and IPv4 of a packet from *source*; put the rest behind it with /."""
    return ETHER / IP(src=source, dst=destination)


def frame6(source: str = SOURCE6, destination: str = HOST6, **fields: Any) -> Any:
    """Ethernet and IPv6 of a packet from *source*."""
    return ETHER / IPv6(src=source, dst=destination, **fields)


def tcp(port: int = 443, **fields: Any) -> Any:
    """A TCP segment to *port*."""
    return TCP(sport=40000, dport=port, **fields)


def udp(port: int = 53, **fields: Any) -> Any:
    """A UDP datagram to *port*."""
    return UDP(sport=40000, dport=port, **fields)


def tagged(inner: Any, *types: int) -> bytes:
    """The frame *inner* with VLAN tags of these EtherTypes in front, the outermost first."""
    packet = bytes(inner)
    tags = b"".join(each.to_bytes(2, "big") + (100 + i).to_bytes(2, "big") for i, each in enumerate(types))
    return packet[:12] + tags + packet[12:]


def raw(ethertype: int, payload: bytes = b"") -> bytes:
    """An Ethernet frame of any type and content."""
    return ADDRESSES + ethertype.to_bytes(2, "big") + payload


def patched(packet: Any, offset: int, value: bytes) -> bytes:
    """The packet's bytes with those from *offset* on replaced."""
    content = bytearray(bytes(packet))
    content[offset : offset + len(value)] = value
    return bytes(content)
