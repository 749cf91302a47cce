# SPDX-License-Identifier: Apache-2.0
"""Lists that succeed one another, and addresses that come and go beside them. Pure and seeded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench import lists, sources
from bench.lists import Counts
from bench.operations.base import Verb
from bench.sut.base import Rules
from bench.traffic.probes import covered
from neurowall.model.entries import Array, Bools, EntrySet


@dataclass(frozen=True, eq=False)
class Succession:
    """Two lists of the same size that take turns; `common` holds the addresses of the hosts in both."""

    first: Rules
    second: Rules
    common: Array


def successor(entries: EntrySet, common: float, seed: int) -> Succession:
    """A second list of as many entries of each kind, which keeps a share of the first, drawn at random."""
    rng = np.random.default_rng(seed)
    kept = EntrySet(*(entries.family(f).take(rng.random(len(entries.family(f))) < common) for f in (4, 6)))
    second = lists.fill_up(kept, Counts.of(entries), seed).entries
    shared = entries.v4.take(second.v4.contains(entries.v4))
    hosts = shared.address[len(shared) - shared.hosts :]
    return Succession(Rules(entries), Rules(second), rng.permutation(hosts))


def strangers(entries: EntrySet, count: int, avoid: Array, rng: np.random.Generator) -> Array:
    """Distinct IPv4 addresses that no entry covers, half of them neighbours of entries; none to avoid."""
    found = np.empty(0, np.uint32)
    while len(found) < count:
        drawn = sources.near_listed(entries.v4, 2 * count + 64, rng)
        drawn = drawn[~np.isin(drawn, avoid) & ~covered(entries.v4, drawn)]
        found = np.unique(np.concatenate([found, drawn]))
    return rng.permutation(found)[:count]


class Changes:
    """Random changes to a pool of addresses, and the model of what must be blocked after them."""

    def __init__(self, pool: Array, batch: int, rng: np.random.Generator) -> None:
        self.pool = pool
        self.blocked: Bools = np.zeros(len(pool), np.bool_)
        self.made = 0
        self._batch = batch
        self._rng = rng

    def next(self) -> tuple[Verb, Array]:
        """What to do next, and to which rows of the pool: `batch` of one kind, the kinds in turn."""
        verb: Verb = "unblock" if self.blocked.sum() >= self._batch and self._rng.random() < 0.5 else "block"
        rows = np.flatnonzero(self.blocked == (verb == "unblock"))
        if len(rows) < self._batch:
            verb = "unblock" if verb == "block" else "block"
            rows = np.flatnonzero(self.blocked == (verb == "unblock"))
        return verb, self._rng.choice(rows, self._batch, replace=False)

    def done(self, verb: Verb, rows: Array) -> None:
        """Note a change that was made."""
        self.blocked[rows] = verb == "block"
        self.made += len(rows)


def text4(addresses: Array) -> Sequence[str]:
    """IPv4 addresses as text."""
    octets = addresses.astype(">u4").view(np.uint8).reshape(-1, 4).tolist()
    return [f"{a}.{b}.{c}.{d}" for a, b, c, d in octets]
