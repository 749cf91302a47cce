# SPDX-License-Identifier: Apache-2.0
"""What a frame deserves, worked out slowly: the judge of the differential tests.

Written from RFC 791, 793, 768, 792, 1858, 4302, 4443, 4861, 3810, 8200, IEEE 802.1Q and the meaning of
verdicts and reasons; it shares no code with the product. Lists are raw text, searched line by line.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import NoReturn

Address = IPv4Address | IPv6Address
Verdict = tuple[str, str]  # ("pass" | "drop", the reason's label)

TAGS = {0x8100, 0x88A8}
ESSENTIAL_TYPES = {0x0806: "arp", 0x8809: "lacp", 0x888E: "eapol"}
TCP, UDP, ICMP4, ICMP6 = 6, 17, 1, 58
HOP_BY_HOP, FRAGMENT, AUTHENTICATION = 0, 44, 51
EXTENSIONS = {HOP_BY_HOP, 43, FRAGMENT, AUTHENTICATION, 60, 135, 139, 140}
TUNNELS = {4, 41, 47}
ICMP4_ERRORS = {3, 4, 5, 11, 12}
MLD = {130, 131, 132, 143}
LINK_LOCAL, LINK_MULTICAST = ip_network("fe80::/10"), ip_network("ff02::/16")


@dataclass(frozen=True)
class NamedList:
    """A list as the operator writes it."""

    verdict: str  # "block" | "allow"
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Failsafe:
    """The gateway's own service and who may always reach it. The limit is not modelled."""

    address: str
    port: int
    source: str


@dataclass(frozen=True)
class Policy:
    """What the verdict depends on, besides the frame. networks: behind the interface, None: any source."""

    lists: tuple[NamedList, ...] = ()
    failsafe: tuple[Failsafe, ...] = ()
    unparsed: str = "drop"
    networks: tuple[str, ...] | None = None
    destinations: bool = False


@dataclass
class Packet:
    """What the headers say."""

    source: Address
    destination: Address
    hop_limit: int
    protocol: int
    payload: bytes
    part: str = "whole"  # "whole" | "first" | "later"
    tagged: bool = False
    plain: bool = True  # no IPv4 option and no extension header


class Refused(Exception):
    """A header is impossible; the argument is the reason."""


def refuse(reason: str) -> NoReturn:
    """End the dissection."""
    raise Refused(reason)


def judge(frame: bytes, policy: Policy) -> Verdict:
    """The verdict and its reason."""
    try:
        ethertype, payload, tags = untag(frame)
        if ethertype == 0x0800:
            packet = dissect4(payload)
        elif ethertype == 0x86DD:
            packet = dissect6(payload)
        else:
            return other_type(ethertype, policy)
        packet.tagged = tags > 0
        header = transport(packet)
    except Refused as refused:
        return "drop", str(refused)
    return decide(packet, header, policy)


def untag(frame: bytes) -> tuple[int, bytes, int]:
    """EtherType and payload behind at most two tags, and how many there were."""
    at, tags = 12, 0
    if len(frame) < 14:
        refuse("truncated")
    while int.from_bytes(frame[at : at + 2], "big") in TAGS:
        if tags == 2:
            refuse("vlan-depth")
        at, tags = at + 4, tags + 1
        if len(frame) < at + 2:
            refuse("truncated")
    return int.from_bytes(frame[at : at + 2], "big"), frame[at + 2 :], tags


def other_type(ethertype: int, policy: Policy) -> Verdict:
    """What is neither IPv4 nor IPv6."""
    if ethertype in ESSENTIAL_TYPES:
        return "pass", ESSENTIAL_TYPES[ethertype]
    return policy.unparsed, f"unparsed-{policy.unparsed}"


