# SPDX-License-Identifier: Apache-2.0
"""The gateway of `tests.unit.logic.packet_world` for real: five links into one namespace, the world.

That answers nothing by itself: a test sends frames there, and sees every frame that the gateway lets out.
"""

import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Self

from pyroute2 import IPRoute
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoReply, ICMPv6EchoRequest, ICMPv6Unknown, IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet as Frame
from scapy.packet import Raw

from bench.testbed.chain import FORWARDING, SYSCTLS, write_sysctls
from bench.testbed.namespace import Namespace
from bench.testbed.run import Run
from neurowall.logic.packettext import Packet
from tests.unit.logic.packet_world import HOSTS, LENGTHS, OWN, PORTS

_NEXT = ("192.0.2.254", "2001:db8:0:1::fe")  # the router behind wan0
_PERMANENT = 0x80  # NUD_PERMANENT
_NOARP, _UP, _MULTICAST = 0x80, 0x1, 0x1000
_NODAD = 0x02  # IFA_F_NODAD
_GATEWAY_MAC, _WORLD_MAC = "02:00:00:00:0a:%02x", "02:00:00:00:0b:%02x"
# Refusals of any number are answered, and each namespace tracks connections with the defaults.
_UNLIMITED = {
    "net/ipv4/icmp_ratelimit": "0",
    "net/ipv6/icmp/ratelimit": "0",
    "net/ipv4/tcp_synack_retries": "0",  # a second answer would be taken for one to a later packet
}
_SILENT = {f"net/ipv6/conf/{scope}/disable_ipv6": "1" for scope in ("all", "default")}
_GRE = 47
_MORE_PORTS = sorted({*range(8000, 8010)} - {*PORTS})  # that random packets go to
_NETLINK_NETFILTER = 12
# IPCTNL_MSG_CT_DELETE of NFNL_SUBSYS_CTNETLINK, acknowledged, of both families: linux/nfnetlink_conntrack.h.
_FORGET = struct.pack("=IHHII", 20, 1 << 8 | 2, 0x5, 0, 0) + bytes(4)
_OUTGOING = 4  # PACKET_OUTGOING


