# SPDX-License-Identifier: Apache-2.0
"""Expiries of timed entries in the kernel: Unix time in, CLOCK_MONOTONIC in the maps (see bpf/timed.h).

The kernel counts elapsed time, so a step of the wall clock moves no end that is in force; it counts from the
next start of the daemon on, which writes all of them again.
"""

import time
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from neurowall.kernel import elements
from neurowall.kernel.elements import HOST, PREFIX, Array
from neurowall.kernel.maps import Map
from neurowall.model.address import BITS
from neurowall.model.entries import DTYPE, Entries
from neurowall.model.image import Expiries
from neurowall.model.policy import MAX_TIMED

CAPACITY = MAX_TIMED  # entries of each of the four maps
NAMES = ("timed_hosts4", "timed_prefixes4", "timed_hosts6", "timed_prefixes6")
_EXPIRY = np.dtype([("allow_until", "<u8"), ("block_until", "<u8")])


class TimedMaps:
    """The four timed_* maps."""

    def __init__(self, maps: Mapping[str, Map]) -> None:
        self._maps = {name: maps[name] for name in NAMES}

    def put(self, expiries: Expiries) -> None:
        """Insert or change; MapFull if a map takes no more of them."""
        values = np.zeros(len(expiries.address), _EXPIRY)
        for name in ("allow_until", "block_until"):
            values[name] = _to_monotonic(getattr(expiries, name))
        for name, rows, keys in _parts(expiries.family, expiries.address, expiries.length):
            elements.update(self._maps[name], name, keys, values[rows])

    def delete(self, entries: Entries) -> None:
        """Take expiries out; those that are not there are passed over."""
        for name, _, keys in _parts(entries.family, entries.address, entries.length):
            elements.delete(self._maps[name], name, keys)

    def read(self, family: int) -> Expiries:
        """Everything that the maps of a family hold."""
        hosts, host_values = self._maps[f"timed_hosts{family}"].items(HOST[family], _EXPIRY)
        prefixes, prefix_values = self._maps[f"timed_prefixes{family}"].items(PREFIX[family], _EXPIRY)
        values = np.concatenate([host_values, prefix_values])
        length = np.concatenate([np.full(len(hosts), BITS[family], np.uint8), prefixes["length"]])
        address = np.concatenate([hosts.astype(DTYPE[family]), prefixes["address"].astype(DTYPE[family])])
        allow, block = (_to_unix(values[name]) for name in ("allow_until", "block_until"))
        return Expiries.make(family, address, length.astype(np.uint8), allow, block)


def _parts(family: int, address: Array, length: Array) -> list[tuple[str, Array, Array]]:
    """(map, rows, keys) of the hosts and of the prefixes, if there are any."""
    is_host = length == BITS[family]
    hosts = elements.host_keys(family, address[is_host])
    prefixes = elements.prefix_keys(family, address[~is_host], length[~is_host])
    parts = [(f"timed_hosts{family}", is_host, hosts), (f"timed_prefixes{family}", ~is_host, prefixes)]
    return [part for part in parts if len(part[2])]


def _offset() -> float:
    """Unix time less CLOCK_MONOTONIC, in seconds."""
    return time.time() - time.monotonic()


def _to_monotonic(until: Array) -> NDArray[np.uint64]:
    ends = np.maximum((until - _offset()) * 1e9, 1)  # 0 would say that there is none
    return np.where(until > 0, ends, 0).astype(np.uint64)


def _to_unix(until: Array) -> NDArray[np.float64]:
    return np.where(until > 0, until / 1e9 + _offset(), 0.0)
