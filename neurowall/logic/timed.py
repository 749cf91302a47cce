# SPDX-License-Identifier: Apache-2.0
"""Timed entries: how long a request makes them last, what the kernel is told of it, who decides when.

Pure; *now* is Unix time in seconds. An entry with an end is an entry of one of two lists that are compiled
like all others. Beside the tables the kernel has the ends, by entry: those of a row are the latest over all
timed entries that cover it, so its longest match is final.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from neurowall.logic.cover import locate, match, touched_rows
from neurowall.model.entries import FAMILIES, Array, Bools, Entries, EntrySet, clear_host_bits, find
from neurowall.model.errors import CapacityError
from neurowall.model.fields import TIMED_ALLOW, TIMED_BLOCK
from neurowall.model.image import CLASS, UNTIL, ClassDef, Expiries
from neurowall.model.intent import HeldList
from neurowall.model.policy import MAX_TIMED, Bans
from neurowall.model.terms import Terms, TermSet

AS_ASKED = Bans(repeat_factor=1, max_ttl="0s", memory="0s")  # what is asked, or what is left if that is more


# -- what a request makes of them


def renewed(held: TermSet, wanted: EntrySet, ttl: float, now: float, bans: Bans) -> TermSet:
    """The terms of *wanted* after a request for *ttl* seconds; longer where it is a re-offence, see Bans.

    What runs never ends earlier than before.
    """
    v4, v6 = (_renewed(held.family(f), wanted.family(f), ttl, now, bans) for f in FAMILIES)
    return TermSet(v4, v6)


def _renewed(held: Terms, wanted: Entries, ttl: float, now: float, bans: Bans) -> Terms:
    index, known = locate(held.entries, wanted)
    last, end, again = np.zeros(len(wanted)), np.zeros(len(wanted)), np.zeros(len(wanted), np.bool_)
    rows = index[known]
    last[known], end[known], again[known] = held.ttl[rows], held.until[rows], held.forget[rows] > now
    grown = np.minimum(last * bans.repeat_factor, bans.max_ttl_seconds)
    given = np.where(again, np.maximum(ttl, grown), ttl)
    until = np.where(again, np.maximum(end, now + given), now + given)
    return Terms(wanted, until, given, until + bans.memory_seconds)


# -- what the kernel is told


@dataclass(frozen=True)
class Timetable:
    """The terms of all timed entries in force."""

    allow: TermSet
    block: TermSet

    @classmethod
    def of(cls, lists: Iterable[HeldList]) -> "Timetable":
        """From all lists."""
        terms = {held.record.name: held.terms.of(held.entries) for held in lists if held.record.timed}
        return cls(terms.get(TIMED_ALLOW, TermSet.empty()), terms.get(TIMED_BLOCK, TermSet.empty()))

    @classmethod
    def empty(cls) -> Self:
        """Nothing timed."""
        return cls(TermSet.empty(), TermSet.empty())

    def rows(self, family: int) -> Entries:
        """Every entry that has an end."""
        return self.allow.family(family).entries.union(self.block.family(family).entries)

    def at(self, rows: Entries) -> Expiries:
        """The expiries of any rows: the latest end of each kind among the timed entries that cover each."""
        allow, block = (latest(part.family(rows.family), rows) for part in (self.allow, self.block))
        return Expiries(rows.family, rows.address, rows.length, allow, block)

    def next(self) -> float | None:
        """The first end, None if there is none."""
        columns = [part.family(f).until for part in (self.allow, self.block) for f in FAMILIES]
        return min((float(column.min()) for column in columns if len(column)), default=None)


def check_room(timetable: Timetable) -> None:
    """Raise CapacityError if more entries end by themselves than the kernel has room for."""
    for family in FAMILIES:
        rows = timetable.rows(family)
        for kind, count in (("hosts", rows.hosts), ("prefixes", len(rows) - rows.hosts)):
            if count > MAX_TIMED:
                more = len(timetable.block.family(family)) >= len(timetable.allow.family(family))
                name = TIMED_BLOCK if more else TIMED_ALLOW
                raise CapacityError(f"timed {kind}{family}", MAX_TIMED, count, name)


def latest(terms: Terms, rows: Entries) -> Array:
    """For each row the latest end of the terms that cover it, 0.0 where none does."""
    end: Array = np.zeros(len(rows), UNTIL)
    for length, outer in terms.entries.segments():
        inside = rows.length >= length
        address = clear_host_bits(rows.family, rows.address[inside], length)
        index, hit = find(terms.entries.address[outer], address)
        where = np.flatnonzero(inside)[hit]
        end[where] = np.maximum(end[where], terms.until[outer][index[hit]])
    return end


@dataclass(frozen=True)
class Found:
    """The expiries that the kernel holds."""

    v4: Expiries
    v6: Expiries

    def rows(self, family: int) -> Entries:
        """Every entry that has an end."""
        return (self.v4 if family == 4 else self.v6).entries

    def at(self, rows: Entries) -> Expiries:
        """The expiries of any rows: those of the longest that covers each."""
        held = self.v4 if rows.family == 4 else self.v6
        found = match(held.entries, rows.address, rows.length)
        hit = found >= 0
        allow, block = np.zeros(len(rows), UNTIL), np.zeros(len(rows), UNTIL)
        allow[hit], block[hit] = held.allow_until[found[hit]], held.block_until[found[hit]]
        return Expiries(rows.family, rows.address, rows.length, allow, block)


@dataclass(frozen=True)
class TimeSteps:
    """How the kernel's expiries change around a change of its tables.

    raised is put before, with the later of the old and the new ends; lowered, the new ends, and gone after
    the last packet that may use the old tables. So while they change every address has the later of its old
    and its new ends, and a change of one kind of entries gives no address a third verdict.
    """

    raised: tuple[Expiries, ...] = ()
    lowered: tuple[Expiries, ...] = ()
    gone: tuple[Entries, ...] = ()


def time_steps(
    old: Timetable | Found, new: Timetable | Found, changed: Mapping[int, Entries] | None = None
) -> TimeSteps:
    """The steps from some expiries to others; each of their parts has one family and one length.

    changed, by family: the only entries in which the two differ.
    """
    raised, lowered, gone = list[Expiries](), list[Expiries](), list[Entries]()
    for family in FAMILIES:
        before, after = old.rows(family), new.rows(family)
        if changed is not None:
            before, after = (rows.take(touched_rows(rows, changed[family])) for rows in (before, after))
        both = before.union(after)
        held, wanted = old.at(both), new.at(both)
        highest = Expiries(
            family,
            both.address,
            both.length,
            np.maximum(held.allow_until, wanted.allow_until),
            np.maximum(held.block_until, wanted.block_until),
        )
        raised += _by_length(highest, ~before.contains(both) | _differ(highest, held))
        lowered += _by_length(wanted, after.contains(both) & _differ(highest, wanted))
        left = before.minus(after)
        gone += [left.take(rows) for _, rows in left.segments()]
    return TimeSteps(tuple(raised), tuple(lowered), tuple(gone))


def _differ(one: Expiries, other: Expiries) -> Bools:
    return np.asarray((one.allow_until != other.allow_until) | (one.block_until != other.block_until))


def _by_length(expiries: Expiries, chosen: Bools) -> list[Expiries]:
    part = expiries.take(chosen)
    return [part.take(rows) for _, rows in part.entries.segments()]


# -- who decides


def deciding(class_id: Array, ends: Expiries, defs: Mapping[int, ClassDef], now: float) -> Array:
    """The class that decides for each row at *now*, 0 where all that covered it has ended.

    class_id: the row's class in the table; ends: its expiries.
    """
    result = np.array(class_id, CLASS)
    until = {"allow": ends.allow_until, "block": ends.block_until}
    while True:
        before = result.copy()
        for held in np.flatnonzero(np.bincount(before)).tolist():
            known = defs.get(held)
            if known and known.timed:
                result[(before == held) & (until[known.timed] <= now)] = known.rest
        if np.array_equal(result, before):
            return result
