# SPDX-License-Identifier: Apache-2.0
"""Change lists of a compiled set by a few entries, without compiling the rest again.

Only the entries themselves and those that they cover can change class; their memberships are computed
afresh. A test proves the outcome equal to a full compilation.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from neurowall.logic.classes import Registry, with_rests
from neurowall.logic.compile import Compiled, Memberships, assign_classes, check_capacity
from neurowall.logic.cover import locate, spread, touched_rows
from neurowall.model.entries import FAMILIES, Array, Entries, EntrySet, Indices
from neurowall.model.image import CLASS, MAX_CLASS, ClassDef, Contents, Image, Table
from neurowall.model.policy import Capacity


class ListEdit(NamedTuple):
    """Entries to remove from a list, and others to add to it after that; what is so already is no error."""

    name: str
    add: EntrySet
    remove: EntrySet


@dataclass(frozen=True)
class Amendment:
    """The new compiled set; and the rows that changed, as they were and as they are."""

    compiled: Compiled
    old: Contents
    new: Image


@dataclass
class _Columns:
    """The rows of one family while they change. An array is replaced, or written if it was made here."""

    family: int
    address: Array
    length: Array
    class_id: Array
    direct: Array

    @property
    def entries(self) -> Entries:
        return Entries(self.family, self.address, self.length)

    @property
    def table(self) -> Table:
        return Table(self.family, self.address, self.length, self.class_id)


@dataclass(frozen=True)
class _Edit:
    """One family after the edit, new rows still with class 0.

    touched: the rows whose class may have changed; mask: what covers them now; old: the same rows before.
    """

    rows: _Columns
    touched: Indices
    mask: Array
    old: Table


def amend(compiled: Compiled, changes: Sequence[ListEdit], capacity: Capacity) -> Amendment:
    """Change some lists. Raises CapacityError as a compilation would."""
    names = [head.name for head in compiled.heads]
    places = [names.index(change.name) for change in changes]
    edits = [
        _edit(
            compiled.family(f),
            [(i, c.add.family(f), c.remove.family(f)) for i, c in zip(places, changes, strict=True)],
        )
        for f in FAMILIES
    ]
    for edit in edits:
        check_capacity(edit.rows.entries, edit.rows.direct, compiled.heads, capacity, edit.rows.family)
    class_ids, registry = assign_classes([edit.mask for edit in edits], compiled.heads, compiled.registry)
    usage = compiled.usage.copy()
    for edit, ids in zip(edits, class_ids, strict=True):
        edit.rows.class_id[edit.touched] = ids
        usage -= np.bincount(edit.old.class_id, minlength=MAX_CLASS + 1)
        usage += np.bincount(ids, minlength=MAX_CLASS + 1)
    v4, v6 = (Memberships(edit.rows.table, edit.rows.direct) for edit in edits)
    changed = replace(compiled, v4=v4, v6=v6, usage=usage, registry=registry)
    old4, old6 = (edit.old for edit in edits)
    new4, new6 = v4.table.take(edits[0].touched), v6.table.take(edits[1].touched)
    return Amendment(changed, Contents(old4, old6), Image(new4, new6, _classes(registry, new4, new6)))


def _edit(rows: Memberships, changes: Sequence[tuple[int, Entries, Entries]]) -> _Edit:
    """Change one family; each change is the place of a list, entries to add and entries to remove."""
    table = rows.table
    changed = Entries.empty(table.family)
    for _, add, remove in changes:
        changed = changed.union(add).union(remove)
    old = table.take(touched_rows(table.entries, changed))
    columns = _Columns(table.family, table.address, table.length, table.class_id.copy(), rows.direct.copy())
    for index, add, remove in changes:
        bit = rows.direct.dtype.type(1 << index)
        _remove(columns, bit, remove)
        _add(columns, bit, add)
    after = columns.entries
    touched = touched_rows(after, changed)
    mask = columns.direct[touched]
    prefixes = slice(0, len(after) - after.hosts)
    spread(after.take(prefixes), columns.direct[prefixes], after.take(touched), mask)
    return _Edit(columns, touched, mask, old)


def _remove(columns: _Columns, bit: np.unsignedinteger[Any], remove: Entries) -> None:
    """Clear the bit of the entries in *remove*; rows that no list holds any more go."""
    index, hit = locate(columns.entries, remove)
    held = index[hit]
    columns.direct[held] &= ~bit
    gone = held[columns.direct[held] == 0]
    if len(gone):
        columns.address = np.delete(columns.address, gone)
        columns.length = np.delete(columns.length, gone)
        columns.class_id = np.delete(columns.class_id, gone)
        columns.direct = np.delete(columns.direct, gone)


def _add(columns: _Columns, bit: np.unsignedinteger[Any], add: Entries) -> None:
    """Set the bit of the entries in *add*, with new rows where needed."""
    index, hit = locate(columns.entries, add)
    columns.direct[index[hit]] |= bit
    where, fresh = index[~hit], add.take(~hit)
    if len(fresh):
        columns.address = np.insert(columns.address, where, fresh.address)
        columns.length = np.insert(columns.length, where, fresh.length)
        columns.class_id = np.insert(columns.class_id, where, CLASS.type(0))
        columns.direct = np.insert(columns.direct, where, bit)


def _classes(registry: Registry, *tables: Table) -> dict[int, ClassDef]:
    used = {class_id for table in tables for class_id in np.flatnonzero(np.bincount(table.class_id)).tolist()}
    return {class_id: registry.defs[class_id] for class_id in with_rests(used, registry.defs)}
