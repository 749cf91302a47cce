# SPDX-License-Identifier: Apache-2.0
"""The flood guard and answers to forged UDP queries: they leave strict as it is, and TCP its share."""

import pytest

from neurowall.model.reasons import Reason
from tests.bpf.conftest import MakeFirewall
from tests.bpf.flowworld import ACK, SYN, Ends, control, events

pytestmark = pytest.mark.usefixtures("one_cpu")

PER_SECOND = 8


def test_udp_that_leaves_never_loosens_strict(make_firewall: MakeFirewall) -> None:
    """However much of it: what is out of state stays out, and new connections are still known."""
    firewall = make_firewall(engine="classic", flows="strict")
    control(firewall, per_second=PER_SECOND)
    for port in range(1000, 1000 + 4 * PER_SECOND):
        ends = Ends(firewall, inside_port=53, outside_port=port)
        firewall.leave(ends.datagram(leaves=True))
    assert events(firewall)["guarded"] >= 3 * PER_SECOND
    ends = Ends(firewall)
    assert ends.come(ACK, 1, 1) is Reason.OUT_OF_STATE
    ends.connect()


def test_tcp_that_is_kept_out_does(make_firewall: MakeFirewall) -> None:
    """Its answers would be dropped otherwise."""
    firewall = make_firewall(engine="classic", flows="strict")
    control(firewall, per_second=PER_SECOND)
    for port in range(1000, 1000 + 2 * PER_SECOND):
        Ends(firewall, inside_port=port).out(SYN, 1)
    assert Ends(firewall).come(ACK, 1, 1) is not Reason.OUT_OF_STATE
