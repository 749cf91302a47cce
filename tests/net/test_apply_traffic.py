# SPDX-License-Identifier: Apache-2.0
"""Policies applied in turn under traffic: no packet gets a verdict that neither of them gives."""

import socket
import time
from collections import Counter
from collections.abc import Iterator
from ipaddress import ip_address
from threading import Event, Thread
from typing import Self

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from bench.testbed.chain import Chain
from bench.testbed.run import Run
from tests.net.conftest import MakeDaemon, daemons
from tests.net.twopolicies import EVERY, FIRST, NEVER, ONE, PASSED, SECOND, TWO

APPLIES = 40  # in CI; the soak run makes a thousand
PORT = 4711
PORTS = range(20_000, 60_000)  # each packet is a new connection for a while: rules see it
ETHERNET, NETWORK = 14, {4: 20, 6: 40}  # bytes of headers

pytestmark = pytest.mark.root


class Stream:
    """New connections from every source in turn, and what of them arrives."""

    def __init__(self, chain: Chain) -> None:
        self.sent: Counter[str] = Counter()
        self.arrived: Counter[str] = Counter()
        self._frames = {source: bytearray(_frame(chain, source)) for source in EVERY}
        self._stop = Event()
        with chain.client.enter():
            self._wire = _raw(chain.client_if.name)
        with chain.server.enter():
            self._tap = _raw(chain.server_if.name)
        self._tap.settimeout(0.2)
        self._threads = [Thread(target=self._send), Thread(target=self._receive)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._wire.close()
        self._tap.close()

    def _send(self) -> None:
        while not self._stop.is_set():
            for port in PORTS[:: len(PORTS) // 64]:
                for source, frame in self._frames.items():
                    offset = ETHERNET + NETWORK[ip_address(source).version]
                    number = port + self.sent[source] // 64 % 512
                    frame[offset : offset + 2] = number.to_bytes(2, "big")
                    self._wire.send(frame)
                    self.sent[source] += 1
                time.sleep(0.0005)

    def _receive(self) -> None:
        addresses = {ip_address(source).packed: source for source in EVERY}
        while True:
            try:
                frame = self._tap.recv(256)
            except TimeoutError:
                if self._stop.is_set():
                    return
                continue
            four = frame[12:14] == b"\x08\x00"
            source = addresses.get(frame[26:30] if four else frame[22:38])
            if source:
                self.arrived[source] += 1


def _raw(name: str) -> socket.socket:
    """Whatever crosses an interface, with room for what comes while nobody reads."""
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003))  # ETH_P_ALL
    raw.setsockopt(socket.SOL_SOCKET, 33, 16 << 20)  # SO_RCVBUFFORCE
    raw.bind((name, 0))
    return raw


def _frame(chain: Chain, source: str) -> bytes:
    four = ip_address(source).version == 4
    server = chain.server_if
    network = IP(src=source, dst=server.v4) if four else IPv6(src=source, dst=server.v6)
    ends = Ether(src=chain.client_if.mac, dst=chain.gateway_in.mac)
    # No UDP checksum in IPv4; in IPv6 the gateway forwards without looking at it.
    return bytes(ends / network / UDP(sport=1, dport=PORT, chksum=0) / Raw(b"new"))


@pytest.fixture(scope="module")
def two_way(run: Run) -> Iterator[tuple[Chain, MakeDaemon]]:
    """A chain of its own, and daemons for it."""
    with Chain(run, "apply").build() as chain, daemons(run, chain) as make:
        yield chain, make


def _alternate(place: tuple[Chain, MakeDaemon], times: int) -> None:
    chain, make = place
    daemon = make(ONE)
    daemon.start()
    with Stream(chain) as stream:
        for number in range(times):
            answer = daemon.ask("POST", "/policy/apply", content=(TWO, ONE)[number % 2])
            assert answer.status_code == 200, answer.text
        assert answer.json()["generation"] == times + 1
        time.sleep(0.1)
    daemon.stop()
    for source in NEVER:
        assert stream.sent[source] > 10 * times
        assert stream.arrived[source] == 0, source
    for source in PASSED:
        assert stream.arrived[source] == stream.sent[source], source
    # Both policies were really in force, in turn.
    for source in (*FIRST, *SECOND):
        assert 0.1 < stream.arrived[source] / stream.sent[source] < 0.9, source


def test_no_third_verdict(two_way: tuple[Chain, MakeDaemon]) -> None:
    """What both drop never arrives, what both pass always does, through every one of the applies."""
    _alternate(two_way, APPLIES)


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_a_thousand(two_way: tuple[Chain, MakeDaemon]) -> None:
    """The same a thousand times."""
    _alternate(two_way, 1000)
