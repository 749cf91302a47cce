# SPDX-License-Identifier: Apache-2.0
"""Flows of UDP and ICMP, ICMP errors by the packet inside, frames of every shape at egress, the guard."""

import pytest

from neurowall.model.flows import FlowState
from neurowall.model.reasons import Reason
from tests.bpf.conftest import MakeFirewall
from tests.bpf.flowworld import (
    ACK,
    PSH,
    SYN,
    TCP,
    Ends,
    control,
    entries,
    events,
    frame,
    grow_older,
    now,
    only,
    scale,
    state,
    tcp_header,
)
from tests.bpf.harness import Firewall

pytestmark = pytest.mark.usefixtures("one_cpu")

OUT, FLOW, NEW, ERROR = Reason.OUT_OF_STATE, Reason.FLOW, Reason.DEFAULT, Reason.ICMP_ERROR


@pytest.fixture(scope="module")
def shared() -> Firewall:
    """One program for the module: flows are cleared between tests."""
    return Firewall(engine="classic", flows="strict")


@pytest.fixture(params=[4, 6])
def ends(request: pytest.FixtureRequest, shared: Firewall) -> Ends:
    """A tuple in strict mode that nothing is known of, in both families."""
    shared.clear_flows()
    control(shared)
    return Ends(shared, request.param, outside_port=53)


def test_udp(ends: Ends) -> None:
    """What leaves makes a flow; an answer makes it last longer."""
    ends.firewall.leave(ends.datagram(leaves=True))
    assert state(ends.firewall) is FlowState.UDP
    assert ends.receive(ends.datagram(leaves=False)).reason is FLOW
    assert state(ends.firewall) is FlowState.UDP_ANSWERED
    grow_older(ends.firewall, 179)
    assert ends.receive(ends.datagram(leaves=False)).reason is FLOW
    grow_older(ends.firewall, 181)
    assert ends.receive(ends.datagram(leaves=False)).reason is NEW


def test_udp_that_nobody_asked_for_goes_on(ends: Ends) -> None:
    """Nftables knows what it lets in; nothing is kept of it."""
    assert ends.receive(ends.datagram(leaves=False)).reason is NEW
    assert not entries(ends.firewall, "half_flows")


def test_echo(ends: Ends) -> None:
    """Our request makes a flow; only a reply of the same identifier belongs to it."""
    ends.firewall.leave(ends.echo(leaves=True, reply=False))
    assert state(ends.firewall) is FlowState.ICMP
    assert ends.receive(ends.echo(leaves=False, reply=True)).reason is FLOW
    assert ends.receive(ends.echo(leaves=False, reply=True, identifier=78)).reason is NEW
    assert ends.receive(ends.echo(leaves=False, reply=False)).reason is NEW


def test_our_replies_make_no_flow(ends: Ends) -> None:
    """Who is asked is not who asks."""
    ends.firewall.leave(ends.echo(leaves=True, reply=True))
    assert not entries(ends.firewall, "half_flows")


class TestErrors:
    """ICMP errors."""

    def test_about_a_known_flow(self, ends: Ends) -> None:
        """Of TCP that is open or being opened, of UDP and of an echo, from any router."""
        for sent in (
            ends.from_inside(SYN, 1000),
            ends.datagram(leaves=True),
            ends.echo(leaves=True, reply=False),
        ):
            ends.firewall.leave(sent)
            assert ends.receive(ends.error(sent)).reason is ERROR
        ours, theirs = ends.connect()
        assert ends.receive(ends.error(ends.from_inside(ACK, ours, theirs))).reason is ERROR

    def test_about_nothing_that_was_sent(self, ends: Ends) -> None:
        """Strict drops it."""
        assert ends.receive(ends.error(ends.from_inside(ACK, 1000))).reason is OUT
        assert ends.receive(ends.error(ends.datagram(leaves=True))).reason is OUT
        assert ends.receive(ends.error(ends.echo(leaves=True, reply=False))).reason is OUT

    def test_about_what_has_no_flows_goes_on(self, ends: Ends) -> None:
        """Path MTU discovery of tunnels and of fragments depends on it; the stack checks it."""
        for protocol in (47, 50, 132):
            inner = frame(ends.inside, ends.outside, protocol, bytes(20))
            assert ends.receive(ends.error(inner)).reason is ERROR

    def test_that_ends_inside_the_packet_goes_on(self, ends: Ends) -> None:
        """What does not show cannot be judged."""
        whole = bytearray(ends.error(ends.from_inside(ACK, 1000)))
        short = whole[:-6]
        at, less = (16, len(short) - 14) if ends.family == 4 else (18, len(short) - 54)
        short[at : at + 2] = less.to_bytes(2, "big")
        assert ends.receive(bytes(short)).reason is ERROR


