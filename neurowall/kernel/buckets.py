# SPDX-License-Identifier: Apache-2.0
"""Bucket tables: IPv4 entries in 64-byte lines of a memory-mapped array map (bpf/lists.h reads them).

One holds the hosts, its lines chosen by the whole address; one the prefixes longer than /24, its lines chosen
by the /24, so that one line answers for all prefixes of a /24.

Rules, each needed so that a reader that runs at any moment sees the old entry or the new one:
a slot is written with one aligned 8-byte store; an entry never moves; NW_LINE_OVERFLOW and
NW_LINE_SPILL are set before the first entry that needs them and cleared only by a rebuild; a slot
that was freed is used again only after a grace period. x86 keeps stores in order; on other
machines every syscall between the steps is a barrier.
"""

import secrets
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neurowall.model.errors import MapFull

SLOTS = 7  # NW_LINE_SLOTS; the eighth word of a line is its metadata
METADATA = 7
OVERFLOW, SPILL = np.uint64(1), np.uint64(2)
_NOT_CLASS = np.uint64(0xFFFFFFFF0000FFFF)
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
        shift = np.uint64(64 - lines.bit_length() + 1)
        return (self.hash(addresses, choice) >> shift).astype(np.intp)

    def hash(self, addresses: Addresses, choice: int) -> Words:
        """The hash of each address; as hash4() in lists.h."""
        multiplier, addend = np.uint64(self.multiplier[choice]), np.uint64(self.addend[choice])
        hashed: Words = addresses.astype(np.uint64) * multiplier + addend
        return hashed


@dataclass(frozen=True)
class _Placement:
    """Where new hosts go: indices into the batch, and a flat slot for each."""

    which: Indices
    slot: Indices


class BucketTable:
    """Writer of one table. Entries that find both lines full are in *spilled*, at most *spill_capacity*.

    *words* is the mapped map: u64, one line every eight words. What it already holds is kept. *line_bits*
    says how many leading bits of the address choose the line. An entry's key is address << 32 | length,
    where hosts have length 0. Not thread-safe: one writer.
    """

    def __init__(
        self, words: Words, seeds: Seeds, spilled: dict[int, int], spill_capacity: int, line_bits: int = 32
    ) -> None:
        self._words = words
        self._seeds = seeds
        self._lines = len(words) // 8
        self._spilled = spilled
        self._spill_capacity = spill_capacity
        self._line_mask = np.uint32(0xFFFFFFFF << (32 - line_bits) & 0xFFFFFFFF)
        self._taken = words.reshape(-1, 8)[:, :SLOTS] != 0  # or freed and not yet past a grace period
        self._freed: list[Indices] = []

    def __len__(self) -> int:
        freed = sum(len(part) for part in self._freed)
        return int(np.count_nonzero(self._taken)) - freed + len(self._spilled)

    def _line(self, keys: Words, choice: int) -> Indices:
        addresses = (keys >> np.uint64(32)).astype(np.uint32) & self._line_mask
        return self._seeds.line(addresses, choice, self._lines)

    def locate(self, keys: Words) -> tuple[Indices, Indices]:
        """Flat word index of each key, -1 if it is not in the table, and its first line."""
        first = self._line(keys, 0)
        found = self._search(first, keys)
        again = np.flatnonzero((found < 0) & (self._words[first * 8 + METADATA] != 0))
        if len(again):
            found[again] = self._search(self._line(keys[again], 1), keys[again])
        return found, first

    def _search(self, lines: Indices, keys: Words) -> Indices:
        rows = self._words.reshape(-1, 8)[lines, :SLOTS]
        hit = (rows & _NOT_CLASS == keys[:, None]) & (rows != 0)
        return np.where(hit.any(axis=1), lines * 8 + hit.argmax(axis=1), -1)

    def put(self, keys: Words, classes: NDArray[np.uint16]) -> dict[int, int]:
        """Insert entries, or change the class of those that are there; keys are unique.

        Answers the entries that belong into the spill map, with their class, changed ones included: the
        caller writes them. MapFull before anything is written if they would not fit.
        """
        found, first = self.locate(keys)
        in_spill = np.fromiter((int(key) in self._spilled for key in keys), bool, len(keys))
        new = np.flatnonzero((found < 0) & ~in_spill)
        placed_first = self._place(new, first[new])
        left = np.setdiff1d(new, placed_first.which, assume_unique=True)
        placed_second = self._place(left, self._line(keys[left], 1))
        spill = np.setdiff1d(left, placed_second.which, assume_unique=True)
        if len(self._spilled) + len(spill) > self._spill_capacity:
            self._forget(placed_first, placed_second)
            raise MapFull("hosts4" if self._line_mask & np.uint32(1) else "prefixes4", len(self))
        self._mark(first[left], OVERFLOW)
        self._mark(first[spill], OVERFLOW | SPILL)
        values = keys | (classes.astype(np.uint64) << np.uint64(16))
        inside = found >= 0
        self._words[found[inside]] = values[inside]
        for placement in (placed_first, placed_second):
            self._words[placement.slot] = values[placement.which]
        hash_bound = np.union1d(spill, np.flatnonzero(in_spill)).astype(np.intp)
        changed = {int(keys[i]): int(classes[i]) for i in hash_bound}
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

    def delete(self, keys: Words) -> list[int]:
        """Take entries out; answers those that the caller must delete from the spill map."""
        found, _ = self.locate(keys)
        inside = found[found >= 0]
        self._words[inside] = 0
        self._freed.append(inside)
        gone = [int(key) for key in keys[found < 0] if int(key) in self._spilled]
        for key in gone:
            del self._spilled[key]
        return gone

    def after_grace(self) -> None:
        """Freed slots may be used again: no running program still sees what was in them."""
        for freed in self._freed:
            self._taken[freed // 8, freed % 8] = False
        self._freed.clear()

    def lookup(self, key: int) -> int:
        """The class of an entry, 0 if it is not there."""
        if key in self._spilled:
            return self._spilled[key]
        found, _ = self.locate(np.array([key], np.uint64))
        return 0 if found[0] < 0 else int(self._words[found[0]] >> np.uint64(16)) & 0xFFFF

    def contents(self) -> tuple[Words, NDArray[np.uint16]]:
        """Every entry, those in the spill map included: keys in ascending order, and classes."""
        slots = self._words.reshape(-1, 8)[:, :SLOTS].ravel()
        slots = slots[slots != 0]
        keys = np.concatenate([slots & _NOT_CLASS, np.fromiter(self._spilled.keys(), np.uint64)])
        class_id = ((slots >> np.uint64(16)) & np.uint64(0xFFFF)).astype(np.uint16)
        class_id = np.concatenate([class_id, np.fromiter(self._spilled.values(), np.uint16)])
        order = np.argsort(keys)
        return keys[order], class_id[order]

    def statistics(self) -> dict[str, int]:
        """Lines, entries, lines that overflowed and entries in the spill map."""
        overflowed = int(np.count_nonzero(self._words[METADATA::8]))
        return {
            "lines": self._lines,
            "entries": len(self),
            "overflowed": overflowed,
            "spilled": len(self._spilled),
        }
