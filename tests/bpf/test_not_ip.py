# SPDX-License-Identifier: Apache-2.0
"""EtherTypes that are not IP: the essential ones, and those that are not parsed."""

import pytest
from scapy.layers.l2 import ARP

from neurowall.model.reasons import Reason
from tests.bpf.conftest import MakeFirewall
from tests.bpf.harness import DROP, PASS, Firewall
from tests.bpf.packets import ETHER, raw, tagged

ESSENTIAL = {0x0806: Reason.ARP, 0x8809: Reason.LACP, 0x888E: Reason.EAPOL}
NEIGHBOURS = sorted({each + step for each in ESSENTIAL for step in (-1, 1)} | {0x0608, 0x0988, 0x8E88})
UNPARSED = [
    0x0000,
    0x0004,
    0x05DC,
    0x0600,
    0x6558,
    0x8035,
    0x8847,
    0x8863,
    0x8864,
    0x88CC,
    0x88E5,
    0x9100,
    0xFFFF,
]
VERDICTS = {PASS: Reason.UNPARSED_PASS, DROP: Reason.UNPARSED_DROP}


@pytest.mark.parametrize("unparsed", VERDICTS)
@pytest.mark.parametrize("ethertype", ESSENTIAL)
def test_essential_types_pass_whatever_the_role(
    make_firewall: MakeFirewall, ethertype: int, unparsed: str
) -> None:
    """Match: with any content, even none, and behind tags; the stack judges the rest."""
    firewall = make_firewall(engine="classic", unparsed=unparsed)
    for payload in (b"", b"\x01", bytes(46)):
        assert firewall.run(raw(ethertype, payload)) == (PASS, ESSENTIAL[ethertype])
        assert firewall.run(tagged(raw(ethertype, payload), 0x88A8, 0x8100)) == (PASS, ESSENTIAL[ethertype])


def test_a_real_arp_request_passes(firewall: Firewall) -> None:
    """Match, as scapy makes it."""
    packet = ETHER / ARP(psrc="192.0.2.9", pdst="192.0.2.1", hwsrc="02:00:00:00:00:02")
    assert firewall.run(packet) == (PASS, Reason.ARP)


@pytest.mark.parametrize("unparsed", VERDICTS)
@pytest.mark.parametrize("ethertype", UNPARSED + NEIGHBOURS)
def test_other_types_get_the_configured_verdict(
    make_firewall: MakeFirewall, ethertype: int, unparsed: str
) -> None:
    """Miss, wrong protocol, default and negation: PPPoE, MPLS, LLDP, 802.3 lengths, near misses."""
    firewall = make_firewall(engine="classic", unparsed=unparsed)
    for payload in (b"", bytes(46)):
        assert firewall.run(raw(ethertype, payload)) == (unparsed, VERDICTS[unparsed])
        assert firewall.run(tagged(raw(ethertype, payload), 0x8100)) == (unparsed, VERDICTS[unparsed])


@pytest.mark.parametrize("ethertype", [0x0800, 0x86DD])
def test_ip_without_a_header_is_not_unparsed(make_firewall: MakeFirewall, ethertype: int) -> None:
    """A cut frame must not become 'another type', which an internal interface passes."""
    assert make_firewall(engine="classic", unparsed=PASS).run(raw(ethertype)) == (DROP, Reason.TRUNCATED)


def test_every_frame_is_counted_with_its_bytes(firewall: Firewall) -> None:
    """Counter: over several of different lengths."""
    for length in (0, 1, 46, 1500):
        firewall.run(raw(0x0806, bytes(length)))
        firewall.run(raw(0x8864, bytes(length)))
    counters = firewall.reason_counters()
    assert counters[Reason.ARP] == counters[Reason.UNPARSED_DROP] == (4, 4 * 14 + 1547)
