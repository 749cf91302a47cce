# SPDX-License-Identifier: Apache-2.0
"""Tunnels: only the outer source is checked, and the reason says so."""

from typing import Any

import pytest
from scapy.layers.inet import IP
from scapy.layers.inet6 import IPv6

from neurowall.model.reasons import Reason
from tests.bpf.harness import DROP, PASS, Firewall
from tests.bpf.packets import ETHER, HOST, HOST6, OTHER, SOURCE, SOURCE6, frame4, frame6, udp

TUNNELS = {"ipip": 4, "6in4": 41, "gre": 47}


def outer(family: int, protocol: int, source: str = "") -> Any:
    """Ethernet and an IP header that announces *protocol*."""
    if family == 4:
        return ETHER / IP(src=source or SOURCE, dst=HOST, proto=protocol)
    return ETHER / IPv6(src=source or SOURCE6, dst=HOST6, nh=protocol)


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("name", TUNNELS)
def test_a_tunnel_passes_under_its_own_reason(firewall: Firewall, name: str, family: int) -> None:
    """Match: whatever is inside, even nothing."""
    for inside in (b"", b"\x45", bytes(IP(src=OTHER, dst=HOST) / udp())):
        assert firewall.run(outer(family, TUNNELS[name]) / inside) == (PASS, Reason.TUNNEL)


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("protocol", [3, 5, 40, 42, 46, 48, 50, 94, 97, 115, 137])
def test_other_protocols_are_not_called_tunnels(firewall: Firewall, family: int, protocol: int) -> None:
    """Miss and default; ESP and its like hide what they carry, but that is not ours to see."""
    assert firewall.run(outer(family, protocol) / bytes(40)) == (PASS, Reason.DEFAULT)


def test_tunnels_over_udp_are_plain_udp(firewall: Firewall) -> None:
    """Wrong protocol: Teredo and VXLAN."""
    assert firewall.run(frame4() / udp(3544) / bytes(IPv6(src=SOURCE6, dst=HOST6))) == (PASS, Reason.DEFAULT)
    assert firewall.run(frame6() / udp(4789) / bytes(50)) == (PASS, Reason.DEFAULT)


@pytest.mark.parametrize("name", TUNNELS)
def test_the_outer_source_is_looked_up_and_the_inner_is_not(either: Firewall, name: str) -> None:
    """Negation and counter."""
    either.put_class(1, DROP)
    either.put(SOURCE, 1)
    either.put(SOURCE6, 1)
    inside = bytes(IP(src=SOURCE, dst=HOST) / udp())
    assert either.run(outer(4, TUNNELS[name]) / inside) == (DROP, Reason.BLOCK_LIST)
    assert either.run(outer(6, TUNNELS[name]) / inside) == (DROP, Reason.BLOCK_LIST)
    assert either.run(outer(4, TUNNELS[name], OTHER) / inside) == (PASS, Reason.TUNNEL)
    assert either.class_counter(1)[0] == 2


def test_a_later_fragment_of_a_tunnel_is_a_fragment(firewall: Firewall) -> None:
    """The first reason that applies is what was not seen at all."""
    packet = ETHER / IP(src=SOURCE, dst=HOST, proto=47, frag=100) / b"data"
    assert firewall.run(packet) == (PASS, Reason.FRAGMENT)
