# SPDX-License-Identifier: Apache-2.0
"""What the link itself needs, over IP: neighbour discovery, multicast listeners, DHCP.

Each test lists the sender, so that passing proves the exemption and dropping proves its limits.
"""

import struct

import pytest

from neurowall.model.reasons import Reason
from tests.bpf.harness import DROP, PASS, Firewall
from tests.bpf.packets import ALL_NODES, HOST, HOST6, LINK_LOCAL, SOURCE, SOURCE6, frame4, frame6

LOCAL, UNSPECIFIED = LINK_LOCAL, "::"
BLOCKED = (DROP, Reason.BLOCK_LIST)
SOURCES6 = [LOCAL, UNSPECIFIED, SOURCE6, "::1:2:3:4", "::1", "fec0::1", "fe7f::1", "febf::1", "ff02::5"]


@pytest.fixture(autouse=True)
def listed(either: Firewall) -> None:
    """Everybody who sends here is blocked."""
    either.put_class(1, DROP)
    for source in (*SOURCES6, SOURCE, "0.0.0.0", "198.51.100.0/24"):
        either.put(source, 1)


def icmp6(kind: int, source: str, hop_limit: int, destination: str = ALL_NODES, length: int = 24) -> bytes:
    """An ICMPv6 message of *length* bytes."""
    packet = bytes(frame6(source, destination, nh=58, plen=length, hlim=hop_limit))
    return packet + bytes([kind]) + bytes(length - 1)


# -- neighbour discovery


@pytest.mark.parametrize("kind", [133, 134, 135, 136, 137])
@pytest.mark.parametrize("source", [LOCAL, UNSPECIFIED, SOURCE6])
def test_neighbour_discovery_passes(either: Firewall, kind: int, source: str) -> None:
    """Match: hop limit 255 proves that no router has forwarded it, whatever the source."""
    assert either.run(icmp6(kind, source, 255)) == (PASS, Reason.NEIGHBOUR_DISCOVERY)


@pytest.mark.parametrize("hop_limit", [0, 1, 64, 254])
@pytest.mark.parametrize("kind", [133, 135, 137])
def test_neighbour_discovery_from_afar_is_like_any_packet(
    either: Firewall, kind: int, hop_limit: int
) -> None:
    """Miss: RFC 4861 discards it."""
    assert either.run(icmp6(kind, SOURCE6, hop_limit)) == BLOCKED
    assert either.run(icmp6(kind, "2001:db8::1", hop_limit)) == (PASS, Reason.DEFAULT)


@pytest.mark.parametrize("kind", [127, 128, 129, 138, 139, 142, 148])
def test_other_messages_with_hop_limit_255_are_like_any_packet(either: Firewall, kind: int) -> None:
    """Default: types beside those of RFC 4861."""
    assert either.run(icmp6(kind, SOURCE6, 255)) == BLOCKED


def test_neighbour_discovery_needs_icmpv6(either: Firewall) -> None:
    """Wrong protocol: the same bytes as UDP-Lite, as a later fragment, or in IPv4."""
    packet = bytearray(icmp6(135, SOURCE6, 255))
    packet[20] = 136
    assert either.run(packet) == BLOCKED
    fragment = bytes([58, 0]) + struct.pack("!HI", 8 << 3, 1) + bytes([135]) + bytes(23)
    assert either.run(bytes(frame6(SOURCE6, nh=44, plen=32, hlim=255)) + fragment) == BLOCKED
    in_ipv4 = frame4()
    in_ipv4.payload.proto, in_ipv4.payload.ttl = 58, 255
    assert either.run(in_ipv4 / (bytes([135]) + bytes(23))) == BLOCKED


def test_neighbour_discovery_is_not_counted_for_a_class(either: Firewall) -> None:
    """Counter: the list was not asked."""
    either.run(icmp6(135, LOCAL, 255))
    assert either.class_counter(1) == (0, 0)


# -- multicast listener discovery


@pytest.mark.parametrize("kind", [130, 131, 132, 143])
@pytest.mark.parametrize("source", [LOCAL, UNSPECIFIED, "febf::1"])
def test_multicast_listener_messages_pass(either: Firewall, kind: int, source: str) -> None:
    """Match: hop limit 1 and a source of the link (RFC 3810) or none yet (RFC 3590)."""
    assert either.run(icmp6(kind, source, 1)) == (PASS, Reason.MULTICAST_LISTENER)


@pytest.mark.parametrize("source", [SOURCE6, "::1:2:3:4", "::1", "fec0::1", "fe7f::1", "ff02::5"])
def test_multicast_listener_messages_from_other_sources_are_like_any_packet(
    either: Firewall, source: str
) -> None:
    """Miss: a hop limit of 1 can be arranged from afar, so the source must be one that no router forwards."""
    assert either.run(icmp6(130, source, 1)) == BLOCKED


