# SPDX-License-Identifier: Apache-2.0
import random
from typing import Any

import pytest

from neurowall.logic.packettext import EPHEMERAL, Packet, PacketInvalid, read_packet
from tests.unit.logic.packet_world import random_packet


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (
            "tcp 203.0.113.7:4711 -> 192.0.2.10:443 via wan0",
            Packet("tcp", "203.0.113.7", "192.0.2.10", 4711, 443, via="wan0"),
        ),
        (
            "UDP [2001:DB8::1]:53 -> [2001:db8:0:0::2]:5353 to lan0 via wan0 state Established",
            Packet("udp", "2001:db8::1", "2001:db8::2", 53, 5353, via="wan0", to="lan0", state="established"),
        ),
        (
            "tcp 203.0.113.7→192.0.2.10:22",
            Packet("tcp", "203.0.113.7", "192.0.2.10", EPHEMERAL, 22),
        ),
        ("sctp 192.0.2.1:1 -> 192.0.2.2:2", Packet("sctp", "192.0.2.1", "192.0.2.2", 1, 2)),
        ("gre 192.0.2.1 -> 192.0.2.2", Packet("gre", "192.0.2.1", "192.0.2.2")),
        ("icmp 192.0.2.1 -> 192.0.2.2", Packet("icmp", "192.0.2.1", "192.0.2.2", icmp_type=8)),
        ("icmp echo-request 192.0.2.1 -> 192.0.2.2", Packet("icmp", "192.0.2.1", "192.0.2.2", icmp_type=8)),
        (
            "icmp echo-reply 192.0.2.1 -> 192.0.2.2",
            Packet("icmp", "192.0.2.1", "192.0.2.2", icmp_type=0, state="invalid"),
        ),
        (
            "icmp 3 192.0.2.1 -> 192.0.2.2 state related ttl 7",
            Packet("icmp", "192.0.2.1", "192.0.2.2", icmp_type=3, state="related", hop_limit=7),
        ),
        (
            "icmpv6 nd-neighbor-solicit fe80::1 -> ff02::1:ff00:1 via lan0",
            Packet(
                "icmpv6",
                "fe80::1",
                "ff02::1:ff00:1",
                icmp_type=135,
                via="lan0",
                state="untracked",
                hop_limit=255,
            ),
        ),
        (
            "icmpv6 mld2-listener-report :: -> ff02::16",
            Packet("icmpv6", "::", "ff02::16", icmp_type=143, state="untracked", hop_limit=1),
        ),
        (
            "icmpv6 nd-redirect fe80::1 -> fe80::2",
            Packet("icmpv6", "fe80::1", "fe80::2", icmp_type=137, state="invalid", hop_limit=255),
        ),
    ],
)
def test_text_is_read_as_the_packet_that_it_describes(text: str, wanted: Packet) -> None:
    """Every form of the text; what is left out gets the value that such a packet usually has."""
    assert read_packet(text) == wanted
    assert read_packet(str(wanted)) == wanted


