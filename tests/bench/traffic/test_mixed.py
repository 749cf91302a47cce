# SPDX-License-Identifier: Apache-2.0
"""Flows of two families, and flows whose packets carry a time."""

import dataclasses
import socket
import struct

import numpy as np
import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

from bench.gate import run_gate
from bench.sut.base import Rules
from bench.sut.registry import create
from bench.testbed.base import Chain
from bench.traffic import pacing
from bench.traffic.base import Flow, Kind, TrafficError
from bench.traffic.frame import MAGIC, MAGIC_STAMPED
from bench.traffic.pacing import BATCH
from bench.traffic.trial import trial
from bench.traffic.wire import wire
from bench.traffic.xdpgen import XdpGen
from neurowall.model.entries import EntrySet
from tests.bench.traffic.frames import listen, received, sources

pytestmark = pytest.mark.root


def mixed(chain: Chain, every: int, size: int = 60, kind: Kind = Kind.PROBE, *, stamp: bool = False) -> Flow:
    """Every so manieth packet of it is IPv6; 50 sources of IPv4 and 7 of IPv6."""
    return Flow(
        4,
        sources(4, 50),
        chain.server_if.v4,
        size,
        kind,
        sources6=sources(6, 7),
        destination6=chain.server_if.v6,
        ipv6_every=every,
        stamp=stamp,
    )


def due(frame: bytes) -> int:
    """The time in a stamped frame."""
    return int(struct.unpack_from("=Q", frame, frame.index(struct.pack("!I", MAGIC_STAMPED)) + 12)[0])


@pytest.mark.parametrize("stamp", [False, True])
@pytest.mark.parametrize("size", [60, 74, 333, 1514])
@pytest.mark.parametrize("every", [2, 10])
def test_every_packet_of_both_families_is_whole(
    chain: Chain, xdpgen: XdpGen, every: int, size: int, *, stamp: bool
) -> None:
    """Each n-th is IPv6; sources of each family come in sequence, lengths and checksums are right."""
    sent = mixed(chain, every, size, stamp=stamp)
    with listen(chain) as opened:
        assert xdpgen.run(chain, sent, packets=3 * BATCH).sent == 3 * BATCH
        frames = received(opened, chain, 3 * BATCH, MAGIC_STAMPED if stamp else MAGIC)
    assert len(frames) == 3 * BATCH
    taken = {4: 0, 6: 0}
    for number, frame in enumerate(frames):
        family = 6 if number % every == every - 1 else 4
        packet = Ether(frame)
        network = packet[IP] if family == 4 else packet[IPv6]
        column, server = sent.parts[family]
        source = column[taken[family] % len(column) :][:1]
        taken[family] += 1
        wanted = source.astype(">u4").tobytes() if family == 4 else source.tobytes()
        assert socket.inet_pton(socket.AF_INET if family == 4 else socket.AF_INET6, network.src) == wanted
        assert (network.dst, len(frame)) == (server, sent.frame_bytes)
        magic = MAGIC_STAMPED if stamp else MAGIC
        assert bytes(packet[UDP].payload)[:12] == struct.pack("!III", magic, Kind.PROBE, number)
        (packet[IP] if family == 4 else packet[UDP]).chksum = None  # scapy computes it again
        assert bytes(packet) == frame


def test_a_mixed_flow_reaches_an_ordinary_socket_of_each_family(chain: Chain, xdpgen: XdpGen) -> None:
    """The server's own stack checks the checksums, and hands every packet to whoever listens."""
    opened = []
    with chain.server.enter():
        for family, address in ((socket.AF_INET, chain.server_if.v4), (socket.AF_INET6, chain.server_if.v6)):
            one = socket.socket(family, socket.SOCK_DGRAM)
            one.bind((address, 9))
            one.settimeout(1)
            opened.append(one)
    xdpgen.run(chain, mixed(chain, 4, stamp=True), packets=40)
    arrived = [
        [one.recvfrom(2048)[1][0] for _ in range(count)] for one, count in zip(opened, (30, 10), strict=True)
    ]
    for one in opened:
        one.setblocking(False)
        with pytest.raises(BlockingIOError):
            one.recv(1)
        one.close()
    assert [len(set(found)) for found in arrived] == [30, 7]


def test_sink_and_ledger_count_both_families(chain: Chain, xdpgen: XdpGen) -> None:
    """A trial of a mixed flow accounts for all packets; the families share them as asked."""
    assert not xdpgen.available()
    system = create("none")
    measured = trial(chain, system, mixed(chain, 10, kind=Kind.CLEAN), 0.05)
    assert measured.closed, measured
    sink = wire(chain).sink
    assert sink.packets(6, Kind.CLEAN) == pytest.approx(measured.sent / 10, abs=measured.sent * 0.001 + 1)
    assert measured.delivered == sink.packets(4, Kind.CLEAN) + sink.packets(6, Kind.CLEAN)


