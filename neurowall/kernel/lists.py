# SPDX-License-Identifier: Apache-2.0
"""The list maps of one data plane: entries and classes in, packets' classes out.

One owner of every list map of the kernel, whichever engine is selected; what each map means is in
bpf/maps.h. One writer at a time: the caller holds a lock.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurowall.kernel import bitmap, layout
from neurowall.kernel.buckets import BucketTable, Seeds
from neurowall.kernel.libbpf import LibbpfError
from neurowall.kernel.maps import GracePeriod, Map
from neurowall.model.counters import Counter
from neurowall.model.entries import V6, Entries
from neurowall.model.errors import KernelError, MapFull
from neurowall.model.image import ClassDef, Contents, Table
from neurowall.model.reasons import Verdict

_U32: np.dtype[Any] = np.dtype("<u4")
_HOST4: np.dtype[Any] = np.dtype(">u4")
_PREFIX4 = np.dtype([("length", "<u4"), ("address", ">u4")])
_PREFIX6 = np.dtype([("length", "<u4"), ("address", V6)])
_POPULATION = ("hosts4", "prefixes4", "hosts6", "prefixes6")
_BITS = {4: 32, 6: 128}
_FULL = {7, 28}  # E2BIG of a hash map, ENOSPC of an LPM trie
SWEEP_AFTER = 1024  # deleted entries before the bitmap is swept: a stale bit costs a lookup, no more

Array = NDArray[Any]


class ListMaps:
    """All list maps, by name as in bpf/maps.h; *seeds* is None for the classic engine."""

    def __init__(self, maps: Mapping[str, Map], seeds: Seeds | None) -> None:
        self._maps = maps
        self._grace = GracePeriod()
        self._counts = self._read_population()
        self._buckets: BucketTable | None = None
        self._deleted4 = 0
        if seeds:
            words = maps["lines"].mapped(np.dtype(np.uint64))
            spill = maps["hosts4"]
            keys, values = spill.items(_HOST4, _U32)
            spilled = dict(zip(keys.tolist(), values.tolist(), strict=True))
            self._buckets = BucketTable(words, seeds, spilled, spill.max_entries)
            self._bitmap = maps["bitmap"].mapped(np.dtype(np.uint64))

    def close(self) -> None:
        """Give the grace-period maps back; the list maps belong to whoever passed them."""
        self._grace.close()

    # -- writing

    def put(self, table: Table) -> None:
        """Insert entries or change their class in place; MapFull if a map takes no more of them."""
        is_host = table.length == _BITS[table.family]
        hosts, prefixes = table.take(is_host), table.take(~is_host)
        if len(hosts):
            self._put_hosts(hosts)
        if len(prefixes):
            self._put_prefixes(prefixes)

    def _put_hosts(self, hosts: Table) -> None:
        if hosts.family == 4 and self._buckets is not None:
            bitmap.set_nets(self._bitmap, hosts.address >> np.uint32(8), bitmap.HOSTS)
            spilled = self._buckets.put(hosts.address, hosts.class_id)
            keys = np.fromiter(spilled.keys(), _U32, len(spilled)).astype(_HOST4)
            self._update("hosts4", keys, np.fromiter(spilled.values(), _U32, len(spilled)))
            return
        keys = hosts.address.astype(_HOST4) if hosts.family == 4 else hosts.address
        self._update(f"hosts{hosts.family}", keys, hosts.class_id.astype(_U32))

    def _put_prefixes(self, prefixes: Table) -> None:
        if prefixes.family == 4 and self._buckets is not None:
            bitmap.set_prefixes(self._bitmap, prefixes.address, prefixes.length)
        keys = _prefix_keys(prefixes.entries)
        self._update(f"prefixes{prefixes.family}", keys, prefixes.class_id.astype(_U32))

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
        if entries.family == 4:
            self._deleted4 += len(entries)
        if len(hosts) and hosts.family == 4 and self._buckets is not None:
            spilled = self._buckets.delete(hosts.address)
            self._delete("hosts4", np.array(spilled, _U32).astype(_HOST4))
        elif len(hosts):
            keys = hosts.address.astype(_HOST4) if hosts.family == 4 else hosts.address
            self._delete(f"hosts{hosts.family}", keys)
        self._delete(f"prefixes{prefixes.family}", _prefix_keys(prefixes))

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
            value = layout.Class(verdict=Verdict[definition.verdict.upper()], is_defined=1)
            self._maps["classes"].update(definition.id.to_bytes(4, "little"), bytes(value))

    def grace(self) -> None:
        """Return when no running program sees what was taken out; its slots may then be used again."""
        self._grace.wait()
        if self._buckets is not None:
            self._buckets.after_grace()
        if self._deleted4 >= SWEEP_AFTER:
            self.sweep()

    def sweep(self) -> None:
        """Clear the bitmap's stale bits and correct the counts, from what the maps really hold."""
        held = self.contents()
        if self._buckets is not None:
            hosts = held.v4.take(held.v4.length == 32)
            prefixes = held.v4.take(held.v4.length < 32)
            bitmap.sweep(self._bitmap, hosts.address, prefixes.address, prefixes.length)
        for table in (held.v4, held.v6):
            hosts_now = int(np.count_nonzero(table.length == _BITS[table.family]))
            in_hash = 0 if table.family == 4 and self._buckets is not None else hosts_now
            self._count(f"hosts{table.family}", in_hash)
            self._count(f"prefixes{table.family}", len(table) - hosts_now)
        self._deleted4 = 0

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
        return "pass" if held.is_defined and held.verdict == Verdict.PASS else "drop"

    def _read(self, family: int) -> Table:
        if family == 4 and self._buckets is not None:
            address, class_id = self._buckets.contents()
        else:
            key_type = _HOST4 if family == 4 else np.dtype(V6)
            keys, values = self._maps[f"hosts{family}"].items(key_type, _U32)
            address, class_id = keys.astype(np.uint32) if family == 4 else keys, values.astype(np.uint16)
        prefix_type = _PREFIX4 if family == 4 else _PREFIX6
        keys, values = self._maps[f"prefixes{family}"].items(prefix_type, _U32)
        native = keys["address"].astype(address.dtype)
        return Table.make(
            family,
            np.concatenate([address, native]),
            np.concatenate([np.full(len(address), _BITS[family], np.uint8), keys["length"].astype(np.uint8)]),
            np.concatenate([class_id, values.astype(np.uint16)]),
        )

    def lookup(self, family: int, packed: bytes) -> tuple[int, int] | None:
        """(class id, length) of the longest match as the kernel would find it, None if there is none.

        *packed* is the address in network order. Of nested prefixes with one class the shortest
        length is answered: the trie does not say which node matched.
        """
        bits = _BITS[family]
        if family == 4 and self._buckets is not None:
            host = self._buckets.lookup(int.from_bytes(packed, "big"))
        else:
            host = int.from_bytes(self._maps[f"hosts{family}"].lookup(packed) or b"", "little")
        if host:
            return host, bits
        found = self._longest_prefix(family, packed, bits)
        if not found:
            return None
        lengths = (n for n in range(bits + 1) if self._longest_prefix(family, packed, n) == found)
        return found, next(lengths)

    def _longest_prefix(self, family: int, packed: bytes, length: int) -> int:
        key = length.to_bytes(4, "little") + packed
        return int.from_bytes(self._maps[f"prefixes{family}"].lookup(key) or b"", "little")

    def class_counters(self) -> dict[int, Counter]:
        """Packets by class id, those that ever matched."""
        sums = self._maps["class_counters"].per_cpu_sums(2)
        return {int(i): Counter(int(sums[i, 0]), int(sums[i, 1])) for i in np.flatnonzero(sums[:, 0])}

    def usage(self) -> dict[str, tuple[int, int]]:
        """Entries and capacity of each list map; counts may run ahead of deletions until a sweep."""
        usage = {name: (self._counts[name], self._maps[name].max_entries) for name in _POPULATION}
        if self._buckets is not None:
            statistics = self._buckets.statistics()
            usage["hosts4"] = (statistics["spilled"], self._maps["hosts4"].max_entries)
            usage["lines"] = (statistics["hosts"] - statistics["spilled"], statistics["lines"] * 7)
        return usage


def _prefix_keys(entries: Entries) -> Array:
    keys = np.zeros(len(entries), _PREFIX4 if entries.family == 4 else _PREFIX6)
    keys["length"], keys["address"] = entries.length, entries.address
    return keys
