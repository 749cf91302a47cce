# SPDX-License-Identifier: Apache-2.0
"""Packets of every protocol through a gateway's rules, and what became of each one."""

import socket
import struct
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6Unknown, IPv6
from scapy.layers.l2 import Ether
from scapy.layers.sctp import SCTP
from scapy.packet import Packet as Layers
from scapy.packet import Raw

from bench.testbed.chain import Chain, write_sysctls
from neurowall.kernel.nft import Nftables
from neurowall.model.ruleset import Ruleset
from tests.net.rule_oracle import Packet

_MAGIC = b"nwrules\0"
_PACKET_OUTGOING = 4
_SO_RCVBUFFORCE = 33  # asm-generic/socket.h; beyond net.core.rmem_max
_PATIENCE = 5.0
_ANSWERED = {
    "net/ipv4/icmp_ratelimit": "0",
    "net/ipv4/icmp_msgs_per_sec": "1000000",
    "net/ipv4/icmp_msgs_burst": "1000000",
    "net/ipv6/icmp/ratelimit": "0",
}
"""A reject is seen by its ICMP error, so none may be held back."""


class Wire:
    """One gateway chain whose gateway holds a compiled table. Close it before the chain."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self._ends = ExitStack()
        with chain.client.enter():
            self._client = self._ends.enter_context(_listener(chain.client_if.name))
        with chain.server.enter():
            self._server = self._ends.enter_context(_listener(chain.server_if.name))
        self._number = 0
        self._tables = Nftables()
        with chain.gateway.enter():
            write_sysctls(_ANSWERED)
            self._tables.delete_table()  # libnftables stays in the namespace of its first use

    def close(self) -> None:
        """Remove the table and close the sockets."""
        self._tables.delete_table()
        self._ends.close()

    def hold(self, ruleset: Ruleset) -> None:
        """Make it the gateway's table, with counters from zero and no known connections."""
        self._tables.delete_table()
        self._chain.gateway.exec(["conntrack", "-F"])
        self._tables.commit(None, ruleset)
        self._drain(self._client, {})
        self._drain(self._server, {})

    def counts(self) -> Counter[str]:
        """Packets by counter, less those that are zero."""
        found = Counter({name: each.packets for name, each in self._tables.counters().items()})
        return +found

    def send(self, packet: Packet, number: int, hops: int) -> None:
        """Send one packet from the client; its number comes back with its fate."""
        inside, gateway = self._chain.client_if, self._chain.gateway_in
        layers = layers_of(packet, number)
        if packet.family == 6:
            layers.hlim = hops
        self._client.send(bytes(Ether(src=inside.mac, dst=gateway.mac) / layers))

    def fates(
        self,
        packets: Sequence[Packet],
        expected: Mapping[str, int],
        *,
        patience: float = _PATIENCE,
        hops: int = 64,
    ) -> dict[int, str]:
        """Send all; accept: seen by the server, reject: answered, else drop.

        Waits for the counters to be as expected, so many seconds at most.
        """
        for number, packet in enumerate(packets):
            self.send(packet, number, hops)
        found = dict.fromkeys(range(len(packets)), "drop")
        deadline = time.monotonic() + patience
        while self.counts() != expected and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.05)
        self._drain(self._server, found, "accept")
        self._drain(self._client, found, "reject")
        return found

    def crossing(self, packet: Packet, *, outwards: bool = False) -> list[tuple[str, Packet]]:
        """Send one packet, from the client or *outwards* from the server, and say where it came out, and how.

        Where is `client` or `server`; a probe that nothing forwards is nowhere.
        """
        self._drain(self._client, {})
        self._drain(self._server, {})
        self._number += 1
        near, far = self._chain.client_if, self._chain.gateway_in
        if outwards:
            near, far = self._chain.server_if, self._chain.gateway_out
        frame = bytes(Ether(src=near.mac, dst=far.mac) / layers_of(packet, self._number))
        (self._server if outwards else self._client).send(frame)
        time.sleep(0.05)
        return [*self._seen("client", self._client), *self._seen("server", self._server)]

    def _seen(self, side: str, listener: socket.socket) -> Iterator[tuple[str, Packet]]:
        while True:
            try:
                frame, (_, _, direction, _, _) = listener.recvfrom(4096)
            except BlockingIOError:
                return
            layers = Ether(frame)
            if direction != _PACKET_OUTGOING and _MAGIC in frame and (TCP in layers or UDP in layers):
                yield side, packet_in(layers)

    @staticmethod
    def _drain(listener: socket.socket, found: dict[int, str], fate: str = "") -> None:
        while True:
            try:
                frame, (_, _, direction, _, _) = listener.recvfrom(4096)
            except BlockingIOError:
                return
            number = _number_of(frame)
            if direction != _PACKET_OUTGOING and number is not None and fate:
                found[number] = fate


def _listener(interface: str) -> socket.socket:
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003))  # ETH_P_ALL
    made.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 32 << 20)
    made.bind((interface, 0x0003))
    made.setblocking(False)
    return made


def _number_of(frame: bytes) -> int | None:
    """The number in a probe, or in an ICMP error that quotes it; of a TCP reset what it acknowledges."""
    position = frame.find(_MAGIC)
    if position >= 0:
        return int(struct.unpack_from("!I", frame, position + len(_MAGIC))[0])
    layers = Ether(frame)
    if TCP in layers and layers[TCP].flags & 0x04:
        return int(layers[TCP].ack) >> 8
    return None


def packet_in(layers: Layers) -> Packet:
    """Addresses and ports of a captured TCP or UDP packet."""
    network = layers[IP] if IP in layers else layers[IPv6]
    transport = layers[TCP] if TCP in layers else layers[UDP]
    protocol = 6 if TCP in layers else 17
    return Packet(None, None, network.src, network.dst, protocol, transport.sport, transport.dport)


def layers_of(packet: Packet, number: int) -> Layers:
    """The packet from its network header on; TCP as the first of a connection, SCTP as INIT."""
    mark = _MAGIC + struct.pack("!I", number)
    ports: dict[str, Any] = {"sport": packet.source_port, "dport": packet.destination_port}
    network: Layers
    if packet.family == 4:
        network = IP(src=packet.source, dst=packet.destination, proto=packet.protocol)
    else:
        network = IPv6(src=packet.source, dst=packet.destination, nh=packet.protocol)
    transport: dict[int, Any] = {
        1: lambda: ICMP(type=packet.icmp_type, id=number & 0xFFFF) / Raw(mark),
        6: lambda: TCP(**ports, flags="S", seq=number << 8) / Raw(mark),
        17: lambda: UDP(**ports) / Raw(mark),
        58: lambda: ICMPv6Unknown(type=packet.icmp_type) / Raw(struct.pack("!HH", number & 0xFFFF, 1) + mark),
        132: lambda: SCTP(**ports, tag=0) / Raw(_init(number, mark)),
        47: lambda: Raw(struct.pack("!HH", 0, 0x88B5) + mark),
    }
    return network / transport.get(packet.protocol, lambda: Raw(bytes(8) + mark))()


def _init(number: int, mark: bytes) -> bytes:
    """An INIT chunk (RFC 9260, 3.3.2) with the mark in a parameter that receivers skip."""
    parameter = struct.pack("!HH", 0xC0F0, 4 + len(mark)) + mark
    body = struct.pack("!IIHHI", number + 1, 65536, 1, 1, 1) + parameter
    return struct.pack("!BBH", 1, 0, 4 + len(body)) + body
