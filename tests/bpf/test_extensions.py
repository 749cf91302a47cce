# SPDX-License-Identifier: Apache-2.0
"""The IPv6 header and its chain of extension headers."""

import struct
from collections.abc import Sequence

import pytest

from neurowall.model.reasons import Reason
from tests.bpf.harness import DROP, PASS, Firewall
from tests.bpf.packets import HOST6, SOURCE6, frame6, patched, raw, tcp, udp

HOP, ROUTING, FRAGMENT, ESP, AH, NONE, OPTIONS = 0, 43, 44, 50, 51, 59, 60
MOBILITY, HIP, SHIM6 = 135, 139, 140
IN_EIGHTS = [ROUTING, OPTIONS, MOBILITY, HIP, SHIM6]
TCP, UDP = 6, 17
PAYLOAD_LENGTH, NEXT_HEADER = 18, 20
UDP_HEADER = struct.pack("!4H", 40000, 53, 8, 0)


def chain(headers: Sequence[tuple[int, bytes]], protocol: int = UDP, payload: bytes = UDP_HEADER) -> bytes:
    """A frame whose extension headers are *headers*: (type, everything behind the next-header byte)."""
    types = [*(each for each, _ in headers), protocol]
    body = b"".join(
        bytes([following]) + rest for (_, rest), following in zip(headers, types[1:], strict=True)
    )
    packet = bytes(frame6(SOURCE6, HOST6, nh=types[0], plen=len(body) + len(payload)))
    return packet + body + payload


def eights(kind: int, units: int = 0) -> tuple[int, bytes]:
    """An extension header of (units + 1) * 8 bytes."""
    return kind, bytes([units]) + b"\xff" * (units * 8 + 6)


def ah(units: int = 4) -> tuple[int, bytes]:
    """An authentication header: its length counts words of four bytes, less two (RFC 4302)."""
    return AH, bytes([units]) + b"\xff" * ((units + 2) * 4 - 2)


def is_read(firewall: Firewall, headers: Sequence[tuple[int, bytes]]) -> bool:
    """Whether the UDP header behind the chain is the one that is judged: a bad length is seen."""
    bad = struct.pack("!4H", 40000, 53, 7, 0)
    good = firewall.run(chain(headers)) == (PASS, Reason.DEFAULT)
    return good and firewall.run(chain(headers, payload=bad)) == (DROP, Reason.MALFORMED_UDP)


@pytest.mark.parametrize("kind", [*IN_EIGHTS, HOP])
@pytest.mark.parametrize("units", [0, 1, 2, 31, 255])
def test_every_type_is_skipped_by_its_length(firewall: Firewall, kind: int, units: int) -> None:
    """Match."""
    assert is_read(firewall, [eights(kind, units)])


@pytest.mark.parametrize("units", [0, 1, 2, 4, 5, 14, 255])
def test_an_authentication_header_counts_words(firewall: Firewall, units: int) -> None:
    """Its own unit; the length of a multiple of four is skipped as it is."""
    assert is_read(firewall, [ah(units)])


def test_an_atomic_fragment_is_skipped(firewall: Firewall) -> None:
    """Offset 0 and no more to come (RFC 6946): a whole packet; its second byte is no length."""
    assert is_read(firewall, [(FRAGMENT, b"\x00" + bytes(6))])
    assert is_read(firewall, [(FRAGMENT, b"\xff" + bytes(6))])


@pytest.mark.parametrize("kind", [ESP, NONE, 41, 47, 58 + 100, 253, 254, 255])
def test_what_is_no_extension_header_ends_the_chain(firewall: Firewall, kind: int) -> None:
    """Miss: nothing is read behind it."""
    expected = Reason.TUNNEL if kind in {41, 47} else Reason.DEFAULT
    assert firewall.run(chain([eights(OPTIONS)], kind, b"")) == (PASS, expected)
    assert firewall.run(chain([], kind, b"\x06" * 5)) == (PASS, expected)


@pytest.mark.parametrize("kind", [*IN_EIGHTS, AH])
def test_eight_headers_pass_and_nine_are_dropped(firewall: Firewall, kind: int) -> None:
    """The depth is NW_EXTENSION_DEPTH."""
    header = ah() if kind == AH else eights(kind)
    assert is_read(firewall, [header] * 8)
    assert firewall.run(chain([header] * 9)) == (DROP, Reason.EXTENSION_DEPTH)
    assert firewall.run(chain([header] * 20)) == (DROP, Reason.EXTENSION_DEPTH)


def test_a_chain_of_all_types_is_read(firewall: Firewall) -> None:
    """Mixed units add up."""
    headers = [eights(HOP, 1), eights(OPTIONS), eights(ROUTING, 2), (FRAGMENT, bytes(7)), ah(3)]
    assert is_read(firewall, headers)
    assert is_read(firewall, [*headers, eights(MOBILITY), eights(HIP, 4), eights(SHIM6)])