def dissect4(data: bytes) -> Packet:
    """RFC 791; what is behind the total length is padding."""
    if len(data) < 20:
        refuse("truncated")
    header, total = data[0] % 16 * 4, data[2] * 256 + data[3]
    if data[0] // 16 != 4 or header < 20 or total < header:
        refuse("malformed-ipv4")
    if total > len(data):
        refuse("truncated")
    offset, more = (data[6] % 32) * 256 + data[7], bool(data[6] & 0x20)
    part = "later" if offset else "first" if more else "whole"
    if offset == 1 and data[9] == TCP:
        refuse("fragment-overlap")
    source, destination = IPv4Address(data[12:16]), IPv4Address(data[16:20])
    return Packet(source, destination, data[8], data[9], data[header:total], part, plain=header == 20)


def dissect6(data: bytes) -> Packet:
    """RFC 8200; what is behind the payload length is padding."""
    if len(data) < 40:
        refuse("truncated")
    if data[0] // 16 != 6:
        refuse("malformed-ipv6")
    length = data[4] * 256 + data[5]
    if length > len(data) - 40:
        refuse("truncated")
    source, destination = IPv6Address(data[8:24]), IPv6Address(data[24:40])
    packet = Packet(source, destination, data[7], data[6], data[40 : 40 + length])
    seen = 0
    while packet.part != "later" and packet.protocol in EXTENSIONS:
        if seen == 8:
            refuse("extension-depth")
        skip_extension(packet, is_first=seen == 0)
        seen += 1
    packet.plain = seen == 0
    return packet


def skip_extension(packet: Packet, *, is_first: bool) -> None:
    """Take one extension header off the front of the payload."""
    kind, rest = packet.protocol, packet.payload
    if kind == HOP_BY_HOP and not is_first:
        refuse("malformed-ipv6")
    if len(rest) < 8:
        cut(packet)
    size = {FRAGMENT: 8, AUTHENTICATION: (rest[1] + 2) * 4}.get(kind, (rest[1] + 1) * 8)
    if kind == FRAGMENT:
        offset, more = (rest[2] * 256 + rest[3]) // 8, rest[3] % 2
        if offset == 1 and rest[0] == TCP:
            refuse("fragment-overlap")
        if offset:
            packet.part = "later"
        elif more:
            packet.part = "first"
    if len(rest) < size:
        cut(packet)
    packet.protocol, packet.payload = rest[0], rest[size:]


def cut(packet: Packet) -> NoReturn:
    """A header does not end within the packet; a first fragment must hold all of them (RFC 1858, 7112)."""
    refuse("fragment-tiny" if packet.part == "first" else "truncated")


@dataclass(frozen=True)
class Transport:
    """What was read behind the IP headers; None where there is no such field."""

    ports: tuple[int, int] | None = None
    icmp_type: int | None = None


def transport(packet: Packet) -> Transport:
    """The header of TCP, UDP or the family's own ICMP, unless this is a later fragment."""
    if packet.part == "later":
        return Transport()
    if packet.protocol == TCP:
        return tcp(packet)
    if packet.protocol == UDP:
        return udp(packet)
    if packet.protocol == (ICMP4 if packet.source.version == 4 else ICMP6):
        if len(packet.payload) < 8:
            cut(packet)
        return Transport(icmp_type=packet.payload[0])
    return Transport()


def ports(data: bytes) -> tuple[int, int]:
    """Source and destination port."""
    return int.from_bytes(data[0:2], "big"), int.from_bytes(data[2:4], "big")


def tcp(packet: Packet) -> Transport:
    """RFC 793."""
    data = packet.payload
    if len(data) < 20:
        cut(packet)
    header = data[12] // 16 * 4
    if header < 20:
        refuse("malformed-tcp")
    if header > len(data):
        refuse("fragment-tiny" if packet.part == "first" else "malformed-tcp")
    return Transport(ports(data))


def udp(packet: Packet) -> Transport:
    """RFC 768; the length is that of the whole datagram."""
    data = packet.payload
    if len(data) < 8:
        cut(packet)
    length = int.from_bytes(data[4:6], "big")
    if length < 8 or (packet.part == "whole" and length > len(data)):
        refuse("malformed-udp")
    return Transport(ports(data))


