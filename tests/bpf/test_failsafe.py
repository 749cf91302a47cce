# SPDX-License-Identifier: Apache-2.0
"""The operator's own way in: exact in interface, source, protocol, port and address, and limited."""

import time
from typing import Any

import pytest
from scapy.layers.inet import IP, IPOption_LSRR, IPOption_NOP
from scapy.layers.inet6 import IPv6ExtHdrDestOpt, IPv6ExtHdrRouting

from neurowall.model.reasons import Reason
from tests.bpf.conftest import ENGINES, MakeFirewall
from tests.bpf.harness import DROP, LOOPBACK, PASS, Firewall
from tests.bpf.packets import (
    ETHER,
    GATEWAY,
    GATEWAY6,
    HOST,
    HOST6,
    SOURCE,
    SOURCE6,
    frame4,
    frame6,
    patched,
    tagged,
    tcp,
    udp,
)

PORT = 22
ADMITTED, BLOCKED = (PASS, Reason.FAILSAFE), (DROP, Reason.BLOCK_LIST)
FAMILIES: list[Any] = [(frame4, SOURCE, GATEWAY, HOST), (frame6, SOURCE6, GATEWAY6, HOST6)]
families = pytest.mark.parametrize(("frame", "source", "gateway", "host"), FAMILIES, ids=["ipv4", "ipv6"])


@pytest.fixture(params=ENGINES)
def firewall(request: pytest.FixtureRequest, make_firewall: MakeFirewall) -> Firewall:
    """Everybody is blocked; the failsafe is not set yet."""
    firewall = make_firewall(engine=request.param, failsafe=True)
    firewall.put_class(1, DROP)
    for prefix in ("0.0.0.0/1", "128.0.0.0/1", "::/1", "8000::/1"):
        firewall.put(prefix, 1)
    return firewall


def open_both(firewall: Firewall, **options: Any) -> None:
    """The failsafe of both families for the documentation's sources."""
    firewall.put_failsafe(GATEWAY, PORT, ["198.51.100.0/28"], **options)
    firewall.put_failsafe(GATEWAY6, PORT, ["2001:db8:bad::/64"], **options)


@families
def test_the_operator_comes_in_although_blocked(
    firewall: Firewall, frame: Any, source: str, gateway: str, host: str
) -> None:
    """Match; the class is not counted."""
    open_both(firewall)
    for flags in ("S", "A", "PA", "F", "R"):
        assert firewall.run(frame(source, gateway) / tcp(PORT, flags=flags)) == ADMITTED
    assert firewall.class_counter(1) == (0, 0)


@families
def test_without_an_entry_nobody_comes_in(
    firewall: Firewall, frame: Any, source: str, gateway: str, host: str
) -> None:
    """Default."""
    assert firewall.run(frame(source, gateway) / tcp(PORT)) == BLOCKED


@families
def test_another_port_is_not_open(
    firewall: Firewall, frame: Any, source: str, gateway: str, host: str
) -> None:
    """Miss: one more, one less, the bytes reversed, and the port as source port."""
    open_both(firewall)
    for port in (21, 23, PORT << 8, 0):
        packet = frame(source, gateway) / tcp(port)
        packet.lastlayer().sport = PORT
        assert firewall.run(packet) == BLOCKED


@families
def test_forwarded_packets_never_pass(
    firewall: Firewall, frame: Any, source: str, gateway: str, host: str
) -> None:
    """Miss: the destination must be the gateway's own address."""
    open_both(firewall)
    assert firewall.run(frame(source, host) / tcp(PORT)) == BLOCKED
    assert firewall.run(frame(gateway, source) / tcp(PORT)) == BLOCKED


@pytest.mark.parametrize(
    "source", ["198.51.100.16", "198.51.99.255", "2001:db8:bad:1::", "2001:db8:bac:ffff::1"]
)
def test_another_source_does_not_come_in(firewall: Firewall, source: str) -> None:
    """Miss: the addresses beside the prefix."""
    open_both(firewall)
    packet = frame6(source, GATEWAY6) if ":" in source else frame4(source, GATEWAY)
    assert firewall.run(packet / tcp(PORT)) == BLOCKED


