# SPDX-License-Identifier: Apache-2.0
"""Source addresses of the generated traffic, shuffled beforehand: the generator reads them in sequence.

So making a source costs the same whatever it is; the control, one fixed source, shows what it costs.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bench import space
from bench.points import Position, Traffic
from neurowall.model.entries import DTYPE, Array, Entries, Indices, clear_host_bits

_NEAR = {4: 24, 6: 64}  # who shares a network of this length is a neighbour


def draw(
    traffic: Traffic, entries: Entries, rng: np.random.Generator, clean_of: Entries | None = None
) -> Array:
    """The sources that a scenario asks for; ValueError where a list has none such.

    Clean ones are covered neither by `entries` nor by `clean_of`.
    """
    if traffic.sources == "near-listed" or traffic.position == "miss":
        count = traffic.set_size if traffic.sources == "fixed-set" else traffic.source_count
        return near_listed(entries, count, rng, clean_of)
    if traffic.sources == "fixed-set":
        rows = rng.choice(len(entries), min(traffic.set_size, len(entries)), replace=False)
        return listed(entries.take(np.sort(rows)), rng)
    return listed(entries.take(_rows_at(entries, traffic.position)), rng)


def _rows_at(entries: Entries, position: Position) -> Indices:
    """Rows of all entries, or of the first or last hundredth of them in the order of a list file."""
    border, count = len(entries) - entries.hosts, max(1, len(entries) // 100)
    in_file = np.roll(np.arange(len(entries)), -border)  # hosts stand before prefixes there
    chosen = {"first": in_file[:count], "last": in_file[-count:]}.get(position, in_file)
    return np.sort(chosen)


def listed(entries: Entries, rng: np.random.Generator) -> Array:
    """One source for every entry: each host, and a random member of each prefix."""
    return rng.permutation(members(entries.family, entries.address, entries.length, rng))


def near_listed(
    entries: Entries, count: int, rng: np.random.Generator, clean_of: Entries | None = None
) -> Array:
    """Clean sources: half share a /24 (IPv6: /64) with an entry, half do not, none is listed; repeats occur.

    `clean_of` are further entries that must not cover them. Raises ValueError when no entry is longer than
    that, so that nothing could be near it and yet clean.
    """
    family, length = entries.family, _NEAR[entries.family]
    networks = np.unique(clear_host_bits(family, entries.address[entries.length > length], length))
    if not len(networks):
        raise ValueError(f"no IPv{family} entry is longer than /{length}: nothing clean is near the list")
    avoided = entries if clean_of is None else entries.union(clean_of)
    touched = Entries.make(family, networks, np.full(len(networks), length)).union(avoided)
    near = _outside(
        avoided, count - count // 2, lambda n: members(family, rng.choice(networks, n), length, rng)
    )
    far = _outside(touched, count // 2, lambda n: space.random_addresses(family, n, rng))
    return rng.permutation(np.concatenate([near, far]))


def members(family: int, networks: Array, length: Array | int, rng: np.random.Generator) -> Array:
    """A random address of each network."""
    noise = rng.integers(0, 256, len(networks) * DTYPE[family].itemsize, dtype=np.uint8).view(DTYPE[family])
    host_bits = _octets(noise) ^ _octets(clear_host_bits(family, noise, length))
    return (_octets(networks) | host_bits).view(DTYPE[family])


def _outside(entries: Entries, count: int, draw: Callable[[int], Array]) -> Array:
    """`count` drawn addresses that `entries` does not cover."""
    found = np.empty(0, DTYPE[entries.family])
    for _ in range(1000):
        if len(found) >= count:
            return found[:count]
        drawn = draw(count + count // 4 + 16)
        found = np.concatenate([found, drawn[~space.covered(entries, drawn)]])
    raise ValueError(f"the list leaves no room: {len(found)} of {count} clean addresses found")


def _octets(addresses: Array) -> Array:
    return np.ascontiguousarray(addresses).view(np.uint8)
