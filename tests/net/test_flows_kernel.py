# SPDX-License-Identifier: Apache-2.0
"""Strict flows on a gateway with masquerade: real connections go on, and what belongs to none is dropped."""

import socket
from collections.abc import Iterator

import pytest
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from bench.testbed.run import Run
from tests.net.conftest import daemons
from tests.net.daemon import Daemon
from tests.net.site import Segment, Site

pytestmark = pytest.mark.root

HOST, HOST6, WAN, WAN6 = "192.0.2.20", "2001:db8:1::20", "203.0.113.2", "2001:db8:0:1::2"
FAR, FAR6 = "198.18.0.7", "2001:2::7"
SEGMENTS = {
    "wan0": Segment(
        [f"{WAN}/24", f"{WAN6}/64"],
        ["203.0.113.1/24", f"{FAR}/32", "2001:db8:0:1::1/64", f"{FAR6}/128"],
        ["2001:db8:1::/64"],
        default=True,
    ),
    "lan0": Segment(["192.0.2.1/24", "2001:db8:1::1/64"], [f"{HOST}/24", f"{HOST6}/64"]),
}
OFF = """\
interfaces:
  - {name: wan0, zone: external}
  - {name: lan0, zone: internal}
rules:
  - {name: out, from: internal, to: external, action: accept}
  - {name: in, from: external, to: internal, protocol: tcp, ports: 443, action: accept}
nat:
  masquerade:
    - {from: internal, to: external, families: ipv4}
  port_forwards:
    - {name: web, from: external, protocol: tcp, ports: 8443, to: 192.0.2.20, to_ports: 443}
forwarding: [ipv4, ipv6]
"""
STRICT = OFF + "flows: {mode: strict, adopt: 0s}\n"


@pytest.fixture(scope="module")
def site(run: Run) -> Iterator[Site]:
    """A network inside and the internet."""
    with Site.build(run, SEGMENTS) as site:
        for place, address, port in (
            ("wan0", FAR, 80),
            ("wan0", FAR6, 80),
            ("lan0", HOST, 443),
            ("lan0", HOST6, 443),
        ):
            site.server(place, address, port)
        yield site


@pytest.fixture
def daemon(run: Run, site: Site) -> Iterator[Daemon]:
    """One with strict flows."""
    with daemons(run, site) as make:
        daemon = make(STRICT)
        daemon.start()
        yield daemon


def forged(site: Site, packet: Packet) -> None:
    """Send a packet from outside, as it is."""
    with site.places["wan0"].enter():
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    with wire:
        wire.bind(("eth0", 0))
        wire.send(bytes(Ether(dst=_mac(site), src="02:00:00:00:00:01") / packet))


def _mac(site: Site) -> str:
    with site.gateway.enter(), socket.socket() as probe:
        from fcntl import ioctl

        raw = ioctl(probe.fileno(), 0x8927, b"wan0".ljust(40, b"\0"))
    return ":".join(f"{byte:02x}" for byte in raw[18:24])


class TestConnections:
    """What belongs to the protected side."""

    @pytest.mark.parametrize(
        ("place", "source", "target", "port", "seen"),
        [
            ("lan0", HOST, FAR, 80, WAN),
            ("lan0", HOST6, FAR6, 80, HOST6),
            ("wan0", FAR, WAN, 8443, FAR),
            ("wan0", FAR6, HOST6, 443, FAR6),
        ],
    )
    def test_tcp_both_ways(
        self, site: Site, daemon: Daemon, place: str, source: str, target: str, port: int, seen: str
    ) -> None:
        """From inside behind masquerade, and from outside by a port forward."""
        assert site.tcp(place, source, target, port) == seen
        assert daemon.packets("flow") >= 2
        assert daemon.packets("out-of-state") == daemon.packets("bad-sequence") == 0

    @pytest.mark.parametrize(("source", "target", "seen"), [(HOST, FAR, WAN), (HOST6, FAR6, HOST6)])
    def test_udp_and_ping(self, site: Site, daemon: Daemon, source: str, target: str, seen: str) -> None:
        """Answers to what left."""
        assert site.udp("lan0", source, target, 80) == seen
        assert daemon.packets("flow") == 1
        assert site.ping("lan0", source, target)
        assert daemon.packets("flow") == 2
