# SPDX-License-Identifier: Apache-2.0
"""The lists in the classic engine: a BPF hash of hosts and an LPM trie of prefixes for each family."""

from collections.abc import Mapping

import numpy as np

from neurowall.kernel import elements
from neurowall.kernel.elements import HOST, PREFIX, U32, Array
from neurowall.kernel.maps import Map
from neurowall.model.address import BITS
from neurowall.model.entries import DTYPE, Entries
from neurowall.model.image import Table

_POPULATION = ("hosts4", "prefixes4", "hosts6", "prefixes6")


class ClassicLists:
    """Writer and reader of the four maps and of their counts; one writer."""

    def __init__(self, maps: Mapping[str, Map]) -> None:
        self._maps = maps
        raw = maps["population"].lookup(bytes(4)) or bytes(16)
        self._counts = dict(zip(_POPULATION, np.frombuffer(raw, U32).tolist(), strict=True))

    def put(self, table: Table) -> None:
        """Insert entries or change their class in place; MapFull if there is no room."""
        is_host, family = table.length == BITS[table.family], table.family
        hosts, prefixes = table.take(is_host), table.take(~is_host)
        self._update(f"hosts{family}", elements.host_keys(family, hosts.address), hosts.class_id.astype(U32))
        values = prefixes.length.astype(U32) << np.uint32(16) | prefixes.class_id.astype(U32)
        keys = elements.prefix_keys(family, prefixes.address, prefixes.length)
        self._update(f"prefixes{family}", keys, values)

    def _update(self, name: str, keys: Array, values: Array) -> None:
        if len(keys):
            # The count may run ahead: it only says whether a lookup is worth while.
            self._count(name, self._counts[name] + len(keys))
            elements.update(self._maps[name], name, keys, values)

    def delete(self, entries: Entries) -> None:
        """Take entries out; those that are not there are passed over."""
        is_host, family = entries.length == BITS[entries.family], entries.family
        hosts, prefixes = entries.take(is_host), entries.take(~is_host)
        for name, keys in (
            (f"hosts{family}", elements.host_keys(family, hosts.address)),
            (f"prefixes{family}", elements.prefix_keys(family, prefixes.address, prefixes.length)),
        ):
            if len(keys):
                elements.delete(self._maps[name], name, keys)

    def after_grace(self) -> None:
        """Nothing: the kernel's own maps see to it."""

    def sweep(self, table: Table) -> None:
        """Correct the counts of a family when these are all its entries."""
        hosts = int(np.count_nonzero(table.length == BITS[table.family]))
        self._count(f"hosts{table.family}", hosts)
        self._count(f"prefixes{table.family}", len(table) - hosts)

    def _count(self, name: str, value: int) -> None:
        self._counts[name] = min(value, 0xFFFFFFFF)
        raw = b"".join(self._counts[field].to_bytes(4, "little") for field in _POPULATION)
        self._maps["population"].update(bytes(4), raw)

    def read(self, family: int) -> Table:
        """All entries of a family."""
        hosts, host_class = self._maps[f"hosts{family}"].items(HOST[family], U32)
        keys, values = self._maps[f"prefixes{family}"].items(PREFIX[family], U32)
        return Table.make(
            family,
            np.concatenate([hosts.astype(DTYPE[family]), keys["address"].astype(DTYPE[family])]),
            np.concatenate([np.full(len(hosts), BITS[family], np.uint8), keys["length"].astype(np.uint8)]),
            np.concatenate([host_class, values & 0xFFFF]).astype(np.uint16),
        )

    def lookup(self, family: int, packed: bytes) -> tuple[int, int] | None:
        """(class id, length) of the longest match as the kernel finds it, None if there is none."""
        if host := self._maps[f"hosts{family}"].lookup(packed):
            return int.from_bytes(host, "little"), BITS[family]
        key = BITS[family].to_bytes(4, "little") + packed
        value = int.from_bytes(self._maps[f"prefixes{family}"].lookup(key) or b"", "little")
        return (value & 0xFFFF, value >> 16) if value else None
