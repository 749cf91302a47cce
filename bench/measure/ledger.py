# SPDX-License-Identifier: Apache-2.0
"""Where packets were lost other than by rule, from counters; never computed as what is left over."""

from collections.abc import Iterable

from bench.measure.counters import Counters

_IP = ("InHdrErrors", "InAddrErrors", "InDiscards", "InTruncatedPkts", "OutDiscards", "FragFails")
_IP4 = (*_IP, "InNoRoutes", "OutNoRoutes", "InUnknownProtos")
_IP6 = (*_IP, "InNoRoutes", "OutNoRoutes", "InTooBigErrors", "InUnknownProtos")

PLACES: dict[str, tuple[str, ...]] = {
    "client link: receive ring full": ("client_if/dev/tx_dropped",),
    "gateway in: driver": ("gateway_in/xdp/ring_drops",),
    "gateway: IPv4": tuple(f"gateway/ip/{name}" for name in _IP4),
    "gateway: IPv6": tuple(f"gateway/ip6/{name}" for name in _IP6),
    "gateway: conntrack": tuple(f"gateway/conntrack/{name}" for name in ("insert_failed", "drop")),
    "gateway out: receive ring full": ("gateway_out/dev/tx_dropped",),
    "server in: driver": ("server_if/xdp/ring_drops",),
    "backlog queue (whole machine)": ("machine/softnet/dropped",),
}
"""Each place a frame of the chain can end unasked, and the counters that say so.

A veth's tx_dropped also holds the frames that XDP redirected into it and its peer's ring had no room for.
"""


def elsewhere(changes: Counters) -> dict[str, int]:
    """Packets lost at each place, zeroes left out; `changes` is `counters.difference(before, after)`."""
    sums = {place: _sum(changes, names) for place, names in PLACES.items()}
    return {place: lost for place, lost in sums.items() if lost}


def entered(changes: Counters) -> int:
    """Frames that the gateway's client side took in, by its own interface counter."""
    return changes.get("gateway_in/dev/rx_packets", 0)


def left(changes: Counters) -> int:
    """Frames that the gateway sent towards the server, by its own interface counter."""
    return changes.get("gateway_out/dev/tx_packets", 0)


def _sum(changes: Counters, names: Iterable[str]) -> int:
    return sum(changes.get(name, 0) for name in names)
