# SPDX-License-Identifier: Apache-2.0
"""Random frames and policies for the differential tests, of the kinds that parsers get wrong.

Everything is drawn from one random.Random: a seeded one for volume, or hypothesis' own, which shrinks.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_network
from random import Random

from tests.bpf.oracle import Failsafe, NamedList, Policy

GATEWAY4, GATEWAY6, FAILSAFE_PORT = "192.0.2.1", "2001:db8:1::1", 22
# A small world, so that lists and packets meet: few nets, neighbours within them, the ends of the range.
HOSTS4 = [f"198.51.{net}.{host}" for net in (100, 101) for host in (0, 1, 7, 128, 255)]
HOSTS4 += ["203.0.113.9", "0.0.0.0", "255.255.255.255", "0.0.0.1", "10.1.2.3"]
HOSTS4 += [f"198.51.100.{host}" for host in range(10, 18)]
VERDICTS = ("block", "block", "allow")
HOSTS6 = [f"2001:db8:{net}::{host}" for net in ("bad", "bad:1", "600d") for host in ("", "1", "7", "ffff")]
HOSTS6 += ["fe80::1", "febf::1", "fec0::1", "::", "::1", "::1:2:3:4", "ffff::ffff", "2001:db8:bad:0:8000::"]
LINKS6 = ["fe80::1", "::", "::1", "::1:2:3:4", "febf::1"]
TARGETS4 = [GATEWAY4, "192.0.2.10", "255.255.255.255", "224.0.0.1"]
TARGETS6 = [GATEWAY6, "2001:db8:1::10", "ff02::1:2", "fe80::9", "ff05::1:3", "ff02::1"]
TCP, UDP, ICMP, ICMP6 = 6, 17, 1, 58
HOP, FRAGMENT, AH = 0, 44, 51
EXTENSIONS = [HOP, 43, FRAGMENT, FRAGMENT, AH, 60, 60, 135, 139, 140]
PROTOCOLS4 = [TCP] * 4 + [UDP] * 4 + [ICMP] * 3 + [2, 4, 41, 47, 50, AH, ICMP6, 132, 136, 255, 0]
PROTOCOLS6 = [TCP] * 4 + [UDP] * 4 + [ICMP6] * 5 + [ICMP, 4, 41, 47, 50, 59, 132, 255]
TAGS = [0x8100, 0x8100, 0x88A8, 0x9100]
OTHER_TYPES = [0x0806, 0x8809, 0x888E, 0x8864, 0x8847, 0x0004, 0x0801, 0x86DC, 0x9100]
ADDRESSES = bytes.fromhex("020000000001020000000002")


@dataclass(frozen=True)
class Scene:
    """What the fields of a packet are drawn from."""

    sources: Sequence[str]
    targets: Sequence[str]
    protocols: Sequence[int]
    ports: Sequence[int] = (22, 53, 67, 68, 443, 546, 547, 0x1600, 0x4300, 40000)
    icmp_types: Sequence[int] = (
        0,
        1,
        3,
        4,
        5,
        8,
        11,
        12,
        13,
        127,
        128,
        130,
        132,
        133,
        135,
        137,
        138,
        143,
        144,
    )
    hop_limits: Sequence[int] = (0, 1, 2, 64, 254, 255)


ANY4 = Scene(HOSTS4, TARGETS4, PROTOCOLS4)
ANY6 = Scene(HOSTS6, TARGETS6, PROTOCOLS6)
# What independent draws would hardly ever bring together.
SCENES4 = [ANY4] * 7 + [
    replace(ANY4, targets=["255.255.255.255"], protocols=[UDP], ports=[67, 68]),
    replace(ANY4, targets=[GATEWAY4], protocols=[TCP], ports=[FAILSAFE_PORT, 443]),
    replace(ANY4, sources=HOSTS4[:4], targets=[GATEWAY4], protocols=[TCP], ports=[FAILSAFE_PORT]),
]
SCENES6 = [ANY6] * 6 + [
    replace(ANY6, sources=["fe80::1", "febf::1", "fec0::1"], protocols=[UDP], ports=[546, 547]),
    replace(ANY6, targets=[GATEWAY6], protocols=[TCP], ports=[FAILSAFE_PORT, 443]),
    replace(ANY6, sources=LINKS6, protocols=[ICMP6], hop_limits=[1, 255, 255], icmp_types=range(128, 145)),
    replace(ANY6, sources=LINKS6, protocols=[ICMP6], hop_limits=[1], icmp_types=[130, 131, 132, 143]),
]


def rarely(r: Random, one_in: int) -> bool:
    """True once in so many times."""
    return r.randrange(one_in) == one_in - 1


def filler(r: Random, length: int) -> bytes:
    """Bytes that look like nothing, or like headers."""
    return bytes(length) if rarely(r, 2) else bytes([r.choice((0xFF, 0x45, 0x11, 0x06))]) * length


def nudged(r: Random, length: int) -> int:
    """A length field: mostly right, else off by a little or by much."""
    if not rarely(r, 6):
        return length
    return max(
        0, min(0xFFFF, r.choice((length - 1, length + 1, length - 8, length + 8, 0, 7, 8, 19, 0xFFFF)))
    )


def tcp(r: Random, scene: Scene) -> bytes:
    """A TCP segment whose data offset may lie."""
    doff = 5 if not rarely(r, 3) else r.randrange(16)
    options = max(0, doff * 4 - 20) if not rarely(r, 6) else r.randrange(44)
    head = struct.pack("!HHII", r.choice(scene.ports), r.choice(scene.ports), 1, 2)
    return (
        head + bytes([doff << 4, r.choice((2, 16, 0))]) + bytes(6) + filler(r, options + r.choice((0, 0, 5)))
    )


def udp(r: Random, scene: Scene) -> bytes:
    """A UDP datagram whose length may lie."""
    data = r.choice((0, 0, 1, 12))
    return struct.pack("!4H", r.choice(scene.ports), r.choice(scene.ports), nudged(r, 8 + data), 0) + filler(
        r, data
    )


def payload(r: Random, scene: Scene, protocol: int) -> bytes:
    """What is behind IP; sometimes cut inside its header."""
    if protocol == TCP:
        whole = tcp(r, scene)
    elif protocol == UDP:
        whole = udp(r, scene)
    elif protocol in {ICMP, ICMP6}:
        whole = bytes([r.choice(scene.icmp_types), 0]) + bytes(6 + r.choice((0, 16)))
    else:
        whole = filler(r, r.choice((0, 1, 8, 40)))
    return whole if not rarely(r, 8) else whole[: r.randrange(len(whole) + 1)]


def fragment_field(r: Random, unit: int) -> int:
    """Offset and more-fragments; *unit* is the position of the offset in the 16 bits, 0 or 3."""
    offset = r.choice((0, 0, 0, 1, 1, 2, 185, 8191))
    more = r.randrange(2)
    return offset << unit | (more << 13 if unit == 0 else more | r.choice((0, 0, 6)))


def ipv4(r: Random) -> bytes:
    """An IPv4 packet."""
    scene = r.choice(SCENES4)
    protocol = r.choice(scene.protocols)
    ihl = 5 if not rarely(r, 4) else r.randrange(16)
    options = max(0, ihl * 4 - 20) if not rarely(r, 6) else r.choice((0, 4, 40))
    body = filler(r, options) + payload(r, scene, protocol)
    fragment = fragment_field(r, 0) if rarely(r, 3) else r.choice((0, 0x4000, 0x8000))
    version = 4 if not rarely(r, 30) else r.randrange(16)
    head = bytes([version << 4 | ihl, 0]) + struct.pack("!HHH", nudged(r, 20 + len(body)), 1, fragment)
    head += bytes([r.choice(scene.hop_limits), protocol, 0, 0])
    return (
        head + ip_address(r.choice(scene.sources)).packed + ip_address(r.choice(scene.targets)).packed + body
    )


def extension(r: Random, kind: int, following: int) -> bytes:
    """One extension header; its length may lie."""
    if kind == FRAGMENT:
        return bytes([following, r.choice((0, 0, 255))]) + struct.pack("!HI", fragment_field(r, 3), 1)
    units = r.choice((0, 0, 1, 2, 4))
    size = (units + 2) * 4 if kind == AH else (units + 1) * 8
    said = units if not rarely(r, 8) else r.choice((units + 1, max(0, units - 1), 255))
    return bytes([following, said]) + filler(r, size - 2)


def ipv6(r: Random) -> bytes:
    """An IPv6 packet with a chain of headers."""
    count = r.choice((0, 0, 0, 1, 1, 2, 3, 4, 7, 8, 9, 10))
    kinds = [r.choice(EXTENSIONS) for _ in range(count)]
    kinds = [kind if kind != HOP or i == 0 or rarely(r, 4) else 60 for i, kind in enumerate(kinds)]
    if count > 4 and not rarely(r, 4):  # else no long chain would come to its end
        kinds = [kind if kind != FRAGMENT else 43 for kind in kinds]
    scene = r.choice(SCENES6)
    protocol = r.choice(scene.protocols)
    types = [*kinds, protocol]
    body = b"".join(extension(r, kind, types[i + 1]) for i, kind in enumerate(kinds)) + payload(
        r, scene, protocol
    )
    version = 6 if not rarely(r, 30) else r.randrange(16)
    head = bytes([version << 4, 0, 0, 0]) + struct.pack("!H", nudged(r, len(body)))
    head += bytes([types[0], r.choice(scene.hop_limits)])
    return (
        head + ip_address(r.choice(scene.sources)).packed + ip_address(r.choice(scene.targets)).packed + body
    )


def frame(r: Random) -> bytes:
    """An Ethernet frame of at least 14 bytes: PROG_RUN takes no less."""
    kind = r.randrange(20)
    ethertype, content = (
        (0x0800, ipv4(r))
        if kind < 9
        else (0x86DD, ipv6(r))
        if kind < 18
        else (r.choice(OTHER_TYPES), filler(r, 46))
    )
    if rarely(r, 40):
        ethertype ^= 0x8EDD  # IPv4 announced as IPv6, and the other way
    tags = [r.choice(TAGS) for _ in range(r.choice((0, 0, 0, 0, 1, 1, 2, 3)))]
    whole = ADDRESSES + b"".join(struct.pack("!HH", tag, r.choice((0, 1, 0xFFFF))) for tag in tags)
    whole += ethertype.to_bytes(2, "big") + content
    return damaged(r, whole + (filler(r, r.choice((1, 20, 60))) if rarely(r, 4) else b""))


def probe(source: str) -> bytes:
    """A UDP packet from *source*."""
    data = b"\x9c\x40\x00\x35\x00\x08\x00\x00"
    address = ip_address(source).packed
    if len(address) == 4:
        header = b"\x45\x00\x00\x1c\x00\x00\x00\x00\x40\x11\x00\x00" + address + b"\xc0\x00\x02\x0a"
        return ADDRESSES + b"\x08\x00" + header + data
    header = b"\x60\x00\x00\x00\x00\x08\x11\x40" + address + ip_address("2001:db8:1::10").packed
    return ADDRESSES + b"\x86\xdd" + header + data


def damaged(r: Random, whole: bytes) -> bytes:
    """Sometimes cut, sometimes with a few bytes changed, mostly as it was."""
    if rarely(r, 8):
        whole = whole[: r.randrange(14, len(whole) + 1)]
    if rarely(r, 6):
        changed = bytearray(whole)
        for _ in range(r.choice((1, 1, 2, 4))):
            at = r.randrange(12, len(changed))
            changed[at] = r.choice((0, 1, 0xFF, changed[at] ^ 1 << r.randrange(8), r.randrange(256)))
        whole = bytes(changed)
    return whole


def entry(r: Random) -> str:
    """A host of the small world or a prefix around one; host bits may be set. Never a /0."""
    address = ip_address(r.choice(HOSTS4 if rarely(r, 2) else HOSTS6))
    bits = address.max_prefixlen
    if rarely(r, 2):
        return str(address)
    lengths = (1, 8, bits // 4, bits // 2, bits // 2 + 1, bits - 9, bits - 8, bits - 7, bits - 1)
    return f"{address}/{r.choice(lengths)}"


def policy(r: Random, *, unparsed: str, failsafe: bool, internal: bool = False) -> Policy:
    """Overlapping lists of both verdicts; with *failsafe* the gateway's port for one net of each family.

    *internal*: with some networks behind the interface, and destinations that are listed.
    """
    lists = [
        NamedList(r.choice(VERDICTS), tuple(entry(r) for _ in range(r.randrange(1, 8))))
        for _ in range(r.randrange(4))
    ]
    # Enough to fill the lines of small bucket tables, in an order that is another every time.
    if rarely(r, 2):
        lists.append(NamedList(r.choice(VERDICTS), tuple(r.sample(HOSTS4, r.randrange(10, len(HOSTS4))))))
    if rarely(r, 2):
        longer = tuple(f"{r.choice(HOSTS4)}/{r.randrange(25, 32)}" for _ in range(r.randrange(8, 24)))
        lists.append(NamedList(r.choice(VERDICTS), longer))
    ways = (
        Failsafe(GATEWAY4, FAILSAFE_PORT, str(ip_network("198.51.100.0/25"))),
        Failsafe(GATEWAY6, FAILSAFE_PORT, "2001:db8:bad::/64"),
    )
    policy = Policy(tuple(lists), ways if failsafe else (), unparsed)
    return with_destinations(r, policy) if internal else policy


def with_destinations(r: Random, policy: Policy) -> Policy:
    """The same for an internal interface."""
    targets = NamedList(r.choice(VERDICTS), tuple(target(r) for _ in range(r.randrange(2, 6))))
    whole = ("0.0.0.0/1", "128.0.0.0/1", "::/1", "8000::/1")
    homes = tuple(entry(r) for _ in range(r.randrange(6)))
    networks = homes + r.choice(((), whole, whole, whole[:2], whole[1:], whole[2:]))
    lists = (*policy.lists, targets)
    return replace(policy, lists=lists, networks=networks, destinations=True)


def target(r: Random) -> str:
    """An entry that covers one of the destinations."""
    address = ip_address(r.choice(TARGETS4 if r.randrange(2) else TARGETS6))
    bits = address.max_prefixlen
    return f"{address}/{r.choice((2, bits // 4, bits - 8, bits - 4, bits - 1, bits, bits))}"
