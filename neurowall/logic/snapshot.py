# SPDX-License-Identifier: Apache-2.0
"""One complete change: what is intended, and the kernel image made of it; and what can be read from it."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

from neurowall.logic.compile import Compiled, NamedList
from neurowall.logic.cover import locate
from neurowall.logic.results import ListInfo, ListPage, Usage
from neurowall.logic.timed import Timetable
from neurowall.model.address import Entry, InvalidEntry, parse_entry
from neurowall.model.entries import FAMILIES, Entries, EntrySet
from neurowall.model.errors import ListInvalid, ListMissing
from neurowall.model.intent import HeldList, Intent, PolicyState
from neurowall.model.policy import Capacity


@dataclass(frozen=True)
class Snapshot:
    """A generation. Never changes, so questions are answered from it without a lock."""

    generation: int
    lists: tuple[HeldList, ...]
    compiled: Compiled
    policy: PolicyState = field(default_factory=PolicyState)

    @property
    def intent(self) -> Intent:
        """What is saved of it."""
        records = tuple(held.record for held in self.lists)
        return Intent(self.generation, records, self.compiled.registry.defs, self.policy)

    @cached_property
    def timetable(self) -> Timetable:
        """When its timed entries end."""
        return Timetable.of(self.lists)

    @cached_property
    def next_end(self) -> float | None:
        """The first end of a timed entry."""
        return self.timetable.next()

    def find(self, name: str) -> HeldList:
        """The list of that name. Raises ListMissing."""
        for held in self.lists:
            if held.record.name == name:
                return held
        names = ", ".join(held.record.name for held in self.lists)
        raise ListMissing(f"there is no list '{name[:60]}'; there are {names}")

    def with_lists(self, changed: Iterable[HeldList]) -> tuple[HeldList, ...]:
        """The lists with some of them changed; a new one comes after all others but the timed ones."""
        by_name = {held.record.name: held for held in changed}
        kept = [by_name.pop(held.record.name, held) for held in self.lists]
        last = next((i for i, held in enumerate(kept) if held.record.timed), len(kept))
        return (*kept[:last], *by_name.values(), *kept[last:])


class ListChange(NamedTuple):
    """A list as it will be, not stored yet, and the entries by which that differs from what is held."""

    held: HeldList
    add: EntrySet
    remove: EntrySet


def changed_list(held: HeldList, entries: EntrySet) -> HeldList:
    """The same list with other entries, not stored yet."""
    return replace(held, record=replace(held.record, sha256=""), entries=entries)


def named_lists(lists: tuple[HeldList, ...]) -> list[NamedList]:
    """The lists as the compiler takes them."""
    return [
        NamedList(held.record.name, held.record.verdict, held.entries, held.record.monitor) for held in lists
    ]


def same_lists(one: tuple[HeldList, ...], other: tuple[HeldList, ...]) -> bool:
    """Whether records and entries are the same, wherever they are stored."""
    return len(one) == len(other) and all(
        replace(a.record, sha256="") == replace(b.record, sha256="") and a.entries == b.entries
        for a, b in zip(one, other, strict=True)
    )


def count_changes(held: tuple[HeldList, ...], wanted: tuple[HeldList, ...]) -> tuple[int, int]:
    """Entries added and removed, over all lists."""
    old = {each.record.name: each.entries for each in held}
    new = {each.record.name: each.entries for each in wanted}
    empty = EntrySet.empty()
    names = {*old, *new}
    pairs = [(old.get(name, empty), new.get(name, empty)) for name in names]
    added = sum(len(after.minus(before)) for before, after in pairs if before is not after)
    removed = sum(len(before.minus(after)) for before, after in pairs if before is not after)
    return added, removed


def info_of(held: HeldList) -> ListInfo:
    """What to show of a list besides its entries."""
    record, entries = held.record, held.entries
    sizes = len(entries.v4), len(entries.v6)
    return ListInfo(record.name, record.verdict, record.origin, record.override, *sizes, record.monitor)


def page_of(held: HeldList, limit: int, after: str | None) -> ListPage:
    """At most *limit* entries that follow *after*, which need not be there. Raises ListInvalid."""
    if limit < 1:
        raise ListInvalid(f"limit {limit} is below 1")
    rows: list[Entry] = []
    ends: list[float | None] = []
    for family, start in _starts(held.entries, after):
        entries = held.entries.family(family).take(slice(start, start + limit + 1 - len(rows)))
        rows += list(entries.rows())
        ends += _ends(held, entries)
    texts = tuple(str(row) for row in rows[:limit])
    return ListPage(info_of(held), texts, texts[-1] if len(rows) > limit else None, tuple(ends[:limit]))


def _ends(held: HeldList, entries: Entries) -> list[float | None]:
    if not held.record.timed:
        return [None] * len(entries)
    terms = held.terms.family(entries.family)
    return [*terms.until[locate(terms.entries, entries)[0]].tolist()]


def usage_of(compiled: Compiled, capacity: Capacity) -> dict[str, Usage]:
    """How full the kernel maps are, by the names of the policy's capacities."""
    usage = {}
    for family in FAMILIES:
        entries = compiled.family(family).table.entries
        hosts = entries.hosts
        for what, used in (("hosts", hosts), ("prefixes", len(entries) - hosts)):
            name = f"{what}{family}"
            usage[name] = Usage(used, getattr(capacity, name))
    usage["classes"] = Usage(len(compiled.classes), capacity.classes - 1)
    return usage


def _starts(entries: EntrySet, after: str | None) -> list[tuple[int, int]]:
    """Where to begin in each family."""
    if after is None:
        return [(4, 0), (6, 0)]
    try:
        entry = parse_entry(after)
    except InvalidEntry as error:
        raise ListInvalid(f"after '{after[:60]}': {error}") from error
    rows = entries.family(entry.family)
    index, hit = locate(rows, EntrySet.from_entries([entry]).family(entry.family))
    start = int(index[0]) + int(hit[0])
    return [(4, start), (6, 0)] if entry.family == 4 else [(4, len(entries.v4)), (6, start)]