def decide(packet: Packet, header: Transport, policy: Policy) -> Verdict:
    """Essential traffic, spoofed sources, failsafe, lists, and what is left for the stack."""
    if reason := essential(packet, header):
        return "pass", reason
    if policy.networks is not None and is_spoofed(packet, policy.networks):
        return "drop", "spoofed"
    if is_failsafe(packet, header, policy.failsafe):
        return "pass", "failsafe"
    found = by_lists(policy, packet.source, "")
    if not found and policy.destinations and is_unicast(packet.destination):
        found = by_lists(policy, packet.destination, "destination-")
    return found or ("pass", unlisted(packet, header))


def by_lists(policy: Policy, address: Address, prefix: str) -> Verdict | None:
    """What the lists say of an address, if anything; *prefix* goes before the reason."""
    found = {each.verdict for each in policy.lists if covers(each.lines, address)}
    if "allow" in found:
        return "pass", f"{prefix}allow-list"
    return ("drop", f"{prefix}block-list") if "block" in found else None


def is_spoofed(packet: Packet, networks: Sequence[str]) -> bool:
    """Whether the source lives elsewhere; link-local ones live everywhere, but only talk within the link."""
    within = packet.destination in LINK_LOCAL or packet.destination in LINK_MULTICAST
    if packet.source in LINK_LOCAL and within:
        return False
    return not covers(networks, packet.source)


def is_unicast(address: Address) -> bool:
    """Whether it may be an address of somebody beyond the link."""
    return not (address.is_multicast or address.is_link_local or str(address) == "255.255.255.255")


def essential(packet: Packet, header: Transport) -> str | None:
    """What the link needs and no router has forwarded."""
    if packet.protocol == UDP and header.ports and is_local_dhcp(packet, header.ports):
        return "dhcp"
    if packet.source.version == 4 or header.icmp_type is None:
        return None
    if header.icmp_type in range(133, 138) and packet.hop_limit == 255:
        return "neighbour-discovery"
    on_link = packet.source in LINK_LOCAL or packet.source == ip_address("::")
    if header.icmp_type in MLD and packet.hop_limit == 1 and on_link:
        return "multicast-listener"
    return None


def is_local_dhcp(packet: Packet, pair: tuple[int, int]) -> bool:
    """By broadcast, or within the link."""
    if packet.source.version == 4:
        return set(pair) <= {67, 68} and str(packet.destination) == "255.255.255.255"
    to_link = packet.destination in LINK_LOCAL or packet.destination in LINK_MULTICAST
    return set(pair) <= {546, 547} and packet.source in LINK_LOCAL and to_link


def is_failsafe(packet: Packet, header: Transport, entries: Sequence[Failsafe]) -> bool:
    """TCP of an untagged, plain packet from an admitted source to the gateway itself."""
    if packet.protocol != TCP or header.ports is None or packet.tagged or not packet.plain:
        return False
    return any(
        packet.destination == ip_address(each.address)
        and header.ports[1] == each.port
        and covers((each.source,), packet.source)
        for each in entries
    )


def covers(lines: Sequence[str], source: Address) -> bool:
    """Whether one of the lines names the address."""
    return any(source in parsed(line) for line in lines)


_PARSED: dict[str, IPv4Network | IPv6Network] = {}


def parsed(line: str) -> IPv4Network | IPv6Network:
    """The network of a line; remembered, since parsing text is the slow part."""
    if line not in _PARSED:
        _PARSED[line] = ip_network(line, strict=False)
    return _PARSED[line]


def unlisted(packet: Packet, header: Transport) -> str:
    """Why the stack gets it."""
    if packet.part == "later":
        return "fragment"
    if packet.protocol in TUNNELS:
        return "tunnel"
    if header.icmp_type is not None:
        is_error = header.icmp_type in ICMP4_ERRORS if packet.source.version == 4 else header.icmp_type < 128
        return "icmp-error" if is_error else "default"
    return "default"
