# SPDX-License-Identifier: Apache-2.0
"""What an attacker outside sends: floods, forgeries about a live flow, disguises. Packets from IP on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from random import Random
from typing import Any

from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
)
from scapy.layers.l2 import Dot1AD, Dot1Q
from scapy.packet import Raw

ONE, ONE6 = "198.18.66.6", "2001:2:0:66::6"  # where a flood from one place comes from
XMAS, NULL = "FPU", ""
Build = Callable[[str, int], Any]  # of a source and a running number


@dataclass(frozen=True)
class Target:
    """Where floods go: an address of each family and a TCP port."""

    four: str
    six: str
    port: int

    def ip(self, source: str, **fields: Any) -> Any:
        """The IP header of a packet from there."""
        if ip_address(source).version == 4:
            return IP(src=source, dst=self.four, **fields)
        return IPv6(src=source, dst=self.six, **fields)

    # -- what a flood is made of

    def tcp(self, flags: str) -> Build:
        """A segment with these flags, of a connection of its own."""

        def build(source: str, number: int) -> Any:
            ports = {"sport": 1024 + number, "dport": self.port}
            return self.ip(source) / TCP(**ports, flags=flags, seq=number * 7919, ack=number)

        return build

    def udp(self, source: str, number: int) -> Any:
        """A datagram."""
        return self.ip(source) / UDP(sport=1024 + number, dport=53) / b"amplified"

    def echo(self, source: str, number: int) -> Any:
        """An echo request."""
        ask = ICMP(id=number) if ip_address(source).version == 4 else ICMPv6EchoRequest(id=number)
        return self.ip(source) / ask / b"ping"

    def fragment(self, source: str, number: int) -> Any:
        """A later fragment of a datagram whose first one never comes."""
        if ip_address(source).version == 4:
            return self.ip(source, id=number, frag=64, flags="MF", proto=17) / Raw(bytes(64))
        return self.ip(source) / IPv6ExtHdrFragment(id=number, offset=64, m=1, nh=17) / Raw(bytes(64))


def from_one(build: Build, count: int, source: str = ONE) -> list[Any]:
    """A flood with one source."""
    return [build(source, number) for number in range(count)]


def from_many(build: Build, count: int) -> list[Any]:
    """A flood with a source of its own for each packet."""
    r = Random(count)
    return [build(f"198.18.{r.randrange(64, 256)}.{r.randrange(256)}", number) for number in range(count)]


# -- disguises: the same packet behind what a lazy parser does not look behind


def tagged(packet: Any, *tags: int) -> Any:
    """Behind one or two VLAN tags; put it behind Ethernet."""
    for number, kind in enumerate(reversed(tags)):
        packet = (Dot1AD if kind == 0x88A8 else Dot1Q)(vlan=100 + number) / packet
    return packet


def with_options(packet: Any) -> Any:
    """Behind options: an IPv4 header of 24 bytes, or two IPv6 extension headers."""
    if IP in packet:
        packet = packet.copy()
        packet[IP].options = [IPOption_NOP()] * 4
        return packet
    head, inner = packet[IPv6].copy(), packet[IPv6].payload
    head.remove_payload()
    return head / IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt() / inner


def in_first_fragment(packet: Any) -> Any:
    """As the first fragment of more that never come; its TCP header is whole."""
    if IP in packet:
        packet = packet.copy()
        packet[IP].flags = "MF"
        return packet / Raw(bytes(24))
    head, inner = packet[IPv6].copy(), packet[IPv6].payload
    head.remove_payload()
    return head / IPv6ExtHdrFragment(id=7, offset=0, m=1) / inner / Raw(bytes(24))


DISGUISES: dict[str, Callable[[Any], Any]] = {
    "a tag": lambda packet: tagged(packet, 0x8100),
    "two tags": lambda packet: tagged(packet, 0x88A8, 0x8100),
    "options": with_options,
    "options and a tag": lambda packet: tagged(with_options(packet), 0x8100),
    "first fragment": in_first_fragment,
}


# -- forgeries


@dataclass(frozen=True)
class Flow:
    """A live TCP connection as the attacker's end of the wire sees it: the peer is who he pretends to be."""

    peer: str
    peer_port: int
    gateway: str  # whom the peer talks to: the gateway, or a host behind it that is not masqueraded
    gateway_port: int
    sequence: int  # what the gateway's side expects next from the peer
    acknowledgement: int  # what it has sent up to

    def forged(self, flags: str, ahead: int = 0, data: bytes = b"", behind: int = 0) -> Any:
        """A segment in the peer's name, *ahead* of what is expected; it acknowledges *behind* what is due."""
        head: Any = IP if ip_address(self.peer).version == 4 else IPv6
        tcp = TCP(
            sport=self.peer_port,
            dport=self.gateway_port,
            flags=flags,
            seq=(self.sequence + ahead) % 2**32,
            ack=(self.acknowledgement - behind) % 2**32,
            window=8192,
        )
        return head(src=self.peer, dst=self.gateway) / tcp / Raw(data)


def flow_in(segment: Any) -> Flow:
    """The flow of a segment that left the gateway."""
    head = segment[IP] if IP in segment else segment[IPv6]
    tcp = segment[TCP]
    data = len(bytes(tcp)) - tcp.dataofs * 4
    after = tcp.seq + data + bool(tcp.flags.S) + bool(tcp.flags.F)
    return Flow(head.dst, tcp.dport, head.src, tcp.sport, tcp.ack, after % 2**32)


def answers(segments: Sequence[Any], flags: str) -> list[Any]:
    """Those with exactly these flags."""
    return [each for each in segments if TCP in each and str(each[TCP].flags) == flags]
