# SPDX-License-Identifier: Apache-2.0
"""Fragments, which XDP sees before they are put together. Sources: RFC 791, 1858, 3128, 6946, 7112, 8200."""

import struct
from typing import Any

import pytest
from scapy.layers.inet import IP

from neurowall.model.reasons import Reason
from tests.bpf.harness import DROP, PASS, Firewall
from tests.bpf.packets import ETHER, HOST, HOST6, SOURCE, SOURCE6, frame4, frame6, patched, tagged, tcp, udp

MORE = 1
TCP, UDP, ICMP, OPTIONS, ROUTING, AH, FRAGMENT, HOP = 6, 17, 1, 60, 43, 51, 44, 0
UDP_HEADER = struct.pack("!4H", 40000, 53, 2000, 0)  # of the whole datagram, so longer than this fragment
TCP_HEADER = bytes(tcp())


def v4(protocol: int, offset: int, flags: int, payload: bytes = b"") -> Any:
    """An IPv4 fragment; *offset* in units of eight bytes, *flags* MORE or 0."""
    return ETHER / IP(src=SOURCE, dst=HOST, proto=protocol, frag=offset, flags=flags) / payload


def v6(protocol: int, offset: int, flags: int, payload: bytes = b"", before: bytes = b"") -> bytes:
    """An IPv6 fragment; *before* is a destination options header in front of the fragment header."""
    header = bytes([protocol, 0]) + struct.pack("!HI", offset << 3 | flags, 1)
    first = OPTIONS if before else FRAGMENT
    body = before + header + payload
    return bytes(frame6(SOURCE6, HOST6, nh=first, plen=len(body))) + body


both = pytest.mark.parametrize("fragment", [v4, v6])


@both
@pytest.mark.parametrize(("offset", "flags"), [(2, MORE), (185, MORE), (185, 0), (8191, 0), (1, 0)])
@pytest.mark.parametrize("payload", [b"", b"x", b"\x00" * 8, b"\xff" * 64])
def test_a_later_fragment_passes_unread(
    firewall: Firewall, fragment: Any, offset: int, flags: int, payload: bytes
) -> None:
    """Match: its payload is data, whatever it looks like, and may be of any length."""
    assert firewall.run(fragment(UDP, offset, flags, payload)) == (PASS, Reason.FRAGMENT)


@both
def test_an_unfragmented_packet_is_not_one(firewall: Firewall, fragment: Any) -> None:
    """Miss: offset 0 and no more to come; so its UDP header is judged, and the length is wrong."""
    assert firewall.run(fragment(UDP, 0, 0, UDP_HEADER)) == (DROP, Reason.MALFORMED_UDP)


def test_dont_fragment_and_the_reserved_bit_are_not_fragmentation(firewall: Firewall) -> None:
    """Miss: the other flags."""
    for flags in (b"\x40\x00", b"\x80\x00", b"\xc0\x00"):
        assert firewall.run(patched(frame4() / udp(), 20, flags)) == (PASS, Reason.DEFAULT)


@both
def test_a_first_fragment_with_its_header_is_judged_by_it(firewall: Firewall, fragment: Any) -> None:
    """The UDP length is that of the whole datagram, so it may go beyond the fragment; not below 8."""
    assert firewall.run(fragment(UDP, 0, MORE, UDP_HEADER + bytes(8))) == (PASS, Reason.DEFAULT)
    bad = struct.pack("!4H", 40000, 53, 7, 0)
    assert firewall.run(fragment(UDP, 0, MORE, bad)) == (DROP, Reason.MALFORMED_UDP)


@both
@pytest.mark.parametrize(("protocol", "length"), [(TCP, 20), (UDP, 8)])
def test_a_first_fragment_without_its_whole_header_is_tiny(
    firewall: Firewall, fragment: Any, protocol: int, length: int
) -> None:
    """At every length; the rest in the padding does not help."""
    header = (TCP_HEADER if protocol == TCP else UDP_HEADER)[:length]
    assert firewall.run(fragment(protocol, 0, MORE, header)) == (PASS, Reason.DEFAULT)
    for cut in range(length):
        packet = bytes(fragment(protocol, 0, MORE, header[:cut]))
        assert firewall.run(packet) == (DROP, Reason.FRAGMENT_TINY), cut
        assert firewall.run(packet + bytes(100)) == (DROP, Reason.FRAGMENT_TINY), cut


@pytest.mark.parametrize(("fragment", "protocol"), [(v4, 1), (v6, 58)])
def test_a_first_fragment_of_icmp_needs_eight_bytes(firewall: Firewall, fragment: Any, protocol: int) -> None:
    """An echo request, cut."""
    header = bytes([8 if protocol == ICMP else 128]) + bytes(7)
    assert firewall.run(fragment(protocol, 0, MORE, header)) == (PASS, Reason.DEFAULT)
    assert firewall.run(fragment(protocol, 0, MORE, header[:7])) == (DROP, Reason.FRAGMENT_TINY)


@both
def test_tcp_options_beyond_the_first_fragment_are_tiny(firewall: Firewall, fragment: Any) -> None:
    """The whole header, options included, must be in it."""
    header = patched(TCP_HEADER, 12, b"\x80")  # data offset 8: 32 bytes
    assert firewall.run(fragment(TCP, 0, MORE, header + bytes(11))) == (DROP, Reason.FRAGMENT_TINY)
    assert firewall.run(fragment(TCP, 0, MORE, header + bytes(12))) == (PASS, Reason.DEFAULT)


