# SPDX-License-Identifier: Apache-2.0
"""The table of IPv6 entries, hosts and prefixes, in 64-byte lines of a memory-mapped array (bpf/lists6.h).

Rules, each needed so that a reader that runs at any moment sees an entry whole or not at all: the address is
stored before the tag, the tag with one 4-byte store; an entry never moves; NW_LINE_OVERFLOW and NW_LINE_SPILL
are set before the first entry that needs them and cleared only by a rebuild; a slot whose tag became 0 is
written again only after a grace period. x86 keeps stores in order, and loads; on other machines every syscall
between the steps is a barrier for the writer, and the reader's loads depend on nothing: untried there.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurowall.kernel.buckets import OVERFLOW, SPILL, Seeds
from neurowall.model.entries import V6
from neurowall.model.errors import MapFull

SLOTS = 3  # NW_LINE6_SLOTS
LINE = np.dtype([("address", "<u8", (SLOTS, 2)), ("tag", "<u4", SLOTS), ("metadata", "<u4")])
# Above this load more than one entry in 20 would be in its second line.
ENTRIES_PER_LINE = 1.6

Array = NDArray[Any]
Words = NDArray[np.uint64]
Indices = NDArray[np.intp]
Spilled = dict[tuple[bytes, int], int]  # address in network order and length, to class


def lines_for(entries: int) -> int:
    """Lines of a table for so many entries, a power of two: 2^17 (8 MiB) for 200,000."""
    return 1 << max(6, int(max(entries, 1) / ENTRIES_PER_LINE).bit_length())


@dataclass(frozen=True)
class Keys:
    """Entries as the kernel hashes them: halves of the address as numbers, and lengths; all u64."""

    high: Words
    low: Words
    length: Words

    @classmethod
    def of(cls, addresses: Array, lengths: Array) -> "Keys":
        """From addresses (S16) and lengths."""
        octets = np.ascontiguousarray(addresses).view(np.uint8).reshape(-1, 16)
        halves = np.ascontiguousarray(octets).view(">u8").astype(np.uint64)
        return cls(halves[:, 0], halves[:, 1], lengths.astype(np.uint64))

    def __len__(self) -> int:
        return len(self.high)

    def take(self, rows: Array) -> "Keys":
        """The chosen rows."""
        return Keys(self.high[rows], self.low[rows], self.length[rows])

    def hash(self, seeds: Seeds, choice: int) -> Words:
        """As hash6() in lists6.h."""
        first, other = (np.uint64(seeds.multiplier[i]) for i in (choice, 1 - choice))
        addend, factor = (np.uint64(seeds.addend[i]) for i in (choice, 1 - choice))
        hashed: Words = first * self.high + other * self.low + factor * self.length + addend
        return hashed

    @property
    def addresses(self) -> Array:
        """S16, network order."""
        octets = np.stack([self.high, self.low], axis=1).astype(">u8")
        packed: Array = np.ascontiguousarray(octets).view(V6).ravel()
        return packed

    def names(self) -> list[tuple[bytes, int]]:
        """What spilled entries are known by."""
        packed = self.addresses.tobytes()
        return [(packed[16 * i : 16 * i + 16], n) for i, n in enumerate(self.length.tolist())]


class Table6:
    """Writer of one table. Entries that find both lines full are in *spilled*, at most *spill_capacity*.

    *lines* is the mapped map, of dtype LINE. What it already holds is kept. Not thread-safe: one writer.
    """

    def __init__(self, lines: Array, seeds: Seeds, spilled: Spilled, spill_capacity: int) -> None:
        self._lines = lines
        self._seeds = seeds
        self._spilled = spilled
        self._spill_capacity = spill_capacity
        self._shift = np.uint64(64 - len(lines).bit_length() + 1)
        self._taken = lines["tag"] != 0  # or freed and not yet past a grace period
        self._freed: list[tuple[Indices, Indices]] = []

    def __len__(self) -> int:
        return int(np.count_nonzero(self._lines["tag"])) + len(self._spilled)

    def _line(self, keys: Keys, choice: int) -> Indices:
        return (keys.hash(self._seeds, choice) >> self._shift).astype(np.intp)

    def _search(self, lines: Indices, keys: Keys) -> Indices:
        """The slot of each key in its line, -1 if it is not there."""
        held = self._lines[lines]
        tags = held["tag"]
        hit = (held["address"][:, :, 0] == keys.high[:, None]) & (tags != 0)
        hit &= (held["address"][:, :, 1] == keys.low[:, None]) & (tags >> 16 == keys.length[:, None])
        return np.where(hit.any(axis=1), hit.argmax(axis=1), -1)

    def _locate(self, keys: Keys) -> tuple[Indices, Indices]:
        """Line and slot of each key; slot -1 and the first line if it is not in the table."""
        line = self._line(keys, 0)
        slot = self._search(line, keys)
        again = np.flatnonzero((slot < 0) & (self._lines["metadata"][line] != 0))
        if len(again):
            other = self._line(keys.take(again), 1)
            found = self._search(other, keys.take(again))
            hit = found >= 0
            line[again[hit]], slot[again[hit]] = other[hit], found[hit]
        return line, slot

    def _among_spilled(self, keys: Keys, slot: Indices) -> Indices:
        missing = np.flatnonzero(slot < 0) if self._spilled else np.empty(0, np.intp)
        held = [name in self._spilled for name in keys.take(missing).names()]
        chosen: Indices = missing[np.array(held, bool)]
        return chosen

    def put(self, keys: Keys, classes: NDArray[np.uint16]) -> Spilled:
        """Insert entries, or change the class of those that are there; keys are unique.

        Answers the entries that belong into the spill map, with their class, changed ones included: the
        caller writes them. MapFull before anything is written if they would not fit.
        """
        line, slot = self._locate(keys)
        in_spill = self._among_spilled(keys, slot)
        known = np.flatnonzero(slot >= 0)
        new = np.setdiff1d(np.flatnonzero(slot < 0), in_spill, assume_unique=True)
        first = line[new].copy()
        left = self._place(new, first, line, slot)
        spill = self._place(left, self._line(keys.take(left), 1), line, slot)
        if len(self._spilled) + len(spill) > self._spill_capacity:
            taken = new[slot[new] >= 0]
            self._taken[line[taken], slot[taken]] = False
            raise MapFull("hosts6", len(self))
        home = np.empty(len(keys), np.intp)
        home[new] = first
        self._lines["metadata"][home[left]] |= np.uint32(OVERFLOW)
        self._lines["metadata"][home[spill]] |= np.uint32(SPILL)
        tags = (keys.length << np.uint64(16) | classes.astype(np.uint64)).astype(np.uint32)
        placed = new[slot[new] >= 0]
        self._lines["address"][line[placed], slot[placed], 0] = keys.high[placed]
        self._lines["address"][line[placed], slot[placed], 1] = keys.low[placed]
        for rows in (placed, known):
            self._lines["tag"][line[rows], slot[rows]] = tags[rows]
        outside = np.concatenate([spill, in_spill])
        changed = dict(zip(keys.take(outside).names(), classes[outside].tolist(), strict=True))
        self._spilled.update(changed)
        return changed

    def _place(self, which: Indices, lines: Indices, line: Indices, slot: Indices) -> Indices:
        """Take a free slot in its line for as many of *which* as fit, note it; answers those left over."""
        order = np.argsort(lines, kind="stable")
        which, lines = which[order], lines[order]
        _, begin, count = np.unique(lines, return_index=True, return_counts=True)
        rank = np.arange(len(lines)) - np.repeat(begin, count)
        taken = self._taken[lines]
        fits = rank < SLOTS - np.count_nonzero(taken, axis=1)
        free_first = np.argsort(taken[fits], axis=1, kind="stable")
        chosen = free_first[np.arange(len(free_first)), rank[fits]]
        self._taken[lines[fits], chosen] = True
        line[which[fits]], slot[which[fits]] = lines[fits], chosen
        left: Indices = which[~fits]
        return left

    def delete(self, keys: Keys) -> list[tuple[bytes, int]]:
        """Take entries out; answers those that the caller must delete from the spill map."""
        line, slot = self._locate(keys)
        gone = keys.take(self._among_spilled(keys, slot)).names()
        inside = slot >= 0
        self._lines["tag"][line[inside], slot[inside]] = 0
        self._freed.append((line[inside], slot[inside]))
        for name in gone:
            del self._spilled[name]
        return gone

    def after_grace(self) -> None:
        """Freed slots may be used again: no running program can see what was in them."""
        for line, slot in self._freed:
            self._taken[line, slot] = False
        self._freed.clear()

    def contents(self) -> tuple[Array, Array, Array]:
        """Addresses (S16), lengths and classes of all entries."""
        line, slot = np.nonzero(self._lines["tag"])
        tags, halves = self._lines["tag"][line, slot], self._lines["address"][line, slot]
        inside = Keys(halves[:, 0], halves[:, 1], (tags >> 16).astype(np.uint64))
        outside = np.frombuffer(b"".join(address for address, _ in self._spilled), V6)
        return (
            np.concatenate([inside.addresses, outside]),
            np.concatenate([tags >> 16, _column(n for _, n in self._spilled)]).astype(np.uint8),
            np.concatenate([tags & 0xFFFF, _column(self._spilled.values())]).astype(np.uint16),
        )

    def longest(self, address: bytes) -> tuple[int, int] | None:
        """(class, length) of the longest entry that covers an address, None if none does."""
        number = int.from_bytes(address, "big")
        covers = [(number >> 128 - n << 128 - n).to_bytes(16, "big") for n in range(129)]
        keys = Keys.of(np.frombuffer(b"".join(covers), V6), np.arange(129))
        line, slot = self._locate(keys)
        for length in range(128, -1, -1):
            inside = int(self._lines["tag"][line[length], slot[length]]) & 0xFFFF if slot[length] >= 0 else 0
            if class_id := inside or self._spilled.get((covers[length], length), 0):
                return class_id, length
        return None


def _column(values: Iterable[int]) -> NDArray[np.uint32]:
    return np.fromiter(values, np.uint32)
