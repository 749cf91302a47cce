# SPDX-License-Identifier: Apache-2.0
"""IPv4 prefixes of the buckets engine: DIR-24, and a bucket table for what is longer than /24.

`nets4` says for each /24 which class the longest prefix up to /24 has: painted, one 2-byte store a net,
so a lookup costs one cache miss at any number of prefixes. Prefixes longer than /24 are slots of `long4`;
a flag in `nets4` sends the reader there first. What was painted cannot be read off the paint, so the
prefixes themselves are kept in `registry4`, which only userspace reads: the next daemon starts from it.

Source: Gupta, Lin, McKeown, "Routing Lookups in Hardware at Memory Access Speeds", INFOCOM 1998.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurowall.kernel.buckets import BucketTable
from neurowall.model.errors import MapFull

LONGER = np.uint16(0x8000)  # NW_NET_LONGER
CLASS = np.uint16(0x7FFF)  # NW_NET_CLASS
_NETS = 1 << 24
_PIECE = 1 << 16  # /24s painted at a time

Array = NDArray[Any]


@dataclass
class _Held:
    """The prefixes of one length: addresses in ascending order, their classes and their places."""

    address: Array  # uint32
    class_id: Array  # uint16
    place: Array  # int32, index into the registry

    @classmethod
    def empty(cls) -> "_Held":
        return cls(np.empty(0, np.uint32), np.empty(0, np.uint16), np.empty(0, np.int32))

    def find(self, wanted: Array) -> Array:
        """Index of each wanted address, -1 if it is not held."""
        index = np.minimum(np.searchsorted(self.address, wanted), max(len(self.address) - 1, 0))
        if not len(self.address):
            return np.full(len(wanted), -1)
        return np.where(self.address[index] == wanted, index, -1)

    def between(self, first: int, last: int) -> Array:
        """The first /24s of those that begin within a range of /24s, ascending."""
        # Needles of another type would make numpy convert the whole column.
        begin = np.searchsorted(self.address, np.uint32(first << 8))
        end = np.searchsorted(self.address, np.uint32(last << 8 | 0xFF))
        return (self.address[begin:end] >> np.uint32(8)).astype(np.int32)

    def add(self, address: Array, class_id: Array, place: Array) -> None:
        order = np.argsort(np.concatenate([self.address, address]), kind="stable")
        self.address = np.concatenate([self.address, address])[order]
        self.class_id = np.concatenate([self.class_id, class_id])[order]
        self.place = np.concatenate([self.place, place])[order]

    def remove(self, index: Array) -> None:
        self.address = np.delete(self.address, index)
        self.class_id = np.delete(self.class_id, index)
        self.place = np.delete(self.place, index)


class PrefixTable:
    """Writer of nets4, long4 and registry4. One writer; spilled long prefixes are the caller's to write.

    *nets* is uint16 of shape (2^24,), *registry* uint64 of one slot a prefix. Building one over maps that an
    earlier daemon left, in whatever state, makes them agree with their registry; *repairs* says what of it is
    the caller's to write: spilled prefixes to put, with their class, and keys to delete.
    """

    def __init__(self, nets: Array, registry: Array, longer: BucketTable) -> None:
        self._nets = nets
        self._registry = registry
        self._longer = longer
        self._held: dict[int, _Held] = {}
        self.repairs: tuple[dict[int, int], list[int]] = ({}, [])
        self._free = np.flatnonzero(registry == 0)[::-1].astype(np.int32)
        if len(self._free) < len(registry):
            self._repair()

    def __len__(self) -> int:
        return sum(len(held.address) for held in self._held.values())

    # -- adoption

    def _repair(self) -> None:
        """Repaint from the registry, and store only what differs."""
        places = np.flatnonzero(self._registry).astype(np.int32)
        address, length, class_id = _fields(self._registry[places])
        live, self._nets = self._nets, np.zeros(_NETS, np.uint16)
        for each in np.unique(length):
            rows = length == each
            self._hold(int(each)).add(address[rows], class_id[rows], places[rows])
            if each <= 24:
                self._paint(address[rows], int(each), class_id[rows])
        self._repair_longer(address[length > 24], length[length > 24], class_id[length > 24])
        self._nets[(address[length > 24] >> np.uint32(8)).astype(np.intp)] |= LONGER
        wrong = np.flatnonzero(live != self._nets)
        live[wrong] = self._nets[wrong]
        self._nets = live

    def _repair_longer(self, address: Array, length: Array, class_id: Array) -> None:
        order = np.argsort(_keys(address, length))
        wanted, class_id = _keys(address, length)[order], class_id[order]
        held, held_class = self._longer.contents()
        gone = self._longer.delete(held[~np.isin(held, wanted)])
        index = np.searchsorted(held, wanted)
        same = np.zeros(len(wanted), bool)
        inside = index < len(held)
        same[inside] = (held[index[inside]] == wanted[inside]) & (
            held_class[index[inside]] == class_id[inside]
        )
        self.repairs = (self._longer.put(wanted[~same], class_id[~same]), gone)

    def _hold(self, length: int) -> _Held:
        return self._held.setdefault(length, _Held.empty())

    # -- writing

    def put(self, address: Array, length: Array, class_id: Array) -> dict[int, int]:
        """Insert prefixes or change their class, longest first; answers what goes to the spill trie.

        MapFull before anything is written if the registry cannot take them.
        """
        new = sum(
            int(np.count_nonzero(self._hold(int(each)).find(address[length == each]) < 0))
            for each in np.unique(length)
        )
        if new > len(self._free):
            raise MapFull("prefixes4", len(self._registry))
        spilled: dict[int, int] = {}
        for each in np.unique(length)[::-1]:
            rows = length == each
            spilled |= self._put_length(int(each), address[rows], class_id[rows])
        return spilled

    def _put_length(self, length: int, address: Array, class_id: Array) -> dict[int, int]:
        held = self._hold(length)
        index = held.find(address)
        known, new = index >= 0, index < 0
        held.class_id[index[known]] = class_id[known]
        place = self._free[len(self._free) - np.count_nonzero(new) :]
        self._free = self._free[: len(self._free) - len(place)]
        slots = _keys(address, np.full(len(address), length)) | class_id.astype(np.uint64) << np.uint64(16)
        self._registry[held.place[index[known]]] = slots[known]
        self._registry[place] = slots[new]
        held.add(address[new], class_id[new], place)
        if length <= 24:
            self._paint(address, length, class_id)
            return {}
        spilled = self._longer.put(_keys(address, np.full(len(address), length)), class_id)
        self._nets[np.unique(address >> np.uint32(8)).astype(np.intp)] |= LONGER
        return spilled

    def _paint(self, address: Array, length: int, class_id: Array) -> None:
        """Give each /24 of these prefixes their class, unless a longer one has it."""
        order = np.argsort(address)
        starts, class_id = (address[order] >> np.uint32(8)).astype(np.int32), class_id[order]
        span = 1 << (24 - length)
        step = max(1, _PIECE // span)
        for begin in range(0, len(starts), step):
            rows = slice(begin, begin + step)
            nets = (starts[rows, None] + np.arange(span, dtype=np.int32)).ravel()
            self._store(nets, length, np.repeat(class_id[rows], span))

    def _store(self, nets: Array, length: int, class_id: Array) -> None:
        mine = ~self._covered(nets, length)
        nets = nets[mine]
        self._nets[nets] = (self._nets[nets] & LONGER) | class_id[mine]

    def _covered(self, nets: Array, length: int) -> Array:
        """Which of these /24s, all those of some prefixes in ascending order, a longer prefix has."""
        # At each /24: the prefixes that begin there, less those that end before it.
        edges = np.zeros(len(nets) + 1, np.intp)
        for longer, held in self._held.items():
            if length < longer <= 24:
                starts = held.between(int(nets[0]), int(nets[-1]))
                for at, sign in ((starts, 1), (starts + (1 << (24 - longer)), -1)):
                    edges += sign * np.bincount(np.searchsorted(nets, at), minlength=len(edges))
        return np.asarray(np.cumsum(edges[:-1]) > 0)

    def delete(self, address: Array, length: Array) -> list[int]:
        """Take prefixes out, shortest first; answers the keys that the caller deletes from the spill trie."""
        gone: list[int] = []
        for each in np.unique(length):
            held = self._hold(int(each))
            index = held.find(address[length == each])
            index = index[index >= 0]
            removed, places = held.address[index], held.place[index]
            held.remove(index)
            if each > 24:
                gone += self._longer.delete(_keys(removed, np.full(len(removed), each)))
                self._unflag(np.unique(removed >> np.uint32(8)))
            else:
                self._uncover(removed, int(each))
            self._registry[places] = 0
            self._free = np.concatenate([self._free, places])
        return gone

    def _unflag(self, nets: Array) -> None:
        """Clear the flag of those /24s that hold no long prefix any more."""
        busy = np.zeros(len(nets), bool)
        for length, held in self._held.items():
            if length > 24 and len(held.address):
                index = np.minimum(np.searchsorted(held.address, nets << np.uint32(8)), len(held.address) - 1)
                busy |= held.address[index] >> np.uint32(8) == nets
        self._nets[nets[~busy].astype(np.intp)] &= CLASS

    def _uncover(self, removed: Array, length: int) -> None:
        """Repaint what removed prefixes had painted with the longest one that still covers them."""
        cover_class = np.zeros(len(removed), np.uint16)
        uncovered = np.ones(len(removed), np.bool_)
        for shorter in sorted((n for n in self._held if n < length), reverse=True):
            rows = np.flatnonzero(uncovered)
            index = self._held[shorter].find(removed[rows] & _mask(shorter))
            hit = rows[index >= 0]
            uncovered[hit] = False
            cover_class[hit] = self._held[shorter].class_id[index[index >= 0]]
        self._paint(removed, length, cover_class)

    def after_grace(self) -> None:
        """Freed slots may be used again."""
        self._longer.after_grace()

    # -- reading

    def contents(self) -> tuple[Array, Array, Array]:
        """Addresses, lengths and classes of all prefixes, as the registry in the kernel has them."""
        return _fields(self._registry[np.flatnonzero(self._registry)])

    def lookup(self, address: int) -> int:
        """The class that the kernel would find for an address, by the painted tables."""
        value = int(self._nets[address >> 8])
        if value & int(LONGER):
            for length in range(31, 24, -1):
                prefix = address & (0xFFFFFFFF << (32 - length)) & 0xFFFFFFFF
                if class_id := self._longer.lookup(prefix << 32 | length):
                    return class_id
        return value & int(CLASS)

    def length_of(self, address: int) -> int:
        """The length of the longest prefix held that covers an address, 0 if none does."""
        for length in sorted(self._held, reverse=True):
            prefix = address & (0xFFFFFFFF << (32 - length)) & 0xFFFFFFFF
            if self._held[length].find(np.array([prefix], np.uint32))[0] >= 0:
                return length
        return 0


def _mask(length: int) -> np.uint32:
    return np.uint32(0xFFFFFFFF << (32 - length) & 0xFFFFFFFF)


def _keys(address: Array, length: Array) -> Array:
    return address.astype(np.uint64) << np.uint64(32) | length.astype(np.uint64)


def _fields(slots: Array) -> tuple[Array, Array, Array]:
    address = (slots >> np.uint64(32)).astype(np.uint32)
    class_id = (slots >> np.uint64(16) & np.uint64(0xFFFF)).astype(np.uint16)
    return address, (slots & np.uint64(63)).astype(np.uint8), class_id
