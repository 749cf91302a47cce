# SPDX-License-Identifier: Apache-2.0
"""What limits say, by a plain model: one number for each key of each limit, exact, and no table at all."""

from dataclasses import dataclass, field
from fractions import Fraction
from ipaddress import ip_address, ip_network

from tests.bpf.limitmaps import UNIT_NS, Spec


@dataclass(frozen=True)
class Sent:
    """A packet as the model sees it. kinds: of KINDS, all that it is."""

    source: str
    port: int | None  # None: it has none
    protocol: int
    kinds: frozenset[str]
    size: int


@dataclass
class Model:
    """Virtual scheduling (ITU-T I.371): a key's time moves on by its cost, and may be *tolerance* ahead."""

    specs: list[Spec]
    times: dict[tuple[int, object], Fraction] = field(default_factory=dict)

    def admits(self, packet: Sent, now_ns: int) -> bool:
        """Whether all limits that concern the packet admit it; then it is charged to them."""
        now = Fraction(now_ns // UNIT_NS)
        charged: dict[tuple[int, object], Fraction] = {}
        refused = False
        for number, spec in enumerate(self.specs):
            if not concerns(spec, packet):
                continue
            key = (number, key_of(spec, packet))
            start = max(self.times.get(key, now), now)
            end = start + spec.interval * (packet.size if spec.counts_bytes else 1)
            if end - now <= spec.tolerance:
                charged[key] = end
            elif spec.action != "monitor":
                refused = True
        if not refused:
            self.times |= charged
        return not refused


def concerns(spec: Spec, packet: Sent) -> bool:
    """Whether the limit is about the packet."""
    return bool(packet.kinds & set(spec.kinds)) and (not spec.ports or packet.port in spec.ports)


def key_of(spec: Spec, packet: Sent) -> object:
    """What has the budget."""
    if spec.key == "all":
        return None
    if spec.key == "port":
        return packet.protocol, packet.port or 0
    address = ip_address(packet.source)
    length = spec.prefix4 if address.version == 4 else spec.prefix6
    return ip_network((address, length), strict=False)