@pytest.mark.parametrize("before", [HOP, OPTIONS, ROUTING, FRAGMENT, AH])
def test_hop_by_hop_is_malformed_unless_first(firewall: Firewall, before: int) -> None:
    """RFC 8200 section 4.1."""
    first = {AH: ah(), FRAGMENT: (FRAGMENT, bytes(7))}.get(before) or eights(before)
    assert firewall.run(chain([first, eights(HOP)])) == (DROP, Reason.MALFORMED_IPV6)


@pytest.mark.parametrize("kind", [*IN_EIGHTS, HOP, AH, FRAGMENT])
@pytest.mark.parametrize("left", range(8))
def test_a_header_cut_within_its_first_eight_bytes_is_truncated(
    firewall: Firewall, kind: int, left: int
) -> None:
    """Whether the frame ends there or only the packet does, with the rest in the padding."""
    packet = chain([], kind, b"\x11" + bytes(left - 1) if left else b"")
    assert firewall.run(packet) == (DROP, Reason.TRUNCATED)
    assert firewall.run(packet + bytes(100)) == (DROP, Reason.TRUNCATED)


@pytest.mark.parametrize(
    ("kind", "units", "length"), [(OPTIONS, 1, 16), (ROUTING, 255, 2048), (AH, 4, 24), (HOP, 9, 80)]
)
def test_a_header_longer_than_the_packet_is_truncated(
    firewall: Firewall, kind: int, units: int, length: int
) -> None:
    """By one byte, or by far; exact is not."""
    whole = bytes([NONE, units]) + bytes(length - 2)
    assert firewall.run(chain([], kind, whole)) == (PASS, Reason.DEFAULT)
    for cut in (length - 1, 9, 8):
        assert firewall.run(chain([], kind, whole[:cut])) == (DROP, Reason.TRUNCATED)


@pytest.mark.parametrize("version", [0, 4, 5, 7, 15])
def test_another_version_is_malformed(firewall: Firewall, version: int) -> None:
    """Wrong protocol: IPv4 under the EtherType of IPv6 too."""
    packet = patched(frame6() / udp(), 14, bytes([version << 4]))
    assert firewall.run(packet) == (DROP, Reason.MALFORMED_IPV6)


@pytest.mark.parametrize("more", [1, 8, 1000, 65535 - 8])
def test_a_payload_length_beyond_the_frame_is_truncated(firewall: Firewall, more: int) -> None:
    """The stack drops it too."""
    packet = patched(frame6() / udp(), PAYLOAD_LENGTH, (8 + more).to_bytes(2, "big"))
    assert firewall.run(packet) == (DROP, Reason.TRUNCATED)


@pytest.mark.parametrize("length", range(20))
def test_a_tcp_header_in_the_padding_is_not_read(firewall: Firewall, length: int) -> None:
    """A payload length of 0 is taken at its word too."""
    packet = patched(frame6() / tcp(), PAYLOAD_LENGTH, length.to_bytes(2, "big"))
    assert firewall.run(packet) == (DROP, Reason.TRUNCATED)


def test_payload_length_zero_with_hop_by_hop_is_truncated(firewall: Firewall) -> None:
    """With or without a jumbo option: Linux would read on to the end of the frame, so it must not pass."""
    jumbo = (HOP, b"\x00\xc2\x04" + struct.pack("!I", 100))
    for header in (jumbo, eights(HOP)):
        packet = patched(chain([header]), PAYLOAD_LENGTH, b"\x00\x00")
        assert firewall.run(packet) == (DROP, Reason.TRUNCATED)
        assert firewall.run(packet + bytes(200)) == (DROP, Reason.TRUNCATED)


def test_an_empty_packet_passes(firewall: Firewall) -> None:
    """Default: next header 59, nothing behind it."""
    assert firewall.run(frame6(nh=NONE)) == (PASS, Reason.DEFAULT)


def test_a_listed_source_is_found_behind_a_chain(either: Firewall) -> None:
    """Counter of the class, and no way round the lists."""
    either.put_class(1, DROP)
    either.put(SOURCE6, 1)
    packet = chain([eights(HOP), eights(OPTIONS, 3), ah()])
    assert either.run(packet) == (DROP, Reason.BLOCK_LIST)
    assert either.class_counter(1) == (1, len(packet))


def test_a_header_without_its_last_byte_is_truncated(firewall: Firewall) -> None:
    """The fixed header itself."""
    packet = bytes(frame6(nh=NONE))
    assert firewall.run(raw(0x86DD, packet[14:53])) == (DROP, Reason.TRUNCATED)
