# SPDX-License-Identifier: Apache-2.0
"""Addresses that tell whether rules are in force: some that must be blocked, and neighbours that must not.

The oracle works on the raw entries, one prefix length after the other, and shares no code with any system.
"""

import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from neurowall.model.entries import DTYPE, Entries

POOL_ENTRIES = 4096
"""Entries drawn, at most, for a pool; gates draw their probes from the pool."""

_BITS = {4: 32, 6: 128}
_RESERVED = {
    # What the stack refuses as a source although the registries call it global: the harness's own networks.
    4: [ipaddress.ip_network("198.18.0.0/15"), ipaddress.ip_network("224.0.0.0/3")],
    6: [ipaddress.ip_network("2001:2::/48"), ipaddress.ip_network("ff00::/8")],
}

Array = npt.NDArray[Any]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Pool:
    """Probes of one family: *listed* must be blocked, *near* (their neighbours) must not. Dtype V4 or V6."""

    family: int
    listed: Array
    near: Array

    def draw(self, count: int, rng: np.random.Generator) -> tuple[Array, Array]:
        """*count* of each at random, without repeats; all of them where there are fewer."""
        return _draw(self.listed, count, rng), _draw(self.near, count, rng)


def make_pool(entries: Entries, rng: np.random.Generator) -> Pool:
    """Probes for up to POOL_ENTRIES random entries, half of them prefixes where there are both.

    Of a host itself and both neighbours; of a prefix first, last and a random member, and the addresses
    before and behind it. Neighbours that are listed themselves, and addresses no source may have, are left
    out. Without entries: no listed probes, and random near ones.
    """
    family = entries.family
    listed: set[int] = set()
    near: set[int] = set()
    for value, length in _sample(entries, rng):
        first, last = value, value + (1 << (_BITS[family] - length)) - 1
        listed.update((first, last, first + int(rng.integers(0, min(last - first, 1 << 62), endpoint=True))))
        near.update((first - 1, last + 1))
    near.update(_random_addresses(family, rng))
    usable = _to_array(family, (value for value in near if _usable(family, value)))
    return Pool(
        family,
        _to_array(family, (value for value in listed if _usable(family, value))),
        usable[~covered(entries, usable)],
    )


def covered(entries: Entries, addresses: Array) -> Bools:
    """The oracle: tell for each address whether any entry covers it."""
    found = np.zeros(len(addresses), np.bool_)
    for length in np.unique(entries.length).tolist():
        ours = _network(entries.family, entries.address[entries.length == length], length)
        found |= np.isin(_network(entries.family, addresses, length), ours)
    return found


def _network(family: int, addresses: Array, length: int) -> Array:
    """Addresses without the bits beyond *length*."""
    if family == 4:
        return np.asarray(addresses.astype(np.uint64) >> np.uint64(32 - length))
    mask = ((1 << 128) - (1 << (128 - length))).to_bytes(16, "big")
    octets = np.ascontiguousarray(addresses).view(np.uint8).reshape(-1, 16) & np.frombuffer(mask, np.uint8)
    return np.ascontiguousarray(octets).view("S16").reshape(-1)


def _sample(entries: Entries, rng: np.random.Generator) -> Iterator[tuple[int, int]]:
    """(address, length) of random entries, hosts and prefixes in equal numbers if there are enough."""
    hosts = np.flatnonzero(entries.length == _BITS[entries.family])
    prefixes = np.flatnonzero(entries.length != _BITS[entries.family])
    half = POOL_ENTRIES // 2
    rows = [_draw(hosts, max(half, POOL_ENTRIES - len(prefixes)), rng)]
    rows.append(_draw(prefixes, max(half, POOL_ENTRIES - len(hosts)), rng))
    for row in np.concatenate(rows).tolist():
        address = entries.address[row : row + 1]  # an array of one: a single S16 loses its zeros
        packed = address if entries.family == 6 else address.astype(">u4")
        yield int.from_bytes(packed.tobytes(), "big"), int(entries.length[row])


def _random_addresses(family: int, rng: np.random.Generator) -> list[int]:
    """512 addresses from anywhere (IPv6: from 2000::/3)."""
    if family == 4:
        return [int(value) for value in rng.integers(1 << 24, 224 << 24, 512)]
    return [(1 << 125) | int.from_bytes(rng.bytes(15), "big") for _ in range(512)]


def _usable(family: int, value: int) -> bool:
    """Whether a gateway accepts it as a source from outside."""
    if not 0 < value < 1 << _BITS[family]:
        return False
    address = ipaddress.IPv4Address(value) if family == 4 else ipaddress.IPv6Address(value)
    return address.is_global and not any(address in network for network in _RESERVED[family])


def _to_array(family: int, values: Iterable[int]) -> Array:
    if family == 4:
        return np.fromiter(values, DTYPE[4])
    return np.frombuffer(b"".join(value.to_bytes(16, "big") for value in values), DTYPE[6])


def _draw(values: Array, count: int, rng: np.random.Generator) -> Array:
    """*count* of *values* without repeats, or all of them shuffled."""
    return np.asarray(values[rng.permutation(len(values))[:count]])
