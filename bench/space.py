# SPDX-License-Identifier: Apache-2.0
"""Which addresses a run may use: ordinary global unicast ones, clustered into networks as real ones are.

Addresses are the model's: IPv4 uint32 in host byte order, IPv6 16 bytes in network order. Left out is every
special-purpose range of IANA's registries (RFC 6890 and later), from which no real source sends; the harness
itself lives in two of them, 198.18.0.0/15 and 2001:2::/48.
"""

from __future__ import annotations

import functools
import ipaddress

import numpy as np

from neurowall.model.entries import DTYPE, V6, Array, Bools, Entries, clear_host_bits, find, last_address

_SPECIAL4 = [
    ipaddress.IPv4Network(text)
    for text in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24"),
        *("192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24"),
        "224.0.0.0/3",
    )
]
_SPECIAL6 = [
    ipaddress.IPv6Network(text)
    for text in ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20")
]
_GLOBAL6 = ipaddress.IPv6Network("2000::/3")
_REGISTRIES6 = (0x240, 0x260, 0x280, 0x2A0, 0x2C0)  # one /12 each

_MEAN_24S_PER_16 = 3.6  # in IPsum; the median is 2, the 90th percentile 7, the largest 160
_SPREAD_OF_16S = 1.2  # sigma of the lognormal that has these
_MOST_16S = 40_000  # of about 56,000 usable ones


def covered(entries: Entries, addresses: Array) -> Bools:
    """Tell for each address whether a host or a prefix of `entries` (of the same family) holds it."""
    listed = np.zeros(len(addresses), dtype=np.bool_)
    for length, rows in entries.segments():
        listed |= find(entries.address[rows], clear_host_bits(entries.family, addresses, length))[1]
    return listed


def special(entries: Entries) -> Bools:
    """Tell for each entry whether it touches special-purpose space."""
    first, last = entries.address, last_address(entries.family, entries.address, entries.length)
    if entries.family == 4:
        return _touches4(first, last)
    touches = (first < _packed(_GLOBAL6[0])) | (last > _packed(_GLOBAL6[-1]))
    for network in _SPECIAL6:
        touches |= (first <= _packed(network[-1])) & (last >= _packed(network[0]))
    return touches


def random_addresses(family: int, count: int, rng: np.random.Generator) -> Array:
    """Ordinary addresses from anywhere; repeats are possible."""
    if family == 4:
        sites = rng.choice(_usable_16s(), count)
        return np.asarray(sites << np.uint32(16) | rng.integers(0, 1 << 16, count, dtype=np.uint32))
    return join6(networks64(count, rng), random_bits(64, count, rng))


def networks24(count: int, rng: np.random.Generator) -> Array:
    """At most `count` distinct /24 numbers (address >> 8) in order of arrival, clustered in /16s as in IPsum.

    With a generator of the same seed, fewer of them are the beginning of more: each comes from one of the
    sites that are open by then, and a site opens for every _MEAN_24S_PER_16 networks.
    """
    site, within = rng.spawn(2)
    usable = site.permutation(_usable_16s())[:_MOST_16S]
    weights = np.cumsum(site.lognormal(0, _SPREAD_OF_16S, len(usable)))
    is_open = np.minimum(np.arange(count) / _MEAN_24S_PER_16, len(usable) - 1).astype(np.intp)
    drawn = usable[np.searchsorted(weights, site.random(count) * weights[is_open])]
    return first_of_each(drawn << np.uint32(8) | small(256, count, within).astype(np.uint32))


def networks64(count: int, rng: np.random.Generator) -> Array:
    """Upper halves (uint64) of IPv6 addresses, clustered in /48s and /32s of all registries; may repeat.

    In order of arrival, as networks24.
    """
    registry, network, site, customer, subnet = rng.spawn(5)
    sites = np.array(_REGISTRIES6, np.uint64)[small(len(_REGISTRIES6), count // 4 + 1, registry)]
    sites = sites << np.uint64(20) | random_bits(20, len(sites), network)
    sites[sites == 0x2620004F] += np.uint64(1)  # the one that holds a special /48
    chosen = sites[(site.random(count) * (np.arange(count) // 4 + 1)).astype(np.intp)]
    customers = random_bits(8, count, customer) << np.uint64(16)
    subnets = np.array([0, 0, 1, 2, 16, 255], np.uint64)[small(6, count, subnet)]
    return np.asarray(chosen << np.uint64(32) | customers | subnets)


def first_of_each(values: Array) -> Array:
    """Distinct values in the order of their first occurrence."""
    return values[np.sort(np.unique(values, return_index=True)[1])]


def small(bound: int, count: int, rng: np.random.Generator) -> Array:
    """Uniform integers below `bound`; fewer are the beginning of more, which `integers` leaves open."""
    return (rng.random(count) * bound).astype(np.intp)


def random_bits(bits: int, count: int, rng: np.random.Generator) -> Array:
    """Uniform uint64 below 2**bits; fewer of them are the beginning of more."""
    raw = np.frombuffer(rng.bytes(8 * count), np.uint64)
    return raw >> np.uint64(64 - bits)


def join6(high: Array, low: Array) -> Array:
    """IPv6 addresses of upper and lower halves (uint64)."""
    return np.stack([high, low], axis=1).astype(">u8").view(V6).reshape(-1)


def split6(addresses: Array) -> tuple[Array, Array]:
    """Inverse of join6."""
    pairs = np.ascontiguousarray(addresses).view(">u8").reshape(-1, 2).astype(np.uint64)
    return pairs[:, 0], pairs[:, 1]


@functools.cache
def _usable_16s() -> Array:
    """IPv4 /16 numbers without any special-purpose address."""
    first = np.arange(1 << 16, dtype=DTYPE[4]) << np.uint32(16)
    return np.flatnonzero(~_touches4(first, first | np.uint32(0xFFFF))).astype(np.uint32)


def _touches4(first: Array, last: Array) -> Bools:
    touches = np.zeros(len(first), dtype=np.bool_)
    for network in _SPECIAL4:
        touches |= (first <= int(network[-1])) & (last >= int(network[0]))
    return touches


def _packed(address: ipaddress.IPv6Address) -> np.bytes_:
    return np.bytes_(address.packed)
