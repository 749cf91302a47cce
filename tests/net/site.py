# SPDX-License-Identifier: Apache-2.0
"""A gateway between networks with real clients and servers: a namespace for each, and one for the gateway.

    with Site.build(run, segments) as site:
        site.server("dmz0", "198.51.100.10", 443)
        assert site.tcp("wan0", "198.18.20.7", "203.0.113.2", 443) == "198.18.20.7"

All hosts of a network are addresses of its namespace; each network is named after the gateway's interface.
"""

import json
import select
import socket
import struct
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from ipaddress import ip_address, ip_interface
from threading import Event, Thread
from typing import Self

from bench.testbed.chain import SYSCTLS, write_sysctls
from bench.testbed.namespace import Namespace
from bench.testbed.run import Run

GATEWAY = "gateway"  # as a place: the gateway's own namespace
PATIENCE = 0.4  # seconds for an answer; what comes takes a millisecond
_ECHO = {4: (8, 0), 6: (128, 129)}
_PROTOCOL = {4: socket.IPPROTO_ICMP, 6: socket.IPPROTO_ICMPV6}
_FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
# A router asks for neighbours from its link-local address. Refusals of any number are answered.
_AS_USUAL = {
    "net/ipv6/conf/default/addr_gen_mode": "0",
    "net/ipv4/icmp_ratelimit": "0",
    "net/ipv6/icmp/ratelimit": "0",
}
_FREEBIND = 15  # IP_FREEBIND


@dataclass(frozen=True)
class Segment:
    """One network: the gateway's addresses there, those of its hosts, and what else is routed to them.

    The first host of each family is a router: the gateway's default route, if *default*. routed: prefixes
    that lie behind the gateway, seen from here; "default" for all.
    """

    gateway: Sequence[str]
    hosts: Sequence[str]
    routed: Sequence[str] = ("default",)
    default: bool = False


