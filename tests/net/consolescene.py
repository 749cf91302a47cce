# SPDX-License-Identifier: Apache-2.0
"""A gateway worth looking at: a daemon with lists, limits and rules under traffic of every kind."""

import math
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from threading import Event, Thread
from typing import Self

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import GRE, Ether
from scapy.packet import Packet, Raw

from bench.testbed.chain import Chain
from tests.net.probes import PORT

POLICY = """\
interfaces:
  - {name: g0, zone: external}
  - {name: g1, zone: internal, networks: [198.19.0.0/24, "2001:2:0:2::/64"]}
forwarding: [ipv4, ipv6]
lists:
  - {name: abuse, verdict: block, entries: [203.0.113.0/25, 198.51.100.0/24, "2001:db8:bad::/48"]}
  - {name: scanners, verdict: block, entries: [203.0.113.128/26, 192.88.99.7]}
  - {name: partners, verdict: allow, entries: [198.18.9.0/28]}
  - {name: candidates, verdict: block, monitor: true, entries: [198.18.77.0/24]}
limits:
  - {name: udp-per-source, key: source, match: udp, packets_per_second: 400, burst: 400}
  - {name: syn-flood, key: source-prefix, match: tcp-syn, packets_per_second: 2000, action: monitor}
rules:
  - {name: probes, from: external, to: internal, protocol: udp, ports: 4711, action: accept}
  - {name: web, from: external, to: internal, protocol: tcp, ports: [80, 443], action: accept}
  - {name: ssh, from: internal, to: gateway, protocol: tcp, ports: 22, action: accept}
  - {name: no-mail, from: internal, to: external, protocol: tcp, ports: 25, action: reject}
  - {name: out, from: internal, to: external, action: accept}
"""

_CATCH_UP = 0.2  # seconds; who was held up for longer does not send it all at once


@dataclass
class Stream:
    """Frames that are sent in turn, at so many a second as *rate* says for the time since the beginning."""

    frames: Sequence[bytes]
    rate: Callable[[float], float]
    due: float = field(default=0.0)
    sent: int = field(default=0)

    def next(self, now: float, passed: float) -> list[bytes]:
        """Those that are due after *passed* seconds more."""
        self.due += self.rate(now) * passed
        many, self.due = int(self.due), self.due % 1
        self.sent += many
        return [self.frames[(self.sent + number) % len(self.frames)] for number in range(many)]


class Traffic:
    """Sends streams from the client of a chain until it is left."""

    def __init__(self, chain: Chain, streams: Sequence[Stream]) -> None:
        with chain.client.enter():
            self._wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
            self._wire.bind((chain.client_if.name, 0))
        self._streams = streams
        self._stop = Event()
        self._thread = Thread(target=self._send, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(5)
        self._wire.close()

    def _send(self) -> None:
        begun = last = time.monotonic()
        while not self._stop.wait(0.02):
            now = time.monotonic()
            passed = min(now - last, _CATCH_UP)
            for stream in self._streams:
                for frame in stream.next(now - begun, passed):
                    self._wire.send(frame)
            last = now


class Frames:
    """Makes frames from the client to the server of a chain."""

    def __init__(self, chain: Chain) -> None:
        self._link = Ether(src=chain.client_if.mac, dst=chain.gateway_in.mac)
        self._target = chain.server_if.v4

    def udp(self, source: str, size: int = 200) -> bytes:
        """A datagram."""
        return self._frame(IP(src=source, dst=self._target) / UDP(sport=PORT, dport=PORT) / Raw(b"x" * size))

    def tcp(self, source: str, port: int = 443, flags: str = "S") -> bytes:
        """A segment."""
        return self._frame(IP(src=source, dst=self._target) / TCP(sport=PORT, dport=port, flags=flags))

    def ping(self, source: str) -> bytes:
        """An echo request."""
        return self._frame(IP(src=source, dst=self._target) / ICMP())

    def tunnel(self, source: str) -> bytes:
        """A packet in GRE."""
        return self._frame(IP(src=source, dst=self._target) / GRE() / IP(src="192.0.2.9") / UDP())

    def malformed(self, source: str) -> bytes:
        """A TCP header that says it is shorter than itself."""
        return self._frame(IP(src=source, dst=self._target) / TCP(sport=PORT, dport=443, dataofs=2))

    def pppoe(self) -> bytes:
        """What is not parsed."""
        return bytes(
            Ether(src=self._link.src, dst=self._link.dst, type=0x8863) / Raw(b"\x11\x09" + bytes(50))
        )

    def _frame(self, packet: Packet) -> bytes:
        return bytes(self._link / packet)


def everything(chain: Chain) -> list[Stream]:
    """Traffic of a bad day: an attack that swells, scans, a noisy neighbour, and users."""
    make, random = Frames(chain), Random(6)
    attackers = [f"203.0.113.{number}" for number in (7, 7, 7, 7, 9, 9, 21, 34, 55)]
    attackers += [f"198.51.100.{random.randrange(1, 255)}" for _ in range(40)]
    scanners = [f"203.0.113.{random.randrange(130, 190)}" for _ in range(30)] + ["192.88.99.7"] * 12
    users = [f"198.18.{random.randrange(20, 60)}.{random.randrange(1, 255)}" for _ in range(300)]
    martians = [f"127.0.0.{number}" for number in (1, 2)] + ["240.0.0.1"]

    def swell(now: float) -> float:
        return 900 + 700 * max(0.0, math.sin(now / 9)) + 90 * math.sin(now * 1.7)

    def steady(rate: float) -> Callable[[float], float]:
        return lambda now: rate * (1 + 0.12 * math.sin(now / 3 + rate) + 0.05 * math.sin(now * 2.1))

    return [
        Stream([make.udp(each, 60) for each in attackers], swell),
        Stream([make.tcp(each, 22) for each in scanners], steady(260)),
        Stream([make.udp("198.18.3.3", 400)], lambda now: 900.0 if 20 < now % 60 < 34 else 300.0),
        Stream([make.malformed(each) for each in users[:40]], steady(70)),
        Stream([make.udp(each) for each in martians], steady(110)),
        Stream([make.pppoe()], steady(40)),
        Stream([make.udp("10.9.8.7")], steady(60)),
        Stream([make.udp(each, 900) for each in users], steady(700)),
        Stream([make.tcp(each, 443, "A") for each in users[:100]], steady(320)),
        Stream([make.udp(f"198.18.9.{number}", 300) for number in range(1, 9)], steady(180)),
        Stream([make.udp(f"198.18.77.{number}", 300) for number in range(1, 9)], steady(60)),
        Stream([make.tunnel(users[0])], steady(50)),
        Stream([make.ping(each) for each in users[:9]], steady(25)),
    ]
