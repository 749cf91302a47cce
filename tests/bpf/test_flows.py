# SPDX-License-Identifier: Apache-2.0
"""Flows of TCP: opened, used, closed; what is out of state, and whose numbers cannot be."""

import pytest

from neurowall.model.flows import FlowState
from neurowall.model.reasons import Reason
from tests.bpf.conftest import MakeFirewall
from tests.bpf.flowworld import (
    ACK,
    CWR,
    ECE,
    FIN,
    PSH,
    RST,
    SYN,
    URG,
    Ends,
    control,
    entries,
    events,
    grow_older,
    now,
    only,
    scale,
    state,
)
from tests.bpf.harness import Firewall

OUT, BAD, FLOW, NEW = Reason.OUT_OF_STATE, Reason.BAD_SEQUENCE, Reason.FLOW, Reason.DEFAULT


@pytest.fixture(scope="module")
def shared() -> Firewall:
    """One program for the module: flows are cleared between tests."""
    return Firewall(engine="classic", flows="strict")


@pytest.fixture(params=[4, 6])
def ends(request: pytest.FixtureRequest, shared: Firewall) -> Ends:
    """A tuple in strict mode that nothing is known of, in both families."""
    clear(shared)
    return Ends(shared, request.param)


def clear(firewall: Firewall) -> None:
    """No flows, no guard under way, no counts, and ordinary settings."""
    firewall.clear_flows()
    control(firewall)


class TestOpening:
    """The handshake, and what only looks like one."""

    def test_our_connection(self, ends: Ends) -> None:
        """SYN, SYN-ACK, ACK: then it is proven, and in the table of those that are."""
        ends.out(SYN, 1000, options=scale(7))
        assert state(ends.firewall) is FlowState.SYN_SENT
        assert ends.come(SYN | ACK, 5000, 1001, options=scale(7)) is FLOW
        assert only(ends.firewall)[0] == "flows"
        ends.out(ACK, 1001, 5001)
        assert ends.come(ACK | PSH, 5001, 1001, 100) is FLOW
        assert state(ends.firewall) is FlowState.ESTABLISHED

    def test_their_connection(self, ends: Ends) -> None:
        """An inbound SYN makes nothing; our SYN-ACK makes the flow; the ACK of it proves it."""
        assert ends.come(SYN, 5000) is NEW
        assert not entries(ends.firewall, "half_flows")
        assert not entries(ends.firewall, "flows")
        ends.out(SYN | ACK, 1000, 5001)
        assert state(ends.firewall) is FlowState.SYN_RECEIVED
        assert ends.come(ACK, 5001, 1001) is FLOW
        assert state(ends.firewall) is FlowState.ESTABLISHED

    @pytest.mark.parametrize("ack", [1000, 1002, 0, 1001 + 2**31])
    def test_a_syn_ack_must_acknowledge_our_syn(self, ends: Ends, ack: int) -> None:
        """No other number than ours + 1."""
        ends.out(SYN, 1000)
        assert ends.come(SYN | ACK, 5000, ack) is BAD
        assert state(ends.firewall) is FlowState.SYN_SENT
        assert ends.come(SYN | ACK, 5000, 1001) is FLOW

    def test_a_syn_ack_without_our_syn_is_out_of_state(self, ends: Ends) -> None:
        """As reflectors send it."""
        assert ends.come(SYN | ACK, 5000, 1001) is OUT

    @pytest.mark.parametrize(("seq", "ack"), [(5001, 1002), (5001, 1000), (5000, 1001), (5001 + 70000, 1001)])
    def test_the_ack_of_our_syn_ack_must_fit(self, ends: Ends, seq: int, ack: int) -> None:
        """Both of its numbers."""
        ends.out(SYN | ACK, 1000, 5001)
        assert ends.come(ACK, seq, ack) is BAD
        assert ends.come(ACK, 5001, 1001) is FLOW

    def test_data_may_come_before_the_bare_ack(self, ends: Ends) -> None:
        """Which was lost."""
        ends.out(SYN | ACK, 1000, 5001)
        assert ends.come(ACK | PSH, 5001, 1001, 10) is FLOW
        assert state(ends.firewall) is FlowState.ESTABLISHED

    def test_simultaneous_open(self, ends: Ends) -> None:
        """Both SYNs cross; each end answers with SYN-ACK."""
        ends.out(SYN, 1000)
        assert ends.come(SYN, 5000) is NEW
        ends.out(SYN | ACK, 1000, 5001)
        assert ends.come(SYN | ACK, 5000, 1001) is FLOW
        ends.out(ACK, 1001, 5001)
        assert ends.come(ACK, 5001, 1001, 10) is FLOW
        assert state(ends.firewall) is FlowState.ESTABLISHED

    def test_syn_with_data(self, ends: Ends) -> None:
        """RFC 7413: the answer acknowledges the SYN alone or the data too."""
        for ack in (1001, 1101):
            ends.out(SYN, 1000, data=100)
            assert ends.come(SYN | ACK, 5000, ack) is FLOW
            clear(ends.firewall)

    def test_ecn_flags_are_ordinary(self, ends: Ends) -> None:
        """RFC 3168: SYN with ECE and CWR, SYN-ACK with ECE."""
        assert ends.come(SYN | ECE | CWR, 5000) is NEW
        ends.out(SYN | ECE | CWR, 1000)
        assert ends.come(SYN | ACK | ECE, 5000, 1001) is FLOW

    def test_a_refused_connection(self, ends: Ends) -> None:
        """A RST in answer to our SYN must acknowledge it."""
        ends.out(SYN, 1000)
        assert ends.come(RST | ACK, 0, 1000) is BAD
        assert ends.come(RST, 0, 0) is BAD
        assert ends.come(RST | ACK, 0, 1001) is FLOW
        assert only(ends.firewall)[1].was_reset
        ends.out(SYN, 2000)  # tried again
        assert ends.come(SYN | ACK, 5000, 2001) is FLOW

    def test_a_reset_of_a_connection_that_they_opened(self, ends: Ends) -> None:
        """It has the number after their SYN, and no other."""
        ends.out(SYN | ACK, 1000, 5001)
        assert ends.come(RST, 5002) is BAD
        assert ends.come(RST, 5001) is FLOW


