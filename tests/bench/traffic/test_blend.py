# SPDX-License-Identifier: Apache-2.0
"""Streams of several classes of packets."""

import struct
from collections import Counter

import numpy as np
import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Ether

from bench.testbed.base import Chain
from bench.traffic.base import Flow, Kind
from bench.traffic.blend import ACK, SYN, Blend, Part
from bench.traffic.frame import MAGIC
from bench.traffic.pacing import BATCH
from bench.traffic.wire import second_generator, wire
from bench.traffic.xdpgen import XdpGen
from tests.bench.traffic.frames import listen, received, sources

pytestmark = pytest.mark.root


def blend(chain: Chain, size: int = 66, *, last: int | None = SYN) -> Blend:
    """Two of three packets are UDP of 50 sources, the third is TCP of 7 others."""
    others = (0x09090900 + np.arange(7)).astype(np.uint32)
    parts = Part(Kind.CLEAN, sources(4, 50)), Part(Kind.SYN_FLOOD, others, last)
    return Blend(parts, b"\0\0\1", chain.server_if.v4, size)


@pytest.mark.parametrize("size", [60, 66, 67, 333, 1514])
def test_every_packet_of_every_class_is_whole(chain: Chain, xdpgen: XdpGen, size: int) -> None:
    """Classes come as the pattern says, sources in sequence; lengths, flags and checksums are right."""
    sent = blend(chain, size)
    with listen(chain) as opened:
        assert xdpgen.run(chain, sent, packets=3 * BATCH).by_kind == {
            Kind.CLEAN: 2 * BATCH, Kind.SYN_FLOOD: BATCH
        }  # fmt: skip
        frames = received(opened, chain, 3 * BATCH)
    assert len(frames) == 3 * BATCH
    taken = [0, 0]
    for number, frame in enumerate(frames):
        which = int(number % 3 == 2)
        part, packet = sent.parts[which], Ether(frame)
        index = taken[which] % len(part.sources)
        taken[which] += 1
        assert int.from_bytes(frame[26:30], "big") == part.sources[index]
        assert (packet[IP].dst, len(frame)) == (chain.server_if.v4, max(size, 66))
        transport = packet[TCP] if which else packet[UDP]
        assert bytes(transport.payload)[:12] == struct.pack("!III", MAGIC, part.kind, index)
        assert (transport.sport, transport.dport) == sent.ports
        packet[IP].chksum = None  # scapy computes them again
        if which:
            assert transport.flags == "S"
            transport.chksum = None
        assert bytes(packet) == frame


def test_the_sink_counts_each_class_and_the_generator_too(chain: Chain, xdpgen: XdpGen) -> None:
    """TCP ones as well; a flow sent afterwards is whole again."""
    sink = wire(chain).sink
    offered = xdpgen.run(chain, blend(chain, last=ACK), packets=300)
    sink.settle()
    assert {kind: sink.packets(4, kind) for kind in offered.by_kind} == offered.by_kind
    assert sum(offered.by_kind.values()) == offered.sent == 300
    flow = Flow(4, sources(4, 50), chain.server_if.v4, kind=Kind.LISTED)
    assert xdpgen.run(chain, flow, packets=100).by_kind == {}
    sink.settle()
    assert sink.packets(4, Kind.LISTED) == 100
    assert sink.foreign() == 0


def test_probes_of_a_blend_are_told_apart_by_source(chain: Chain, xdpgen: XdpGen) -> None:
    """The id is the source's number in its class, wherever in the stream the packet is."""
    sink = wire(chain).sink
    parts = Part(Kind.FLOOD, sources(4, 50)), Part(Kind.PROBE, sources(4, 20))
    sink.clear(20)
    xdpgen.run(chain, Blend(parts, b"\0\1\0", chain.server_if.v4), packets=3 * 50)
    sink.settle()
    assert Counter(sink.arrivals(20).tolist()) == {3: 10, 2: 10}


def test_a_second_generator_runs_on_another_cpu(chain: Chain, xdpgen: XdpGen) -> None:
    """What it sends arrives too."""
    second = second_generator()
    assert second.cpu != xdpgen.cpu
    sink = wire(chain).sink
    assert second.run(chain, blend(chain), packets=300).sent == 300
    sink.settle()
    assert sink.packets(4, Kind.CLEAN) == 200


@pytest.mark.parametrize(
    ("parts", "pattern", "why"),
    [
        ((), b"\0", "1 to 8 parts"),
        ((Kind.FLOOD, Kind.FLOOD), b"\0\1", "two have the same"),
        ((Kind.FLOOD,), b"", "numbers of parts"),
        ((Kind.FLOOD,), b"\1", "numbers of parts"),
    ],
)
def test_a_blend_that_cannot_be_sent_is_not_built(parts: tuple[Kind, ...], pattern: bytes, why: str) -> None:
    """The message says what is wrong."""
    with pytest.raises(ValueError, match=why):
        Blend(tuple(Part(kind, sources(4, 2)) for kind in parts), pattern, "198.19.0.2")