@pytest.mark.parametrize(
    "source", ["198.51.100.0", "198.51.100.15", "2001:db8:bad::", "2001:db8:bad:0:ffff:ffff:ffff:ffff"]
)
def test_both_ends_of_the_source_prefix_come_in(firewall: Firewall, source: str) -> None:
    """Match."""
    open_both(firewall)
    packet = frame6(source, GATEWAY6) if ":" in source else frame4(source, GATEWAY)
    assert firewall.run(packet / tcp(PORT)) == ADMITTED


def test_each_of_four_source_prefixes_comes_in_and_no_other(firewall: Firewall) -> None:
    """As many as an entry holds; an unused place admits nobody, not even 0.0.0.0."""
    firewall.put_failsafe(GATEWAY, PORT, ["198.51.100.0/24", "203.0.113.9/32"])
    for source, expected in {
        "198.51.100.1": ADMITTED,
        "203.0.113.9": ADMITTED,
        "203.0.113.8": BLOCKED,
    }.items():
        assert firewall.run(frame4(source, GATEWAY) / tcp(PORT)) == expected
    assert firewall.run(frame4("0.0.0.0", GATEWAY) / tcp(PORT)) == BLOCKED
    four = ["198.51.100.0/25", "203.0.113.0/24", "192.0.2.128/25", "100.64.0.0/10"]
    firewall.put_failsafe(GATEWAY, PORT, four)
    for source in ("198.51.100.127", "203.0.113.255", "192.0.2.128", "100.127.255.255"):
        assert firewall.run(frame4(source, GATEWAY) / tcp(PORT)) == ADMITTED
    for source in ("198.51.100.128", "203.0.114.0", "192.0.2.127", "100.128.0.0"):
        assert firewall.run(frame4(source, GATEWAY) / tcp(PORT)) == BLOCKED


@families
def test_another_interface_is_not_open(
    firewall: Firewall, frame: Any, source: str, gateway: str, host: str
) -> None:
    """Miss: the entry belongs to one interface."""
    open_both(firewall, ifindex=LOOPBACK + 1)
    assert firewall.run(frame(source, gateway) / tcp(PORT)) == BLOCKED
    open_both(firewall, ifindex=LOOPBACK)
    assert firewall.run(frame(source, gateway) / tcp(PORT)) == ADMITTED


@families
def test_other_protocols_do_not_come_in(
    firewall: Firewall, frame: Any, source: str, gateway: str, host: str
) -> None:
    """Wrong protocol: UDP to the same port; SCTP; a TCP header that is malformed or cut."""
    open_both(firewall)
    assert firewall.run(frame(source, gateway) / udp(PORT)) == BLOCKED
    packet = bytes(frame(source, gateway) / tcp(PORT))
    protocol, start = (23, 34) if frame is frame4 else (20, 54)
    assert firewall.run(patched(packet, protocol, bytes([132]))) == BLOCKED
    assert firewall.run(patched(packet, start + 12, b"\x40")) == (DROP, Reason.MALFORMED_TCP)
    assert firewall.run(packet[:-1]) == (DROP, Reason.TRUNCATED)


def test_the_other_family_does_not_come_in(firewall: Firewall) -> None:
    """An IPv4 entry does not open the IPv6 address with the same last bytes, nor the other way."""
    firewall.put_failsafe(GATEWAY, PORT, ["0.0.0.0/1", "128.0.0.0/1"])
    assert firewall.run(frame6("::198.51.100.7", f"::{GATEWAY}") / tcp(PORT)) == BLOCKED
    firewall.put_failsafe(f"::{GATEWAY}", 23, ["::/1", "8000::/1"])
    assert firewall.run(frame4(SOURCE, GATEWAY) / tcp(23)) == BLOCKED


