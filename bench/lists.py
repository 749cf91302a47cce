# SPDX-License-Identifier: Apache-2.0
"""Block lists for a run: seeded and shaped like real ones, or a given list filled up to what a point needs.

Lists of one seed are nested: of two, the one with fewer entries of each kind is a part of the other. Each
kind is a stream of entries in order of arrival, of which a list takes the beginning.

The shape of IPv4 hosts is IPsum's of 2026-08-22 (120 k hosts): 86 % of the /24s in it hold one host, a few
hold all 256. Prefix lengths follow published network lists, 30 % of the IPv4 ones longer than /24.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields

import numpy as np

from bench import space
from neurowall.model.address import BITS
from neurowall.model.entries import Array, Entries, EntrySet, clear_host_bits, find, keys_of, split_keys

# Hosts in a /24 that holds any, and how often (per mille): small sizes as counted, the tail in steps.
_HOSTS_PER_24 = {
    1: 857, 2: 83, 3: 24, 4: 10, 5: 5.4, 6: 3.7, 7: 2, 8: 1.6, 10: 2.9, 14: 2.9,
    20: 1.4, 30: 1.4, 50: 1.2, 90: 1, 150: 0.7, 256: 0.8,
}  # fmt: skip
_MEAN_HOSTS_PER_24 = 1.85
_HOSTS_PER_64 = {1: 90, 2: 7, 3: 3}
_LENGTHS4 = {
    16: 10, 17: 5, 18: 10, 19: 20, 20: 50, 21: 60, 22: 130, 23: 85, 24: 330,
    25: 30, 26: 40, 27: 50, 28: 60, 29: 80, 30: 30, 31: 10,
}  # fmt: skip
_LENGTHS6 = {
    29: 10, 32: 120, 36: 30, 40: 50, 44: 40, 48: 300, 52: 20, 56: 130, 60: 20, 64: 240, 96: 20, 112: 20,
}  # fmt: skip


@dataclass(frozen=True)
class Counts:
    """How many entries of each kind a list holds."""

    hosts4: int = 0
    prefixes4: int = 0
    hosts6: int = 0
    prefixes6: int = 0

    @classmethod
    def of(cls, entries: EntrySet) -> Counts:
        """Counts of a list."""
        v4, v6 = entries.v4, entries.v6
        return cls(v4.hosts, len(v4) - v4.hosts, v6.hosts, len(v6) - v6.hosts)

    @property
    def short(self) -> str:
        """As a part of a name: 1000h4-20p6."""
        counted = [(getattr(self, f.name), f"{f.name[0]}{f.name[-1]}") for f in fields(self)]
        return "-".join(f"{count}{kind}" for count, kind in counted if count)

    def __str__(self) -> str:
        return ", ".join(f"{getattr(self, f.name):,} {f.name}" for f in fields(self) if getattr(self, f.name))


@dataclass(frozen=True)
class Filled:
    """A list of the wanted counts: `given` entries came from the caller, the rest is generated.

    `special` of the caller's entries were left out, as they touch space that no real source sends from.
    """

    entries: EntrySet
    given: Counts
    special: int


def generate(counts: Counts, seed: int) -> EntrySet:
    """A list of exactly these counts, the same for the same seed."""
    return fill_up(EntrySet.empty(), counts, seed).entries


def fill_up(given: EntrySet, counts: Counts, seed: int) -> Filled:
    """The given entries, sampled where they are too many, generated ones added where they are too few."""
    usable = EntrySet(*(e.take(~space.special(e)) for e in (given.v4, given.v6)))
    taken = {kind: _take(kind, usable, getattr(counts, kind), seed) for kind in _STREAMS}
    entries = EntrySet(
        taken["hosts4"][0].union(taken["prefixes4"][0]), taken["hosts6"][0].union(taken["prefixes6"][0])
    )
    kept = Counts(**{kind: given for kind, (_, given) in taken.items()})
    return Filled(entries, kept, len(given) - len(usable))


def _take(kind: str, usable: EntrySet, count: int, seed: int) -> tuple[Entries, int]:
    """`count` entries of one kind, and how many of them are given ones."""
    family = int(kind[-1])
    entries = usable.family(family)
    border = len(entries) - entries.hosts  # prefixes stand before hosts
    own = entries.take(slice(border, None) if kind.startswith("hosts") else slice(border))
    seeds = [seed, list(_STREAMS).index(kind)]
    order = np.random.default_rng([*seeds, 0]).permutation(len(own))
    kept = own.take(np.sort(order[:count]))
    return kept.union(_generated(kind, own, count - len(kept), [*seeds, 1])), len(kept)


def _generated(kind: str, listed: Entries, count: int, seeds: list[int]) -> Entries:
    """The first `count` entries of a kind's stream that are not listed."""
    family, asked = listed.family, count + count // 8 + 64
    while count:
        address, length = _STREAMS[kind](asked, np.random.default_rng(seeds))
        keys = space.first_of_each(keys_of(family, clear_host_bits(family, address, length), length))
        fresh = keys[~find(listed.keys, keys)[1]]
        if len(fresh) >= count:
            return Entries(family, *split_keys(family, np.sort(fresh[:count])))
        asked *= 2
    return Entries.empty(family)


