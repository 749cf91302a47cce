# SPDX-License-Identifier: Apache-2.0
"""Elements of list maps: dtypes of their keys, and writes whose failures say which map and why."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurowall.kernel.libbpf import LibbpfError
from neurowall.kernel.maps import Map
from neurowall.model.entries import V6
from neurowall.model.errors import KernelError, MapFull

U32: np.dtype[Any] = np.dtype("<u4")
U64: np.dtype[Any] = np.dtype(np.uint64)
HOST: dict[int, np.dtype[Any]] = {4: np.dtype(">u4"), 6: V6}
PREFIX: dict[int, np.dtype[Any]] = {
    4: np.dtype([("length", "<u4"), ("address", ">u4")]),
    6: np.dtype([("length", "<u4"), ("address", V6)]),
}
_FULL = {7, 28}  # E2BIG of a hash map, ENOSPC of an LPM trie

Array = NDArray[Any]


def update(target: Map, name: str, keys: Array, values: Array) -> None:
    """Insert or replace elements. MapFull if the map takes no more of them, KernelError for the rest."""
    try:
        target.update_many(keys, values)
    except LibbpfError as error:
        if error.errno in _FULL:
            raise MapFull(name, target.max_entries) from error
        raise KernelError(f"write {len(keys):,} elements to the kernel map {name}: {error}") from error


def delete(target: Map, name: str, keys: Array) -> None:
    """Delete elements; those that are not there are passed over. KernelError if the kernel refuses."""
    try:
        target.delete_many(keys)
    except LibbpfError as error:
        raise KernelError(f"delete {len(keys):,} elements of the kernel map {name}: {error}") from error


def host_keys(family: int, addresses: Array) -> Array:
    """Keys of a hash of hosts."""
    return addresses.astype(HOST[family])


def prefix_keys(family: int, addresses: Array, lengths: Array) -> Array:
    """Keys of a trie, or of a hash of prefixes."""
    keys = np.zeros(len(addresses), PREFIX[family])
    keys["length"], keys["address"] = lengths, addresses
    return keys


def column(values: Iterable[int]) -> NDArray[np.uint64]:
    """Numbers as an array."""
    return np.fromiter(values, np.uint64)
