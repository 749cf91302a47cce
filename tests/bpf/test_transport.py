# SPDX-License-Identifier: Apache-2.0
"""The headers of TCP, UDP and ICMP."""

from typing import Any

import pytest
from scapy.layers.inet import ICMP

from neurowall.model.reasons import Reason
from tests.bpf.harness import DROP, PASS, Firewall
from tests.bpf.packets import HOST, SOURCE, frame4, frame6, patched, tcp, udp

FAMILIES: list[Any] = [frame4, frame6]
START = {frame4: 34, frame6: 54}  # of the header behind IP
families = pytest.mark.parametrize("frame", FAMILIES, ids=["ipv4", "ipv6"])


# -- TCP


@families
@pytest.mark.parametrize("doff", range(5))
def test_a_tcp_data_offset_below_five_is_malformed(firewall: Firewall, frame: Any, doff: int) -> None:
    """Match."""
    packet = patched(frame() / tcp() / bytes(64), START[frame] + 12, bytes([doff << 4]))
    assert firewall.run(packet) == (DROP, Reason.MALFORMED_TCP)


@families
@pytest.mark.parametrize("doff", range(5, 16))
def test_a_tcp_header_must_end_within_the_packet(firewall: Firewall, frame: Any, doff: int) -> None:
    """Exactly at its end passes, one byte less is malformed; padding does not help."""
    options = bytes(4 * doff - 20)
    whole = patched(frame() / tcp() / options, START[frame] + 12, bytes([doff << 4]))
    assert firewall.run(whole) == (PASS, Reason.DEFAULT)
    if doff > 5:
        short = patched(frame() / tcp() / options[1:], START[frame] + 12, bytes([doff << 4]))
        assert firewall.run(short) == (DROP, Reason.MALFORMED_TCP)
        assert firewall.run(short + bytes(60)) == (DROP, Reason.MALFORMED_TCP)


@families
def test_any_combination_of_tcp_flags_passes(firewall: Firewall, frame: Any) -> None:
    """Default: flags are the stateful layer's business."""
    for flags in (0x00, 0x02, 0x03, 0x29, 0xFF):
        assert firewall.run(frame() / tcp(flags=flags)) == (PASS, Reason.DEFAULT)


# -- UDP


@families
@pytest.mark.parametrize("length", range(8))
def test_a_udp_length_below_eight_is_malformed(firewall: Firewall, frame: Any, length: int) -> None:
    """0 too: Linux reads it as a jumbogram over IPv6, which no frame here can hold."""
    packet = patched(frame() / udp() / b"data", START[frame] + 4, length.to_bytes(2, "big"))
    assert firewall.run(packet) == (DROP, Reason.MALFORMED_UDP)


@families
@pytest.mark.parametrize("length", [13, 14, 1000, 65535])
def test_a_udp_length_beyond_the_packet_is_malformed(firewall: Firewall, frame: Any, length: int) -> None:
    """The packet's end counts, not the frame's."""
    packet = patched(frame() / udp() / b"data", START[frame] + 4, length.to_bytes(2, "big"))
    assert firewall.run(packet) == (DROP, Reason.MALFORMED_UDP)
    assert firewall.run(packet + bytes(1000)) == (DROP, Reason.MALFORMED_UDP)


@families
@pytest.mark.parametrize("length", range(8, 13))
def test_a_udp_length_within_the_packet_passes(firewall: Firewall, frame: Any, length: int) -> None:
    """Miss: shorter than the packet is what the stack trims."""
    packet = patched(frame() / udp() / b"data", START[frame] + 4, length.to_bytes(2, "big"))
    assert firewall.run(packet) == (PASS, Reason.DEFAULT)


# -- ICMP

ERRORS4, ERRORS6 = (3, 4, 5, 11, 12), (1, 2, 3, 4, 100, 127)


def icmp4(kind: int, source: str = SOURCE) -> Any:
    """An ICMP message of eight bytes."""
    return frame4(source) / ICMP(type=kind)


def icmp6(kind: int, **fields: Any) -> bytes:
    """An ICMPv6 message of eight bytes."""
    return bytes(frame6(nh=58, plen=8, **fields)) + bytes([kind]) + bytes(7)


def test_icmp_errors_have_their_own_reason(firewall: Firewall) -> None:
    """Match and miss over every type; all pass. ND and MLD types have the wrong hop limit here."""
    for kind in range(256):
        expected4 = Reason.ICMP_ERROR if kind in ERRORS4 else Reason.DEFAULT
        assert firewall.run(patched(icmp4(8), 34, bytes([kind]))) == (PASS, expected4), kind
        expected6 = Reason.ICMP_ERROR if kind < 128 else Reason.DEFAULT
        assert firewall.run(icmp6(kind, hlim=64)) == (PASS, expected6), kind


def test_icmp_of_the_other_family_is_an_unknown_protocol(firewall: Firewall) -> None:
    """Wrong protocol: 58 in IPv4 and 1 in IPv6 are not looked into, so they cannot be cut either."""
    assert firewall.run(patched(icmp4(3), 23, bytes([58]))) == (PASS, Reason.DEFAULT)
    assert firewall.run(frame6(nh=1, plen=3) / b"\x03\x00\x00") == (PASS, Reason.DEFAULT)


@pytest.mark.parametrize("length", range(8))
def test_icmp_without_its_whole_header_is_truncated(firewall: Firewall, length: int) -> None:
    """Eight bytes of both families."""
    packet4 = frame4(SOURCE, HOST)
    packet4.payload.proto = 1
    assert firewall.run(packet4 / (b"\x08" + bytes(7))[:length]) == (DROP, Reason.TRUNCATED)
    packet6 = bytes(frame6(nh=58, plen=length)) + (b"\x80" + bytes(7))[:length]
    assert firewall.run(packet6) == (DROP, Reason.TRUNCATED)


@pytest.mark.parametrize("kind", ERRORS4)
def test_an_icmp_error_from_a_listed_source_is_dropped(either: Firewall, kind: int) -> None:
    """Negation: errors are no way round the lists; counted by class."""
    either.put_class(1, DROP)
    either.put(SOURCE, 1)
    assert either.run(icmp4(kind)) == (DROP, Reason.BLOCK_LIST)
    assert either.class_counter(1)[0] == 1