def test_the_limit_is_per_second_and_what_exceeds_it_meets_the_lists(firewall: Firewall) -> None:
    """Exactly as many as allowed in a window; the next window admits again."""
    firewall.put_failsafe(GATEWAY, PORT, ["198.51.100.0/24"], packets_per_second=5)
    packet = bytes(frame4(SOURCE, GATEWAY) / tcp(PORT))
    start = time.monotonic()
    answers = [firewall.run(packet) for _ in range(20)]
    if time.monotonic() - start >= 1:
        pytest.skip("the machine was too slow: the packets fell into two windows")
    assert answers == [ADMITTED] * 5 + [BLOCKED] * 15
    time.sleep(1.05)
    assert [firewall.run(packet) for _ in range(6)] == [ADMITTED] * 5 + [BLOCKED]


def test_a_limit_of_zero_admits_nobody(firewall: Firewall) -> None:
    """Negation."""
    firewall.put_failsafe(GATEWAY, PORT, ["198.51.100.0/24"], packets_per_second=0)
    assert firewall.run(frame4(SOURCE, GATEWAY) / tcp(PORT)) == BLOCKED


def test_a_refused_packet_does_not_use_the_allowance(firewall: Firewall) -> None:
    """Other sources cannot starve the operator."""
    firewall.put_failsafe(GATEWAY, PORT, ["198.51.100.0/28"], packets_per_second=1)
    for _ in range(5):
        assert firewall.run(frame4("203.0.113.9", GATEWAY) / tcp(PORT)) == BLOCKED
    assert firewall.run(frame4(SOURCE, GATEWAY) / tcp(PORT)) == ADMITTED


def test_a_role_without_failsafe_has_none(make_firewall: MakeFirewall) -> None:
    """The switch of the role; the map does not even exist."""
    firewall = make_firewall(failsafe=False)
    firewall.put_class(1, DROP)
    firewall.put(SOURCE, 1)
    assert firewall.run(frame4(SOURCE, GATEWAY) / tcp(PORT)) == BLOCKED
    assert "failsafe" not in firewall.dump()


def test_an_allowed_or_unlisted_operator_is_still_counted_as_failsafe(make_firewall: MakeFirewall) -> None:
    """Failsafe comes before the lists."""
    firewall = make_firewall(failsafe=True)
    firewall.put_failsafe(GATEWAY, PORT, ["198.51.100.0/24"])
    assert firewall.run(frame4(SOURCE, GATEWAY) / tcp(PORT)) == ADMITTED
    assert firewall.run(frame4(SOURCE, GATEWAY) / tcp(443)) == (PASS, Reason.DEFAULT)


def test_a_tag_does_not_open_another_network(firewall: Firewall) -> None:
    """A tagged frame belongs to a VLAN interface, not to the one that the entry names."""
    open_both(firewall)
    assert firewall.run(tagged(frame4(SOURCE, GATEWAY) / tcp(PORT), 0x8100)) == BLOCKED


def test_options_that_could_route_a_packet_on_do_not_come_in(firewall: Firewall) -> None:
    """A source route or a routing header makes the gateway's address a stop on the way, not the end."""
    open_both(firewall)
    routed4 = ETHER / IP(src=SOURCE, dst=GATEWAY, options=[IPOption_LSRR(routers=[HOST])]) / tcp(PORT)
    assert firewall.run(routed4) == BLOCKED
    assert (
        firewall.run(ETHER / IP(src=SOURCE, dst=GATEWAY, options=[IPOption_NOP()] * 4) / tcp(PORT)) == BLOCKED
    )
    routed6 = frame6(SOURCE6, GATEWAY6) / IPv6ExtHdrRouting(addresses=[HOST6]) / tcp(PORT)
    assert firewall.run(routed6) == BLOCKED
    assert firewall.run(frame6(SOURCE6, GATEWAY6) / IPv6ExtHdrDestOpt() / tcp(PORT)) == BLOCKED
