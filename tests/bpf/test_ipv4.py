# SPDX-License-Identifier: Apache-2.0
"""The IPv4 header: what is impossible is dropped, options are skipped, padding is not read."""

import pytest
from scapy.layers.inet import IP, IPOption

from neurowall.model.reasons import Reason
from tests.bpf.harness import DROP, PASS, Firewall
from tests.bpf.packets import ETHER, HOST, SOURCE, frame4, patched, raw, tcp, udp

VERSION_IHL, TOTAL_LENGTH = 14, 16


def with_total(packet: object, total: int) -> bytes:
    """The packet with another total length in its header."""
    return patched(packet, TOTAL_LENGTH, total.to_bytes(2, "big"))


@pytest.mark.parametrize("ihl", range(5))
def test_a_header_shorter_than_twenty_bytes_is_malformed(firewall: Firewall, ihl: int) -> None:
    """An ihl below 5 would make the source address part of the payload."""
    packet = patched(frame4() / udp() / bytes(64), VERSION_IHL, bytes([0x40 | ihl]))
    assert firewall.run(packet) == (DROP, Reason.MALFORMED_IPV4)


@pytest.mark.parametrize("version", [0, 1, 5, 6, 15])
def test_another_version_is_malformed(firewall: Firewall, version: int) -> None:
    """Wrong protocol: IPv6 under the EtherType of IPv4 too."""
    packet = patched(frame4() / udp(), VERSION_IHL, bytes([version << 4 | 5]))
    assert firewall.run(packet) == (DROP, Reason.MALFORMED_IPV4)


@pytest.mark.parametrize("ihl", range(5, 16))
def test_options_are_skipped_to_find_the_ports(firewall: Firewall, ihl: int) -> None:
    """Match: the UDP header is where ihl says; a wrong place would read its length from the options."""
    options = [IPOption(b"\x01" * 4 * (ihl - 5))] if ihl > 5 else []
    packet = ETHER / IP(src=SOURCE, dst=HOST, options=options) / udp()
    assert bytes(packet)[VERSION_IHL] == 0x40 | ihl
    assert firewall.run(packet) == (PASS, Reason.DEFAULT)
    length = 14 + 4 * ihl + 4
    assert firewall.run(patched(packet, length, b"\x00\x07")) == (DROP, Reason.MALFORMED_UDP)


@pytest.mark.parametrize("ihl", range(6, 16))
def test_a_header_longer_than_the_packet_is_malformed(firewall: Firewall, ihl: int) -> None:
    """The total length ends inside the header."""
    packet = patched(
        with_total(raw(0x0800, bytes(frame4())[14:] + bytes(60)), 4 * ihl - 1), 14, bytes([0x40 | ihl])
    )
    assert firewall.run(packet) == (DROP, Reason.MALFORMED_IPV4)


@pytest.mark.parametrize("total", [0, 1, 19])
def test_a_total_length_below_the_header_is_malformed(firewall: Firewall, total: int) -> None:
    """0 as well: only a merged packet inside the stack has it."""
    assert firewall.run(with_total(frame4() / udp(), total)) == (DROP, Reason.MALFORMED_IPV4)


@pytest.mark.parametrize("more", [1, 2, 1000, 65535 - 28])
def test_a_total_length_beyond_the_frame_is_truncated(firewall: Firewall, more: int) -> None:
    """The stack drops it too."""
    assert firewall.run(with_total(frame4() / udp(), 28 + more)) == (DROP, Reason.TRUNCATED)


@pytest.mark.parametrize("padding", [1, 18, 46, 1000])
def test_padding_behind_the_packet_is_ignored(firewall: Firewall, padding: int) -> None:
    """Ethernet pads short frames to 60 bytes."""
    packet = bytes(frame4() / udp() / b"hello") + b"\xff" * padding
    assert firewall.run(packet) == (PASS, Reason.DEFAULT)


@pytest.mark.parametrize("total", range(20, 40))
def test_a_tcp_header_in_the_padding_is_not_read(firewall: Firewall, total: int) -> None:
    """The frame holds a whole TCP header, the packet does not: the stack would see it cut."""
    assert firewall.run(with_total(frame4() / tcp(), total)) == (DROP, Reason.TRUNCATED)


@pytest.mark.parametrize("total", range(20, 28))
def test_a_udp_header_in_the_padding_is_not_read(firewall: Firewall, total: int) -> None:
    """The same for UDP."""
    assert firewall.run(with_total(frame4() / udp(), total)) == (DROP, Reason.TRUNCATED)


def test_unknown_protocols_pass_with_no_payload_at_all(firewall: Firewall) -> None:
    """Default: what has no header that we read cannot be cut."""
    for protocol in (0, 2, 50, 51, 58, 89, 132, 136, 255):
        packet = ETHER / IP(src=SOURCE, dst=HOST, proto=protocol)
        assert firewall.run(packet) == (PASS, Reason.DEFAULT), protocol


def test_malformed_comes_before_the_lists(either: Firewall) -> None:
    """An allowed source cannot send what is malformed, and its class is not counted."""
    either.put_class(1, PASS)
    either.put(SOURCE, 1)
    assert either.run(with_total(frame4() / udp(), 19)) == (DROP, Reason.MALFORMED_IPV4)
    assert either.class_counter(1) == (0, 0)


def test_the_header_checksum_is_left_to_the_stack(firewall: Firewall) -> None:
    """It drops what is wrong; checking here would cost every packet."""
    assert firewall.run(patched(frame4() / udp(), 24, b"\x12\x34")) == (PASS, Reason.DEFAULT)