@both
@pytest.mark.parametrize("flags", [0, MORE])
def test_a_fragment_that_would_rewrite_the_tcp_flags_is_dropped(
    firewall: Firewall, fragment: Any, flags: int
) -> None:
    """Offset 1 of TCP, and only that: RFC 1858 section 4, RFC 3128."""
    assert firewall.run(fragment(TCP, 1, flags, bytes(24))) == (DROP, Reason.FRAGMENT_OVERLAP)
    assert firewall.run(fragment(TCP, 2, flags, bytes(24))) == (PASS, Reason.FRAGMENT)
    assert firewall.run(fragment(UDP, 1, flags, bytes(24))) == (PASS, Reason.FRAGMENT)


@both
def test_protocols_without_a_header_that_we_read_have_no_tiny_fragments(
    firewall: Firewall, fragment: Any
) -> None:
    """Wrong protocol."""
    assert firewall.run(fragment(132, 0, MORE, b"")) == (PASS, Reason.DEFAULT)


def test_a_first_fragment_with_a_cut_chain_is_tiny(firewall: Firewall) -> None:
    """RFC 7112: the whole chain must be in the first fragment; cut at every byte."""
    options = bytes([UDP, 1]) + bytes(14)
    assert firewall.run(v6(OPTIONS, 0, MORE, options + UDP_HEADER)) == (PASS, Reason.DEFAULT)
    for cut in range(len(options + UDP_HEADER)):
        packet = v6(OPTIONS, 0, MORE, (options + UDP_HEADER)[:cut])
        assert firewall.run(packet) == (DROP, Reason.FRAGMENT_TINY), cut


@pytest.mark.parametrize("protocol", [OPTIONS, ROUTING, AH, HOP, FRAGMENT])
def test_a_later_fragment_is_not_read_as_extension_headers(firewall: Firewall, protocol: int) -> None:
    """The next header field of a later fragment is that of the first one's: what follows is data."""
    for payload in (b"", b"\xff" * 5, bytes([TCP, 255]) + bytes(30)):
        assert firewall.run(v6(protocol, 100, MORE, payload)) == (PASS, Reason.FRAGMENT)


def test_headers_in_front_of_the_fragment_header_are_skipped(firewall: Firewall) -> None:
    """The unfragmentable part."""
    before = bytes([FRAGMENT, 0]) + bytes(6)
    assert firewall.run(v6(UDP, 9, 0, b"data", before)) == (PASS, Reason.FRAGMENT)
    assert firewall.run(v6(UDP, 0, MORE, UDP_HEADER, before)) == (PASS, Reason.DEFAULT)
    assert firewall.run(v6(UDP, 0, MORE, UDP_HEADER[:7], before)) == (DROP, Reason.FRAGMENT_TINY)


def test_a_fragment_of_a_fragment_is_judged_by_both_headers(firewall: Firewall) -> None:
    """Two fragment headers: later if one says so, tiny if neither does and the header is cut."""

    def inner(offset: int, flags: int) -> bytes:
        return bytes([UDP, 0]) + struct.pack("!HI", offset << 3 | flags, 2)

    assert firewall.run(v6(FRAGMENT, 0, MORE, inner(5, 0) + b"data")) == (PASS, Reason.FRAGMENT)
    assert firewall.run(v6(FRAGMENT, 0, MORE, inner(0, 0) + UDP_HEADER[:7])) == (DROP, Reason.FRAGMENT_TINY)
    assert firewall.run(v6(FRAGMENT, 0, 0, inner(0, MORE) + UDP_HEADER[:7])) == (DROP, Reason.FRAGMENT_TINY)


@both
def test_the_source_of_every_fragment_is_looked_up(either: Firewall, fragment: Any) -> None:
    """First and later, tagged or not; counted by class."""
    either.put_class(1, DROP)
    either.put(SOURCE, 1)
    either.put(SOURCE6, 1)
    for packet in (fragment(UDP, 0, MORE, UDP_HEADER), fragment(UDP, 7, 0, b"data")):
        assert either.run(packet) == (DROP, Reason.BLOCK_LIST)
        assert either.run(tagged(packet, 0x8100)) == (DROP, Reason.BLOCK_LIST)
    assert either.class_counter(1)[0] == 4


@both
def test_a_later_fragment_has_no_ports(make_firewall: Any, fragment: Any) -> None:
    """What looks like DHCP or a failsafe's port in it opens nothing."""
    firewall = make_firewall(failsafe=True)
    firewall.put_class(1, DROP)
    for source in (SOURCE, SOURCE6):
        firewall.put(source, 1)
    firewall.put_failsafe(HOST, 443, ["0.0.0.0/1", "128.0.0.0/1"])
    firewall.put_failsafe(HOST6, 443, ["2000::/3"])
    for whole in (frame4() / tcp(), frame6() / tcp()):
        assert firewall.run(whole) == (PASS, Reason.FAILSAFE)
    assert firewall.run(fragment(TCP, 5, 0, TCP_HEADER)) == (DROP, Reason.BLOCK_LIST)
    assert firewall.run(fragment(UDP, 5, 0, struct.pack("!4H", 68, 67, 8, 0))) == (DROP, Reason.BLOCK_LIST)


def test_a_whole_packet_still_passes(firewall: Firewall) -> None:
    """Default."""
    assert firewall.run(frame4() / tcp()) == (PASS, Reason.DEFAULT)
    assert firewall.run(frame6() / tcp()) == (PASS, Reason.DEFAULT)
