# SPDX-License-Identifier: Apache-2.0
"""Hosts in the lists, IPv4 and IPv6, both engines."""

import pytest
from scapy.layers.inet import ICMP
from scapy.layers.l2 import ARP

from neurowall.model.reasons import Reason
from tests.bpf.harness import CLASSES, DROP, PASS, Firewall, Frame
from tests.bpf.packets import ETHER, OTHER, OTHER6, SOURCE, SOURCE6, frame4, frame6, tcp, udp

BLOCK, ALLOW = 1, 2


@pytest.fixture(autouse=True)
def lists(either: Firewall) -> None:
    """One blocked and one allowed host of each family."""
    either.put_class(BLOCK, DROP)
    either.put_class(ALLOW, PASS)
    for address in (SOURCE, SOURCE6):
        either.put(address, BLOCK)
    for address in (OTHER, OTHER6):
        either.put(address, ALLOW)


@pytest.mark.parametrize("packet", [frame4(SOURCE) / udp(), frame4(SOURCE) / tcp(), frame6(SOURCE6) / udp()])
def test_a_blocked_source_is_dropped(either: Firewall, packet: Frame) -> None:
    """Match."""
    assert either.run(packet) == (DROP, Reason.BLOCK_LIST)


@pytest.mark.parametrize(
    "source",
    [
        "198.51.100.6",
        "198.51.100.8",
        "198.51.101.7",
        "7.100.51.198",
        "198.51.100.135",
        "0.0.0.0",
        "255.255.255.255",
    ],
)
def test_neighbours_of_a_blocked_ipv4_host_pass(either: Firewall, source: str) -> None:
    """Miss: one more, one less, other nets, the bytes reversed, one bit."""
    assert either.run(frame4(source) / udp()) == (PASS, Reason.DEFAULT)


@pytest.mark.parametrize(
    "source", ["2001:db8:bad::6", "2001:db8:bad::8", "2001:db8:bad:1::7", "::7", "a001:db8:bad::7"]
)
def test_neighbours_of_a_blocked_ipv6_host_pass(either: Firewall, source: str) -> None:
    """Miss."""
    assert either.run(frame6(source) / udp()) == (PASS, Reason.DEFAULT)


def test_the_destination_is_not_looked_up(either: Firewall) -> None:
    """A blocked address as destination blocks nothing."""
    assert either.run(frame4("192.0.2.77", SOURCE) / udp()) == (PASS, Reason.DEFAULT)
    assert either.run(frame6("2001:db8::77", SOURCE6) / udp()) == (PASS, Reason.DEFAULT)


def test_the_other_protocol_is_not_looked_up(either: Firewall) -> None:
    """Wrong protocol: an ARP sender with a blocked address, an IPv6 source that embeds one."""
    arp = ETHER / ARP(psrc=SOURCE, pdst="192.0.2.1", hwsrc="02:00:00:00:00:02")
    assert either.run(arp) == (PASS, Reason.ARP)
    assert either.run(frame6(f"2002:{0xC633:x}:{0x6407:x}::1") / udp()) == (PASS, Reason.DEFAULT)


@pytest.mark.parametrize(
    "packet", [frame4(OTHER) / udp(), frame4(OTHER) / ICMP(type=3), frame6(OTHER6) / tcp()]
)
def test_an_allowed_source_passes_under_its_own_reason(either: Firewall, packet: Frame) -> None:
    """Negation; the list is looked up before what the reason of an unlisted packet would be."""
    assert either.run(packet) == (PASS, Reason.ALLOW_LIST)


def test_an_unlisted_source_passes(either: Firewall) -> None:
    """Default."""
    assert either.run(frame4("192.0.2.99") / udp()) == (PASS, Reason.DEFAULT)
    assert either.run(frame6("2001:db8:1234::1") / tcp()) == (PASS, Reason.DEFAULT)


def test_matches_are_counted_by_class(either: Firewall) -> None:
    """Counter: packets and bytes of the class that matched, and of no other."""
    blocked, allowed = bytes(frame4(SOURCE) / udp() / b"12345"), bytes(frame6(OTHER6) / tcp())
    for _ in range(3):
        either.run(blocked)
    either.run(allowed)
    either.run(frame4("192.0.2.99") / udp())
    assert either.class_counter(BLOCK) == (3, 3 * len(blocked))
    assert either.class_counter(ALLOW) == (1, len(allowed))
    assert {either.class_counter(i) for i in range(CLASSES) if i not in {BLOCK, ALLOW}} == {(0, 0)}


def test_a_class_that_was_never_defined_is_dropped(either: Firewall) -> None:
    """Userspace defines a class before its first entry; should it fail to, the listed source stays out.

    Also where the id is beyond the table of classes.
    """
    either.put("192.0.2.50", CLASSES - 1)
    either.put("2001:db8::50", CLASSES + 5)
    assert either.run(frame4("192.0.2.50") / udp()) == (DROP, Reason.BLOCK_LIST)
    assert either.run(frame6("2001:db8::50") / udp()) == (DROP, Reason.BLOCK_LIST)


@pytest.mark.parametrize("class_id", [1, 63])
def test_class_ids_of_any_size_are_found(either: Firewall, class_id: int) -> None:
    """The id is a number of its own in each engine's entry."""
    either.put_class(class_id, DROP)
    either.put("192.0.2.51", class_id)
    assert either.run(frame4("192.0.2.51") / udp()) == (DROP, Reason.BLOCK_LIST)
    assert either.class_counter(class_id)[0] == 1


@pytest.mark.parametrize("source", ["0.0.0.0", "255.255.255.255", "0.0.0.1", "128.0.0.0"])
def test_addresses_at_the_ends_of_the_range_are_hosts_like_any_other(either: Firewall, source: str) -> None:
    """0.0.0.0 too, though an empty slot is all zero."""
    assert either.run(frame4(source) / udp()) == (PASS, Reason.DEFAULT)
    either.put(source, BLOCK)
    assert either.run(frame4(source) / udp()) == (DROP, Reason.BLOCK_LIST)


@pytest.mark.parametrize("source", ["::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "::1"])
def test_ipv6_addresses_at_the_ends_of_the_range_too(either: Firewall, source: str) -> None:
    """The same for IPv6."""
    assert either.run(frame6(source) / udp()) == (PASS, Reason.DEFAULT)
    either.put(source, BLOCK)
    assert either.run(frame6(source) / udp()) == (DROP, Reason.BLOCK_LIST)