class TestFrames:
    """Shapes of what leaves."""

    def test_tags(self, ends: Ends) -> None:
        """In the frame, up to two."""
        for tags in (1, 2):
            header = tcp_header((ends.inside_port, ends.outside_port), SYN, 1000)
            ends.firewall.leave(frame(ends.inside, ends.outside, TCP, header, tags=tags))
            assert ends.come(SYN | ACK, 5000, 1001) is FLOW
            ends.firewall.clear_flows()

    def test_super_packets_count_as_what_they_become(self, ends: Ends) -> None:
        """Three segments of a thousand bytes: three packets with three headers, and the numbers of all."""
        ours, theirs = ends.connect()
        before = only(ends.firewall)[1]
        big = ends.from_inside(ACK | PSH, ours, theirs, 3000)
        ends.firewall.leave(big, gso=(3, 1000))
        after = only(ends.firewall)[1]
        header = 40 if ends.family == 4 else 60
        assert after.packets_out - before.packets_out == 3
        assert after.bytes_out - before.bytes_out == 3 * (1000 + header)
        assert ends.come(ACK, theirs, ours + 3000) is FLOW

    def test_a_length_of_zero_is_that_of_the_frame(self, ends: Ends) -> None:
        """BIG TCP: the packet is larger than the field."""
        ours, theirs = ends.connect()
        big = bytearray(ends.from_inside(ACK | PSH, ours, theirs, 3000))
        at = 16 if ends.family == 4 else 18
        big[at : at + 2] = b"\0\0"
        ends.firewall.leave(big, gso=(3, 1000))
        assert ends.come(ACK, theirs, ours + 3000) is FLOW

    @pytest.mark.parametrize("cut", [0, 2, 8, 19])
    def test_what_is_cut_short_makes_no_flow(self, ends: Ends, cut: int) -> None:
        """And goes on."""
        ends.firewall.leave(ends.from_inside(SYN, 1000)[: (34 if ends.family == 4 else 54) + cut])
        assert not entries(ends.firewall, "half_flows")

    def test_the_scale_is_found_wherever_it_stands(self, ends: Ends) -> None:
        """Options come in any order; what cannot be read is taken for a large scale."""
        nops = b"\x01" * 9
        for options, expected in (
            (b"\x03\x03\x05", 5),
            (nops + b"\x03\x03\x05", 5),
            (b"\x03\x03\xff", 14),
            (b"\x02\x04\x05\xb4", 255),
            (b"\x00\x03\x03\x05", 255),
            (b"\x01" * 14 + b"\x03\x03\x05", 14),
            (b"\x08\x00\x03\x03", 255),
            (scale(9), 9),
            (b"", 255),
        ):
            ends.out(SYN, 1000, options=options)
            assert only(ends.firewall)[1].inside_scale == expected, options
            ends.firewall.clear_flows()


class TestCounts:
    """Packets and bytes of a flow."""

    def test_both_directions(self, ends: Ends) -> None:
        """Bytes of IP, headers with them."""
        header = 20 if ends.family == 4 else 40
        ends.firewall.leave(ends.datagram(leaves=True, data=100))
        ends.firewall.leave(ends.datagram(leaves=True, data=50))
        ends.receive(ends.datagram(leaves=False, data=7))
        flow = only(ends.firewall)[1]
        assert (flow.packets_out, flow.bytes_out) == (2, 2 * (header + 8) + 150)
        assert (flow.packets_in, flow.bytes_in) == (1, header + 8 + 7)