class TestOutOfState:
    """What belongs to nothing."""

    @pytest.mark.parametrize(
        "flags", [0, ACK, ACK | PSH, FIN, FIN | ACK, RST, RST | ACK, SYN | ACK, SYN | FIN, FIN | PSH | URG]
    )
    def test_strict_drops_all_but_a_plain_syn(self, ends: Ends, flags: int) -> None:
        """And keeps nothing of it."""
        assert ends.come(flags, 5000, 1001) is OUT
        assert not entries(ends.firewall, "flows")
        assert not entries(ends.firewall, "half_flows")

    @pytest.mark.parametrize("other", [{"inside_port": 40001}, {"outside_port": 444}])
    def test_a_neighbouring_tuple_is_another(self, ends: Ends, other: dict[str, int]) -> None:
        """By either port."""
        _, theirs = ends.connect()
        assert Ends(ends.firewall, ends.family, **other).come(ACK, theirs, 1001) is OUT
        assert ends.come(ACK, theirs, 1001) is FLOW

    def test_loose_tells_and_drops_nothing(self, make_firewall: MakeFirewall) -> None:
        """Neither what is out of state nor numbers that cannot be."""
        firewall = make_firewall(engine="classic", flows="loose")
        control(firewall)
        ends = Ends(firewall)
        assert ends.come(ACK, 5000, 1001) is NEW
        ours, theirs = ends.connect()
        assert ends.come(ACK, theirs, ours) is FLOW
        assert ends.come(ACK, theirs + 2**30, ours) is NEW
        assert ends.come(RST, theirs + 100) is NEW

    def test_off_does_not_look(self, firewall: Firewall) -> None:
        """The verifier prunes all of it."""
        assert Ends(firewall).come(ACK, 5000, 1001) is NEW

    def test_another_zone_knows_nothing_of_it(self, make_firewall: MakeFirewall) -> None:
        """Zones are apart, whatever the tuple; interfaces of one zone are not told apart at all."""
        firewall = make_firewall(engine="classic", flows="strict", zone=7)
        control(firewall)
        ends = Ends(firewall)
        ours, theirs = ends.connect()
        packet = ends.from_outside(ACK, theirs, ours)
        assert firewall.run_uncounted(packet, ifindex=1) == "pass"
        (key,) = entries(firewall, "flows")
        assert int.from_bytes(key[-4:], "little") == 7
        other = make_firewall(engine="classic", flows="strict", zone=8)
        control(other)
        other.copy_flows(firewall)
        assert Ends(other).come(ACK, theirs, ours) is OUT


