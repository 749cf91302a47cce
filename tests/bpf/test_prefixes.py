# SPDX-License-Identifier: Apache-2.0
"""Prefixes in the lists, IPv4 and IPv6, both engines; hosts inside prefixes."""

from ipaddress import ip_address, ip_network

import pytest
from scapy.layers.l2 import ARP

from neurowall.model.reasons import Reason
from tests.bpf.harness import DROP, PASS, Answer, Firewall
from tests.bpf.packets import ETHER, frame4, frame6, udp

BLOCK, ALLOW, OTHER_BLOCK = 1, 2, 3
BLOCKED, ALLOWED = Answer(DROP, Reason.BLOCK_LIST), Answer(PASS, Reason.ALLOW_LIST)
UNLISTED = Answer(PASS, Reason.DEFAULT)
PREFIXES4 = [f"203.0.112.0/{n}" for n in range(20, 32)] + [
    "128.0.0.0/1",
    "64.0.0.0/2",
    "16.0.0.0/4",
    "96.0.0.0/12",
]
PREFIXES6 = [f"2001:db8:8000::/{n}" for n in (33, 34, 47, 48, 49, 63, 64, 65, 96, 127)] + [
    "8000::/1",
    "2000::/3",
]


@pytest.fixture(autouse=True)
def classes(either: Firewall) -> None:
    """What the classes mean."""
    either.put_class(BLOCK, DROP)
    either.put_class(ALLOW, PASS)
    either.put_class(OTHER_BLOCK, DROP)


def verdict(firewall: Firewall, source: object) -> Answer:
    """Of a UDP packet from *source*."""
    text = str(source)
    return firewall.run((frame6(text) if ":" in text else frame4(text)) / udp())


@pytest.mark.parametrize("prefix", PREFIXES4 + PREFIXES6)
def test_both_ends_of_a_prefix_match_and_what_is_beside_them_does_not(either: Firewall, prefix: str) -> None:
    """Match and miss, at lengths on both sides of every border of the lookup structures."""
    network = ip_network(prefix)
    either.put(prefix, BLOCK)
    first, last = network.network_address, network.broadcast_address
    assert verdict(either, first) == BLOCKED
    assert verdict(either, last) == BLOCKED
    assert verdict(either, first - 1) == UNLISTED
    if int(last) + 1 < 1 << network.max_prefixlen:
        assert verdict(either, last + 1) == UNLISTED


def test_wrong_protocol(either: Firewall) -> None:
    """A prefix of one family says nothing about the other, nor about ARP."""
    either.put("198.51.100.0/24", BLOCK)
    either.put("2001:db8:bad::/48", BLOCK)
    assert verdict(either, "c633:6407::1") == UNLISTED
    assert verdict(either, "32.1.13.184") == UNLISTED
    arp = ETHER / ARP(psrc="198.51.100.7", pdst="192.0.2.1", hwsrc="02:00:00:00:00:02")
    assert either.run(arp) == (PASS, Reason.ARP)


@pytest.mark.parametrize(
    ("inner", "outer", "inside", "beside"),
    [
        ("198.51.100.64/26", "198.51.0.0/16", "198.51.100.70", "198.51.100.10"),
        ("198.51.100.0/24", "198.51.100.0/23", "198.51.100.70", "198.51.101.70"),
        ("2001:db8:bad:1::/64", "2001:db8:bad::/48", "2001:db8:bad:1::5", "2001:db8:bad:2::5"),
    ],
)
def test_the_longest_prefix_wins(either: Firewall, inner: str, outer: str, inside: str, beside: str) -> None:
    """Negation: an allowed prefix inside a blocked one."""
    either.put(outer, BLOCK)
    either.put(inner, ALLOW)
    assert verdict(either, inside) == ALLOWED
    assert verdict(either, beside) == BLOCKED


@pytest.mark.parametrize(
    ("host", "prefix", "beside"),
    [
        ("198.51.100.7", "198.51.100.0/24", "198.51.100.8"),
        ("2001:db8:bad::7", "2001:db8:bad::/64", "2001:db8:bad::8"),
    ],
)
def test_a_host_beats_every_prefix(either: Firewall, host: str, prefix: str, beside: str) -> None:
    """Userspace gives it the class of all that covers it, so a hit is final; its class is counted."""
    either.put(prefix, BLOCK)
    either.put(host, ALLOW)
    assert verdict(either, host) == ALLOWED
    assert verdict(either, beside) == BLOCKED
    assert (either.class_counter(ALLOW)[0], either.class_counter(BLOCK)[0]) == (1, 1)


def test_an_unlisted_source_passes_although_its_net_is_marked(either: Firewall) -> None:
    """Default: in the same /24 as a short prefix and a host."""
    either.put("198.51.100.64/26", BLOCK)
    either.put("198.51.100.7", BLOCK)
    assert verdict(either, "198.51.100.8") == UNLISTED
    assert verdict(either, "198.51.100.128") == UNLISTED


def test_the_class_of_the_longest_match_is_counted(either: Firewall) -> None:
    """Counter."""
    either.put("198.51.0.0/16", BLOCK)
    either.put("198.51.100.0/28", OTHER_BLOCK)
    frame = bytes(frame4("198.51.100.3") / udp())
    either.run(frame)
    either.run(frame)
    verdict(either, "198.51.100.33")
    assert either.class_counter(OTHER_BLOCK) == (2, 2 * len(frame))
    assert either.class_counter(BLOCK)[0] == 1


def test_a_mapped_address_is_not_its_ipv4_host(either: Firewall) -> None:
    """::ffff:198.51.100.7 in an IPv6 header is no business of the IPv4 lists; the stack refuses it."""
    either.put("198.51.100.7", BLOCK)
    assert verdict(either, ip_address("::ffff:198.51.100.7")) == UNLISTED
