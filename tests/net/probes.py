# SPDX-License-Identifier: Apache-2.0
"""Packets through the gateway, and what of them arrives.

A probe is one UDP frame with a source of the test's choice, sent by the client; a fence, whose source no
test lists, follows on the same path. A veth pair keeps the order, so once the fence has arrived the probe
has arrived too, or never will: no waiting and no guessing.
"""

import socket
import struct
from ipaddress import ip_address

from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from bench.testbed.chain import Chain

PORT = 4711
_PAYLOAD = struct.Struct("!8sII")  # magic, round, index
_MAGIC = b"nwprobe\0"
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
_FENCE = 0xFFFFFFFF
_SO_RCVBUFFORCE = 33  # asm-generic/socket.h; beyond net.core.rmem_max
_PATIENCE = 5.0  # seconds for a fence; it arrives within a millisecond


class Probes:
    """Sends from the client and receives at the server of one chain. Close it before the chain."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self._round = 0
        with chain.server.enter():
            self._sinks = {family: _sink(kind) for family, kind in _FAMILIES.items()}
        self.rewire()

    def rewire(self) -> None:
        """Take the client's interface as it is now: it may have been made anew."""
        with self._chain.client.enter():
            self._wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
            self._wire.bind((self._chain.client_if.name, 0))

    def close(self) -> None:
        """Close the sockets."""
        for each in (self._wire, *self._sinks.values()):
            each.close()

    def arrived(self, *sources: str) -> set[str]:
        """Those of *sources* whose packet reached the server; AssertionError if a fence did not."""
        self._round += 1
        families = {family for source in sources for family in [ip_address(source).version]}
        for index, source in enumerate(sources):
            self._wire.send(self.frame(source, index))
        for family in families:
            self._wire.send(self.frame(self._fence_source(family), _FENCE))
        return {sources[index] for family in families for index in self._until_fence(family)}

    def blocked(self, *sources: str) -> set[str]:
        """Those of *sources* whose packet did not reach the server."""
        return set(sources) - self.arrived(*sources)

    def sent(self, *sources: str) -> None:
        """Send without a fence: for tests whose gateway would hold it back too."""
        for index, source in enumerate(sources):
            self._wire.send(self.frame(source, index))

    def frame(self, source: str, index: int) -> bytes:
        """The bytes of a probe from *source* to the server."""
        inside = self._chain.client_if
        network = IP if ip_address(source).version == 4 else IPv6
        packet = (
            Ether(src=inside.mac, dst=self._chain.gateway_in.mac)
            / network(src=source, dst=self._target(ip_address(source).version))
            / UDP(sport=PORT, dport=PORT)
            / Raw(_PAYLOAD.pack(_MAGIC, self._round, index))
        )
        return bytes(packet)

    def _target(self, family: int) -> str:
        server = self._chain.server_if
        return server.v4 if family == 4 else server.v6

    def _fence_source(self, family: int) -> str:
        client = self._chain.client_if
        return client.v4 if family == 4 else client.v6

    def _until_fence(self, family: int) -> list[int]:
        """The indices that arrived in this round, with repeats."""
        found: list[int] = []
        while True:
            try:
                payload = self._sinks[family].recv(2048)
            except TimeoutError:
                raise AssertionError(f"no fence of IPv{family} arrived: the gateway passes nothing") from None
            magic, number, index = _PAYLOAD.unpack_from(payload)
            if magic != _MAGIC or number != self._round:
                continue
            if index == _FENCE:
                return found
            found.append(index)


def _sink(family: socket.AddressFamily) -> socket.socket:
    sink = socket.socket(family, socket.SOCK_DGRAM)
    sink.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 32 << 20)
    if family == socket.AF_INET6:
        sink.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    sink.settimeout(_PATIENCE)
    sink.bind(("", PORT))
    return sink