class TestNumbers:
    """Sequence numbers of a connection that is open."""

    def test_what_real_tcp_sends_passes(self, ends: Ends) -> None:
        """Data, acknowledgements, keep-alives, probes, data sent again."""
        ours, theirs = ends.connect()
        assert ends.come(ACK | PSH, theirs, ours, 1000) is FLOW
        ends.out(ACK, ours, theirs + 1000, window=501)
        assert ends.come(ACK, theirs + 999, ours) is FLOW  # keep-alive
        assert ends.come(ACK, theirs, ours, 1000) is FLOW  # sent again
        ends.out(ACK | PSH, ours, theirs + 1000, 2000, window=501)
        assert ends.come(ACK, theirs + 1000, ours + 1000) is FLOW
        assert ends.come(ACK, theirs + 1000, ours + 2000) is FLOW
        limit = theirs + 1000 + (501 << 7)
        assert ends.come(ACK, limit - 10, ours + 2000, 10) is FLOW  # the last that fits, before the rest
        assert ends.come(ACK, limit, ours + 2000, 1) is FLOW  # a probe of a window that is full

    def test_numbers_outside_the_window_are_dropped(self, ends: Ends) -> None:
        """Ahead of what our end offered, far behind, or acknowledging what was never sent."""
        ours, theirs = ends.connect()
        limit = theirs + (501 << 7)
        assert ends.come(ACK, limit + 1, ours, 10) is BAD
        assert ends.come(ACK, theirs - 66_002, ours, 1) is BAD
        assert ends.come(ACK, theirs, ours + 1) is BAD
        assert ends.come(ACK, theirs, ours - 66_001) is BAD
        assert ends.come(ACK, theirs, ours) is FLOW

    def test_flags_that_nobody_sends_are_dropped(self, ends: Ends) -> None:
        """Everything after the SYN acknowledges something."""
        ours, theirs = ends.connect()
        for flags in (0, PSH, FIN, FIN | PSH | URG, SYN | FIN | ACK, RST | SYN, RST | FIN):
            assert ends.come(flags, theirs, ours) is BAD

    def test_numbers_wrap(self, ends: Ends) -> None:
        """On both sides."""
        ours, theirs = ends.connect(2**32 - 2, 2**32 - 50)
        assert ends.come(ACK, theirs, ours, 100) is FLOW
        ends.out(ACK | PSH, ours, theirs + 100, 50, window=501)
        assert ends.come(ACK, theirs + 100, ours + 50, 10) is FLOW
        assert ends.come(ACK, theirs + 100, ours + 51) is BAD

    def test_windows_without_scale(self, ends: Ends) -> None:
        """If one end offers none, neither scales."""
        ends.out(SYN, 1000, options=scale(7))
        assert ends.come(SYN | ACK, 5000, 1001) is FLOW
        ends.out(ACK, 1001, 5001, window=1000)
        assert ends.come(ACK, 5001 + 64240, 1001) is FLOW  # by the window of the SYN
        assert ends.come(ACK, 5001 + 64241, 1001) is BAD

    def test_a_forged_segment_in_the_window_harms_nothing(self, ends: Ends) -> None:
        """It passes, as it would without us, but the peer's own numbers are still good afterwards."""
        ours, theirs = ends.connect()
        limit = theirs + (501 << 7)
        assert ends.come(ACK | PSH, limit, ours, 1400) is FLOW
        assert ends.come(ACK | PSH, theirs, ours, 100) is FLOW
        ends.out(ACK, ours, theirs + 100, window=501)
        assert ends.come(ACK | PSH, theirs + 100, ours, 1400) is FLOW


