# SPDX-License-Identifier: Apache-2.0
"""Strict flows on a gateway with masquerade: real connections go on, and what belongs to none is dropped."""

import os
import socket
import threading
from collections.abc import Iterator

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from bench.testbed.run import Run
from neurowall.kernel import libbpf
from tests.net.conftest import daemons
from tests.net.daemon import Daemon, until
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
    - {name: web, from: external, protocol: tcp, ports: 8443-8444, to: 192.0.2.20, to_ports: 443-444}
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


@pytest.fixture(scope="class")
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
        before = daemon.packets("flow")
        assert site.ping("lan0", source, target)
        assert daemon.packets("flow") == before + 1

    @pytest.mark.parametrize(
        ("place", "target", "port", "behind"),
        [("lan0", FAR, 8001, ("wan0", FAR, 8001)), ("wan0", WAN, 8444, ("lan0", HOST, 444))],
    )
    def test_a_large_transfer_both_ways(
        self, site: Site, daemon: Daemon, place: str, target: str, port: int, behind: tuple[str, str, int]
    ) -> None:
        """Megabytes, in super-packets: none of their packets is taken for a stranger's."""
        size = 16 << 20
        with _listener(site, *behind) as listener, _client(site, place) as client:
            client.connect((target, port))
            accepted, _ = listener.accept()
            with accepted:
                for one, other in ((client, accepted), (accepted, client)):
                    sending = threading.Thread(target=one.sendall, args=(bytes(size),))
                    sending.start()
                    assert _received(other, size) == size
                    sending.join()
        assert daemon.packets("out-of-state") == daemon.packets("bad-sequence") == 0

    def test_a_half_closed_connection_goes_on(self, site: Site, daemon: Daemon) -> None:
        """Our end has said that it sends no more; the other sends on."""
        with _listener(site, "wan0", FAR, 8001) as listener, _client(site, "lan0") as client:
            client.connect((FAR, 8001))
            accepted, _ = listener.accept()
            with accepted:
                client.shutdown(socket.SHUT_WR)
                assert accepted.recv(1) == b""
                accepted.sendall(bytes(100_000))
                assert _received(client, 100_000) == 100_000
        assert daemon.packets("out-of-state") == daemon.packets("bad-sequence") == 0


def _listener(site: Site, place: str, address: str, port: int) -> socket.socket:
    with site.places[place].enter():
        listener = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, port))
    listener.listen()
    listener.settimeout(5)
    return listener


def _client(site: Site, place: str, source: str = "") -> socket.socket:
    source = source or (HOST if place == "lan0" else FAR)
    with site.places[place].enter():
        client = socket.socket(socket.AF_INET6 if ":" in source else socket.AF_INET)
    client.settimeout(5)
    client.bind((source, 0))
    return client


def _received(connection: socket.socket, size: int) -> int:
    connection.settimeout(5)
    got = 0
    while got < size and (chunk := connection.recv(1 << 20)):
        got += len(chunk)
    return got


class TestStrangers:
    """What belongs to none of them."""

    @pytest.mark.parametrize("flags", ["A", "SA", "FA", "R", "FPU", ""])
    def test_is_dropped_and_counted(self, site: Site, daemon: Daemon, flags: str) -> None:
        """In the driver."""
        before = daemon.packets("out-of-state")
        for _ in range(5):
            forged(site, IP(src=FAR, dst=WAN) / TCP(sport=443, dport=40000, flags=flags, seq=1, ack=1))
        until(lambda: daemon.packets("out-of-state") == before + 5)

    def test_cannot_reset_a_connection(self, site: Site, daemon: Daemon) -> None:
        """With a number that is in the window, and the right ports."""
        with site.connected("lan0", HOST, FAR, 80) as (said, client):
            assert said == WAN
            flow = daemon.ok("flows", "--protocol", "tcp", "--state", "established", "--limit", "1")["flows"][
                0
            ]
            assert (flow["outside"], flow["outside_port"]) == (FAR, 80)
            assert (flow["inside"], flow["zone"]) == (WAN, "external")
            before = daemon.packets("bad-sequence")
            packet = TCP(sport=80, dport=flow["inside_port"], flags="R", seq=77)
            forged(site, IP(src=FAR, dst=WAN) / packet)
            until(lambda: daemon.packets("bad-sequence") == before + 1)
            client.sendall(b"still there")


class TestSwitching:
    """While connections are open."""

    @pytest.mark.parametrize(
        ("place", "source", "target", "behind"),
        [
            ("lan0", HOST, (FAR, 8001), ("wan0", FAR, 8001)),
            ("lan0", HOST6, (FAR6, 8001), ("wan0", FAR6, 8001)),
            ("wan0", FAR, (WAN, 8444), ("lan0", HOST, 444)),
        ],
    )
    def test_switching_on_cuts_nothing(
        self,
        run: Run,
        site: Site,
        place: str,
        source: str,
        target: tuple[str, int],
        behind: tuple[str, str, int],
    ) -> None:
        """What is open is taken from conntrack: also where the peer speaks first, and nothing is adopted."""
        with daemons(run, site) as make, _listener(site, *behind) as listener:
            daemon = make(OFF)
            daemon.start()
            with _client(site, place, source) as client:
                client.connect(target)
                accepted, _ = listener.accept()
                with accepted:
                    peer, ours = (accepted, client) if place == "lan0" else (client, accepted)
                    daemon.config.write_text(STRICT)
                    daemon.ok("apply", str(daemon.config))
                    peer.sendall(b"are you there")
                    assert _received(ours, 13) == 13
                    forged(site, IP(src=FAR, dst=WAN) / TCP(sport=443, dport=40000, flags="A", seq=1, ack=1))
                    until(lambda: daemon.packets("out-of-state") == 1)
                    daemon.config.write_text(OFF)
                    daemon.ok("apply", str(daemon.config))
                    peer.sendall(b"are you there")
                    assert _received(ours, 13) == 13
            assert not list((daemon.bpffs / "links").glob("*:egress"))


class TestLife:
    """Flows and the daemon."""

    def test_a_restart_cuts_nothing_and_adopts_nothing(self, site: Site, daemon: Daemon) -> None:
        """The maps are pinned: flows go on while no daemon is there."""
        with _listener(site, "wan0", FAR, 8001) as listener, _client(site, "lan0") as client:
            client.connect((FAR, 8001))
            accepted, _ = listener.accept()
            with accepted:
                daemon.kill()
                accepted.sendall(b"one")
                assert _received(client, 3) == 3
                daemon.config.write_text(STRICT.replace("adopt: 0s", "adopt: 60s"))
                daemon.start()
                assert daemon.ok("flows", "--count")["adopting_seconds"] == 0
                accepted.sendall(b"two")
                assert _received(client, 3) == 3
                assert daemon.ok("flows", "--count", "--state", "established")["total"] == 1

    def test_down_takes_the_program_at_egress_away(self, daemon: Daemon) -> None:
        """With everything else."""
        (pin,) = (daemon.bpffs / "links").glob("*:egress")
        assert pin.name == "wan0:egress"
        link = libbpf.get_pinned(pin)
        try:
            assert libbpf.link_info(link).ifindex
            done = daemon.cli("down")
            assert done.returncode == 0, done.stderr
            assert not pin.exists()
            assert libbpf.link_info(link).ifindex == 0
        finally:
            os.close(link)