class Site:
    """The namespaces, and servers that answer with the address that they see. Made by `build`."""

    def __init__(self, run: Run, segments: Mapping[str, Segment], stack: ExitStack) -> None:
        labels = [run.unique("site", name) for name in (GATEWAY, *segments)]
        made = Namespace.create_all(run, labels)
        self.places = dict(zip((GATEWAY, *segments), made, strict=True))
        self._run = run
        self._segments = segments
        self._stack = stack
        self._stop = Event()
        stack.callback(self._stop.set)

    @classmethod
    @contextmanager
    def build(cls, run: Run, segments: Mapping[str, Segment]) -> Iterator[Self]:
        """Make it all, and take it away after."""
        with ExitStack() as stack:
            site = cls(run, segments, stack)
            for place in site.places.values():
                stack.callback(place.remove)
                with place.enter():
                    write_sysctls({**SYSCTLS, **_AS_USUAL})
            for name, segment in segments.items():
                site._wire(name, segment)
            site._await_links()
            yield site

    @property
    def gateway(self) -> Namespace:
        """Where the daemon belongs."""
        return self.places[GATEWAY]

    def _wire(self, name: str, segment: Segment) -> None:
        gateway, here = self.gateway, self.places[name]
        self._ip(gateway, "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", here.name)
        for place, device, addresses in ((gateway, name, segment.gateway), (here, "eth0", segment.hosts)):
            for link in ("lo", device):
                self._ip(place, "link", "set", link, "up")
            for address in addresses:
                self._ip(place, "address", "add", address, "dev", device, *_nodad(address))
        for family in (4, 6):
            via = _first(segment.gateway, family)
            for target in segment.routed if via else ():
                if target == "default" or ip_address(target.split("/")[0]).version == family:
                    self._ip(here, f"-{family}", "route", "add", target, "via", via)
            router = _first(segment.hosts, family)
            if segment.default and router:
                self._ip(gateway, f"-{family}", "route", "add", "default", "via", router)

    def _ip(self, place: Namespace, *words: str) -> None:
        done = place.exec(["ip", *words])
        assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"

    def _await_links(self) -> None:
        deadline = time.monotonic() + 5
        while True:
            links = json.loads(self.gateway.exec(["ip", "-j", "link"]).stdout)
            if all(link["operstate"] == "UP" for link in links if link["ifname"] in self._segments):
                return
            assert time.monotonic() < deadline, links
            time.sleep(0.02)

    # -- servers: each answers with the address of the client that it sees

    def server(self, place: str, address: str, port: int) -> None:
        """Serve TCP and UDP there until the site goes."""
        family = _FAMILY[ip_address(address).version]
        with self.places[place].enter():
            listener, sink = (socket.socket(family, kind) for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM))
            for each in (listener, sink):
                self._stack.callback(each.close)
                each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                each.bind((address, port))
            listener.listen(256)
        Thread(target=self._serve, args=(listener, sink), daemon=True).start()

    def _serve(self, listener: socket.socket, sink: socket.socket) -> None:
        held = []
        while not self._stop.is_set():
            with suppress(OSError, ValueError):
                for ready in select.select([listener, sink], [], [], 0.2)[0]:
                    if ready is sink:
                        _, peer = sink.recvfrom(64)
                        sink.sendto(peer[0].encode(), peer)
                    else:
                        connection, peer = listener.accept()
                        connection.send(peer[0].encode())
                        held.append(connection)
        for connection in held:
            connection.close()

    # -- clients

    def tcp(self, place: str, source: str, target: str, port: int) -> str:
        """The client's address as the server sees it, or `silence`, `reset`, `unreachable`."""
        with self.connected(place, source, target, port) as (said, _):
            return said

    @contextmanager
    def connected(
        self, place: str, source: str, target: str, port: int
    ) -> Iterator[tuple[str, socket.socket]]:
        """The same, while the connection is open."""
        with self.places[place].enter():
            client = socket.socket(_FAMILY[ip_address(source).version], socket.SOCK_STREAM)
        with client:
            client.settimeout(PATIENCE)
            client.bind((source, 0))

            def ask() -> str:
                client.connect((target, port))
                return client.recv(64).decode()

            yield _said(ask), client

    def udp(self, place: str, source: str, target: str, port: int) -> str:
        """As tcp, of a datagram and its answer."""
        with self.places[place].enter():
            client = socket.socket(_FAMILY[ip_address(source).version], socket.SOCK_DGRAM)
        with client:
            client.settimeout(PATIENCE)
            client.setsockopt(socket.SOL_IP, _FREEBIND, 1)
            client.bind((source, 0))

            def ask() -> str:
                client.connect((target, port))
                client.send(b"who am I")
                return client.recv(64).decode()

            return _said(ask)

    def ping(self, place: str, source: str, target: str) -> bool:
        """Whether an echo request is answered."""
        family = ip_address(source).version
        kind, answer = _ECHO[family] if family == 6 else (8, 0)
        with self.places[place].enter():
            client = socket.socket(_FAMILY[family], socket.SOCK_RAW, _PROTOCOL[family])
        with client:
            client.settimeout(PATIENCE)
            client.bind((source, 0))
            client.connect((target, 0))
            number = int(time.monotonic() * 1e6) & 0xFFFF
            client.send(_echo(kind, number))
            deadline = time.monotonic() + PATIENCE
            while time.monotonic() < deadline:
                with suppress(TimeoutError, OSError):
                    packet = client.recv(256)
                    message = packet[(packet[0] & 15) * 4 :] if family == 4 else packet
                    if message[0] == answer and message[4:6] == number.to_bytes(2, "big"):
                        return True
            return False


def _said(ask: Callable[[], str]) -> str:
    """What the server said, or how it was not reached."""
    try:
        return ask() or "closed"
    except TimeoutError:
        return "silence"
    except ConnectionRefusedError:
        return "refused"
    except (ConnectionResetError, BrokenPipeError):
        return "reset"
    except PermissionError:
        return "forbidden"
    except OSError as error:
        return f"unreachable: {error.strerror}"


def _echo(kind: int, number: int) -> bytes:
    """An echo request; its checksum as ICMP wants it, which ICMPv6 sockets write themselves."""
    message = struct.pack("!BBHHH", kind, 0, 0, number, 1) + b"who is there"
    total = sum(struct.unpack(f"!{len(message) // 2}H", message))
    total = (total & 0xFFFF) + (total >> 16)
    return message[:2] + struct.pack("!H", ~total & 0xFFFF) + message[4:]


def _first(addresses: Sequence[str], family: int) -> str:
    found = (str(ip_interface(text).ip) for text in addresses if ip_interface(text).version == family)
    return next(found, "")


def _nodad(address: str) -> tuple[str, ...]:
    return ("nodad",) if ip_interface(address).version == 6 else ()