class TestClosing:
    """FIN and RST."""

    def test_half_close(self, ends: Ends) -> None:
        """Our end says that it sends no more; the peer goes on for as long as it likes."""
        ours, theirs = ends.connect()
        ends.out(FIN | ACK, ours, theirs)
        for i in range(5):
            assert ends.come(ACK, theirs + i * 100, ours + 1, 100) is FLOW
            ends.out(ACK, ours + 1, theirs + (i + 1) * 100, window=501)
            grow_older(ends.firewall, 500)
        assert ends.come(FIN | ACK, theirs + 500, ours + 1) is FLOW
        grow_older(ends.firewall, 59)
        assert ends.come(FIN | ACK, theirs + 500, ours + 1) is FLOW  # sent again
        grow_older(ends.firewall, 61)
        assert ends.come(FIN | ACK, theirs + 500, ours + 1) is OUT

    def test_a_reset_must_have_the_next_number(self, ends: Ends) -> None:
        """RFC 5961: one that is merely in the window does not end the flow, and is dropped."""
        ours, theirs = ends.connect()
        assert ends.come(ACK, theirs, ours, 100) is FLOW
        for seq in (theirs + 1, theirs + 101, theirs + 5000, theirs - 1):
            assert ends.come(RST, seq) is BAD
            assert ends.come(RST | ACK, seq, ours) is BAD
        assert not only(ends.firewall)[1].was_reset
        assert ends.come(RST, theirs + 100) is FLOW
        assert only(ends.firewall)[1].was_reset

    def test_a_reset_may_have_the_number_that_our_end_expects(self, ends: Ends) -> None:
        """As a peer answers that has forgotten everything."""
        ours, theirs = ends.connect()
        assert ends.come(ACK, theirs, ours, 100) is FLOW  # our end did not get it
        assert ends.come(RST, theirs) is FLOW

    def test_a_flow_that_was_reset_is_known_for_a_short_time(self, ends: Ends) -> None:
        """For what was under way."""
        ours, theirs = ends.connect()
        ends.out(RST | ACK, ours, theirs)
        assert ends.come(ACK, theirs, ours, 100) is FLOW
        grow_older(ends.firewall, 11)
        assert ends.come(ACK, theirs + 100, ours, 100) is OUT

    def test_what_follows_a_forged_reset_or_fin_takes_it_back(self, ends: Ends) -> None:
        """The peer itself sends nothing new after either."""
        ours, theirs = ends.connect()
        assert ends.come(RST, theirs) is FLOW
        assert ends.come(ACK, theirs, ours, 100) is FLOW
        assert not only(ends.firewall)[1].was_reset
        assert ends.come(FIN | ACK, theirs + 100, ours) is FLOW
        assert only(ends.firewall)[1].outside_closed
        assert ends.come(ACK, theirs + 101, ours, 100) is FLOW
        assert not only(ends.firewall)[1].outside_closed

    def test_a_fin_ahead_of_missing_data_closes_nothing_yet(self, ends: Ends) -> None:
        """Nor does one that an attacker puts somewhere into the window."""
        ours, theirs = ends.connect()
        assert ends.come(FIN | ACK, theirs + 1000, ours) is FLOW
        assert not only(ends.firewall)[1].outside_closed

    def test_a_tuple_is_used_again(self, ends: Ends) -> None:
        """By a SYN of ours, whatever was there before."""
        ours, theirs = ends.connect()
        ends.out(FIN | ACK, ours, theirs)
        assert ends.come(FIN | ACK, theirs, ours + 1) is FLOW
        ends.out(ACK, ours + 1, theirs + 1)
        ends.connect(900_000, 800_000)
        assert ends.come(ACK, 800_001, 900_001, 10) is FLOW
        assert ends.come(ACK, theirs, ours + 1) is BAD

    def test_a_tuple_is_used_again_by_the_peer(self, ends: Ends) -> None:
        """Our SYN-ACK says that our end agrees."""
        ours, theirs = ends.connect()
        ends.out(FIN | ACK, ours, theirs)
        assert ends.come(FIN | ACK, theirs, ours + 1) is FLOW
        ends.accept(900_000, 800_000)
        assert ends.come(ACK, 800_001, 900_001, 10) is FLOW

    def test_a_peer_that_still_has_the_old_flow_may_say_so(self, ends: Ends) -> None:
        """RFC 9293: a half-open connection is found by the ACK that answers a new SYN."""
        ours, theirs = ends.connect()
        ends.out(SYN, 700_000)
        assert ends.come(ACK, theirs, ours) is FLOW
        assert ends.come(ACK, theirs, ours, 10) is BAD
        ends.out(RST, ours)
        ends.connect(700_000, 800_000)

    def test_our_syn_sent_again_does_not_begin_anew(self, ends: Ends) -> None:
        """It crossed the answer."""
        ours, theirs = ends.connect()
        ends.out(SYN, ours - 1, options=scale(7))
        assert ends.come(ACK, theirs, ours, 10) is FLOW
        assert state(ends.firewall) is FlowState.ESTABLISHED


