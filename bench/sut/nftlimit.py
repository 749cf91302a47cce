# SPDX-License-Identifier: Apache-2.0
"""nftables with limits: dynamic sets whose elements are a `limit` each, as its manual shows for floods.

At netdev ingress, behind the sets of nft-set: an element for each source, and for each /24, made by the first
packet of it. An element ends some seconds after its last packet, by which time its bucket is full again. A
dynamic set that is full makes no element more, and what has none is not limited: so its size is what the
scenario's flood needs.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from bench.classes import SERVER_NETWORK
from bench.sut.base import Rules, text4
from bench.sut.nft import NftSet

if TYPE_CHECKING:
    from bench.defence import Feature, Limit

SIZE = 1_310_720
"""Elements of each dynamic set: the million sources of the largest flood, and room."""
_KEYS = {"source": "ip saddr", "source-prefix": "ip saddr & 255.255.255.0"}
_MATCHES = {
    "all": "",
    "udp": "ip protocol udp ",
    "tcp-syn": "tcp flags & (fin|syn|rst|ack) == syn ",
}


class NftLimit(NftSet):
    """nft-set with what it has for the other features: limits, and sources of the server's network."""

    name = "nft-limit"
    enforces: tuple[Feature, ...] = ("limits", "spoofing")

    def ruleset(self, rules: Rules, device: str) -> str:
        """Spoofed sources, lists, then limits in their order."""
        self._limits = rules.defence.limits if rules.defence else ()
        self._spoofing = bool(rules.defence and rules.defence.spoofing)
        return super().ruleset(rules, device)

    def _table(self, sets: str, rules: str, device: str) -> str:
        sets += "".join(map(_set, self._limits))
        if self._spoofing:
            network = text4(SERVER_NETWORK)
            rules = f"\t\tip saddr {network}/24 counter name dropped drop\n{rules}"
        rules += "".join(map(_rule, self._limits))
        return super()._table(sets, rules, device)


def _set(limit: Limit) -> str:
    timeout = max(1, math.ceil(limit.refill_seconds))
    return (
        f"\tset {_name(limit)} {{\n\t\ttype ipv4_addr\n\t\tsize {SIZE}\n"
        f"\t\tflags dynamic,timeout\n\t\ttimeout {timeout}s\n\t}}\n"
    )


def _rule(limit: Limit) -> str:
    rate = f"limit rate over {limit.packets_per_second}/second burst {limit.burst} packets"
    key = f"update @{_name(limit)} {{ {_KEYS[limit.key]} {rate} }}"
    return f"\t\t{_MATCHES[limit.match]}{key} counter name dropped drop\n"


def _name(limit: Limit) -> str:
    return f"limit-{limit.name}"
