# SPDX-License-Identifier: Apache-2.0
"""Rare but lawful lives of a TCP connection, through a strict gateway: none of them may be hurt.

From inside through masquerade, from inside with IPv6, through a port forward, and to the gateway itself.
"""

import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Thread

import pytest
from scapy.layers.inet import IP, TCP

from bench.testbed.namespace import Namespace
from bench.testbed.run import Run
from tests.net.attackpackets import Flow
from tests.net.attackscene import (
    CLIENT,
    CLIENT6,
    FAR,
    FORWARDED,
    GATEWAY,
    OUTSIDE,
    OUTSIDE6,
    SERVER,
    STRICT,
    Scene,
    scene,
)
from tests.net.keepers import PATIENCE, family_of
from tests.sampling import some

pytestmark = [pytest.mark.root, pytest.mark.tool("nft")]

PORT, OWN = 9000, 9100
_TCP_REPAIR, _TCP_REPAIR_QUEUE, _TCP_QUEUE_SEQ, _SEND_QUEUE = 19, 20, 21, 2  # linux/tcp.h
_SILENT = "203.0.113.77"  # nobody has this address


@dataclass(frozen=True)
class Way:
    """From whom to whom, and what the client calls the server."""

    source: str
    target: tuple[str, int]
    bound: tuple[str, int]
    server: str = "outside"

    @property
    def client(self) -> str:
        """Where the client is."""
        return "inside" if self.server == "outside" else "outside"


WAYS = {
    "masqueraded": Way(CLIENT, (OUTSIDE, PORT), (OUTSIDE, PORT)),
    "ipv6": Way(CLIENT6, (OUTSIDE6, PORT), (OUTSIDE6, PORT)),
    "forwarded": Way(FAR, (GATEWAY, FORWARDED + 1), (SERVER, PORT), server="inside"),
    "to the gateway": Way(FAR, (GATEWAY, OWN), (GATEWAY, OWN), server="gateway"),
}
ways = pytest.mark.parametrize("way", WAYS)


@pytest.fixture(scope="module")
def at(run: Run) -> Iterator[Scene]:
    """The gateway, strict."""
    with scene(run, STRICT, honest=False) as at:
        yield at


def _places(at: Scene, way: Way) -> tuple[Namespace, Namespace]:
    by_name = {"inside": at.inside, "outside": at.outside, "gateway": at.site.gateway}
    return by_name[way.client], by_name[way.server]


@contextmanager
def connection(
    at: Scene, name: str, port: int, first_sequence: int | None = None
) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Client and server of a connection from that port; *first_sequence* is the client's."""
    way = WAYS[name]
    here, there = _places(at, way)
    with there.enter():
        listener = socket.create_server(way.bound, family=family_of(way.bound[0]))
    with here.enter():
        client = socket.socket(family_of(way.source))
    with listener, client:
        client.settimeout(PATIENCE)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        client.bind((way.source, port))
        if first_sequence is not None:
            _begin_at(client, first_sequence)
        client.connect(way.target)
        with listener.accept()[0] as server:
            server.settimeout(PATIENCE)
            yield client, server


def _begin_at(client: socket.socket, sequence: int) -> None:
    """Choose the initial sequence number, as CRIU does."""
    client.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR, 1)
    client.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR_QUEUE, _SEND_QUEUE)
    client.setsockopt(socket.IPPROTO_TCP, _TCP_QUEUE_SEQ, struct.pack("=I", sequence))
    client.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR, 0)


def carried(sender: socket.socket, receiver: socket.socket, size: int) -> int:
    """How many bytes of so many arrive."""
    thread = Thread(target=sender.sendall, args=(bytes(size),))
    thread.start()
    got = 0
    try:
        while got < size:
            piece = receiver.recv(65_536)
            if not piece:
                break
            got += len(piece)
    except OSError:
        pass
    thread.join()
    return got


@ways
@pytest.mark.parametrize("before", some([1, 1000, 200_000]))
def test_sequence_numbers_wrap(at: Scene, way: str, before: int) -> None:
    """After *before* bytes: in both directions a megabyte goes on as ever, and nothing was dropped."""
    with (
        at.dropped() as dropped,
        connection(at, way, 40_000 + before % 999, 2**32 - before) as (client, server),
    ):
        assert carried(client, server, 1 << 20) == 1 << 20
        assert carried(server, client, 1 << 20) == 1 << 20
    assert dropped == {}


@ways
def test_a_half_closed_connection_goes_on(at: Scene, way: str) -> None:
    """The side that said that it is done still gets everything, also after a pause; then the other side."""
    for turned in (False, True):
        with connection(at, way, 41_000 + turned) as ends:
            done, going = reversed(ends) if turned else ends
            done.shutdown(socket.SHUT_WR)
            assert going.recv(1) == b""
            for _ in range(3):
                assert carried(going, done, 100_000) == 100_000
                time.sleep(0.2)


@ways
@pytest.mark.parametrize("end", ["reset", "server first"])
def test_the_same_ports_are_used_again_at_once(at: Scene, way: str, end: str) -> None:
    """Whether the connection before was reset or ended in order, the next one is a new one."""
    port = 42_000 + len(end)
    for _ in range(4):
        with connection(at, way, port) as (client, server):
            assert carried(client, server, 1000) == 1000
            assert carried(server, client, 1000) == 1000
            if end == "reset":
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("=ii", 1, 0))
                client.close()
                time.sleep(0.05)
            else:
                server.close()
                assert client.recv(1) == b""


def test_super_packets_are_sent_as_ever(at: Scene) -> None:
    """What the gateway itself sends leaves in pieces of up to 64 KiB, which the device or a peer splits."""
    features = at.site.gateway.exec(["ethtool", "-k", "wan0"]).stdout
    assert "tcp-segmentation-offload: on" in features
    with at.tap() as seen, at.dropped() as dropped, connection(at, "to the gateway", 45_000) as ends:
        client, server = ends
        assert carried(server, client, 20 << 20) == 20 << 20
        assert carried(client, server, 5 << 20) == 5 << 20
        sizes = [len(each) for each in seen(lambda each: TCP in each and each.sport == OWN)]
    assert max(sizes) > 20_000
    assert dropped == {}


@ways
def test_an_idle_connection_lives_on(at: Scene, way: str) -> None:
    """A second of silence is nothing to it."""
    with connection(at, way, 43_000) as (client, server):
        assert carried(client, server, 10) == 10
        time.sleep(1)
        assert carried(server, client, 10) == 10


def test_a_simultaneous_open(at: Scene) -> None:
    """Both ends begin, and meet: the peer's SYN belongs to the flow that ours began, RFC 9293 section 3.5."""
    with at.inside.enter():
        client = socket.socket()
    with client, at.tap() as seen:
        client.settimeout(PATIENCE)
        client.bind((CLIENT, 44_000))
        connecting = Thread(target=client.connect, args=((_SILENT, 6000),))
        at.neighbour(_SILENT)
        connecting.start()
        (syn,) = seen(lambda each: TCP in each and each[IP].dst == _SILENT, PATIENCE)[:1]
        peer = Flow(_SILENT, 6000, syn[IP].src, syn.sport, 5_000, syn.seq + 1)
        with at.dropped() as dropped:
            at.send([peer.forged("S")])
            both = seen(lambda each: TCP in each and each[TCP].flags == "SA", PATIENCE)
            assert both, "our SYN-ACK did not leave"
            at.send([peer.forged("SA")])
            connecting.join()
            client.send(b"hello")
            hello = seen(lambda each: TCP in each and bytes(each[TCP].payload) == b"hello", PATIENCE)
            assert hello
        assert dropped == {}
