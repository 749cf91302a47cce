# SPDX-License-Identifier: Apache-2.0
"""Live BPF maps: one owner of one file descriptor, numpy arrays in and out.

Keys and values are numpy arrays whose item size is the map's key or value size; structured dtypes
carry the byte order. Batch calls fall back to one call an element where the kernel lacks them
(hash before 5.6, LPM trie before 5.12).
"""

import ctypes as c
import errno
import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from neurowall.kernel import libbpf

Array = NDArray[Any]
_NO_BATCH = frozenset({errno.EINVAL, errno.EOPNOTSUPP, 524})  # 524: the kernel's own ENOTSUPP
_CHUNK = 1 << 16


class Map:
    """A map of the kernel by its fd, which this object owns and closes."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        info = libbpf.map_info(fd)
        self.name = info.name.decode()
        self.key_size, self.value_size = int(info.key_size), int(info.value_size)
        self.max_entries, self.kind, self.flags = int(info.max_entries), int(info.type), int(info.map_flags)

    @classmethod
    def pinned(cls, path: Path) -> Self:
        """The map pinned at *path*."""
        return cls(libbpf.get_pinned(path))

    @classmethod
    def of_object(cls, source: libbpf.Object, name: str) -> Self:
        """A map of a loaded object, outliving it."""
        return cls(os.dup(source.map_fd(name)))

    def close(self) -> None:
        """Give the fd back; the map lives on while a program, pin or other fd holds it."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def lookup(self, key: bytes) -> bytes | None:
        """One value, None if there is none. Not for per-CPU maps."""
        return libbpf.map_lookup(self.fd, key, self.value_size)

    def update(self, key: bytes, value: bytes) -> None:
        """Insert or replace one element."""
        libbpf.map_update(self.fd, key, value)

    def delete(self, key: bytes) -> bool:
        """Delete one element; False if there was none."""
        return libbpf.map_delete(self.fd, key)

    def update_many(self, keys: Array, values: Array) -> None:
        """Insert or replace elements; LibbpfError E2BIG or ENOSPC if the map is full."""
        keys, values = np.ascontiguousarray(keys), np.ascontiguousarray(values)
        if not len(keys):
            return
        try:
            libbpf.map_update_batch(self.fd, keys.ctypes.data, values.ctypes.data, len(keys))
        except libbpf.LibbpfError as error:
            if error.errno not in _NO_BATCH:
                raise
            for key, value in zip(_items(keys), _items(values), strict=True):
                self.update(key, value)

    def delete_many(self, keys: Array) -> None:
        """Delete elements; those that are not there are passed over."""
        keys = np.ascontiguousarray(keys)
        done = 0
        try:
            while done < len(keys):
                rest = keys[done:]
                done += libbpf.map_delete_batch(self.fd, rest.ctypes.data, len(rest))
                if done < len(keys):  # stopped at a key that is not there
                    done += 1
        except libbpf.LibbpfError as error:
            if error.errno not in _NO_BATCH:
                raise
            for key in _items(keys[done:]):
                self.delete(key)

    def items(self, key_type: np.dtype[Any], value_type: np.dtype[Any]) -> tuple[Array, Array]:
        """Every element as (keys, values). Consistent only while nobody writes."""
        try:
            return self._items_batch(key_type, value_type)
        except libbpf.LibbpfError as error:
            if error.errno not in _NO_BATCH:
                raise
        pairs = [(key, value) for key in self._keys() if (value := self.lookup(key)) is not None]
        return (
            np.frombuffer(b"".join(key for key, _ in pairs), key_type),
            np.frombuffer(b"".join(value for _, value in pairs), value_type),
        )

    def _items_batch(self, key_type: np.dtype[Any], value_type: np.dtype[Any]) -> tuple[Array, Array]:
        keys = np.zeros(max(self.max_entries, 1), key_type)
        values = np.zeros(max(self.max_entries, 1), value_type)
        cursor, following = None, c.create_string_buffer(max(self.key_size, 8))
        count, last = 0, False
        while not last and count < len(keys):
            number, last = libbpf.map_lookup_batch(
                self.fd,
                cursor,
                c.addressof(following),
                keys[count:].ctypes.data,
                values[count:].ctypes.data,
                min(_CHUNK, len(keys) - count),
            )
            count += number
            cursor = following.raw
        return keys[:count], values[:count]

    def all_keys(self) -> list[bytes]:
        """Every key, one call each: for small maps."""
        return list(self._keys())

    def _keys(self) -> Iterator[bytes]:
        key = libbpf.map_next_key(self.fd, None, self.key_size)
        while key is not None:
            yield key
            key = libbpf.map_next_key(self.fd, key, self.key_size)

    def per_cpu_sums(self, fields: int) -> NDArray[np.uint64]:
        """A per-CPU array of structs of *fields* u64: shape (max_entries, fields), summed over CPUs."""
        cpus = possible_cpus()
        keys = np.zeros(self.max_entries, np.uint32)
        values = np.zeros((self.max_entries, cpus, fields), np.uint64)
        following = c.create_string_buffer(8)
        try:
            libbpf.map_lookup_batch(
                self.fd, None, c.addressof(following), keys.ctypes.data, values.ctypes.data, self.max_entries
            )
        except libbpf.LibbpfError as error:
            if error.errno not in _NO_BATCH:
                raise
            for index in range(self.max_entries):
                raw = libbpf.map_lookup(self.fd, index.to_bytes(4, "little"), cpus * fields * 8)
                values[index] = np.frombuffer(raw or b"", np.uint64).reshape(cpus, fields)
        sums: NDArray[np.uint64] = values.sum(axis=1, dtype=np.uint64)
        return sums

    def mapped(self, item_type: np.dtype[Any]) -> Array:
        """A BPF_F_MMAPABLE array as a writable numpy array of *item_type*, length max_entries * n.

        The mapping outlives the fd. A store to an aligned 8-byte item is one store.
        """
        size = self.max_entries * self.value_size
        memory = mmap.mmap(self.fd, -(-size // mmap.PAGESIZE) * mmap.PAGESIZE, mmap.MAP_SHARED)
        return np.frombuffer(memory, item_type, count=size // item_type.itemsize)


def _items(array: Array) -> Iterator[bytes]:
    raw, size = array.tobytes(), array.dtype.itemsize * int(np.prod(array.shape[1:], dtype=int))
    return (raw[start : start + size] for start in range(0, len(raw), size))


def possible_cpus() -> int:
    """How many values an element of a per-CPU map has.

    Source: Documentation/admin-guide/cputopology.rst, /sys/devices/system/cpu/possible.
    """
    text = Path("/sys/devices/system/cpu/possible").read_text(encoding="ascii").strip()
    return max(int(part.rpartition("-")[2]) for part in text.split(",")) + 1


class GracePeriod:
    """Waits until no running program can see what was taken away before the call.

    An update of an outer map waits for every running program (kernel commit 1ae80cf31938,
    maybe_wait_bpf_programs): a map-in-map of our own serves as that primitive, nothing is stored.
    """

    def __init__(self) -> None:
        self._inner = libbpf.map_create(libbpf.BPF_MAP_TYPE_ARRAY, "nw_grace_inner", 4, 8, 1)
        self._outer = libbpf.map_create(
            libbpf.BPF_MAP_TYPE_ARRAY_OF_MAPS, "nw_grace", 4, 4, 1, inner_map_fd=self._inner
        )

    def wait(self) -> None:
        """Return when every program run that began before this call has ended."""
        libbpf.map_update(self._outer, bytes(4), self._inner.to_bytes(4, "little"))

    def close(self) -> None:
        """Give the two fds back."""
        os.close(self._outer)
        os.close(self._inner)