def test_a_listed_mixed_flood_is_dropped_between_two_green_gates(chain: Chain, xdpgen: XdpGen) -> None:
    """Every packet of both families, by the rules that the gates prove to be in force before and after."""
    assert not xdpgen.available()
    hosts = [f"8.8.{n}.1" for n in range(64)] + [f"2600:1::{n:x}" for n in range(1, 64)]
    rules, rng = Rules(EntrySet.from_strings(hosts)), np.random.default_rng(1)
    system = create("nft-set")
    if why := system.available(rules):
        pytest.skip(why)
    listed = {family: rules.entries.family(family).address for family in (4, 6)}
    flow = dataclasses.replace(
        mixed(chain, 3, kind=Kind.FLOOD), sources=listed[4], sources6=np.ascontiguousarray(listed[6])
    )
    try:
        system.configure(chain, rules)
        before, measured, after = (
            run_gate(chain, system, rules, rng),
            trial(chain, system, flow, 0.05),
            run_gate(chain, system, rules, rng),
        )
    finally:
        system.close()
    assert (before.passed, after.passed) == (True, True), (before.detail, after.detail)
    assert (measured.delivered, measured.dropped) == (0, measured.sent - sum(measured.elsewhere.values()))


def test_programs_take_turns_without_forgetting_their_sources(chain: Chain, xdpgen: XdpGen) -> None:
    """Plain, mixed, stamped and plain again: each run sends its own packets from its first source on."""
    both = mixed(chain, 3)
    only6 = Flow(6, sources(6, 7), chain.server_if.v6, kind=Kind.PROBE)
    for flow, first in ((only6, 6), (both, 4), (dataclasses.replace(both, stamp=True), 4), (only6, 6)):
        with listen(chain) as opened:
            xdpgen.run(chain, flow, packets=1)
            (frame,) = received(opened, chain, 1, MAGIC_STAMPED if flow.stamp else MAGIC)
        packet = Ether(frame)[IP if first == 4 else IPv6]
        source = flow.parts[first][0][:1]
        wanted = source.astype(">u4").tobytes() if first == 4 else source.tobytes()
        assert socket.inet_pton(socket.AF_INET if first == 4 else socket.AF_INET6, packet.src) == wanted


def test_stamps_rise_by_the_gap_from_burst_to_burst(chain: Chain, xdpgen: XdpGen) -> None:
    """Of a timed run: a burst shares one time, and the next is due a fixed time later."""
    flow, count = mixed(chain, 5, stamp=True), 20 * pacing.BURST
    with listen(chain) as opened:
        offered = xdpgen.run(chain, flow, packets=count, pps=pacing.SLOWEST_TIMED)
        stamps = np.array([due(frame) for frame in received(opened, chain, count, MAGIC_STAMPED)], np.uint64)
    assert (len(stamps), offered.sent, offered.cpu_seconds) == (count, count, None)
    bursts = stamps.reshape(-1, pacing.BURST)
    assert (bursts == bursts[:, :1]).all()
    gaps = np.unique(np.diff(bursts[:, 0].astype(np.int64)))
    assert len(gaps) == 1
    assert 0.8 <= gaps[0] / (1e9 * pacing.BURST / pacing.SLOWEST_TIMED) <= 1


def test_a_timed_run_keeps_its_pace(chain: Chain, xdpgen: XdpGen) -> None:
    """10,000 packets at 100,000 a second take a tenth of a second; what is missing then, time ran out for."""
    flow = Flow(4, sources(4, 50), chain.server_if.v4, stamp=True)
    offered = xdpgen.run(chain, flow, packets=10_000, pps=100_000)
    assert 0 < offered.sent <= 10_000
    assert offered.seconds >= 0.09
    assert offered.sent == 10_000 or offered.seconds >= 0.1


def test_a_timed_run_slower_than_the_program_can_wait_is_refused(chain: Chain, xdpgen: XdpGen) -> None:
    """Its packets would go out before they are due."""
    flow = Flow(4, sources(4, 50), chain.server_if.v4, stamp=True)
    with pytest.raises(TrafficError, match="50,000 a second or more"):
        xdpgen.run(chain, flow, seconds=0.1, pps=49_999)


def test_stamps_of_a_flat_out_run_never_go_back(chain: Chain, xdpgen: XdpGen) -> None:
    """Then a packet is due when it is made."""
    with listen(chain) as opened:
        xdpgen.run(chain, mixed(chain, 5, stamp=True), packets=5 * BATCH)
        stamps = [due(frame) for frame in received(opened, chain, 5 * BATCH, MAGIC_STAMPED)]
    assert len(stamps) == 5 * BATCH
    assert stamps == sorted(stamps)
    assert stamps[0] < stamps[-1]


def test_latency_is_that_of_packets_that_wait_for_others(chain: Chain, xdpgen: XdpGen) -> None:
    """Of a burst that is due at once the last waits longest, and nothing waits longer than the run took."""
    assert not xdpgen.available()
    flow = Flow(4, sources(4, 50), chain.server_if.v4, kind=Kind.CLEAN, stamp=True)
    measured = trial(chain, create("none"), flow, 0.05, pps=pacing.SLOWEST_TIMED)
    values = [measured.latency_us[name] for name in ("p50", "p90", "p99", "p99.9", "max")]
    assert values == sorted(values)
    assert values[0] > 0
    assert values[-1] < 1e6 * measured.seconds


@pytest.mark.parametrize(
    "wrong",
    [{"ipv6_every": 1}, {"ipv6_every": 0}, {"destination6": "198.19.0.2"}, {"sources6": None}, {"family": 6}],
)
def test_impossible_mixed_flow_cannot_be_built(chain: Chain, wrong: dict[str, object]) -> None:
    """Every packet IPv6 is no mixture; both families need their sources and a destination of their own."""
    with pytest.raises(ValueError, match=r"expected|is not an"):
        dataclasses.replace(mixed(chain, 2), **wrong)  # type: ignore[arg-type]
