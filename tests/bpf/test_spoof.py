# SPDX-License-Identifier: Apache-2.0
"""Sources that cannot come from an interface: martians, foreign networks, bogons."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path
from random import Random
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP
from scapy.layers.inet6 import ICMPv6EchoRequest, ICMPv6MLReport2, ICMPv6ND_NS, IPv6ExtHdrFragment

from neurowall.model.reasons import Reason
from tests.bpf.conftest import ENGINES, MakeFirewall
from tests.bpf.harness import DROP, PASS, Answer, Firewall
from tests.bpf.packets import (
    ALL_NODES,
    ETHER,
    GATEWAY,
    OTHER,
    OTHER6,
    SOURCE,
    SOURCE6,
    frame4,
    frame6,
    raw,
    tagged,
    tcp,
    udp,
)
from tests.bpf.test_mutations import compiled
from tests.sampling import some

UNLISTED = Answer(PASS, Reason.DEFAULT)
MARTIAN, SPOOFED = Answer(DROP, Reason.MARTIAN), Answer(DROP, Reason.SPOOFED)
BOGON = Answer(DROP, Reason.BOGON)
ELSEWHERE = 7  # an ifindex that no test sends from

MARTIANS = ("0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/4", "240.0.0.0/4", "255.255.255.255/32")
MARTIANS6 = ("::/128", "::1/128", "ff00::/8", "::ffff:0:0/96")
INSIDE = ("192.0.2.0/24", "100.64.0.0/10", "2001:db8:1::/48", "fd12:3456:789a::/48")
OWN = ("203.0.113.1/32", "2001:db8:f::1/128")


@pytest.fixture(params=ENGINES)
def outside(request: pytest.FixtureRequest, make_firewall: MakeFirewall) -> Firewall:
    """A program that asks for origins, with what lives behind other zones, and the gateway's own."""
    return filled(make_firewall(engine=request.param, spoofing=True, failsafe=True))


def filled(firewall: Firewall) -> Firewall:
    """The same, its foreign networks there."""
    for text in (*INSIDE, *OWN):
        firewall.put_foreign(text, Reason.SPOOFED)
    return firewall


