# SPDX-License-Identifier: Apache-2.0
"""One corpus of packets for both forms of the filter.

Left out is what the two cannot both see: fragments, VLAN tags, frames that the IP layer discards before
nftables is asked, and, apart in `behind_authentication`, what is behind an IPv6 authentication header.
"""

from collections.abc import Iterator
from functools import cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from itertools import product
from random import Random
from typing import Any

from tests.net.samepackets import (
    AUTHENTICATION,
    EXTERNAL,
    ICMP,
    ICMP6,
    INTERNAL,
    LISTS,
    NETWORKS,
    OWN,
    WAYS,
    Packet,
    Upper,
    icmp,
    is_in,
    other,
    tcp,
    udp,
)

SIDES = (EXTERNAL, INTERNAL)
OTHER_SIDE = {EXTERNAL: INTERNAL, INTERNAL: EXTERNAL}
HOME = {4: ("198.19.0.2", "192.168.43.7"), 6: ("2001:2:0:2::2", "2001:db8:40::7")}
AWAY = {4: ("198.18.0.2", "192.0.2.65"), 6: ("2001:2:0:1::2", "2001:db8:77::1")}

HOP_BY_HOP, ROUTING, DESTINATION = 0, 43, 60
_PADDING = b"\x01\x04\0\0\0\0"  # the option PadN
_ROUTER_ALERT = b"\x05\x02\0\0\x01\0"
CHAINS = (
    ((HOP_BY_HOP, _PADDING),),
    ((DESTINATION, _PADDING), (DESTINATION, _PADDING)),
    ((HOP_BY_HOP, _PADDING), (ROUTING, b"\x02\0" + bytes(20)), (DESTINATION, _PADDING)),
    ((HOP_BY_HOP, _PADDING), *((DESTINATION, _PADDING),) * 7),
)

_COMMON = (tcp(), tcp(22), tcp(2222), udp(), udp(68, 67), udp(546, 547), *map(other, (4, 41, 47, 50, 132)))
UPPERS: dict[int, tuple[Upper, ...]] = {
    4: (*_COMMON, *(icmp(ICMP, kind) for kind in (8, 3, 4, 5, 11, 12, 13)), other(ICMP6)),
    6: (*_COMMON, *(icmp(ICMP6, kind) for kind in (128, 1, 4, 127, 135, 143)), other(59), other(ICMP)),
}

Made = dict[str, Any]


@cache
def corpus() -> tuple[Packet, ...]:
    """Always the same packets; number 0 is free."""
    return tuple(Packet(number, **made) for number, made in enumerate(_made(Random("same verdict")), 1))


def _made(r: Random) -> Iterator[Made]:
    yield from _edges(r)
    yield from _mixtures(r, 1500)
    yield from _impostors(r)
    yield from _services(r)
    yield from _neighbours()
    yield from _leases()
    yield from _malformed()


def _one(interface: str, source: str, destination: str, upper: Upper, **more: Any) -> Made:
    return {
        "interface": interface,
        "source": source,
        "destination": destination,
        "upper": upper,
        **more,
    }


