# SPDX-License-Identifier: Apache-2.0
import ipaddress
import struct

import numpy as np
import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from bench.traffic.base import Flow, Kind
from bench.traffic.frame import MAGIC, TEMPLATE_BYTES, Template, checksum_sum, template

CLIENT, GATEWAY = "02:00:00:00:01:02", "02:00:00:00:01:01"
SOURCES = {
    4: np.array([0xCB007107], np.uint32),
    6: np.frombuffer(ipaddress.IPv6Address("2600:db8:1:2:ffff::fffe").packed, "S16"),
}
DESTINATION = {4: "198.19.0.2", 6: "2001:2:0:2::2"}
OFFSET = {4: (26, 24, 50), 6: (22, 60, 70)}  # source, checksum, id: enum xdpgen_offset of bpf/xdpgen.bpf.c


def flow(family: int, size: int = 60) -> Flow:
    """One source of each family."""
    return Flow(family, SOURCES[family], DESTINATION[family], size=size, kind=Kind.CLEAN, ports=(4711, 9))


def fill(laid_out: Template, family: int, size: int, number: int) -> bytes:
    """What bpf/xdpgen.bpf.c makes of the template, in plain Python."""
    source, checksum, identity = OFFSET[family]
    address = SOURCES[family].astype(">u4").tobytes() if family == 4 else SOURCES[family].tobytes()
    frame = bytearray(laid_out.words.ljust(size, b"\0")[:size])
    frame[source : source + len(address)] = address
    frame[identity : identity + 4] = struct.pack("!I", number)
    covered = address + (struct.pack("!I", number) if family == 6 else b"")
    total = laid_out.sum + checksum_sum(covered)
    total = (total & 0xFFFF) + (total >> 16)
    frame[checksum : checksum + 2] = struct.pack("=H", ~total & 0xFFFF)
    return bytes(frame)


def expected(family: int, size: int, number: int) -> bytes:
    """The same packet, built by scapy, which computes its own lengths and checksums."""
    source = str(ipaddress.ip_address(int(SOURCES[4][0]) if family == 4 else SOURCES[6].tobytes()))
    network: Packet
    if family == 4:
        network, headers = IP(src=source, dst=DESTINATION[4], id=0, flags="DF", ttl=64), 14 + 20 + 8
    else:
        network, headers = IPv6(src=source, dst=DESTINATION[6], hlim=64), 14 + 40 + 8
    payload = struct.pack("!III", MAGIC, Kind.CLEAN, number).ljust(size - headers, b"\0")
    udp = UDP(sport=4711, dport=9) if family == 6 else UDP(sport=4711, dport=9, chksum=0)
    return bytes(Ether(src=CLIENT, dst=GATEWAY) / network / udp / Raw(payload))


@pytest.mark.parametrize("size", [60, 74, 75, 512, 1514])
@pytest.mark.parametrize("family", [4, 6])
def test_template_filled_is_the_packet_that_scapy_builds(family: int, size: int) -> None:
    """Lengths, addresses, ports, payload and checksum are right for both families at every size."""
    sent = flow(family, size)
    laid_out = template(sent, family, CLIENT, GATEWAY)
    assert len(laid_out.words) == TEMPLATE_BYTES
    frame = fill(laid_out, family, sent.frame_bytes, 305419896)
    assert frame == expected(family, sent.frame_bytes, 305419896)


def test_smallest_ipv6_frame_has_room_for_the_payload() -> None:
    """A 60-byte IPv6 frame could not hold the id; the flow says what is really sent."""
    assert (flow(4).frame_bytes, flow(6).frame_bytes) == (60, 74)


@pytest.mark.parametrize(
    ("family", "sources", "destination", "size"),
    [
        (4, np.empty(0, np.uint32), "198.19.0.2", 60),
        (4, np.zeros(1, np.uint64), "198.19.0.2", 60),
        (4, SOURCES[6], "198.19.0.2", 60),
        (4, SOURCES[4], "2001:2:0:2::2", 60),
        (4, SOURCES[4], "198.19.0.2", 59),
        (6, SOURCES[6], "2001:2:0:2::2", 1515),
    ],
)
def test_impossible_flow_cannot_be_built(
    family: int, sources: np.ndarray, destination: str, size: int
) -> None:
    """No sources, sources of another type, a destination of the other family, a size off limits."""
    with pytest.raises(ValueError, match=r"expected|is not an"):
        Flow(family, sources, destination, size=size)
