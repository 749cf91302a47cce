# SPDX-License-Identifier: Apache-2.0
"""Packets with a number, and what each deserves on a gateway with these lists.

The number is in the IPv4 identification or the IPv6 flow label, by which a packet is known again behind the
filter. What it deserves is worked out by linear scan over the raw lists; it shares no code with the product.
"""

import struct
from dataclasses import dataclass
from functools import cache
from ipaddress import ip_address, ip_network
from typing import NamedTuple

from tests.unit.logic.oracle import RawList, judge

EXTERNAL, INTERNAL = "g0", "g1"
NETWORKS = ("198.19.0.0/24", "192.168.40.0/22", "2001:2:0:2::/64", "2001:db8:40::/48")
MARTIANS = ("0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/4", "240.0.0.0/4", "::/128", "::1/128", "ff00::/8")
OWN = ("198.18.0.1", "198.19.0.1", "2001:2:0:1::1", "2001:2:0:2::1")  # the gateway's, of either side
SOON, LATER = 2.0, 3600.0  # seconds after the lists were filled, when timed entries end

FEED = (
    *("203.0.113.0/25", "203.0.113.200", "198.51.100.0/24", "198.51.100.77", "192.0.2.128/26", "10.0.0.0/9"),
    *("10.200.0.0/15", "172.16.5.4/30", "0.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4"),
    *("192.168.40.9", "192.168.42.0/25", "2001:db8:bad::/48", "2001:db8:bad:1::7", "2001:db8:1:2::/64"),
    *("2001:db8:1:3::8/126", "2001:db8:9::9", "2001:db8:40:9::/64", "fe80::/127", "ff00::/8", "fc00::/7"),
)
FRIENDS = (
    *("198.51.100.64/27", "203.0.113.200", "10.1.2.0/24", "192.0.2.7", "192.168.41.0/24", "192.168.42.5"),
    *("2001:db8:bad:8000::/49", "2001:db8:bad:1::7", "2001:db8:40:8::/64", "2001:db8:600d::1"),
)
TIMED_BLOCK = {
    "100.64.0.0/16": SOON,
    "100.64.7.0/24": LATER,
    "100.64.7.9": SOON,
    "100.64.8.0/24": SOON,
    "100.64.9.9": LATER,
    "198.18.77.7": SOON,
    "192.168.43.3": SOON,
    "2001:db8:71::/48": SOON,
    "2001:db8:71:7::/64": LATER,
    "2001:db8:72::1": SOON,
    "2001:db8:72::2": LATER,
}
TIMED_ALLOW = {
    "198.51.100.200": SOON,
    "203.0.113.64/27": SOON,
    "100.64.7.128/25": LATER,
    "100.64.0.64/26": SOON,
    "2001:db8:bad:4::/64": SOON,
    "2001:db8:71:7::42": SOON,
}
LISTS = (
    RawList("feed", "block", FEED),
    RawList("friends", "allow", FRIENDS),
    RawList("watched", "block", ("192.0.2.0/25", "2001:db8:77::/48"), monitor=True),
    RawList("watched-friends", "allow", ("198.51.100.128/26", "2001:db8:bad:2::/64"), monitor=True),
    RawList("operator-allow-timed", "allow", tuple(TIMED_ALLOW), ends=tuple(TIMED_ALLOW.values())),
    RawList("operator-block-timed", "block", tuple(TIMED_BLOCK), ends=tuple(TIMED_BLOCK.values())),
)


class Way(NamedTuple):
    """The operator's own way in."""

    interface: str
    source: str
    address: str
    port: int


WAYS = (
    Way(EXTERNAL, "198.18.0.0/24", "198.18.0.1", 22),
    Way(EXTERNAL, "203.0.113.0/28", "198.18.0.1", 22),
    Way(EXTERNAL, "2001:db8:bad::/64", "2001:2:0:1::1", 22),
    Way(INTERNAL, "192.168.40.0/28", "198.19.0.1", 2222),
    Way(INTERNAL, "2001:db8:40:9::/64", "2001:2:0:2::1", 2222),
)

TCP, UDP, ICMP, ICMP6 = 6, 17, 1, 58
AUTHENTICATION = 51
TUNNELS = {4, 41, 47}
ICMP_ERRORS = {3, 4, 5, 11, 12}
_MACS = {
    EXTERNAL: bytes.fromhex("020000000101020000000102"),
    INTERNAL: bytes.fromhex("020000000201020000000202"),
}
_LINK, _LINK_GROUPS = ip_network("fe80::/10"), ip_network("ff02::/16")
_UNASKED = ("224.0.0.0/4", "169.254.0.0/16", "255.255.255.255/32", "ff00::/8", "fe80::/10")


class Upper(NamedTuple):
    """A header above IP with what little is behind it. ports, of TCP and UDP: source and destination."""

    protocol: int
    content: bytes
    ports: tuple[int, int] = (0, 0)
    icmp_type: int = -1
    malformed: bool = False