def edges(text: str) -> tuple[list[str], list[str]]:
    """Addresses in a prefix, and those beside it."""
    net = ip_network(text)
    first, last, make = int(net[0]), int(net[-1]), IPv4Address if net.version == 4 else IPv6Address
    inside = {first, first + (last - first) // 2, last}
    beside = {each for each in (first - 1, last + 1) if 0 <= each < 1 << net.max_prefixlen}
    return [str(make(each)) for each in sorted(inside)], [str(make(each)) for each in sorted(beside)]


def frame(source: str) -> Any:
    """The head of a packet from there."""
    return frame6(source) if ":" in source else frame4(source)


def is_in(address: str, prefixes: tuple[str, ...]) -> bool:
    """Whether one of the prefixes holds it."""
    parsed = ip_address(address)
    return any(parsed in net for net in map(ip_network, prefixes) if net.version == parsed.version)


@pytest.mark.parametrize("text", [*MARTIANS, *MARTIANS6])
def test_martians_are_dropped_and_their_neighbours_are_not(outside: Firewall, text: str) -> None:
    """Match and miss, at both edges of each prefix; every protocol."""
    inside, beside = edges(text)
    for source in inside:
        echo = ICMPv6EchoRequest() if ":" in source else ICMP()
        for transport in (tcp(), udp(), echo):
            assert outside.run(frame(source) / transport) == MARTIAN, source
    for source in beside:
        expected = MARTIAN if is_in(source, (*MARTIANS, *MARTIANS6)) else UNLISTED
        assert outside.run(frame(source) / tcp()) == expected, source


@pytest.mark.parametrize("text", [*INSIDE, *OWN])
def test_what_lives_elsewhere_is_spoofed(outside: Firewall, text: str) -> None:
    """Both edges of a network, and the addresses beside it."""
    inside, beside = edges(text)
    assert {outside.run(frame(source) / tcp()) for source in inside} == {SPOOFED}
    assert {outside.run(frame(source) / tcp()) for source in beside} == {UNLISTED}


@pytest.mark.parametrize("home", [SOURCE, SOURCE6])
def test_neither_lists_nor_failsafe_come_before_it(outside: Firewall, home: str) -> None:
    """An allow list does not skip it; the operator's own way in neither."""
    outside.put_class(1, PASS)
    outside.put(home, 1)
    outside.put_failsafe(GATEWAY, 22, ["198.51.100.0/24"])
    assert outside.run(frame(home) / udp()) == Answer(PASS, Reason.ALLOW_LIST)
    outside.put_foreign(home, Reason.SPOOFED)
    assert outside.run(frame(home) / udp()) == SPOOFED
    assert outside.run(frame4(SOURCE, GATEWAY) / tcp(22)) == (
        SPOOFED if home == SOURCE else Answer(PASS, Reason.FAILSAFE)
    )


def test_what_keeps_the_link_alive_is_exempt(outside: Firewall) -> None:
    """DHCP from 0.0.0.0, duplicate address detection and MLD from ::; and what only looks like it."""
    lease = ETHER / IP(src="0.0.0.0", dst="255.255.255.255")
    assert outside.run(lease / _udp(68, 67)) == (PASS, Reason.DHCP)
    assert outside.run(lease / _udp(68, 69)) == MARTIAN
    nd = frame6("::", ALL_NODES, hlim=255) / ICMPv6ND_NS(tgt="fe80::1")
    assert outside.run(nd) == (PASS, Reason.NEIGHBOUR_DISCOVERY)
    assert outside.run(frame6("::", ALL_NODES, hlim=64) / ICMPv6ND_NS(tgt="fe80::1")) == MARTIAN
    listener = frame6("::", "ff02::16", hlim=1) / ICMPv6MLReport2()
    assert outside.run(listener) == (PASS, Reason.MULTICAST_LISTENER)
    assert outside.run(raw(0x0806)) == (PASS, Reason.ARP)


def _udp(source: int, destination: int) -> Any:
    packet = udp(destination)
    packet.sport = source
    return packet


def test_malformed_comes_first(outside: Firewall) -> None:
    """What is no packet has no source."""
    assert outside.run(raw(0x0800, b"\x45")) == (DROP, Reason.TRUNCATED)


def test_tags_and_fragments_change_nothing(outside: Firewall) -> None:
    """Every packet has a source."""
    assert outside.run(tagged(frame4("127.0.0.1") / tcp(), 0x8100)) == MARTIAN
    assert outside.run(tagged(frame6("2001:db8:1::5") / tcp(), 0x88A8, 0x8100)) == SPOOFED
    assert outside.run(ETHER / IP(src="192.0.2.9", dst=GATEWAY, frag=20) / b"12345678") == SPOOFED
    later = frame6("2001:db8:1::5") / IPv6ExtHdrFragment(offset=20, nh=17) / b"12345678"
    assert outside.run(later) == SPOOFED


def test_another_interface_has_other_neighbours(outside: Firewall) -> None:
    """By zone: what is foreign here is at home there. The marks are shared, the networks are not."""
    packet = bytes(frame4("192.0.2.9") / tcp())
    assert outside.run(packet) == SPOOFED
    outside.clear_networks()
    outside.put_foreign("192.0.2.0/24", Reason.SPOOFED, ifindex=ELSEWHERE)
    assert outside.run(packet) == UNLISTED


def test_by_default_nobody_asks(make_firewall: MakeFirewall) -> None:
    """Without the switches neither martians nor foreign sources are looked at."""
    firewall = make_firewall(engine="classic", networks=True)
    for text in ("0.0.0.0/0", "::/0"):
        firewall.put_network(text)
    for source in ("127.0.0.1", "192.0.2.9", "::1", "2001:db8:1::9"):
        assert firewall.run(frame(source) / tcp()) == UNLISTED


def test_bogons_alone_leave_martians_to_others(make_firewall: MakeFirewall) -> None:
    """Two switches, and each does its own."""
    firewall = make_firewall(engine="classic", bogons=True)
    firewall.put_foreign("10.0.0.0/8", Reason.BOGON)
    firewall.put_foreign("fc00::/7", Reason.BOGON)
    for source in ("10.0.0.0", "10.255.255.255", "fc00::1", "fdff::1"):
        assert firewall.run(frame(source) / tcp()) == BOGON
    for source in ("9.255.255.255", "11.0.0.0", "127.0.0.1", "::1", "fbff::1", "fe80::1", OTHER, OTHER6):
        assert firewall.run(frame(source) / tcp()) == UNLISTED


def test_it_is_counted_once_with_every_byte(outside: Firewall) -> None:
    """run() checks that one reason counted one packet; here two of each."""
    packet = bytes(frame4("127.0.0.1") / tcp())
    outside.run(packet)
    outside.run(packet)
    assert outside.reason_counters()[Reason.MARTIAN] == (2, 2 * len(packet))


def test_inside_it_is_asked_after_the_interfaces_own_networks(make_firewall: MakeFirewall) -> None:
    """Both: a source must be in the networks, and not be our own."""
    firewall = make_firewall(engine="classic", networks=True, destinations=True, spoofing=True)
    firewall.put_network("192.0.2.0/24")
    firewall.put_foreign("192.0.2.1", Reason.SPOOFED)
    assert firewall.run(frame4("192.0.2.9") / tcp()) == UNLISTED
    assert firewall.run(frame4("192.0.2.1") / tcp()) == SPOOFED
    assert firewall.run(frame4("127.0.0.1") / tcp()) == SPOOFED
    firewall.put_network("127.0.0.0/8")
    assert firewall.run(frame4("127.0.0.1") / tcp()) == MARTIAN


POOL = (*MARTIANS, *MARTIANS6, *INSIDE, *OWN, "0.0.0.0/0", "2000::/3", "::/0")


def sources(r: Random, count: int) -> list[str]:
    """In, at the edges of, and far from everything that is known here."""
    found = []
    for _ in range(count):
        net = ip_network(r.choice(POOL))
        first, last = int(net[0]), int(net[-1])
        number = r.choice((first, last, r.randint(first, last))) + r.choice((-1, 0, 1))
        make = IPv4Address if net.version == 4 else IPv6Address
        found.append(str(make(number % (1 << net.max_prefixlen))))
    return found


def deserved(source: str) -> Answer:
    """By linear scan."""
    if is_in(source, (*MARTIANS, *MARTIANS6)):
        return MARTIAN
    return SPOOFED if is_in(source, (*INSIDE, *OWN)) else UNLISTED


def wrong(firewall: Firewall, count: int) -> list[str]:
    """Sources that get another answer than they deserve."""
    return [
        source
        for source in sources(Random("origins"), count)
        if firewall.run_uncounted(frame(source) / tcp()) != deserved(source).action
    ]


def test_random_sources_get_what_they_deserve(outside: Firewall) -> None:
    """In both families."""
    assert wrong(outside, 2000) == []


MUTATIONS = {
    "loopback is a host": ("spoof.h", " || first == 127", ""),
    "this network is a host": ("spoof.h", "first == 0 || ", ""),
    "groups are hosts": ("spoof.h", "first >= 224", "first >= 240"),
    "IPv6 groups are hosts": ("spoof.h", "address->s6_addr[0] == 0xFF", "address->s6_addr[0] == 0xFE"),
    "mapped addresses are hosts": ("spoof.h", "words[2] == bpf_htonl(0xFFFF) ||", ""),
    "any address that begins with zeros is loopback": ("spoof.h", "words[2] == 0 && ", ""),
    "::2 is loopback": ("spoof.h", "~bpf_htonl(1)", "~bpf_htonl(3)"),
    "marks of IPv4 are taken from the wrong word": ("spoof.h", "[bit >> 6] >>", "[bit >> 7] >>"),
    "global addresses are marked by their first byte": ("spoof.h", "word >> 29 == 1 ?", "word >> 29 == 9 ?"),
    "all addresses are marked by their hash": ("spoof.h", "word >> 29 == 1 ?", "word >> 29 != 9 ?"),
    "networks of any length hold IPv6": ("spoof.h", "(family == 4 ? 32 : 128)", "(family == 4 ? 32 : 64)"),
    "what lives here is foreign": ("spoof.h", "family | NW_FOREIGN", "family"),
    "the lower half is not looked at": ("spoof.h", "bpf_cpu_to_be64(low) }", "bpf_cpu_to_be64(low | 1) }"),
    "nobody asks": ("decide.h", "if (ORIGINS) {", "if (0) {"),
    "IPv6 passes": (
        "spoof.h",
        "	return foreign_reason(packet->ifindex, 6, ",
        "	return (enum nw_reason)0 & foreign_reason(packet->ifindex, 6, ",
    ),
}


@pytest.mark.tool("clang")
@pytest.mark.parametrize("name", some(MUTATIONS, every=2))
def test_random_sources_find_a_broken_program(make_firewall: MakeFirewall, name: str, tmp_path: Path) -> None:
    """Proof that the test above can fail."""
    path = compiled(tmp_path, MUTATIONS[name])
    assert wrong(filled(make_firewall(engine="classic", spoofing=True, failsafe=True, path=path)), 2000)
