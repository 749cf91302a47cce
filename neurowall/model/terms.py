# SPDX-License-Identifier: Apache-2.0
"""Until when timed entries hold, and what is remembered of those that ended."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from neurowall.model.entries import (
    Array,
    Bools,
    Entries,
    EntrySet,
    Indices,
    check_column,
    find,
    read_only,
)
from neurowall.model.image import UNTIL

TERM_COLUMNS = ("until", "ttl", "forget")


@dataclass(frozen=True, eq=False)
class Terms:
    """The terms of entries of one family, one row an entry.

    until: its end, Unix time in seconds. ttl: seconds that it was last given. forget: Unix time from which on
    another request for the entry counts as the first one; never before `until`. The columns are float64.
    """

    entries: Entries
    until: Array
    ttl: Array
    forget: Array

    def __post_init__(self) -> None:
        for name in TERM_COLUMNS:
            check_column(name, getattr(self, name), UNTIL, len(self.entries))
            object.__setattr__(self, name, read_only(getattr(self, name)))

    @classmethod
    def empty(cls, family: int) -> Self:
        """No entries."""
        none: Array = np.empty(0, UNTIL)
        return cls(Entries.empty(family), none, none, none)

    def __len__(self) -> int:
        return len(self.entries)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Terms)
            and self.entries == other.entries
            and all(np.array_equal(getattr(self, name), getattr(other, name)) for name in TERM_COLUMNS)
        )

    __hash__ = None  # type: ignore[assignment]

    def take(self, rows: slice | Bools | Indices) -> "Terms":
        """The chosen rows; *rows* must keep their order."""
        return Terms(self.entries.take(rows), self.until[rows], self.ttl[rows], self.forget[rows])

    def without(self, entries: Entries) -> "Terms":
        """The rows of other entries."""
        return self.take(~entries.contains(self.entries))

    def differing(self, other: "Terms") -> Entries:
        """The entries whose end is another than in *other*, or that it lacks."""
        index, hit = find(other.entries.keys, self.entries.keys)
        same = hit.copy()
        same[hit] = other.until[index[hit]] == self.until[hit]
        return self.entries.take(~same)

    def updated(self, changed: "Terms") -> "Terms":
        """These, with the rows of *changed* added or in place of those of the same entries."""
        kept = self.without(changed.entries)
        both = kept, changed
        entries = kept.entries.union(changed.entries)
        rows = [np.searchsorted(entries.keys, part.entries.keys) for part in both]
        columns = {name: np.empty(len(entries), UNTIL) for name in TERM_COLUMNS}
        for part, where in zip(both, rows, strict=True):
            for name in TERM_COLUMNS:
                columns[name][where] = getattr(part, name)
        return Terms(entries, **columns)


@dataclass(frozen=True)
class TermSet:
    """Terms of both families."""

    v4: Terms
    v6: Terms

    @classmethod
    def empty(cls) -> Self:
        """Nothing timed."""
        return cls(Terms.empty(4), Terms.empty(6))

    def family(self, family: int) -> Terms:
        """The terms of one family."""
        return self.v4 if family == 4 else self.v6

    def __len__(self) -> int:
        return len(self.v4) + len(self.v6)

    @property
    def entries(self) -> EntrySet:
        """The entries, also those that are only remembered."""
        return EntrySet(self.v4.entries, self.v6.entries)

    def of(self, entries: EntrySet) -> "TermSet":
        """The rows of *entries*."""
        v4, v6 = (t.take(e.contains(t.entries)) for t, e in ((self.v4, entries.v4), (self.v6, entries.v6)))
        return TermSet(v4, v6)

    def running(self, now: float) -> EntrySet:
        """The entries that have not ended by *now*."""
        v4, v6 = (part.entries.take(part.until > now) for part in (self.v4, self.v6))
        return EntrySet(v4, v6)

    def remembered(self, now: float) -> "TermSet":
        """The rows that are not forgotten by *now*."""
        return TermSet(self.v4.take(self.v4.forget > now), self.v6.take(self.v6.forget > now))

    def without(self, entries: EntrySet) -> "TermSet":
        """The rows of other entries."""
        return TermSet(self.v4.without(entries.v4), self.v6.without(entries.v6))

    def updated(self, changed: "TermSet") -> "TermSet":
        """These, with the rows of *changed* added or in place of those of the same entries."""
        return TermSet(self.v4.updated(changed.v4), self.v6.updated(changed.v6))


def columns_of(terms: Terms) -> dict[str, "np.ndarray[Any, Any]"]:
    """The columns besides the entries, by name: what is saved."""
    return {name: getattr(terms, name) for name in TERM_COLUMNS}