def test_a_packet_is_written_so_that_it_is_read_back() -> None:
    """Random packets survive the way through their text."""
    rng = random.Random(7)
    for _ in range(500):
        packet = random_packet(rng)
        assert read_packet(str(packet)) == packet


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no '->'"),
        ("tcp 192.0.2.1:1 192.0.2.2:2", "no '->'"),
        ("tcp -> 192.0.2.2:2", "protocol or source is missing"),
        ("tcp 192.0.2.1:1 ->", "destination is missing"),
        ("tpc 192.0.2.1 -> 192.0.2.2:2", "'tpc' is no protocol: did you mean 'tcp'?"),
        ("quic 192.0.2.1 -> 192.0.2.2:2", "'quic' is no protocol: use tcp, udp, sctp"),
        ("tcp 192.0.2.1 -> 192.0.2.2", "needs the port it goes to: write 192.0.2.2:443"),
        ("tcp 2001:db8::1 -> 2001:db8::2", "write [2001:db8::2]:443"),
        ("tcp 192.0.2.1:0 -> 192.0.2.2:80", "'192.0.2.1:0': expected a port from 1 to 65535"),
        ("tcp 192.0.2.1 -> 192.0.2.2:http", "expected a port from 1 to 65535"),
        ("tcp 192.0.2.1 -> 192.0.2.2:65536", "expected a port from 1 to 65535"),
        ("gre 192.0.2.1 -> 192.0.2.2:80", "gre has no ports: write the bare address"),
        ("tcp [2001:db8::1 -> [2001:db8::2]:80", "expected [address]:port"),
        ("tcp [2001:db8::1]80 -> [2001:db8::2]:80", "expected [address]:port"),
        ("tcp 192.0.2.1 -> [2001:db8::2]:80", "different families"),
        ("icmp 2001:db8::1 -> 2001:db8::2", "icmp is IPv4 only, 2001:db8::1 is not: write icmpv6"),
        ("icmpv6 192.0.2.1 -> 192.0.2.2", "write icmp"),
        ("icmp ping 192.0.2.1 -> 192.0.2.2", "'ping' is no icmp type: use echo-reply"),
        ("icmp echo-requst 192.0.2.1 -> 192.0.2.2", "did you mean 'echo-request'?"),
        ("icmp 256 192.0.2.1 -> 192.0.2.2", "'256' is no icmp type"),
        ("icmp echo reply 192.0.2.1 -> 192.0.2.2", "more than one icmp type"),
        ("udp any 192.0.2.1 -> 192.0.2.2:53", "'any' between udp and the source"),
        ("tcp host.example -> 192.0.2.2:53", "host names are not resolved"),
        ("tcp 192.0.2.0/24 -> 192.0.2.2:53", "a prefix: give one address"),
        ("tcp 192.0.2.1 -> 192.0.2.2:53 vai wan0", "'vai' is no word: did you mean 'via'?"),
        ("tcp 192.0.2.1 -> 192.0.2.2:53 via", "nothing follows 'via'"),
        ("tcp 192.0.2.1 -> 192.0.2.2:53 via a via b", "'via' is given twice"),
        ("tcp 192.0.2.1 -> 192.0.2.2:53 state fresh", "'fresh' is no state: use new, established"),
        ("tcp 192.0.2.1 -> 192.0.2.2:53 ttl 0", "expected 1 to 255"),
        ("tcp 192.0.2.1 -> 192.0.2.2:53 ttl " + "9" * 5000, "expected 1 to 255"),
    ],
)
def test_text_that_describes_no_packet_is_refused_with_the_reason(text: str, why: str) -> None:
    """Each refusal names what is wrong and what to write."""
    with pytest.raises(PacketInvalid) as refused:
        read_packet(text)
    assert why in str(refused.value)
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize(
    "fields",
    [
        {"protocol": "tcp"},
        {"protocol": "tcp", "source_port": 1},
        {"protocol": "gre", "source_port": 1, "destination_port": 2},
        {"protocol": "icmp"},
        {"protocol": "udp", "source_port": 1, "destination_port": 2, "icmp_type": 8},
        {"protocol": "gre", "destination": "198.51.100.0/24"},
    ],
)
def test_a_packet_that_cannot_be_is_not_built(fields: dict[str, Any]) -> None:
    """Ports belong to protocols that have them, types to ICMP, addresses are hosts."""
    with pytest.raises(PacketInvalid):
        Packet(**({"source": "192.0.2.1", "destination": "192.0.2.2"} | fields))


@pytest.mark.parametrize(
    "text",
    [
        "tcp 192.0.2.1:1 -> 192.0.2.2:2 flags syn,ack sequence 7 acknowledgement 8 size 900",
        "tcp 192.0.2.1:1 -> 192.0.2.2:2 flags none",
        "udp 192.0.2.1:1 -> 192.0.2.2:2 size 1500",
    ],
)
def test_what_the_header_holds_may_be_said(text: str) -> None:
    """And is said again."""
    assert str(read_packet(text)) == text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("tcp 192.0.2.1:1 -> 192.0.2.2:2 flags sin", "'sin' is no TCP flag"),
        ("tcp 192.0.2.1:1 -> 192.0.2.2:2 sequence 4294967296", "expected a number up to 4294967295"),
        ("udp 192.0.2.1:1 -> 192.0.2.2:2 size 1501", "expected a number up to 1500"),
        ("udp 192.0.2.1:1 -> 192.0.2.2:2 flags syn", "are of tcp, not of udp"),
    ],
)
def test_what_no_header_holds_is_refused(text: str, why: str) -> None:
    """With the reason."""
    with pytest.raises(PacketInvalid, match=why):
        read_packet(text)


def test_a_new_connection_begins_with_a_syn() -> None:
    """Unless the flags say otherwise; what is known goes on with an ACK."""
    start = "tcp 192.0.2.1:1 -> 192.0.2.2:2"
    assert read_packet(start).tcp_flags == ("syn",)
    assert read_packet(f"{start} state established").tcp_flags == ("ack",)
    assert read_packet(f"{start} flags rst").tcp_flags == ("rst",)