@pytest.mark.parametrize("hop_limit", [0, 2, 64, 255])
def test_multicast_listener_messages_that_were_forwarded_are_like_any_packet(
    either: Firewall, hop_limit: int
) -> None:
    """Miss."""
    assert either.run(icmp6(143, LOCAL, hop_limit)) == BLOCKED


@pytest.mark.parametrize("kind", [128, 129, 133, 142, 144, 151])
def test_other_messages_with_hop_limit_1_are_like_any_packet(either: Firewall, kind: int) -> None:
    """Default."""
    assert either.run(icmp6(kind, LOCAL, 1)) == BLOCKED


# -- DHCP


def udp4(source: str, destination: str, sport: int, dport: int, ports_only: int = 8) -> bytes:
    """An IPv4 UDP datagram of nothing but its header."""
    packet = frame4(source, destination)
    packet.payload.proto = 17
    return bytes(packet / struct.pack("!4H", sport, dport, ports_only, 0))


def udp6(source: str, destination: str, sport: int, dport: int) -> bytes:
    """The same for IPv6."""
    return bytes(frame6(source, destination, nh=17, plen=8)) + struct.pack("!4H", sport, dport, 8, 0)


@pytest.mark.parametrize(("sport", "dport"), [(68, 67), (67, 68), (67, 67)])
@pytest.mark.parametrize("source", ["0.0.0.0", SOURCE])
def test_dhcp_by_broadcast_passes(either: Firewall, source: str, sport: int, dport: int) -> None:
    """Match: no router forwards 255.255.255.255."""
    assert either.run(udp4(source, "255.255.255.255", sport, dport)) == (PASS, Reason.DHCP)


@pytest.mark.parametrize("destination", [HOST, "192.0.2.255", "255.255.255.254", "224.0.0.1", "0.0.0.0"])
def test_routed_dhcp_is_like_any_packet(either: Firewall, destination: str) -> None:
    """Miss: unicast and directed broadcast come through routers."""
    assert either.run(udp4(SOURCE, destination, 67, 68)) == BLOCKED


@pytest.mark.parametrize(("sport", "dport"), [(68, 69), (66, 67), (53, 67), (68, 53), (0x4300, 0x4400)])
def test_other_broadcasts_are_like_any_packet(either: Firewall, sport: int, dport: int) -> None:
    """Default: both ports must be of DHCP, and in the right byte order."""
    assert either.run(udp4(SOURCE, "255.255.255.255", sport, dport)) == BLOCKED


def test_dhcp_needs_udp(either: Firewall) -> None:
    """Wrong protocol."""
    for protocol in (136, 132):
        packet = bytearray(udp4(SOURCE, "255.255.255.255", 68, 67))
        packet[23] = protocol
        assert either.run(packet) == BLOCKED


def test_malformed_dhcp_is_dropped(either: Firewall) -> None:
    """The exemption comes after the parser."""
    packet = udp4(SOURCE, "255.255.255.255", 68, 67, ports_only=7)
    assert either.run(packet) == (DROP, Reason.MALFORMED_UDP)


@pytest.mark.parametrize(("sport", "dport"), [(546, 547), (547, 546), (547, 547)])
@pytest.mark.parametrize("destination", ["ff02::1:2", "fe80::9", "febf::9"])
def test_dhcpv6_of_the_link_passes(either: Firewall, destination: str, sport: int, dport: int) -> None:
    """Match: link-local source, and a destination that no router forwards."""
    assert either.run(udp6(LOCAL, destination, sport, dport)) == (PASS, Reason.DHCP)


@pytest.mark.parametrize(
    ("source", "destination"),
    [
        (SOURCE6, "ff02::1:2"),
        (UNSPECIFIED, "ff02::1:2"),
        (LOCAL, HOST6),
        (LOCAL, "ff05::1:3"),
        (LOCAL, "ff12::1:2"),
        ("fec0::1", "ff02::1:2"),
        (LOCAL, "fec0::9"),
        (SOURCE6, "fe80::9"),
    ],
)
def test_routed_dhcpv6_is_like_any_packet(either: Firewall, source: str, destination: str) -> None:
    """Miss: relays and other scopes."""
    assert either.run(udp6(source, destination, 547, 546)) == BLOCKED


@pytest.mark.parametrize(("sport", "dport"), [(546, 548), (545, 547), (53, 547), (67, 68)])
def test_other_ports_on_the_link_are_like_any_packet(either: Firewall, sport: int, dport: int) -> None:
    """Default."""
    assert either.run(udp6(LOCAL, "ff02::1:2", sport, dport)) == BLOCKED


def test_dhcp_is_not_counted_for_a_class(either: Firewall) -> None:
    """Counter: the list was not asked."""
    either.run(udp4(SOURCE, "255.255.255.255", 68, 67))
    either.run(udp6(LOCAL, "ff02::1:2", 546, 547))
    assert either.class_counter(1) == (0, 0)