@cache
def points(family: int) -> tuple[str, ...]:
    """Addresses in, at the edges of, and one beyond every entry and every network."""
    nets = [ip_network(text) for text in (*(text for raw in LISTS for text in raw.texts), *NETWORKS)]
    made = IPv4Address if family == 4 else IPv6Address
    found: dict[str, None] = {}
    for net in (net for net in nets if net.version == family):
        first, last = int(net[0]), int(net[-1])
        for number in (first - 1, first, first + 1, (first + last) // 2, last - 1, last, last + 1):
            if 0 <= number < 1 << net.max_prefixlen:
                found[str(made(number))] = None
    return tuple(found)


def _can_send(address: str) -> bool:
    """Whether the IP layer takes a packet from there: not from IPv6 groups, loopback or mapped ones."""
    return not is_in(address, ("ff00::/8", "::1/128", "::ffff:0:0/96"))


def _can_receive(address: str) -> bool:
    """Whether the IP layer takes a packet to there: not to IPv6 groups of scope 0 and 1."""
    parsed = ip_address(address)
    return not is_in(address, ("ff00::/8",)) or parsed.packed[1] & 15 > 1


def _edges(r: Random) -> Iterator[Made]:
    """Every point as a source from either side, and as a destination from inside and from outside."""
    for family in (4, 6):
        for address in points(family):
            home, away = r.choice(HOME[family]), r.choice(AWAY[family])
            if _can_send(address):
                yield _one(EXTERNAL, address, home, r.choice(UPPERS[family]))
                yield _one(INTERNAL, address, away, r.choice(UPPERS[family]))
            if _can_receive(address):
                yield _one(INTERNAL, home, address, r.choice(UPPERS[family]))
                yield _one(EXTERNAL, away, address, r.choice(UPPERS[family]))


def _mixtures(r: Random, count: int) -> Iterator[Made]:
    """Any source to any destination, with extension headers and options too."""
    sources = {family: [each for each in points(family) if _can_send(each)] for family in (4, 6)}
    targets = {family: [each for each in points(family) if _can_receive(each)] for family in (4, 6)}
    for _ in range(count):
        family = r.choice((4, 6))
        source = r.choice(sources[family]) if r.randrange(2) else r.choice(HOME[family])
        plain = r.randrange(3) > 0
        chain = () if plain or family == 4 else r.choice(CHAINS)
        hops = r.choice((1, 64, 255))
        upper = r.choice(UPPERS[family])
        target = r.choice(targets[family])
        yield _one(r.choice(SIDES), source, target, upper, plain=plain, hops=hops, extensions=chain)


def _impostors(r: Random) -> Iterator[Made]:
    """The gateway's own addresses and no addresses at all, from either side; and those beside them."""
    for address in (*OWN, "127.0.0.1", "126.255.255.255", "128.0.0.0", "223.255.255.255", "::", "::2"):
        family = 6 if ":" in address else 4
        near = str(ip_address(address) + 2)
        for source, target in product((address, near), (HOME[family][0], AWAY[family][0])):
            yield _one(EXTERNAL, source, target, r.choice(UPPERS[family]))
            yield _one(INTERNAL, source, target, r.choice(UPPERS[family]))


def _services(r: Random) -> Iterator[Made]:
    """The operator's way in, and everything that only looks like it."""
    for way in WAYS:
        net = ip_network(way.source)
        beside = str(ip_address(way.address) + 2)
        chain = () if net.version == 4 else r.choice(CHAINS)
        for source in map(str, (net[0], net[1], net[-1], net[-1] + 1)):
            yield _one(way.interface, source, way.address, tcp(way.port))
            yield _one(way.interface, source, way.address, tcp(way.port + 1))
            yield _one(way.interface, source, way.address, udp(40000, way.port))
            yield _one(way.interface, source, beside, tcp(way.port))
            yield _one(OTHER_SIDE[way.interface], source, way.address, tcp(way.port))
            yield _one(way.interface, source, way.address, tcp(way.port), plain=False, extensions=chain)


def _neighbours() -> Iterator[Made]:
    """Neighbour discovery and MLD, whatever the lists say of their sources; and what only looks like them."""
    for side, source in product(SIDES, ("fe80::1", "fe80::2", "::", "2001:db8:bad::1", "2001:db8:9::1")):
        for target in ("ff02::fb", "ff05::fb", "fe80::9", "2001:2:0:1::1", "2001:db8:bad::2"):
            yield _one(side, source, target, udp(5353, 5353))
            yield _one(side, source, target, icmp(ICMP6, 128))
        for kind, hops in product(range(129, 145), (255, 1, 64)):
            yield _one(side, source, "ff02::1", icmp(ICMP6, kind), hops=hops)
        for kind, hops in ((143, 1), (135, 255), (135, 64)):
            chain = ((HOP_BY_HOP, _ROUTER_ALERT),)
            upper = icmp(ICMP6, kind)
            yield _one(side, source, "ff02::16", upper, hops=hops, plain=False, extensions=chain)


def _leases() -> Iterator[Made]:
    """DHCP within the link, whatever the lists say of 0.0.0.0/8; and what only looks like it."""
    for side, ports in product(SIDES, ((68, 67), (67, 68), (68, 68), (68, 69), (40000, 67))):
        for source in ("0.0.0.0", "198.51.100.1", "192.0.2.65"):
            yield _one(side, source, "255.255.255.255", udp(*ports))
            yield _one(side, source, "198.18.0.1", udp(*ports))
    for side, ports in product(SIDES, ((546, 547), (547, 546), (547, 548))):
        for source in ("fe80::1", "fe80::2", "2001:db8:bad::1", "2001:2:0:2::9"):
            for target in ("ff02::1:2", "fe80::9", "ff05::1:3", "2001:2:0:1::1"):
                yield _one(side, source, target, udp(*ports))


def _malformed() -> Iterator[Made]:
    """Lengths that both forms refuse before anything else: from allowed sources, to essential services."""
    pairs = (
        ("192.0.2.7", "192.0.2.65"),
        ("0.0.0.0", "255.255.255.255"),
        ("198.18.0.9", "198.18.0.1"),
        ("2001:db8:600d::1", "2001:db8:77::1"),
        ("fe80::1", "ff02::1:2"),
    )
    for side, (source, target) in product(SIDES, pairs):
        for offset in range(5):
            yield _one(side, source, target, tcp(22, offset))
        for length in range(8):
            ports = (546, 547) if ":" in source else (68, 67)
            yield _one(side, source, target, udp(*ports, length))


def behind_authentication() -> Iterator[Packet]:
    """Essential traffic of a listed source, behind a header that nftables does not look behind."""
    for number, side in enumerate(SIDES, 1):
        chain = ((AUTHENTICATION, bytes(22)),)
        upper = icmp(ICMP6, 135)
        yield Packet(
            number, side, "2001:db8:bad::1", "ff02::1", upper, hops=255, plain=False, extensions=chain
        )


def fences() -> Iterator[Packet]:
    """Packets that both forms pass, number 0: once they are through, what was sent before met its fate."""
    for side, senders in ((EXTERNAL, AWAY), (INTERNAL, HOME)):
        for family, target in ((4, "203.0.113.254"), (6, "2001:db8:9::1")):
            yield Packet(0, side, senders[family][0], target, udp())
