# SPDX-License-Identifier: Apache-2.0
"""Source addresses of classes of packets, shuffled beforehand as those of any flood are."""

from __future__ import annotations

import numpy as np

from bench import sources, space
from bench.classes import OWN, SERVER_NETWORK, STOPPED, TrafficClass
from neurowall.model.entries import Array, Entries

_NETWORK = np.uint32(0xFFFFFF00)


def draw(classes: tuple[TrafficClass, ...], listed: Entries, rng: np.random.Generator) -> dict[str, Array]:
    """The sources of each class, shuffled. No /24 is shared by two classes, or with the list."""
    wanted = [one for one in classes if one.name not in STOPPED]
    networks = _networks(sum(one.prefixes for one in wanted), listed, rng)
    found: dict[str, Array] = {}
    for one in classes:
        if one.name == "listed":
            found[one.name] = sources.listed(listed, rng)
        elif one.name == "spoofed":
            hosts = np.arange(SERVER_NETWORK + 3, SERVER_NETWORK + 255, dtype=np.uint32)
            found[one.name] = rng.permutation(hosts)[: one.sources]
        else:
            own, networks = networks[: one.prefixes], networks[one.prefixes :]
            found[one.name] = _members(own, one.sources, rng)
    return found


def _networks(count: int, listed: Entries, rng: np.random.Generator) -> Array:
    """Distinct /24s (their first address) in which nothing is listed and no gate has probes."""
    low, high = OWN.start << 24, OWN.stop << 24
    taken = np.unique(listed.address.astype(np.uint32) & _NETWORK)
    found = np.empty(0, np.uint32)
    for _ in range(100):
        drawn = space.random_addresses(4, 2 * count + 64, rng).astype(np.uint32) & _NETWORK
        drawn = drawn[(drawn >= low) & (drawn < high)]
        drawn = drawn[~np.isin(drawn, taken) & ~space.covered(listed, drawn)]
        found = rng.permutation(np.unique(np.concatenate((found, drawn))))
        if len(found) >= count:
            return found[:count]
    raise ValueError(f"the list leaves no room: {len(found)} of {count} clean /24s found")


def _members(networks: Array, count: int, rng: np.random.Generator) -> Array:
    """So many distinct addresses, as many in each network, in random order."""
    hosts = -(-count // len(networks))
    offsets = rng.permuted(np.tile(np.arange(256, dtype=np.uint32), (len(networks), 1)), axis=1)[:, :hosts]
    every = (networks[:, None] + offsets).T.reshape(-1)[:count]  # the first of each network, then the second
    return rng.permutation(every)