class TestAdoption:
    """Flows whose beginning was not seen."""

    def test_for_a_time_what_is_out_of_state_passes(self, ends: Ends) -> None:
        """And makes nothing: only our end does."""
        control(ends.firewall, adopt_until=now() + 3600 * 10**9)
        assert ends.come(ACK, 5000, 1001, 100) is NEW
        assert not entries(ends.firewall, "flows")
        ends.out(ACK, 1001, 5100)
        assert state(ends.firewall) is FlowState.ADOPTED
        assert ends.come(ACK, 5100, 1001, 100) is FLOW
        assert events(ends.firewall) == {"spared": 1, "picked_up": 1}
        control(ends.firewall, adopt_until=now() - 10**8)
        assert ends.come(ACK, 5200, 1001, 100) is FLOW
        assert Ends(ends.firewall, ends.family, inside_port=9).come(ACK, 1, 1) is OUT

    def test_what_our_end_says_in_mid_stream_is_picked_up_at_any_time(self, ends: Ends) -> None:
        """So a flow that was lost comes back; its numbers are taken on trust, within bounds."""
        ends.out(ACK | PSH, 1000, 5000, 100)
        assert ends.come(ACK, 5000, 1100, 100) is FLOW
        assert ends.come(ACK, 5100, 900_000, 100) is FLOW  # what we saw first was an old segment
        assert ends.come(ACK, 5000 + 2**31, 1100) is BAD
        assert ends.come(RST, 5001) is BAD

    @pytest.mark.parametrize("flags", [RST, RST | ACK, 0, FIN])
    def test_nothing_is_picked_up_by_a_reset(self, ends: Ends, flags: int) -> None:
        """It is our end's answer to what it does not know."""
        ends.out(flags, 1000, 5000)
        assert not entries(ends.firewall, "flows")


def test_a_flow_is_forgotten_after_its_time(ends: Ends) -> None:
    """Whether or not it is still in the table."""
    ours, theirs = ends.connect()
    grow_older(ends.firewall, 432_000 - 5)
    assert ends.come(ACK, theirs, ours) is FLOW
    grow_older(ends.firewall, 432_000 + 1)
    assert ends.come(ACK, theirs, ours) is OUT
    assert len(entries(ends.firewall, "flows")) == 1
    ends.out(SYN, 1)
    grow_older(ends.firewall, 61)
    assert ends.come(SYN | ACK, 5000, 2) is OUT
