# SPDX-License-Identifier: Apache-2.0
"""Block lists for a run: seeded and shaped like real ones, or a given list filled up to what a point needs.

The shape of IPv4 hosts is IPsum's of 2026-08-22 (120 k hosts): 86 % of the /24s in it hold one host, a few
hold all 256. Prefix lengths follow published network lists, 30 % of the IPv4 ones longer than /24.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields

import numpy as np

from bench import space
from neurowall.model.address import BITS
from neurowall.model.entries import Array, Entries, EntrySet

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
    rng = np.random.default_rng(seed)
    usable = EntrySet(*(e.take(~space.special(e)) for e in (given.v4, given.v6)))
    kept = EntrySet(
        _sample(usable.v4, counts.hosts4, counts.prefixes4, rng),
        _sample(usable.v6, counts.hosts6, counts.prefixes6, rng),
    )
    have = Counts.of(kept)
    v4 = _add(kept.v4, counts.hosts4 - have.hosts4, _hosts4, rng)
    v6 = _add(kept.v6, counts.hosts6 - have.hosts6, _hosts6, rng)
    entries = EntrySet(
        _add(v4, counts.prefixes4 - have.prefixes4, _prefixes4, rng),
        _add(v6, counts.prefixes6 - have.prefixes6, _prefixes6, rng),
    )
    return Filled(entries, have, len(given) - len(usable))


def _sample(entries: Entries, hosts: int, prefixes: int, rng: np.random.Generator) -> Entries:
    """At most so many hosts and prefixes of `entries`, chosen at random."""
    border = len(entries) - entries.hosts  # prefixes stand before hosts
    rows = [
        _choose(np.arange(border), prefixes, rng),
        _choose(np.arange(border, len(entries)), hosts, rng),
    ]
    return entries.take(np.sort(np.concatenate(rows)))


def _choose(rows: Array, most: int, rng: np.random.Generator) -> Array:
    return rows if len(rows) <= most else rng.choice(rows, most, replace=False)


Maker = Callable[[int, np.random.Generator], Entries]


def _add(entries: Entries, count: int, make: Maker, rng: np.random.Generator) -> Entries:
    """`entries` and exactly `count` more of one kind, none of them listed before."""
    while count > 0:
        fresh = make(count + count // 8 + 16, rng).minus(entries)
        fresh = fresh.take(np.sort(_choose(np.arange(len(fresh)), count, rng)))
        entries, count = entries.union(fresh), count - len(fresh)
    return entries


def _hosts4(count: int, rng: np.random.Generator) -> Entries:
    """About `count` hosts, clustered in /24s."""
    networks = space.networks24(int(count / _MEAN_HOSTS_PER_24) + 8, rng)
    sizes = _draw(_HOSTS_PER_24, len(networks), rng)
    sparse = np.repeat(networks[sizes <= 8], sizes[sizes <= 8])
    sparse = sparse << np.uint32(8) | rng.integers(0, 256, len(sparse), dtype=np.uint32)
    crowded, octets = networks[sizes > 8], np.arange(256, dtype=np.uint32)
    shuffled = rng.permuted(np.tile(octets, (len(crowded), 1)), axis=1)
    dense = (crowded[:, None] << np.uint32(8) | shuffled)[octets < sizes[sizes > 8][:, None]]
    return _full_length(4, np.concatenate([sparse, dense]))


def _prefixes4(count: int, rng: np.random.Generator) -> Entries:
    address = space.networks24(count, rng) << np.uint32(8) | rng.integers(0, 256, count, dtype=np.uint32)
    return Entries.make(4, address, _draw(_LENGTHS4, count, rng))


def _hosts6(count: int, rng: np.random.Generator) -> Entries:
    """One to three hosts in a /64: half numbered by hand (::1 to ::fff), half with random interface ids."""
    high = np.repeat(space.networks64(count, rng), _draw(_HOSTS_PER_64, count, rng))
    by_hand = rng.integers(1, 1 << 12, len(high), dtype=np.uint64)
    low = np.where(rng.random(len(high)) < 0.5, by_hand, space.random_bits(64, len(high), rng))
    return _full_length(6, space.join6(high, low))


def _prefixes6(count: int, rng: np.random.Generator) -> Entries:
    address = space.join6(space.networks64(count, rng), space.random_bits(64, count, rng))
    return Entries.make(6, address, _draw(_LENGTHS6, count, rng))


def _full_length(family: int, address: Array) -> Entries:
    return Entries.make(family, address, np.full(len(address), BITS[family]))


def _draw(weights: Mapping[int, float], count: int, rng: np.random.Generator) -> Array:
    chances = np.array(list(weights.values()))
    return rng.choice(np.array(list(weights)), count, p=chances / chances.sum())
