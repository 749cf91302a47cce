# SPDX-License-Identifier: Apache-2.0
import signal
import socket
import struct
import time

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

from bench.testbed.base import Chain
from bench.traffic.base import Flow, Kind
from bench.traffic.frame import MAGIC
from bench.traffic.pacing import BATCH
from bench.traffic.wire import wire
from bench.traffic.xdpgen import XdpGen
from neurowall.kernel import libbpf
from tests.bench.traffic.frames import listen, received, sources

pytestmark = pytest.mark.root


def flow(chain: Chain, family: int, count: int, size: int = 60, kind: Kind = Kind.PROBE) -> Flow:
    """From *count* sources to the chain's server."""
    server = chain.server_if.v4 if family == 4 else chain.server_if.v6
    return Flow(family, sources(family, count), server, size=size, kind=kind)


@pytest.mark.parametrize("size", [60, 74, 333, 1514])
@pytest.mark.parametrize("family", [4, 6])
def test_every_packet_is_whole_and_in_sequence(chain: Chain, xdpgen: XdpGen, family: int, size: int) -> None:
    """Through the gateway, on pages used before: source, id, length and both checksums of each are right."""
    sent = flow(chain, family, 50, size)
    with listen(chain) as opened:
        assert xdpgen.run(chain, sent, packets=3 * BATCH).sent == 3 * BATCH
        frames = received(opened, chain, 3 * BATCH)
    assert len(frames) == 3 * BATCH
    for number, frame in enumerate(frames):
        packet = Ether(frame)
        network = packet[IP] if family == 4 else packet[IPv6]
        source = sent.sources[number % 50 : number % 50 + 1]
        wanted = source.astype(">u4").tobytes() if family == 4 else source.tobytes()
        assert socket.inet_pton(socket.AF_INET if family == 4 else socket.AF_INET6, network.src) == wanted
        assert (packet.src, packet.dst, len(frame)) == (
            chain.gateway_out.mac,
            chain.server_if.mac,
            sent.frame_bytes,
        )
        hops = network.ttl if family == 4 else network.hlim
        assert (hops, network.dst, packet[UDP].dport) == (63, sent.destination, 9)
        assert bytes(packet[UDP].payload)[:12] == struct.pack("!III", MAGIC, Kind.PROBE, number)
        assert not any(bytes(packet[UDP].payload)[12:]), "padding is zero"
        (packet[IP] if family == 4 else packet[UDP]).chksum = None  # scapy computes it again
        assert bytes(packet) == frame


@pytest.mark.parametrize("family", [4, 6])
def test_sink_counts_by_kind_and_family_and_marks_probes(chain: Chain, xdpgen: XdpGen, family: int) -> None:
    """What was sent arrived, under its own kind and family only; each probe is marked once."""
    sink = wire(chain).sink
    xdpgen.run(chain, flow(chain, family, 7, kind=Kind.CLEAN), packets=1000)
    xdpgen.run(chain, flow(chain, family, 100), packets=100)
    sink.settle()
    counted = {(f, kind): sink.packets(f, kind) for f in (4, 6) for kind in Kind}
    wanted = {(family, Kind.CLEAN): 1000, (family, Kind.PROBE): 100}
    assert {key: value for key, value in counted.items() if value} == wanted
    assert sink.arrivals(101).tolist() == [1] * 100 + [0]
    sink.clear(101)
    assert not sink.arrivals(101).any()


def test_sink_passes_what_is_not_the_generators(chain: Chain) -> None:
    """An ordinary datagram reaches its socket on the server while the sink is attached, and is counted."""
    sink = wire(chain).sink
    with chain.server.enter():
        server = socket.create_server((chain.server_if.v4, 0)).detach()
    listener = socket.socket(fileno=server)
    with chain.client.enter(), socket.create_connection(listener.getsockname(), timeout=2):
        assert sink.foreign() >= 2, "SYN and ACK"
    listener.close()


def test_paced_run_sends_exactly_what_it_should(chain: Chain, xdpgen: XdpGen) -> None:
    """20,000 packets a second for a fifth of a second are 4,000, and take that long."""
    offered = xdpgen.run(chain, flow(chain, 4, 100), seconds=0.2, pps=20_000)
    assert offered.sent == 4000
    assert 0.2 <= offered.seconds < 0.4


def test_slow_pace_is_not_rounded_up(chain: Chain, xdpgen: XdpGen) -> None:
    """Forty packets a second are not one in each slice."""
    assert xdpgen.run(chain, flow(chain, 4, 100), seconds=0.1, pps=40).sent == 4


def test_flat_out_run_ends_in_time(chain: Chain, xdpgen: XdpGen) -> None:
    """A run by seconds overshoots by no more than a few slices, and says how many it sent."""
    sink = wire(chain).sink
    offered = xdpgen.run(chain, flow(chain, 4, 100, kind=Kind.FLOOD), seconds=0.1)
    sink.settle()
    assert offered.sent > 1000
    assert 0.1 <= offered.seconds < 0.3
    assert sink.packets(4, Kind.FLOOD) <= offered.sent


def test_sources_of_a_later_larger_flow_fit(chain: Chain, xdpgen: XdpGen) -> None:
    """The array grows with the flow: the last of 100,000 sources is sent too."""
    sent = flow(chain, 6, 100_000, kind=Kind.FLOOD)
    assert xdpgen.run(chain, sent, packets=100_000).sent == 100_000


def test_call_ended_early_by_a_signal_is_continued(
    chain: Chain, xdpgen: XdpGen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EINTR in the middle of a slice loses and repeats nothing."""
    real = libbpf.program_send
    interrupted: list[int] = []

    def sometimes(fd: int, data: bytes, context: bytes, repeat: int, batch_size: int) -> None:
        if not interrupted:
            interrupted.append(repeat)
            real(fd, data, context, BATCH, batch_size)
            raise InterruptedError
        real(fd, data, context, repeat, batch_size)

    monkeypatch.setattr(libbpf, "program_send", sometimes)
    sink = wire(chain).sink
    offered = xdpgen.run(chain, flow(chain, 4, 1000), packets=1000, pps=1e6)
    sink.settle()
    assert (offered.sent, offered.errors, sink.packets(4, Kind.PROBE)) == (1000, 1, 1000)


def test_signal_to_the_program_stops_a_run(chain: Chain, xdpgen: XdpGen) -> None:
    """An exception in the waiting thread ends the sending within a slice or two, and the next run works."""

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    start = time.monotonic()
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(KeyboardInterrupt):
            xdpgen.run(chain, flow(chain, 4, 100), seconds=60)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - start < 5
    assert xdpgen.run(chain, flow(chain, 4, 100), packets=10).sent == 10


def test_run_without_a_bound_is_refused(chain: Chain, xdpgen: XdpGen) -> None:
    """A flood that nobody ends is a mistake."""
    with pytest.raises(ValueError, match="seconds or packets"):
        xdpgen.run(chain, flow(chain, 4, 100))
