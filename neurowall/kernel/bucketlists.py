# SPDX-License-Identifier: Apache-2.0
"""The lists in the buckets engine: tables in mapped memory behind filters, maps for what finds no room there.

IPv4 hosts in one bucket table, IPv4 prefixes in DIR-24 and a second one, all of IPv6 in a third. A filter's
bit is set before its entry is written, and cleared by a sweep after the entry has gone.
"""

from collections.abc import Iterable, Mapping

import numpy as np

from neurowall.kernel import elements, filters
from neurowall.kernel.buckets import BucketTable, Seeds
from neurowall.kernel.buckets6 import LINE, Keys, Spilled, Table6
from neurowall.kernel.elements import U32, U64, Array
from neurowall.kernel.maps import Map
from neurowall.kernel.prefixes import PrefixTable
from neurowall.model.address import BITS
from neurowall.model.entries import Entries
from neurowall.model.image import Table


class BucketLists:
    """Writer and reader of all of them; one writer."""

    def __init__(self, maps: Mapping[str, Map], seeds: Seeds) -> None:
        self._maps = maps
        self._seeds = seeds
        self._filter4, self._bitmap, self._filter6 = (
            maps[name].mapped(U64) for name in ("filter4", "bitmap", "filter6")
        )
        self._lengths6 = maps["lengths6"].mapped(U64).reshape(-1, 2)
        self._hosts4 = BucketTable(
            maps["lines"].mapped(U64), seeds, _spilled_hosts4(maps), maps["hosts4"].max_entries
        )
        longer = BucketTable(
            maps["long4"].mapped(U64),
            seeds,
            _spilled_prefixes4(maps),
            maps["prefixes4"].max_entries,
            line_bits=24,
        )
        nets, registry = maps["nets4"].mapped(np.dtype(np.uint16)), maps["registry4"].mapped(U64)
        self._prefixes4 = PrefixTable(nets, registry, longer)
        self._entries6 = Table6(
            maps["lines6"].mapped(LINE), seeds, _spilled6(maps), maps["spilled6"].max_entries
        )
        put, gone = self._prefixes4.repairs
        self._delete_spilled_prefixes(gone)
        self._update_spilled_prefixes(put)

    # -- writing

    def put(self, table: Table) -> None:
        """Insert entries or change their class in place; MapFull if there is no room."""
        self._mark(table)
        if table.family == 6:
            self._put6(table)
            return
        is_host = table.length == BITS[4]
        hosts, prefixes = table.take(is_host), table.take(~is_host)
        if len(hosts):
            spilled = self._hosts4.put(hosts.address.astype(np.uint64) << np.uint64(32), hosts.class_id)
            if spilled:
                keys = (elements.column(spilled.keys()) >> np.uint64(32)).astype(np.uint32)
                values = elements.column(spilled.values()).astype(U32)
                elements.update(self._maps["hosts4"], "hosts4", elements.host_keys(4, keys), values)
        if len(prefixes):
            spilled = self._prefixes4.put(prefixes.address, prefixes.length, prefixes.class_id)
            self._update_spilled_prefixes(spilled)

    def _put6(self, table: Table) -> None:
        spilled = self._entries6.put(Keys.of(table.address, table.length), table.class_id)
        if spilled:
            values = elements.column(spilled.values()).astype(U32)
            elements.update(self._maps["spilled6"], "spilled6", _keys6(spilled), values)

    def _update_spilled_prefixes(self, spilled: Mapping[int, int]) -> None:
        if spilled:
            keys, class_id = elements.column(spilled.keys()), elements.column(spilled.values()).astype(U32)
            length = (keys & np.uint64(63)).astype(U32)
            target = elements.prefix_keys(4, (keys >> np.uint64(32)).astype(np.uint32), length)
            values = length << np.uint32(16) | class_id
            elements.update(self._maps["prefixes4"], "prefixes4", target, values)

    def _delete_spilled_prefixes(self, gone: Iterable[int]) -> None:
        keys = elements.column(gone)
        if len(keys):
            address = (keys >> np.uint64(32)).astype(np.uint32)
            target = elements.prefix_keys(4, address, keys & np.uint64(63))
            elements.delete(self._maps["prefixes4"], "prefixes4", target)

    def delete(self, entries: Entries) -> None:
        """Take entries out; those that are not there are passed over."""
        if entries.family == 6:
            gone6 = self._entries6.delete(Keys.of(entries.address, entries.length))
            if gone6:
                elements.delete(self._maps["spilled6"], "spilled6", _keys6(gone6))
            return
        is_host = entries.length == BITS[4]
        hosts, prefixes = entries.take(is_host), entries.take(~is_host)
        gone = elements.column(self._hosts4.delete(hosts.address.astype(np.uint64) << np.uint64(32)))
        if len(gone):
            keys = elements.host_keys(4, (gone >> np.uint64(32)).astype(np.uint32))
            elements.delete(self._maps["hosts4"], "hosts4", keys)
        self._delete_spilled_prefixes(self._prefixes4.delete(prefixes.address, prefixes.length))

    def after_grace(self) -> None:
        """Freed slots may be used again."""
        for table in (self._hosts4, self._prefixes4, self._entries6):
            table.after_grace()

    # -- filters

    def _mark(self, table: Table) -> None:
        """Set the bits that these entries need, before they are written."""
        if table.family == 4:
            self._mark4(table, self._filter4, self._bitmap)
        else:
            self._mark6(table, self._filter6, self._lengths6)

    def sweep(self, table: Table) -> None:
        """Make the bits those that a family needs when these are all its entries."""
        mark = self._mark4 if table.family == 4 else self._mark6
        live = (self._filter4, self._bitmap) if table.family == 4 else (self._filter6, self._lengths6)
        needed = np.zeros_like(live[0]), np.zeros_like(live[1])
        mark(table, *needed)
        for words, wanted in zip(live, needed, strict=True):
            filters.correct(words, wanted)

    def _mark4(self, table: Table, hosts: Array, prefixes: Array) -> None:
        is_host = table.length == BITS[4]
        filters.set_hosts4(hosts, table.address[is_host], self._seeds)
        filters.set_prefixes4(prefixes, table.address[~is_host], table.length[~is_host])

    def _mark6(self, table: Table, bits: Array, pairs: Array) -> None:
        is_host = table.length == BITS[6]
        filters.set_hosts6(bits, table.address[is_host], self._seeds)
        filters.set_prefixes6(bits, table.address[~is_host], table.length[~is_host], self._seeds)
        filters.set_lengths6(pairs, table.address[~is_host], table.length[~is_host], self._seeds)

    # -- reading

    def read(self, family: int) -> Table:
        """All entries of a family, as the tables and maps in the kernel have them."""
        if family == 6:
            return Table.make(6, *self._entries6.contents())
        host_keys, host_class = self._hosts4.contents()
        hosts = (host_keys >> np.uint64(32)).astype(np.uint32)
        prefixes, length, prefix_class = self._prefixes4.contents()
        return Table.make(
            4,
            np.concatenate([hosts, prefixes]),
            np.concatenate([np.full(len(hosts), BITS[4], np.uint8), length]),
            np.concatenate([host_class, prefix_class]),
        )

    def lookup(self, family: int, packed: bytes) -> tuple[int, int] | None:
        """(class id, length) of the longest match as the kernel finds it, None if there is none."""
        if family == 4:
            number = int.from_bytes(packed, "big")
            if class_id := self._hosts4.lookup(number << 32):
                return class_id, BITS[4]
            class_id = self._prefixes4.lookup(number)
            return (class_id, self._prefixes4.length_of(number)) if class_id else None
        return self._entries6.longest(packed)


def _spilled_hosts4(maps: Mapping[str, Map]) -> dict[int, int]:
    keys, classes = maps["hosts4"].items(elements.HOST[4], U32)
    return dict(zip((keys.astype(np.uint64) << np.uint64(32)).tolist(), classes.tolist(), strict=True))


def _spilled_prefixes4(maps: Mapping[str, Map]) -> dict[int, int]:
    keys, values = maps["prefixes4"].items(elements.PREFIX[4], U32)
    slots = keys["address"].astype(np.uint64) << np.uint64(32) | keys["length"]
    return dict(zip(slots.tolist(), (values & 0xFFFF).tolist(), strict=True))


def _spilled6(maps: Mapping[str, Map]) -> Spilled:
    keys, classes = maps["spilled6"].items(elements.PREFIX[6], U32)
    names = Keys.of(np.ascontiguousarray(keys["address"]), keys["length"]).names()
    return dict(zip(names, classes.tolist(), strict=True))


def _keys6(names: Iterable[tuple[bytes, int]]) -> Array:
    pairs = list(names)
    addresses = np.frombuffer(b"".join(address for address, _ in pairs), elements.HOST[6])
    return elements.prefix_keys(6, addresses, np.array([length for _, length in pairs], np.uint32))
