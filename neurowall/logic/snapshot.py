# SPDX-License-Identifier: Apache-2.0
"""One complete change: what is intended, and the kernel image made of it; and what can be read from it."""

from dataclasses import dataclass, replace

from neurowall.logic.compile import Compiled, NamedList
from neurowall.logic.cover import locate
from neurowall.logic.results import ListInfo, ListPage, Usage
from neurowall.model.address import Entry, InvalidEntry, parse_entry
from neurowall.model.entries import FAMILIES, EntrySet
from neurowall.model.errors import ListInvalid, ListMissing
from neurowall.model.intent import HeldList, Intent
from neurowall.model.policy import Capacity


@dataclass(frozen=True)
class Snapshot:
    """A generation. Never changes, so questions are answered from it without a lock."""

    generation: int
    lists: tuple[HeldList, ...]
    compiled: Compiled

    @property
    def intent(self) -> Intent:
        """What is saved of it."""
        records = tuple(held.record for held in self.lists)
        return Intent(self.generation, records, self.compiled.registry.defs)

    def find(self, name: str) -> HeldList:
        """The list of that name. Raises ListMissing."""
        for held in self.lists:
            if held.record.name == name:
                return held
        names = ", ".join(held.record.name for held in self.lists)
        raise ListMissing(f"there is no list '{name[:60]}'; there are {names}")

    def with_list(self, changed: HeldList) -> tuple[HeldList, ...]:
        """The lists with one of them changed, or added at the end."""
        if all(held.record.name != changed.record.name for held in self.lists):
            return (*self.lists, changed)
        return tuple(changed if held.record.name == changed.record.name else held for held in self.lists)


def changed_list(held: HeldList, entries: EntrySet) -> HeldList:
    """The same list with other entries, not stored yet."""
    return HeldList(replace(held.record, sha256=""), entries)


def named_lists(lists: tuple[HeldList, ...]) -> list[NamedList]:
    """The lists as the compiler takes them."""
    return [NamedList(held.record.name, held.record.verdict, held.entries) for held in lists]


def info_of(held: HeldList) -> ListInfo:
    """What to show of a list besides its entries."""
    record, entries = held.record, held.entries
    return ListInfo(
        record.name, record.verdict, record.origin, record.override, len(entries.v4), len(entries.v6)
    )


def page_of(held: HeldList, limit: int, after: str | None) -> ListPage:
    """At most *limit* entries that follow *after*, which need not be there. Raises ListInvalid."""
    if limit < 1:
        raise ListInvalid(f"limit {limit} is below 1")
    rows: list[Entry] = []
    for family, start in _starts(held.entries, after):
        entries = held.entries.family(family)
        rows += list(entries.take(slice(start, start + limit + 1 - len(rows))).rows())
    texts = tuple(str(row) for row in rows[:limit])
    return ListPage(info_of(held), texts, texts[-1] if len(rows) > limit else None)


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