class TestGuard:
    """More new flows than a CPU may take."""

    def test_beyond_the_rate_nothing_is_inserted_and_nothing_dropped(self, ends: Ends) -> None:
        """For a second after the last refusal what is out of state passes, since its flow may be missing."""
        control(ends.firewall, per_second=3)
        for port in range(1, 8):
            Ends(ends.firewall, ends.family, inside_port=port).out(SYN, 1000)
        assert len(entries(ends.firewall, "half_flows")) == 3
        assert events(ends.firewall) == {"inserted": 3, "guarded": 4}
        assert Ends(ends.firewall, ends.family, inside_port=6).come(SYN | ACK, 5000, 1001) is NEW
        assert events(ends.firewall)["spared"] == 1
        control(ends.firewall, per_second=3, guarded_until=now() - 10**8)
        assert Ends(ends.firewall, ends.family, inside_port=6).come(SYN | ACK, 5000, 1001) is OUT

    def test_a_flow_that_is_known_is_not_touched(self, ends: Ends) -> None:
        """Whatever the guard does to new ones."""
        ours, theirs = ends.connect()
        control(ends.firewall, per_second=1)
        Ends(ends.firewall, ends.family, inside_port=5).out(SYN, 1000)
        ends.out(ACK, ours, theirs, 100)
        assert ends.come(ACK, theirs, ours + 100) is FLOW


def test_a_flood_of_forged_syns_pushes_no_open_connection_out(make_firewall: MakeFirewall) -> None:
    """Our side answers each: these flows lie in a table of their own, which is bounded."""
    firewall = make_firewall(engine="classic", flows="strict", flow_entries=256)
    control(firewall)
    ends = Ends(firewall)
    ours, theirs = ends.connect()
    for port in range(1, 3000):
        Ends(firewall, 4, inside_port=80, outside_port=port).out(SYN | ACK, 1, 2)
    assert len(entries(firewall, "half_flows")) <= 256
    assert ends.come(ACK, theirs, ours) is FLOW


@pytest.mark.parametrize("flows", ["strict", "loose"])
def test_a_dry_run_changes_nothing(make_firewall: MakeFirewall, flows: str) -> None:
    """Whatever comes in, and whatever it belongs to."""
    real, dry = (make_firewall(engine="classic", flows=flows, dry_run=d) for d in (False, True))
    control(real)
    control(dry)
    ends = Ends(real)
    ours, theirs = ends.connect()
    Ends(real, inside_port=1).out(SYN, 7)
    real.leave(ends.datagram(leaves=True))
    dry.copy_flows(real)
    before = dry.dump()
    packets = [
        ends.from_outside(ACK, theirs, ours, 10),
        ends.from_outside(ACK, theirs + 10**9, ours, 10),
        ends.from_outside(4, theirs),
        ends.from_outside(17, theirs, ours),
        Ends(real, inside_port=1).from_outside(20, 0, 8),
        Ends(real, inside_port=1).from_outside(SYN | ACK, 5000, 8),
        Ends(real, inside_port=9).from_outside(ACK, 5000, 8),
        ends.datagram(leaves=False),
        ends.error(ends.from_inside(ACK, ours, theirs)),
    ]
    for packet in packets:
        expected = real.run_uncounted(packet)
        assert dry.run_uncounted(packet) == expected
    untold = {"segments", "flow_scratches"}  # the packet under way
    after = dry.dump()
    assert {k: v for k, v in after.items() if k not in untold} == {
        k: v for k, v in before.items() if k not in untold
    }


def test_an_address_of_the_other_end_alone_is_no_flow(ends: Ends) -> None:
    """Keys hold both ends."""
    ends.out(SYN, 1000)
    other = "198.51.100.8" if ends.family == 4 else "2001:db8:2::8"
    body = tcp_header((ends.outside_port, ends.inside_port), SYN | ACK, 5000, 1001)
    assert ends.receive(frame(other, ends.inside, TCP, body)).reason is OUT
