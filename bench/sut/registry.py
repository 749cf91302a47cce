# SPDX-License-Identifier: Apache-2.0
"""Every system by its name in scenarios and results."""

from collections.abc import Callable, Mapping

from bench.sut.base import Gate, System
from bench.sut.ipset import IpSet
from bench.sut.neurowall import Neurowall
from bench.sut.nft import NftLinear, NftSet
from bench.sut.nftlimit import NftLimit
from bench.sut.xdp import NoSystem, XdpNull, XdpTouch
from bench.sut.xdplru import XdpLruFlows, XdpLruLimiter

SYSTEMS: Mapping[str, Callable[[], System]] = {
    "none": NoSystem,
    "xdp-null": XdpNull,
    "xdp-touch": XdpTouch,
    "neurowall": lambda: Neurowall("buckets"),
    "neurowall-classic": lambda: Neurowall("classic"),
    "neurowall-lists": lambda: Neurowall("buckets", "neurowall-lists"),
    "xdp-lru-limiter": XdpLruLimiter,
    "xdp-lru-flows": XdpLruFlows,
    "nft-set": NftSet,
    "nft-limit": NftLimit,
    "nft-linear": NftLinear,
    "ipset": IpSet,
}
"""How to make a fresh instance; one serves one chain."""


def create(name: str, *, null_verdict: Gate = "drop") -> System:
    """A fresh system. null_verdict: what xdp-null does, 'drop' or 'pass', as the traffic asks.

    KeyError names those there are.
    """
    if name not in SYSTEMS:
        raise KeyError(f"no system {name!r}; there are {', '.join(SYSTEMS)}")
    return XdpNull(null_verdict) if name == "xdp-null" else SYSTEMS[name]()