@dataclass(frozen=True)
class Packet:
    """One packet. plain: without IPv4 options and IPv6 extension headers."""

    number: int
    interface: str
    source: str
    destination: str
    upper: Upper
    plain: bool = True
    hops: int = 64
    extensions: tuple[tuple[int, bytes], ...] = ()

    @property
    def family(self) -> int:
        """4 or 6."""
        return ip_address(self.source).version

    @property
    def frame(self) -> bytes:
        """What goes onto the wire."""
        addresses = ip_address(self.source).packed + ip_address(self.destination).packed
        if self.family == 6:
            following, content = _chained(self.extensions, self.upper)
            head = struct.pack("!IHBB", 0x60000000 | self.number, len(content), following, self.hops)
            return _MACS[self.interface] + b"\x86\xdd" + head + addresses + content
        options = b"" if self.plain else b"\x01\x01\x01\0"
        length = 20 + len(options)
        total = length + len(self.upper.content)
        fields = (0x40 | length // 4, 0, total, self.number, 0, self.hops, self.upper.protocol, 0)
        head = struct.pack("!BBHHHBBH", *fields) + addresses + options
        head = head[:10] + struct.pack("!H", _checksum(head)) + head[12:]
        return _MACS[self.interface] + b"\x08\x00" + head + self.upper.content

    def deserves(self, later: float) -> str:
        """The reason for its verdict, so many seconds after the lists were filled."""
        return self._before_lists() or self._by_lists(later) or self._unlisted()

    def _before_lists(self) -> str:
        if self.upper.malformed:
            return "malformed-tcp" if self.upper.protocol == TCP else "malformed-udp"
        if reason := self._essential():
            return reason
        if self.interface == INTERNAL and self._is_spoofed():
            return "spoofed"
        if self.interface == EXTERNAL and is_in(self.source, MARTIANS):
            return "martian"
        if self.interface == EXTERNAL and is_in(self.source, (*NETWORKS, *OWN)):
            return "spoofed"
        return "failsafe" if self._is_failsafe() else ""

    def _by_lists(self, later: float) -> str:
        if verdict := said(self.source, later):
            return f"{verdict}-list"
        if self.interface == INTERNAL and not is_in(self.destination, _UNASKED):
            verdict = said(self.destination, later)
            return f"destination-{verdict}-list" if verdict else ""
        return ""

    def _essential(self) -> str:
        ports = set(self.upper.ports)
        kind = self.upper.icmp_type
        if self.upper.protocol == UDP:
            if self.family == 4 and self.destination == "255.255.255.255" and ports <= {67, 68}:
                return "dhcp"
            if ports <= {546, 547} and self._is_within_link():
                return "dhcp"
        if self.family == 6 and self.upper.protocol == ICMP6:
            if 133 <= kind <= 137 and self.hops == 255:
                return "neighbour-discovery"
            source = ip_address(self.source)
            if kind in {130, 131, 132, 143} and self.hops == 1 and (source in _LINK or not int(source)):
                return "multicast-listener"
        return ""

    def _is_within_link(self) -> bool:
        destination = ip_address(self.destination)
        return ip_address(self.source) in _LINK and (destination in _LINK or destination in _LINK_GROUPS)

    def _is_spoofed(self) -> bool:
        return not self._is_within_link() and not is_in(self.source, NETWORKS)

    def _is_failsafe(self) -> bool:
        asked = self.interface, self.destination, self.upper.ports[1]
        return (
            self.plain
            and self.upper.protocol == TCP
            and any(
                asked == (way.interface, way.address, way.port) and is_in(self.source, (way.source,))
                for way in WAYS
            )
        )

    def _unlisted(self) -> str:
        kind, protocol = self.upper.icmp_type, self.upper.protocol
        if protocol in TUNNELS:
            return "tunnel"
        if self.family == 4 and protocol == ICMP and kind in ICMP_ERRORS:
            return "icmp-error"
        return "icmp-error" if self.family == 6 and protocol == ICMP6 and kind < 128 else "default"


@cache
def said(address: str, later: float) -> str:
    """Which verdict the lists have for an address: "allow", "block" or ""."""
    return {"pass": "allow", "drop": "block", None: ""}[judge(LISTS, address, later).verdict]


@cache
def is_in(address: str, nets: tuple[str, ...]) -> bool:
    """Whether one of the prefixes holds the address."""
    return any(ip_address(address) in ip_network(net) for net in nets)


def passes(reason: str) -> bool:
    """Whether a packet goes on for which this is decided."""
    return reason not in {
        "malformed-tcp",
        "malformed-udp",
        "martian",
        "spoofed",
        "block-list",
        "destination-block-list",
    }


def _checksum(head: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(head) // 2}H", head))
    total = (total & 0xFFFF) + (total >> 16)
    folded: int = total + (total >> 16)
    return ~folded & 0xFFFF


def _chained(extensions: tuple[tuple[int, bytes], ...], upper: Upper) -> tuple[int, bytes]:
    """The first next-header value, and everything behind the IPv6 header."""
    following, content = upper.protocol, upper.content
    for kind, body in reversed(extensions):
        size = len(body) + 2
        units = size // 4 - 2 if kind == AUTHENTICATION else size // 8 - 1
        content = bytes((following, units)) + body + content
        following = kind
    return following, content


def tcp(port: int = 443, offset: int = 5) -> Upper:
    """A SYN."""
    content = struct.pack("!HHIIBBHHH", 40000, port, 1, 0, offset << 4, 2, 8192, 0, 0)
    return Upper(TCP, content, (40000, port), malformed=offset < 5)


def udp(source: int = 40000, destination: int = 53, length: int = 12) -> Upper:
    """A datagram of four bytes, whatever its header says of them."""
    content = struct.pack("!HHHH4x", source, destination, length, 0)
    return Upper(UDP, content, (source, destination), malformed=length < 8)


def icmp(protocol: int, kind: int) -> Upper:
    """A message of some type."""
    return Upper(protocol, struct.pack("!BBHI", kind, 0, 0, 0) + bytes(20), icmp_type=kind)


def other(protocol: int) -> Upper:
    """Something that is not read further."""
    return Upper(protocol, bytes(24))
