# SPDX-License-Identifier: Apache-2.0
"""The bucket table: IPv4 hosts in 64-byte lines of a memory-mapped array map (bpf/lists.h reads it).

Rules, each needed so that a reader that runs at any moment sees the old entry or the new one:
a slot is written with one aligned 8-byte store; an entry never moves; NW_LINE_OVERFLOW and
NW_LINE_SPILL are set before the first entry that needs them and cleared only by a rebuild; a slot
that was freed is used again only after a grace period. x86 keeps stores in order; on other
machines every syscall between the steps is a barrier.
"""

import secrets
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurowall.model.errors import MapFull

SLOTS = 7  # NW_LINE_SLOTS; the eighth word of a line is its metadata
METADATA = 7
OVERFLOW, SPILL = np.uint64(1), np.uint64(2)
# Above this load more than one host in 200 would be in its second line and spills begin.
HOSTS_PER_LINE = 4

Addresses = NDArray[np.uint32]
Words = NDArray[np.uint64]
Indices = NDArray[np.intp]


def lines_for(hosts: int) -> int:
    """Lines of a table for *hosts*, a power of two: 2^18 (16 MiB) for a million."""
    return 1 << max(6, (max(hosts, 1) // HOSTS_PER_LINE).bit_length())


@dataclass(frozen=True)
class Seeds:
    """Multiplier and addend of the two hash functions; the same numbers are in struct nw_config."""

    multiplier: tuple[int, int]
    addend: tuple[int, int]

    @classmethod
    def random(cls) -> "Seeds":
        """Fresh ones: list contents are attacker-influenced, so lines must not be predictable."""
        bits = [secrets.randbits(64) for _ in range(4)]
        return cls((bits[0] | 1, bits[1] | 1), (bits[2], bits[3]))

    def line(self, addresses: Addresses, choice: int, lines: int) -> Indices:
        """The line of each address for the first (0) or second (1) choice; as line_of() in lists.h."""
        multiplier, addend = np.uint64(self.multiplier[choice]), np.uint64(self.addend[choice])
        shift = np.uint64(64 - lines.bit_length() + 1)
        hashed: Words = addresses.astype(np.uint64) * multiplier + addend
        return (hashed >> shift).astype(np.intp)


@dataclass(frozen=True)
class _Placement:
    """Where new hosts go: indices into the batch, and a flat slot for each."""

    which: Indices
    slot: Indices


class BucketTable:
    """Writer of one table. Hosts that find both lines full are in *spill*, at most *spill_capacity*.

    *words* is the mapped map: u64, one line every eight words. What it already holds is kept.
    Not thread-safe: one writer.
    """

    def __init__(self, words: Words, seeds: Seeds, spilled: dict[int, int], spill_capacity: int) -> None:
        self._words = words
        self._seeds = seeds
        self._lines = len(words) // 8
        self._spilled = spilled
        self._spill_capacity = spill_capacity
        self._taken = words.reshape(-1, 8)[:, :SLOTS] != 0  # or freed and not yet past a grace period
        self._freed: list[Indices] = []

    def __len__(self) -> int:
        freed = sum(len(part) for part in self._freed)
        return int(np.count_nonzero(self._taken)) - freed + len(self._spilled)

    def locate(self, addresses: Addresses) -> tuple[Indices, Indices]:
        """Flat word index of each address, -1 if it is not in the table, and its first line."""
        first = self._seeds.line(addresses, 0, self._lines)
        found = self._search(first, addresses)
        again = np.flatnonzero((found < 0) & (self._words[first * 8 + METADATA] != 0))
        if len(again):
            second = self._seeds.line(addresses[again], 1, self._lines)
            found[again] = self._search(second, addresses[again])
        return found, first

    def _search(self, lines: Indices, addresses: Addresses) -> Indices:
        rows = self._words.reshape(-1, 8)[lines, :SLOTS]
        hit = (rows >> np.uint64(32) == addresses[:, None]) & (rows != 0)
        return np.where(hit.any(axis=1), lines * 8 + hit.argmax(axis=1), -1)

    def put(self, addresses: Addresses, classes: NDArray[np.uint16]) -> dict[int, int]:
        """Insert hosts, or change the class of those that are there; addresses are unique.

        Answers the hosts that belong into the spill map, with their class, changed ones included:
        the caller writes them. MapFull before anything is written if they would not fit.
        """
        found, first = self.locate(addresses)
        in_spill = np.fromiter((int(a) in self._spilled for a in addresses), bool, len(addresses))
        if not self._spilled:
            in_spill[:] = False
        new = np.flatnonzero((found < 0) & ~in_spill)
        placed_first = self._place(new, first[new])
        left = np.setdiff1d(new, placed_first.which, assume_unique=True)
        placed_second = self._place(left, self._seeds.line(addresses[left], 1, self._lines))
        spill = np.setdiff1d(left, placed_second.which, assume_unique=True)
        if len(self._spilled) + len(spill) > self._spill_capacity:
            self._forget(placed_first, placed_second)
            raise MapFull("hosts4", len(self))
        self._mark(first[left], OVERFLOW)
        self._mark(first[spill], OVERFLOW | SPILL)
        values = (addresses.astype(np.uint64) << np.uint64(32)) | (classes.astype(np.uint64) << np.uint64(16))
        inside = found >= 0
        self._words[found[inside]] = values[inside]
        for placement in (placed_first, placed_second):
            self._words[placement.slot] = values[placement.which]
        hash_bound = np.union1d(spill, np.flatnonzero(in_spill)).astype(np.intp)
        changed = {int(addresses[i]): int(classes[i]) for i in hash_bound}
        self._spilled.update(changed)
        return changed

    def _place(self, which: Indices, lines: Indices) -> _Placement:
        """A free slot in its line for as many of *which* as fit; the slots are taken at once."""
        order = np.argsort(lines, kind="stable")
        which, lines = which[order], lines[order]
        unique, start, count = np.unique(lines, return_index=True, return_counts=True)
        rank = np.arange(len(lines)) - np.repeat(start, count)
        taken = self._taken[unique]
        free_first = np.argsort(taken, axis=1, kind="stable")  # free slots in front
        free = np.repeat(SLOTS - taken.sum(axis=1), count)
        fits = rank < free
        group = np.repeat(np.arange(len(unique)), count)[fits]
        slot = free_first[group, rank[fits]]
        self._taken[lines[fits], slot] = True
        return _Placement(which[fits], lines[fits] * 8 + slot)

    def _forget(self, *placements: _Placement) -> None:
        for placement in placements:
            self._taken[placement.slot // 8, placement.slot % 8] = False

    def _mark(self, lines: Indices, flags: np.uint64) -> None:
        unique = np.unique(lines) * 8 + METADATA
        self._words[unique] |= flags

    def delete(self, addresses: Addresses) -> list[int]:
        """Take hosts out; answers those that the caller must delete from the spill map."""
        found, _ = self.locate(addresses)
        inside = found[found >= 0]
        self._words[inside] = 0
        self._freed.append(inside)
        gone = [int(a) for a in addresses[found < 0] if int(a) in self._spilled]
        for address in gone:
            del self._spilled[address]
        return gone

    def after_grace(self) -> None:
        """Freed slots may be used again: no running program still sees what was in them."""
        for freed in self._freed:
            self._taken[freed // 8, freed % 8] = False
        self._freed.clear()

    def lookup(self, address: int) -> int:
        """The class of a host, 0 if it is not there."""
        if address in self._spilled:
            return self._spilled[address]
        found, _ = self.locate(np.array([address], np.uint32))
        return 0 if found[0] < 0 else int(self._words[found[0]] >> np.uint64(16)) & 0xFFFF

    def contents(self) -> tuple[Addresses, NDArray[np.uint16]]:
        """Every host, those in the spill map included: addresses in ascending order, and classes."""
        slots = self._words.reshape(-1, 8)[:, :SLOTS].ravel()
        slots = slots[slots != 0]
        address = (slots >> np.uint64(32)).astype(np.uint32)
        class_id = ((slots >> np.uint64(16)) & np.uint64(0xFFFF)).astype(np.uint16)
        address = np.concatenate([address, np.fromiter(self._spilled.keys(), np.uint32)])
        class_id = np.concatenate([class_id, np.fromiter(self._spilled.values(), np.uint16)])
        order = np.argsort(address)
        return address[order], class_id[order]

    def statistics(self) -> dict[str, Any]:
        """Lines, hosts, lines that overflowed and hosts in the spill map."""
        overflowed = int(np.count_nonzero(self._words[METADATA::8]))
        return {
            "lines": self._lines,
            "hosts": len(self),
            "overflowed": overflowed,
            "spilled": len(self._spilled),
        }