Columns = tuple[Array, Array]


def _hosts4(count: int, rng: np.random.Generator) -> Columns:
    """Hosts clustered in /24s. Those of one are at equal distances, so that none comes twice."""
    place, size, step, first = rng.spawn(4)
    networks = space.networks24(int(count / _MEAN_HOSTS_PER_24) + 8, place)
    sizes = _draw(_HOSTS_PER_24, len(networks), size)
    steps, firsts = 2 * space.small(128, len(networks), step) + 1, space.small(256, len(networks), first)
    number = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    octets = (np.repeat(firsts, sizes) + np.repeat(steps, sizes) * number) & 0xFF
    return _full_length(4, np.repeat(networks, sizes) << np.uint32(8) | octets.astype(np.uint32))


def _prefixes4(count: int, rng: np.random.Generator) -> Columns:
    place, octet, length = rng.spawn(3)
    networks = space.networks24(count, place)
    address = networks << np.uint32(8) | space.small(256, len(networks), octet).astype(np.uint32)
    return address, _draw(_LENGTHS4, len(networks), length)


def _hosts6(count: int, rng: np.random.Generator) -> Columns:
    """One to three hosts in a /64: half numbered by hand (::1 to ::fff), half with random interface ids."""
    place, size, way, number, interface = rng.spawn(5)
    high = np.repeat(space.networks64(count, place), _draw(_HOSTS_PER_64, count, size))
    by_hand = space.small(1 << 12, len(high), number).astype(np.uint64)
    low = np.where(way.random(len(high)) < 0.5, by_hand, space.random_bits(64, len(high), interface))
    return _full_length(6, space.join6(high, low))


def _prefixes6(count: int, rng: np.random.Generator) -> Columns:
    place, interface, length = rng.spawn(3)
    address = space.join6(space.networks64(count, place), space.random_bits(64, count, interface))
    return address, _draw(_LENGTHS6, count, length)


_STREAMS: Mapping[str, Callable[[int, np.random.Generator], Columns]] = {
    "hosts4": _hosts4,
    "prefixes4": _prefixes4,
    "hosts6": _hosts6,
    "prefixes6": _prefixes6,
}
"""About so many entries of a kind, in order of arrival: of the same seed, fewer are the beginning of more."""


def _full_length(family: int, address: Array) -> Columns:
    return address, np.full(len(address), BITS[family], np.uint8)


def _draw(weights: Mapping[int, float], count: int, rng: np.random.Generator) -> Array:
    """Keys of a table of weights, at random."""
    border = np.cumsum(list(weights.values()))
    rows = np.searchsorted(border, rng.random(count) * border[-1], side="right")
    return np.asarray(np.array(list(weights), np.intp)[rows])
