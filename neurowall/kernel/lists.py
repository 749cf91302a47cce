# SPDX-License-Identifier: Apache-2.0
"""The list maps of one data plane: entries and classes in, packets' classes out.

One owner of every list map of the kernel, whichever engine is selected; what each map means is in
bpf/maps.h. One writer at a time: the caller holds a lock.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurowall.kernel import filters, layout
from neurowall.kernel.buckets import BucketTable, Seeds
from neurowall.kernel.libbpf import LibbpfError
from neurowall.kernel.maps import GracePeriod, Map
from neurowall.kernel.prefixes import PrefixTable
from neurowall.kernel.timed import TimedMaps
from neurowall.model.counters import Counter
from neurowall.model.entries import DTYPE, V6, Entries
from neurowall.model.errors import KernelError, MapFull
from neurowall.model.image import ClassDef, Contents, Expiries, Table
from neurowall.model.reasons import Verdict

_U32: np.dtype[Any] = np.dtype("<u4")
_U64: np.dtype[Any] = np.dtype(np.uint64)
_HOST4: np.dtype[Any] = np.dtype(">u4")
_PREFIX4 = np.dtype([("length", "<u4"), ("address", ">u4")])
_PREFIX6 = np.dtype([("length", "<u4"), ("address", V6)])
_POPULATION = ("hosts4", "prefixes4", "hosts6", "prefixes6")
_BITS = {4: 32, 6: 128}
_FULL = {7, 28}  # E2BIG of a hash map, ENOSPC of an LPM trie
SWEEP_AFTER = 1024  # deleted entries before the filters are swept: a stale bit costs a lookup, no more

Array = NDArray[Any]


@dataclass(frozen=True)
class _Tables:
    """What the buckets engine has of its own: IPv4, and the filters of both families."""

    hosts: BucketTable
    prefixes: PrefixTable
    filter4: Array
    bitmap: Array
    filter6: Array
    seeds: Seeds

    @classmethod
    def of(cls, maps: Mapping[str, Map], seeds: Seeds) -> "_Tables":
        """Over the mapped memory of *maps*, with what the spill maps hold."""
        host_keys, host_classes = maps["hosts4"].items(_HOST4, _U32)
        keys = host_keys.astype(np.uint64) << np.uint64(32)
        spilled_hosts = dict(zip(keys.tolist(), host_classes.tolist(), strict=True))
        prefix_keys, values = maps["prefixes4"].items(_PREFIX4, _U32)
        keys = prefix_keys["address"].astype(np.uint64) << np.uint64(32) | prefix_keys["length"]
        spilled_prefixes = dict(zip(keys.tolist(), (values & 0xFFFF).tolist(), strict=True))
        capacity = maps["hosts4"].max_entries
        hosts = BucketTable(maps["lines"].mapped(_U64), seeds, spilled_hosts, capacity)
        capacity = maps["prefixes4"].max_entries
        longer = BucketTable(maps["long4"].mapped(_U64), seeds, spilled_prefixes, capacity, line_bits=24)
        nets = maps["nets4"].mapped(np.dtype(np.uint16))
        prefixes = PrefixTable(nets, maps["registry4"].mapped(_U64), longer)
        filter4, bitmap, filter6 = (maps[name].mapped(_U64) for name in ("filter4", "bitmap", "filter6"))
        return cls(hosts, prefixes, filter4, bitmap, filter6, seeds)

    def mark(self, table: Table) -> None:
        """Set the bits that these entries need, before they are written."""
        if table.family == 4:
            self._mark(table, self.filter4, self.bitmap)
        else:
            self._mark(table, self.filter6, self.filter6)

    def sweep(self, table: Table) -> None:
        """Make the bits those that a family needs when these are all its entries."""
        live = (self.filter4, self.bitmap) if table.family == 4 else (self.filter6, self.filter6)
        hosts = np.zeros_like(live[0])
        prefixes = np.zeros_like(live[1]) if table.family == 4 else hosts
        self._mark(table, hosts, prefixes)
        filters.correct(live[0], hosts)
        filters.correct(live[1], prefixes)

    def _mark(self, table: Table, hosts: Array, prefixes: Array) -> None:
        is_host = table.length == _BITS[table.family]
        members, length = table.address[~is_host], table.length[~is_host]
        if table.family == 4:
            filters.set_hosts4(hosts, table.address[is_host], self.seeds)
            filters.set_prefixes4(prefixes, members, length)
        else:
            filters.set_hosts6(hosts, table.address[is_host], self.seeds)
            filters.set_prefixes6(prefixes, members, length, self.seeds)


class ListMaps:
    """All list maps, by name as in bpf/maps.h; *seeds* is None for the classic engine."""

    def __init__(self, maps: Mapping[str, Map], seeds: Seeds | None) -> None:
        self._maps = maps
        self._timed = TimedMaps(maps)
        self._grace = GracePeriod()
        self._counts = self._read_population()
        self._deleted = 0
        self._tables = _Tables.of(maps, seeds) if seeds else None
        if self._tables:
            put, gone = self._tables.prefixes.repairs
            self._delete_spilled_prefixes(gone)
            self._update_spilled_prefixes(put)
            self.sweep()  # a crash may have come between an entry and its bit

    def close(self) -> None:
        """Give the grace-period maps back; the list maps belong to whoever passed them."""
        self._grace.close()

    # -- writing

    def put(self, table: Table) -> None:
        """Insert entries or change their class in place; MapFull if a map takes no more of them."""
        if self._tables:
            self._tables.mark(table)
        is_host = table.length == _BITS[table.family]
        hosts, prefixes = table.take(is_host), table.take(~is_host)
        if len(hosts):
            self._put_hosts(hosts)
        if len(prefixes):
            self._put_prefixes(prefixes)

    def _put_hosts(self, hosts: Table) -> None:
        if hosts.family == 4 and self._tables:
            spilled = self._tables.hosts.put(hosts.address.astype(np.uint64) << np.uint64(32), hosts.class_id)
            keys = _column(spilled.keys()) >> np.uint64(32)
            self._update("hosts4", keys.astype(_HOST4), _column(spilled.values()).astype(_U32))
            return
        keys = hosts.address.astype(_HOST4) if hosts.family == 4 else hosts.address
        self._update(f"hosts{hosts.family}", keys, hosts.class_id.astype(_U32))

    def _put_prefixes(self, prefixes: Table) -> None:
        name = f"prefixes{prefixes.family}"
        address, length, class_id = prefixes.address, prefixes.length, prefixes.class_id
        if prefixes.family == 4 and self._tables:
            self._update_spilled_prefixes(self._tables.prefixes.put(address, length, class_id))
            return
        values = length.astype(_U32) << np.uint32(16) | class_id.astype(_U32)
        self._update(name, _prefix_keys(prefixes.family, address, length), values)

    def _update_spilled_prefixes(self, spilled: Mapping[int, int]) -> None:
        keys, class_id = _column(spilled.keys()), _column(spilled.values()).astype(_U32)
        address, length = (keys >> np.uint64(32)).astype(np.uint32), (keys & np.uint64(63)).astype(_U32)
        self._update("prefixes4", _prefix_keys(4, address, length), length << np.uint32(16) | class_id)

    def _delete_spilled_prefixes(self, gone: Iterable[int]) -> None:
        keys = _column(gone)
        address, length = (keys >> np.uint64(32)).astype(np.uint32), keys & np.uint64(63)
        self._delete("prefixes4", _prefix_keys(4, address, length))

    def _update(self, name: str, keys: Array, values: Array) -> None:
        if not len(keys):
            return
        # The count may run ahead: it only says whether a lookup is worth while.
        self._count(name, self._counts[name] + len(keys))
        try:
            self._maps[name].update_many(keys, values)
        except LibbpfError as error:
            if error.errno in _FULL:
                raise MapFull(name, self._maps[name].max_entries) from error
            raise KernelError(f"write {len(keys):,} elements to the kernel map {name}: {error}") from error

    def delete(self, entries: Entries) -> None:
        """Take entries out; those that are not there are passed over."""
        is_host = entries.length == _BITS[entries.family]
        hosts, prefixes = entries.take(is_host), entries.take(~is_host)
        self._deleted += len(entries)
        if entries.family == 4 and self._tables:
            keys = _column(self._tables.hosts.delete(hosts.address.astype(np.uint64) << np.uint64(32)))
            self._delete("hosts4", (keys >> np.uint64(32)).astype(_HOST4))
            self._delete_spilled_prefixes(self._tables.prefixes.delete(prefixes.address, prefixes.length))
            return
        keys = hosts.address.astype(_HOST4) if hosts.family == 4 else hosts.address
        self._delete(f"hosts{hosts.family}", keys)
        family = prefixes.family
        self._delete(f"prefixes{family}", _prefix_keys(family, prefixes.address, prefixes.length))

    def _delete(self, name: str, keys: Array) -> None:
        if not len(keys):
            return
        try:
            self._maps[name].delete_many(keys)
        except LibbpfError as error:
            raise KernelError(f"delete {len(keys):,} elements of the kernel map {name}: {error}") from error

    def set_classes(self, definitions: Iterable[ClassDef]) -> None:
        """Say what class ids mean, before the first entry that uses one."""
        for definition in definitions:
            value = layout.Class(
                verdict=Verdict[definition.verdict.upper()],
                is_defined=1,
                timed=layout.Timed[definition.timed.upper() or "NO"],
                rest=definition.rest,
            )
            self._maps["classes"].update(definition.id.to_bytes(4, "little"), bytes(value))

    def put_expiries(self, expiries: Expiries) -> None:
        """Say until when timed entries hold, before the entries are put; or change it."""
        self._timed.put(expiries)

    def delete_expiries(self, entries: Entries) -> None:
        """Forget expiries, after the entries and a grace period."""
        self._timed.delete(entries)

    def expiries(self, family: int) -> Expiries:
        """The expiries that the kernel holds."""
        return self._timed.read(family)

    def grace(self) -> None:
        """Return when no running program sees what was taken out; its slots may then be used again."""
        self._grace.wait()
        if self._tables:
            self._tables.hosts.after_grace()
            self._tables.prefixes.after_grace()
        if self._deleted >= SWEEP_AFTER:
            self.sweep()

    def sweep(self) -> None:
        """Clear the filters' stale bits and correct the counts, from what the maps really hold."""
        held = self.contents()
        for table in (held.v4, held.v6):
            if self._tables:
                self._tables.sweep(table)
            if table.family == 6 or not self._tables:
                hosts = int(np.count_nonzero(table.length == _BITS[table.family]))
                self._count(f"hosts{table.family}", hosts)
                self._count(f"prefixes{table.family}", len(table) - hosts)
        self._deleted = 0

    def _count(self, name: str, value: int) -> None:
        self._counts[name] = min(value, 0xFFFFFFFF)
        raw = b"".join(self._counts[field].to_bytes(4, "little") for field in _POPULATION)
        self._maps["population"].update(bytes(4), raw)

    def _read_population(self) -> dict[str, int]:
        raw = self._maps["population"].lookup(bytes(4)) or bytes(16)
        return dict(zip(_POPULATION, np.frombuffer(raw, _U32).tolist(), strict=True))

    # -- reading

    def contents(self) -> Contents:
        """What the maps really hold, read back element by element."""
        v4, v6 = self._read(4), self._read(6)
        used = np.unique(np.concatenate([v4.class_id, v6.class_id]))
        return Contents(v4, v6, {int(class_id): self._verdict(int(class_id)) for class_id in used})

    def _verdict(self, class_id: int) -> str:
        raw = self._maps["classes"].lookup(class_id.to_bytes(4, "little"))
        held = layout.Class.from_buffer_copy(raw) if raw else layout.Class()
        return Verdict(held.verdict).label if held.is_defined else Verdict.DROP.label

    def _read(self, family: int) -> Table:
        hosts: Array
        if family == 4 and self._tables:
            host_keys, host_class = self._tables.hosts.contents()
            hosts = (host_keys >> np.uint64(32)).astype(np.uint32)
            prefixes, length, prefix_class = self._tables.prefixes.contents()
        else:
            hosts, values = self._maps[f"hosts{family}"].items(_HOST4 if family == 4 else V6, _U32)
            hosts, host_class = hosts.astype(DTYPE[family]), values.astype(np.uint16)
            keys, values = self._maps[f"prefixes{family}"].items(_PREFIX4 if family == 4 else _PREFIX6, _U32)
            prefixes, length = keys["address"].astype(hosts.dtype), keys["length"].astype(np.uint8)
            prefix_class = (values & 0xFFFF).astype(np.uint16)
        return Table.make(
            family,
            np.concatenate([hosts, prefixes]),
            np.concatenate([np.full(len(hosts), _BITS[family], np.uint8), length]),
            np.concatenate([host_class, prefix_class]),
        )

    def lookup(self, family: int, packed: bytes) -> tuple[int, int] | None:
        """(class id, length) of the longest match as the kernel would find it, None if there is none.

        *packed* is the address in network order.
        """
        number = int.from_bytes(packed, "big")
        if family == 4 and self._tables:
            if class_id := self._tables.hosts.lookup(number << 32):
                return class_id, 32
            class_id = self._tables.prefixes.lookup(number)
            return (class_id, self._tables.prefixes.length_of(number)) if class_id else None
        if host := self._maps[f"hosts{family}"].lookup(packed):
            return int.from_bytes(host, "little"), _BITS[family]
        key = _BITS[family].to_bytes(4, "little") + packed
        value = int.from_bytes(self._maps[f"prefixes{family}"].lookup(key) or b"", "little")
        return (value & 0xFFFF, value >> 16) if value else None

    def class_counters(self) -> dict[int, Counter]:
        """Packets by class id, those that ever matched."""
        sums = self._maps["class_counters"].per_cpu_sums(2)
        return {int(i): Counter(int(sums[i, 0]), int(sums[i, 1])) for i in np.flatnonzero(sums[:, 0])}


def _column(values: Iterable[int]) -> NDArray[np.uint64]:
    return np.fromiter(values, np.uint64)


def _prefix_keys(family: int, address: Array, length: Array) -> Array:
    keys = np.zeros(len(address), _PREFIX4 if family == 4 else _PREFIX6)
    keys["length"], keys["address"] = length, address
    return keys