@dataclass
class Crossroads:
    """The gateway and the world; sockets are opened by `opened`."""

    gateway: Namespace
    world: Namespace
    wires: dict[str, socket.socket] = field(default_factory=dict)
    sinks: list[socket.socket] = field(default_factory=list)
    raw: dict[int, socket.socket] = field(default_factory=dict)
    connections: list[socket.socket] = field(default_factory=list)
    number: int = 0

    @classmethod
    def build(cls, run: Run) -> Self:
        """Make namespaces, links, addresses, neighbours and routes."""
        labels = [run.unique("crossroads", role) for role in ("gateway", "world")]
        gateway, world = Namespace.create_all(run, labels)
        with gateway.enter():
            write_sysctls({**SYSCTLS, **_UNLIMITED})
        with world.enter():
            write_sysctls(_SILENT)
        with gateway.enter(), IPRoute() as netlink:
            for position, name in enumerate(OWN, start=1):
                _link(netlink, world, name, position)
            netlink.link("set", index=1, state="up")
            netlink.route("add", dst="0.0.0.0/0", gateway=_NEXT[0])
            netlink.route("add", dst="::/0", gateway=_NEXT[1])
            write_sysctls(FORWARDING)
        with world.enter(), IPRoute() as netlink:
            for name in OWN:
                index = netlink.link_lookup(ifname=name)[0]
                netlink.link("set", index=index, flags=_NOARP | _UP, change=_NOARP | _MULTICAST | _UP)
        return cls(gateway, world)

    @contextmanager
    def opened(self) -> Iterator[Self]:
        """Open the wires at the world's end, and servers of TCP and UDP on the gateway."""
        with ExitStack() as stack:
            with self.world.enter():
                for name in OWN:
                    wire = stack.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
                    wire.bind((name, 3))  # ETH_P_ALL
                    wire.setblocking(False)
                    self.wires[name] = wire
            with self.gateway.enter():
                for port in (*PORTS, *_MORE_PORTS):
                    stack.enter_context(_listener(port))
                    self.sinks.append(stack.enter_context(_sink(port)))
                for family, kind in ((4, socket.AF_INET), (6, socket.AF_INET6)):
                    sender = socket.socket(kind, socket.SOCK_RAW, socket.IPPROTO_RAW)
                    self.raw[family] = stack.enter_context(sender)
                netfilter = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
                self.connections = [stack.enter_context(netfilter)]
            self.await_carrier()
            yield self

    def await_carrier(self) -> None:
        """Wait until the kernel uses every link."""
        deadline = time.monotonic() + 5
        with self.gateway.enter(), IPRoute() as netlink:
            while any(link.get("operstate") != "UP" for link in netlink.get_links() if link["index"] != 1):
                assert time.monotonic() < deadline, "a link has no carrier"
                time.sleep(0.01)

    def forget(self) -> None:
        """Forget all connections and all frames seen so far."""
        (connections,) = self.connections
        connections.send(_FORGET)
        answer = connections.recv(4096)
        assert answer[16:20] == bytes(4), f"the kernel refuses to forget connections: {answer!r}"
        self.frames()
        self.delivered()

    def send(self, packet: Packet, about: Frame | None = None) -> None:
        """Send it from the world, or with `via` None from the gateway itself.

        about: the packet that an ICMP error is about.
        """
        inside = self.network_layer(packet)
        if about is not None:
            inside[ICMP].remove_payload()
            inside = inside / about
        if packet.via is None:
            # What output drops is an error of the call.
            with suppress(PermissionError):
                target = (packet.destination, 0) if packet.family == 4 else (packet.destination, 0, 0, 0)
                self.raw[packet.family].sendto(bytes(inside), target)
            return
        position = list(OWN).index(packet.via) + 1
        frame = Ether(src=_WORLD_MAC % position, dst=_GATEWAY_MAC % position) / inside
        self.wires[packet.via].send(bytes(frame))

    def network_layer(self, packet: Packet) -> Frame:
        """The packet from its IP header on; each has a number of its own where the protocol has room."""
        self.number = (self.number + 1) % 65536
        if packet.family == 4:
            header: Frame = IP(src=packet.source, dst=packet.destination, ttl=packet.hop_limit)
        else:
            header = IPv6(src=packet.source, dst=packet.destination, hlim=packet.hop_limit)
        if packet.protocol == "tcp":
            return header / TCP(sport=packet.source_port, dport=packet.destination_port, flags="S")
        if packet.protocol == "udp":
            return header / UDP(sport=packet.source_port, dport=packet.destination_port) / Raw(b"probe")
        if packet.protocol == "icmp":
            return header / ICMP(type=packet.icmp_type, id=self.number) / Raw(b"probe")
        if packet.protocol == "icmpv6":
            return _icmpv6(header, packet, self.number)
        header.setfieldval("proto" if packet.family == 4 else "nh", _GRE)
        return header / Raw(bytes(4) + b"probe")

    def frames(self) -> list[tuple[str, Frame]]:
        """Every frame that the gateway let out since, with the link."""
        found = []
        for name, wire in self.wires.items():
            while True:
                try:
                    content, address = wire.recvfrom(65_535)
                except BlockingIOError:
                    break
                if address[2] != _OUTGOING:
                    found.append((name, Ether(content)))
        return found

    def delivered(self) -> list[tuple[str, int]]:
        """Source and port of all datagrams that the gateway's own sockets received since."""
        found = []
        for sink in self.sinks:
            while True:
                try:
                    _, address = sink.recvfrom(2048)
                except BlockingIOError:
                    break
                found.append((address[0].removeprefix("::ffff:"), sink.getsockname()[1]))
        return found


def _link(netlink: Any, world: Namespace, name: str, position: int) -> None:
    """A veth pair with the same name at both ends; the gateway's end gets addresses and neighbours."""
    peer = {"ifname": name, "address": _WORLD_MAC % position, "net_ns_fd": world.descriptor}
    index = 10 + position
    netlink.link("add", ifname=name, kind="veth", index=index, address=_GATEWAY_MAC % position, peer=peer)
    netlink.link("set", index=index, flags=_NOARP | _UP, change=_NOARP | _MULTICAST | _UP)
    for own in OWN[name]:
        family = 6 if ":" in own else 4
        flags = {"flags": _NODAD} if family == 6 else {}
        netlink.addr("add", index=index, address=own, prefixlen=LENGTHS[family], **flags)
    for host in (*HOSTS[name], *(_NEXT if name == "wan0" else ())):
        netlink.neigh("add", dst=host, lladdr=_WORLD_MAC % position, ifindex=index, state=_PERMANENT)


def _icmpv6(header: Frame, packet: Packet, number: int) -> Frame:
    """Echo, or any other type with a body that is long enough for it."""
    if packet.icmp_type in (128, 129):
        kind = ICMPv6EchoRequest if packet.icmp_type == 128 else ICMPv6EchoReply
        return header / kind(id=number, data=b"probe")
    return header / ICMPv6Unknown(type=packet.icmp_type, msgbody=bytes(24))


def _listener(port: int) -> socket.socket:
    """A TCP server of both families; nobody accepts its connections."""
    listener = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("::", port))
    listener.listen(512)
    return listener


def _sink(port: int) -> socket.socket:
    """A UDP server of both families."""
    sink = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    sink.bind(("::", port))
    sink.setblocking(False)
    return sink
