# SPDX-License-Identifier: Apache-2.0
"""A data plane in memory. It outlives engines, as pinned maps outlive daemons."""

from collections.abc import Callable, Iterable
from ipaddress import ip_address

import numpy as np

from neurowall.model.counters import Counter
from neurowall.model.entries import Entries
from neurowall.model.errors import KernelError, MapFull
from neurowall.model.image import ClassDef, Contents, Table
from neurowall.model.interfaces import InterfaceStatus
from neurowall.model.reasons import Reason

BITS = {4: 32, 6: 128}
Key = tuple[int, int, int]  # family, length, address


class FakeDataPlane:
    """Tables as a dict. The hooks let tests watch and break it.

    after_row is called after every single entry changed. before is called with the name of each operation,
    and may raise. limits bounds maps by name; a put stops half-way with MapFull.
    """

    def __init__(self) -> None:
        self.rows: dict[Key, int] = {}
        self.classes: dict[int, ClassDef] = {}
        self.limits: dict[str, int] = {}
        self.counted: dict[int, Counter] = {}
        self.operations: list[str] = []
        self.after_row: Callable[[], None] = lambda: None
        self.before: Callable[[str], None] = lambda _: None
        self.lose_put: Callable[[Key], bool] = lambda _: False
        self.states: list[InterfaceStatus] = []

    def _begin(self, operation: str) -> None:
        self.operations.append(operation)
        self.before(operation)

    @property
    def written(self) -> list[str]:
        """The operations that changed tables."""
        return [name for name in self.operations if name in ("put", "delete")]

    def put(self, table: Table) -> None:
        """Insert or replace, row by row."""
        self._begin("put")
        for row, class_id in zip(table.entries.rows(), table.class_id.tolist(), strict=True):
            key = (row.family, row.length, row.value)
            if class_id not in self.classes:
                raise AssertionError(f"class {class_id} was put before it was set")
            self._check_full(key)
            if not self.lose_put(key):
                self.rows[key] = class_id
            self.after_row()

    def _check_full(self, key: Key) -> None:
        family, length, _ = key
        name = f"{'hosts' if length == BITS[family] else 'prefixes'}{family}"
        full = (length == BITS[family], family)
        held = sum((n == BITS[f], f) == full for f, n, _ in self.rows)
        if key not in self.rows and held >= self.limits.get(name, 1 << 30):
            raise MapFull(name, self.limits[name])

    def delete(self, entries: Entries) -> None:
        """Remove, row by row."""
        self._begin("delete")
        for row in entries.rows():
            self.rows.pop((row.family, row.length, row.value), None)
            self.after_row()

    def set_classes(self, defs: Iterable[ClassDef]) -> None:
        """Set meanings, one by one."""
        self._begin("set_classes")
        for definition in defs:
            self.classes[definition.id] = definition
            self.after_row()

    def grace(self) -> None:
        """Note the wait."""
        self._begin("grace")

    def contents(self) -> Contents:
        """All rows, and the verdicts of classes in use."""
        self._begin("contents")
        used = {i: self.classes[i].verdict for i in set(self.rows.values()) if i in self.classes}
        return Contents(self._table(4), self._table(6), used)

    def _table(self, family: int) -> Table:
        rows = [(key, class_id) for key, class_id in self.rows.items() if key[0] == family]
        addresses = [a if family == 4 else a.to_bytes(16, "big") for (_, _, a), _ in rows]
        return Table.make(
            family,
            np.array(addresses, np.uint32 if family == 4 else "S16"),
            np.array([length for (_, length, _), _ in rows], np.uint8),
            np.array([class_id for _, class_id in rows], np.uint16),
        )

    def lookup(self, address: str) -> tuple[int, int] | None:
        """Longest match."""
        self.before("lookup")
        wanted = ip_address(address)
        bits = BITS[wanted.version]
        for length in range(bits, 0, -1):
            key = (wanted.version, length, int(wanted) >> (bits - length) << (bits - length))
            if key in self.rows:
                return self.rows[key], length
        return None

    def verdict(self, address: str) -> str | None:
        """What a packet from *address* gets."""
        found = self.lookup(address)
        return self.classes[found[0]].verdict if found else None

    def class_counters(self) -> dict[int, Counter]:
        """What the test says was counted."""
        return dict(self.counted)

    def reason_counters(self) -> dict[Reason, Counter]:
        """One reason."""
        return {Reason.BLOCK_LIST: Counter(3, 180)}

    def interfaces(self) -> list[InterfaceStatus]:
        """What the test says."""
        self.before("interfaces")
        return self.states

    def reload_program(self) -> None:
        """Note the call."""
        self._begin("reload_program")

    def close(self) -> None:
        """Note the call."""
        self._begin("close")

    def detach(self) -> None:
        """Note the call."""
        self._begin("detach")


def broken(operation: str, after: int = 0) -> Callable[[str], None]:
    """A `before` that fails the operation, the first *after* times excepted."""
    seen = 0

    def fail(name: str) -> None:
        nonlocal seen
        if name == operation:
            seen += 1
            if seen > after:
                raise KernelError(f"{operation} failed: Bad address")

    return fail
