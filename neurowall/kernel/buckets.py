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
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neurowall.model.entries import sorted_unique
from neurowall.model.errors import MapFull

SLOTS = 7  # NW_LINE_SLOTS; the eighth word of a line is its metadata
METADATA = 7
OVERFLOW, SPILL = np.uint64(1), np.uint64(2)
_ADDRESS, _FIELD = np.uint64(0xFFFFFFFF00000000), np.uint64(0xFFFF)
_NOT_CLASS = _ADDRESS | _FIELD
# The slot that the entry of each rank gets in a line by its taken slots, SLOTS if there is none; and the bit
# of each slot.
_FREE_SLOT = np.array(
    [
        ([i for i in range(SLOTS) if not taken >> i & 1] + [SLOTS] * (SLOTS + 1))[: SLOTS + 1]
        for taken in range(128)
    ],
    np.uint8,
)
_BIT = np.array([*(1 << i for i in range(SLOTS)), 0], np.uint8)
# Above this load more than one host in 200 would be in its second line and spills begin.
HOSTS_PER_LINE = 4
_PIECE = 1 << 15  # keys at a time: their lines and what is made of them stay in the cache

Addresses = NDArray[np.uint32]
Words = NDArray[np.uint64]
Indices = NDArray[np.intp]
Slots = NDArray[np.int32]  # flat word indices or lines: half of what Indices take


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
        # A bit for each slot of a line that is in use, or freed and not yet past a grace period.
        self._taken = np.packbits(words.reshape(-1, 8)[:, :SLOTS] != 0, axis=1, bitorder="little").ravel()
        self._freed: list[Slots] = []

    def __len__(self) -> int:
        freed = sum(len(part) for part in self._freed)
        return int(np.bitwise_count(self._taken).sum(dtype=np.int64)) - freed + len(self._spilled)

    def _line(self, keys: Words, choice: int) -> Indices:
        addresses = (keys >> np.uint64(32)).astype(np.uint32) & self._line_mask
        return self._seeds.line(addresses, choice, self._lines)

    def locate(self, keys: Words) -> tuple[Slots, Slots, Indices]:
        """Flat word index of each key, -1 if it is not in the table; its first line; and the spilled keys."""
        found, first = np.empty(len(keys), np.int32), np.empty(len(keys), np.int32)
        spilled: list[int] = []
        for rows in _pieces(len(keys)):
            wanted = keys[rows]
            lines = self._line(wanted, 0)
            index, metadata = self._search(lines, wanted)
            again = np.flatnonzero((index < 0) & (metadata != 0))
            index[again], _ = self._search(self._line(wanted[again], 1), wanted[again])
            # Few lines say that any of their entries are in the spill map.
            marked = np.flatnonzero((index < 0) & (metadata & SPILL != 0)) + rows.start
            spilled += [i for i in marked.tolist() if int(keys[i]) in self._spilled]
            found[rows], first[rows] = index, lines
        return found, first, np.array(spilled, np.intp)

    def _search(self, lines: Indices, keys: Words) -> tuple[Slots, Words]:
        """Flat word index of each key in its line, -1 if it is not there, and the metadata of the lines."""
        words = self._words.reshape(-1, 8).take(lines, axis=0)
        hit = words & _NOT_CLASS == keys[:, None]
        hit[:, METADATA] = False
        if not keys.all():  # 0.0.0.0 looks like an empty slot
            hit &= words != 0
        row, slot = np.nonzero(hit)
        found = np.full(len(keys), -1, np.int32)
        found[row] = lines[row] * 8 + slot
        return found, words[:, METADATA]

    def put(self, keys: Words, classes: NDArray[np.uint16]) -> dict[int, int]:
        """Insert entries, or change the class of those that are there; keys are unique.

        Answers the entries that belong into the spill map, with their class, changed ones included: the
        caller writes them. MapFull before anything is written if they would not fit.
        """
        found, first, in_spill = self.locate(keys)
        is_new = found < 0
        is_new[in_spill] = False
        new = np.flatnonzero(is_new)
        left = self._place(new, first[new], found)
        spill = self._place(left, self._line(keys[left], 1), found)
        if len(self._spilled) + len(spill) > self._spill_capacity:
            self._give_up(found[new])
            raise MapFull("hosts4" if self._line_mask & np.uint32(1) else "prefixes4", len(self))
        self._mark(first[left], OVERFLOW)
        self._mark(first[spill], OVERFLOW | SPILL)
        hash_bound = np.union1d(spill, in_spill).astype(np.intp)
        changed = dict(zip(keys[hash_bound].tolist(), classes[hash_bound].tolist(), strict=True))
        self._spilled.update(changed)
        self._write(found, keys, classes)
        return changed

    def _place(self, which: Indices, lines: Slots | Indices, found: Slots) -> Indices:
        """Take a free slot of its line for as many of *which* as fit.

        Notes the slots in *found*, and answers those that are left over.
        """
        left = [which[:0]]
        for rows in _pieces(len(which)):
            order = np.argsort(lines[rows])
            line, chosen = lines[rows][order], which[rows][order]
            begin = np.flatnonzero(np.concatenate(([True], line[1:] != line[:-1])))
            rank = np.arange(len(line)) - np.repeat(begin, np.diff(begin, append=len(line)))
            slot = _FREE_SLOT[self._taken[line], np.minimum(rank, SLOTS)]
            self._taken[line[begin]] |= np.bitwise_or.reduceat(_BIT[slot], begin)
            fits = slot < SLOTS
            found[chosen[fits]] = line[fits] * 8 + slot[fits]
            left.append(chosen[~fits])
        return np.concatenate(left)

    def _give_up(self, slots: Slots) -> None:
        """Free the slots that were taken, -1 standing for none."""
        taken = slots[slots >= 0]
        np.bitwise_and.at(self._taken, taken // 8, ~_BIT[taken % 8])

    def _write(self, found: Slots, keys: Words, classes: NDArray[np.uint16]) -> None:
        """Store the entries that have a slot, one store each."""
        for rows in _pieces(len(keys)):
            slots = found[rows]
            inside = slots >= 0
            values = keys[rows] | classes[rows].astype(np.uint64) << np.uint64(16)
            self._words[slots[inside]] = values[inside]

    def _mark(self, lines: Slots, flags: np.uint64) -> None:
        unique = sorted_unique(lines) * 8 + METADATA
        self._words[unique] |= flags

    def delete(self, keys: Words) -> list[int]:
        """Take entries out; answers those that the caller must delete from the spill map."""
        found, _, in_spill = self.locate(keys)
        gone: list[int] = keys[in_spill].tolist()
        inside = found[found >= 0]
        self._words[inside] = 0
        self._freed.append(inside)
        for key in gone:
            del self._spilled[key]
        return gone

    def after_grace(self) -> None:
        """Freed slots may be used again: no running program still sees what was in them."""
        for freed in self._freed:
            self._give_up(freed)
        self._freed.clear()

    def lookup(self, key: int) -> int:
        """The class of an entry, 0 if it is not there."""
        if key in self._spilled:
            return self._spilled[key]
        found, _, _ = self.locate(np.array([key], np.uint64))
        return 0 if found[0] < 0 else int(self._words[found[0]] >> np.uint64(16)) & 0xFFFF

    def contents(self) -> tuple[Words, NDArray[np.uint16]]:
        """Every entry, those in the spill map included: keys in ascending order, and classes."""
        slots = self._words.reshape(-1, 8)[:, :SLOTS]
        slots = slots[slots != 0]
        # Address, length, class: in this order of fields a plain sort, much faster than argsort, will do.
        spilled = np.fromiter(self._spilled.keys(), np.uint64, len(self._spilled))
        spilled_class = np.fromiter(self._spilled.values(), np.uint64, len(self._spilled))
        fields = np.concatenate([_swapped(slots), _swapped(spilled | spilled_class << np.uint64(16))])
        fields.sort()
        return _swapped(fields) & _NOT_CLASS, fields.astype(np.uint16)

    def statistics(self) -> dict[str, int]:
        """Lines, entries, lines that overflowed and entries in the spill map."""
        overflowed = int(np.count_nonzero(self._words[METADATA::8]))
        return {
            "lines": self._lines,
            "entries": len(self),
            "overflowed": overflowed,
            "spilled": len(self._spilled),
        }


def _pieces(count: int) -> Iterator[slice]:
    return (slice(start, start + _PIECE) for start in range(0, count, _PIECE))


def _swapped(slots: Words) -> Words:
    """Slots with the two low fields, class and length, in each other's place."""
    swapped: Words = slots & _ADDRESS
    swapped |= (slots & _FIELD) << np.uint64(16)
    swapped |= slots >> np.uint64(16) & _FIELD
    return swapped
