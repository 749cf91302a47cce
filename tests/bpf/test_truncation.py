# SPDX-License-Identifier: Apache-2.0
"""Frames cut at every byte: what is not whole is never taken for something else.

PROG_RUN takes no frame under 14 bytes; shorter ones need a wire (tests/net).
"""

import struct
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, IPOption_NOP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6ND_NS,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
)

from neurowall.model.reasons import Reason
from tests.bpf.conftest import MakeFirewall
from tests.bpf.harness import DROP, PASS, Firewall, refused_as_too_short
from tests.bpf.packets import (
    ALL_NODES,
    ETHER,
    HOST,
    LINK_LOCAL,
    SOURCE,
    frame4,
    frame6,
    raw,
    tagged,
    tcp,
    udp,
)

ETHERNET = 14
PACKETS: dict[str, Any] = {
    "udp": frame4() / udp() / b"payload",
    "tcp": frame4() / tcp(options=[("MSS", 1460)]) / b"payload",
    "icmp": frame4() / ICMP() / b"payload",
    "options": ETHER / IP(src=SOURCE, dst=HOST, options=[IPOption_NOP()] * 40) / udp(),
    "other protocol": ETHER / IP(src=SOURCE, dst=HOST, proto=50) / b"payload",
    "later fragment": ETHER / IP(src=SOURCE, dst=HOST, proto=17, frag=185) / b"payload",
    "tunnel": frame4() / IP(src=SOURCE, dst=HOST) / udp(),
    "udp6": frame6() / udp() / b"payload",
    "tcp6": frame6() / tcp() / b"payload",
    "icmp6": frame6() / ICMPv6EchoRequest(data=b"payload"),
    "chain": frame6() / IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt() / udp() / b"payload",
    "fragment6": frame6() / IPv6ExtHdrFragment(offset=185, m=1) / b"payload",
    "neighbour": frame6(LINK_LOCAL, ALL_NODES, hlim=255) / ICMPv6ND_NS(),
    "tagged": tagged(frame4() / udp(), 0x8100),
    "tagged twice": tagged(frame6() / tcp(), 0x88A8, 0x8100),
}


@pytest.mark.parametrize("name", PACKETS)
def test_an_ip_packet_cut_at_any_byte_is_truncated(make_firewall: MakeFirewall, name: str) -> None:
    """Whole it passes; with anything from one byte to all behind Ethernet missing it is dropped.

    Also where what is not parsed would pass.
    """
    firewall, packet = make_firewall(engine="classic", unparsed=PASS), bytes(PACKETS[name])
    assert firewall.run(packet).action == PASS
    for length in range(ETHERNET, len(packet)):
        assert firewall.run(packet[:length]) == (DROP, Reason.TRUNCATED), length


def header_reason(name: str, left: int) -> tuple[str, Reason]:
    """Of a packet with *left* bytes behind IP by its own word: the header is cut, or its length lies."""
    if name in {"udp", "udp6"}:
        return (DROP, Reason.TRUNCATED if left < 8 else Reason.MALFORMED_UDP)
    if name == "tcp":  # 24 bytes of header
        return (
            (DROP, Reason.TRUNCATED if left < 20 else Reason.MALFORMED_TCP)
            if left < 24
            else (PASS, Reason.DEFAULT)
        )
    if name == "tcp6":
        return (DROP, Reason.TRUNCATED) if left < 20 else (PASS, Reason.DEFAULT)
    return (DROP, Reason.TRUNCATED) if left < 8 else (PASS, Reason.DEFAULT)


@pytest.mark.parametrize("name", ["udp", "tcp", "icmp", "udp6", "tcp6", "icmp6"])
@pytest.mark.parametrize("padding", [0, 60])
def test_a_packet_cut_by_its_own_word_is_judged_by_what_is_left(
    firewall: Firewall, name: str, padding: int
) -> None:
    """The lengths of IP say so too; what lies behind is padding and never read."""
    packet = bytes(PACKETS[name])
    start = ETHERNET + (40 if name.endswith("6") else 20)
    for left in range(len(packet) - start):
        cut = bytearray(packet[: start + left])
        if name.endswith("6"):
            cut[18:20] = struct.pack("!H", left)
        else:
            cut[16:18] = struct.pack("!H", 20 + left)
        assert firewall.run(bytes(cut) + packet[start + left :][:padding]) == header_reason(name, left), left


@pytest.mark.parametrize("length", range(ETHERNET, 60))
def test_what_is_not_ip_is_not_truncated(firewall: Firewall, length: int) -> None:
    """ARP and what is not parsed have no length that we read."""
    assert firewall.run(raw(0x0806, bytes(46))[:length]) == (PASS, Reason.ARP)
    assert firewall.run(raw(0x8864, bytes(46))[:length]) == (DROP, Reason.UNPARSED_DROP)


def test_shorter_frames_cannot_be_tested_here(firewall: Firewall) -> None:
    """Should a kernel take them one day, the loops above can begin at 0."""
    for length in range(ETHERNET):
        assert refused_as_too_short(lambda size=length: firewall.run(bytes(size))), length  # type: ignore[misc]


@pytest.mark.parametrize("length", [1514, 1518, 3000])
def test_long_frames_are_read_like_short_ones(firewall: Firewall, length: int) -> None:
    """Up to what fits a page with XDP's headroom."""
    firewall.put_class(1, DROP)
    firewall.put(SOURCE, 1)
    packet = frame4() / udp() / bytes(length - 42)
    assert len(bytes(packet)) == length
    assert firewall.run(packet) == (DROP, Reason.BLOCK_LIST)
