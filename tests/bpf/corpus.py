# SPDX-License-Identifier: Apache-2.0
"""Real frames of every kind that the parser knows, whole and sound: the seeds of the fuzzer."""

from collections.abc import Iterator
from typing import Any

from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP, IPOption_RR, IPOption_Timestamp
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6MLQuery,
    ICMPv6ND_NS,
    ICMPv6ND_RA,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
)
from scapy.layers.ipsec import AH
from scapy.layers.l2 import ARP, GRE, Ether

from tests.bpf.packets import ADDRESSES, ALL_NODES, ETHER, LINK_LOCAL, raw, tagged

# Few hosts, so that frames meet lists, limits and flows; the first of each pair is protected.
INSIDE, OUTSIDE = ("192.0.2.10", "2001:db8:1::10"), ("198.51.100.7", "2001:db8:bad::7")
FLAGS = ("S", "SA", "A", "PA", "FA", "F", "R", "RA", "", "FPU", "SF", "SR", "FSRPAUEC", "SEC")
PORTS = (22, 53, 80, 443, 40000)
_TCP_OPTIONS = [("MSS", 1460), ("SAckOK", b""), ("Timestamp", (1, 0)), ("NOP", None), ("WScale", 7)]
_CHAINS = (
    (IPv6ExtHdrHopByHop(),),
    (IPv6ExtHdrDestOpt(), IPv6ExtHdrRouting()),
    (IPv6ExtHdrHopByHop(), IPv6ExtHdrDestOpt(), IPv6ExtHdrRouting(addresses=[INSIDE[1]])),
    tuple(IPv6ExtHdrDestOpt() for _ in range(8)),
    tuple(IPv6ExtHdrDestOpt() for _ in range(9)),
    (IPv6ExtHdrFragment(offset=0, m=0, id=7),),
    (IPv6ExtHdrFragment(offset=0, m=1, id=7),),
    (IPv6ExtHdrFragment(offset=1, m=1, id=7),),
    (IPv6ExtHdrFragment(offset=185, m=0, id=7),),
)


def corpus() -> list[bytes]:
    """Every frame once, in the same order each time."""
    plain = [bytes(each) for each in (*_of_family(4), *_of_family(6))]
    tags = [tagged(each, *types) for each in plain[::5] for types in ((0x8100,), (0x88A8, 0x8100))]
    deep = [tagged(plain[0], 0x8100, 0x8100, 0x8100)]
    return [*plain, *tags, *deep, *(bytes(each) for each in (*_ipv4(), *_ipv6(), *_others()))]


def _head(family: int, inwards: bool) -> Any:
    position = family == 6
    ends = (OUTSIDE[position], INSIDE[position]) if inwards else (INSIDE[position], OUTSIDE[position])
    return ETHER / (IP if family == 4 else IPv6)(src=ends[0], dst=ends[1])


def _of_family(family: int) -> Iterator[Any]:
    """TCP, UDP and echoes, in both directions of the same connections."""
    for inwards in (True, False):
        head, port = _head(family, inwards), 40000
        for ours in PORTS:
            ends = {"sport": port, "dport": ours} if inwards else {"sport": ours, "dport": port}
            for flags in FLAGS:
                yield head / TCP(**ends, flags=flags, seq=1000, ack=2000, window=8192) / b"hello"
            yield head / TCP(**ends, flags="S", seq=1000, options=_TCP_OPTIONS)
            yield head / UDP(**ends) / b"payload"
            yield head / UDP(**ends)
        yield from (head / each for each in _echoes(family))


def _echoes(family: int) -> Iterator[Any]:
    for number in (1, 2):
        if family == 4:
            yield ICMP(type=8, id=number, seq=1) / b"echo"
            yield ICMP(type=0, id=number, seq=1) / b"echo"
        else:
            yield ICMPv6EchoRequest(id=number, data=b"echo")
            yield ICMPv6EchoReply(id=number, data=b"echo")


def _ipv4() -> Iterator[Any]:
    head, back = _head(4, True), _head(4, False)[IP]
    for kind in (3, 4, 5, 11, 12):
        yield head / ICMP(type=kind) / back / UDP(sport=443, dport=40000)
    for options in ([IPOption_NOP()] * 4, [IPOption_RR(routers=[INSIDE[0]] * 3)], [IPOption_Timestamp()]):
        yield ETHER / IP(src=OUTSIDE[0], dst=INSIDE[0], options=options) / TCP(dport=443, flags="S")
    for fields in ({"flags": "MF"}, {"flags": "MF", "frag": 1}, {"frag": 1}, {"frag": 185}, {"flags": "DF"}):
        for inner in (TCP(dport=443), UDP(dport=53), ICMP()):
            yield ETHER / IP(src=OUTSIDE[0], dst=INSIDE[0], **fields) / inner / bytes(40)
    for source in ("0.0.0.0", "127.0.0.1", "224.0.0.1", "240.0.0.1", "10.0.0.1", "100.64.0.1", INSIDE[0]):
        yield ETHER / IP(src=source, dst=INSIDE[0]) / UDP(sport=1, dport=443)
    yield ETHER / IP(src="0.0.0.0", dst="255.255.255.255") / UDP(sport=68, dport=67) / bytes(240)
    for tunnel in (IP() / UDP(), IPv6() / TCP(), GRE() / IP() / TCP(), AH() / UDP()):
        yield head / tunnel
    yield from (ETHER / IP(src=OUTSIDE[0], dst=INSIDE[0], proto=each) / bytes(40) for each in (2, 50, 132))


def _ipv6() -> Iterator[Any]:
    inside = (TCP(sport=40000, dport=443, flags="S"), UDP(sport=40000, dport=53), ICMPv6EchoRequest())
    for chain in _CHAINS:
        for inner in inside:
            whole = _head(6, True)
            for header in chain:
                whole /= header.copy()
            yield whole / inner
    yield _head(6, True) / ICMPv6DestUnreach() / _head(6, False)[IPv6] / UDP()
    link = ETHER / IPv6(src=LINK_LOCAL, dst=ALL_NODES, hlim=255)
    yield from (link / ICMPv6ND_NS(), link / ICMPv6ND_RA(), link / UDP(sport=546, dport=547))
    yield ETHER / IPv6(src=LINK_LOCAL, dst=ALL_NODES, hlim=1) / ICMPv6MLQuery()
    yield ETHER / IPv6(src="::", dst=ALL_NODES, hlim=255) / ICMPv6ND_NS()
    for source in ("::1", "ff02::1", "::ffff:192.0.2.1", "fc00::1", "2001:db8:1::10"):
        yield ETHER / IPv6(src=source, dst=INSIDE[1]) / UDP(sport=1, dport=443)


def _others() -> Iterator[Any]:
    yield Ether() / ARP(psrc=OUTSIDE[0], pdst=INSIDE[0])
    yield from (raw(kind, bytes(46)) for kind in (0x8809, 0x888E, 0x8864, 0x8847, 0x0004, 0x9100))
    yield ADDRESSES + b"\x08\x00"
