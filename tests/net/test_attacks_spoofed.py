# SPDX-License-Identifier: Apache-2.0
"""Floods from outside in the names of those who cannot be there: dropped for that, whatever they are."""

from collections.abc import Iterator

import pytest

from bench.testbed.run import Run
from neurowall.model.reasons import Reason
from tests.net.attackpackets import DISGUISES, from_one
from tests.net.attackscene import BASE, CLIENT, CLIENT6, GATEWAY, GATEWAY6, TARGET, Scene, scene

pytestmark = [pytest.mark.root, pytest.mark.tool("nft", "iperf3")]

COUNT = 6
SOURCES = {
    CLIENT: Reason.SPOOFED,
    CLIENT6: Reason.SPOOFED,
    GATEWAY: Reason.SPOOFED,
    GATEWAY6: Reason.SPOOFED,
    "192.0.2.1": Reason.SPOOFED,  # the gateway's own inside
    "127.0.0.1": Reason.MARTIAN,
    "0.0.0.1": Reason.MARTIAN,
    "224.0.0.1": Reason.MARTIAN,
    "240.0.0.1": Reason.MARTIAN,
    "255.255.255.255": Reason.MARTIAN,
    "::1": Reason.MARTIAN,
    "::": Reason.MARTIAN,
    "ff02::1": Reason.MARTIAN,
    "::ffff:203.0.113.2": Reason.MARTIAN,
}
KINDS = {
    "syn": TARGET.tcp("S"),
    "ack": TARGET.tcp("A"),
    "udp": TARGET.udp,
    "echo": TARGET.echo,
    "fragment": TARGET.fragment,
}


@pytest.fixture(scope="module")
def at(run: Run) -> Iterator[Scene]:
    """The gateway, with honest people at work."""
    with scene(run, BASE) as at:
        yield at
        assert at.casualties() == []


@pytest.mark.parametrize("source", SOURCES)
def test_nobody_outside_has_such_an_address(at: Scene, source: str) -> None:
    """Plain or in disguise."""
    for build in KINDS.values():
        assert at.attack(from_one(build, COUNT, source)) == {SOURCES[source]: COUNT}
    for disguise in DISGUISES.values():
        packets = [disguise(each) for each in from_one(TARGET.tcp("A"), COUNT, source)]
        assert at.attack(packets) == {SOURCES[source]: COUNT}


def test_an_address_that_the_gateway_gets_is_its_own_at_once_and_until_it_goes(at: Scene) -> None:
    """As DHCP and failover move addresses: nobody tells the daemon but the kernel."""
    address = "203.0.113.50"
    packets = from_one(TARGET.udp, COUNT, address)
    assert at.attack(packets) == {}
    at.gateway_ip("address", "add", f"{address}/24", "dev", "wan0")
    at.until_dropped(packets, {Reason.SPOOFED: COUNT})
    at.gateway_ip("address", "del", f"{address}/24", "dev", "wan0")
    at.until_dropped(packets, {})
    assert at.casualties() == []
