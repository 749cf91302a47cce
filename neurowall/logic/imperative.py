# SPDX-License-Identifier: Apache-2.0
"""Single entries that an operator blocks, allows or unblocks: reading them, and what became of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np

from neurowall.logic.cover import covered_rows, match
from neurowall.logic.results import AddressOutcome
from neurowall.logic.snapshot import ListChange, Snapshot, changed_list
from neurowall.logic.timed import AS_ASKED, deciding, renewed
from neurowall.model.address import BITS, Entry, InvalidEntry, parse_entry
from neurowall.model.entries import FAMILIES, Array, Entries, EntrySet, Indices
from neurowall.model.errors import TEXT_LIMIT, ListInvalid, Problem
from neurowall.model.fields import OPERATOR_ALLOW, OPERATOR_BLOCK, TIMED_ALLOW, TIMED_BLOCK
from neurowall.model.image import CLASS, ClassDef, Table
from neurowall.model.intent import HeldList
from neurowall.model.policy import Bans
from neurowall.model.terms import TermSet

Action = Literal["block", "allow", "unblock", "unallow"]
Key = tuple[int, int, int]  # family, address, length

_BLOCKS, _ALLOWS = (OPERATOR_BLOCK, TIMED_BLOCK), (OPERATOR_ALLOW, TIMED_ALLOW)
_LISTS: dict[Action, tuple[str, str]] = {
    "block": _BLOCKS,
    "unblock": _BLOCKS,
    "allow": _ALLOWS,
    "unallow": _ALLOWS,
}


class Term(NamedTuple):
    """How long to block or allow, in seconds, and what a re-offence makes of it."""

    ttl: float
    bans: Bans


def read_addresses(addresses: Sequence[str]) -> list[Entry]:
    """The distinct entries in the order given, host bits cleared. Raises ListInvalid naming those refused."""
    entries: dict[tuple[int, int, int], Entry] = {}
    problems = []
    for position, text in enumerate(addresses, 1):
        try:
            entry = parse_entry(text.strip())
        except InvalidEntry as error:
            problems.append(Problem(position, text[:TEXT_LIMIT], str(error)))
            continue
        entries.setdefault(entry[:3], entry)
    if problems:
        named = "; ".join(f"'{problem.text}': {problem.why}" for problem in problems[:3])
        more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
        raise ListInvalid(f"nothing was changed: {named}{more}", problems)
    if not entries:
        raise ListInvalid("nothing was changed: no address was given")
    return list(entries.values())


@dataclass(frozen=True)
class Plan:
    """What a request comes to: lists that change; for each entry the outcome and when it ends, or would."""

    changes: tuple[ListChange, ...]
    outcomes: tuple[str, ...]
    ends: tuple[float | None, ...]


def plan(action: Action, entries: Sequence[Entry], now: Snapshot, term: Term | None, clock: float) -> Plan:
    """Add *entries* to the built-in lists, until the end of the *term* if there is one, or remove them.

    Pure. An entry is in one of the two lists of its kind only: what is permanent stays so, and what is timed
    can become it. What is removed is not remembered either.
    """
    permanent, timed = (now.find(name) for name in _LISTS[action])
    wanted = EntrySet.from_entries(entries)
    if term:
        return _plan_timed(action, entries, (permanent, timed), term, clock)
    missing = wanted.minus(permanent.entries)
    adding = action in ("block", "allow")
    done = missing if adding else wanted.minus(missing)
    nothing = EntrySet.empty()
    changes = [_changed(permanent, *((done, nothing) if adding else (nothing, done)))] if len(done) else []
    held = timed.terms.of(wanted)
    running = _ends(held, clock)
    if len(held):
        gone = wanted.minus(wanted.minus(timed.entries))
        terms, left = timed.terms.without(wanted), timed.entries.minus(gone)
        changes.append(ListChange(_with_terms(timed, terms, left), nothing, gone))
    changed = _keys(done) | (set() if adding else {entry[:3] for entry in entries} & running.keys())
    word = "added" if adding else "removed"
    return Plan(
        tuple(changes),
        tuple(word if entry[:3] in changed else "unchanged" for entry in entries),
        tuple(None if adding else running.get(entry[:3]) for entry in entries),
    )


def _plan_timed(
    action: Action, entries: Sequence[Entry], lists: tuple[HeldList, HeldList], term: Term, clock: float
) -> Plan:
    permanent, timed = lists
    wanted = EntrySet.from_entries(entries).minus(permanent.entries)
    given = renewed(timed.terms, wanted, term.ttl, clock, term.bans if action == "block" else AS_ASKED)
    moved = EntrySet(*(given.family(f).differing(timed.terms.family(f)) for f in FAMILIES))
    terms = timed.terms.updated(given.of(moved))
    add = moved.minus(timed.entries)
    changes = (ListChange(_with_terms(timed, terms, timed.entries.union(add)), add, EntrySet.empty()),)
    before, after = _keys(timed.terms.of(wanted).remembered(clock).entries), _ends(given, clock)
    changed = _keys(moved)
    return Plan(
        changes if len(moved) else (),
        tuple(
            ("extended" if entry[:3] in before else "added") if entry[:3] in changed else "unchanged"
            for entry in entries
        ),
        tuple(after.get(entry[:3]) for entry in entries),
    )


def ended(held: HeldList, clock: float) -> ListChange | None:
    """The change that takes out what ended, and forgets what is not remembered; None if nothing ended."""
    gone = held.entries.minus(held.terms.running(clock))
    if not len(gone):
        return None
    terms = held.terms.remembered(clock)
    return ListChange(_with_terms(held, terms, held.entries.minus(gone)), EntrySet.empty(), gone)


def _changed(held: HeldList, add: EntrySet, remove: EntrySet) -> ListChange:
    return ListChange(changed_list(held, held.entries.minus(remove).union(add)), add, remove)


def _with_terms(held: HeldList, terms: TermSet, entries: EntrySet) -> HeldList:
    return replace(changed_list(held, entries), terms=terms)


def _keys(entries: EntrySet) -> set[Key]:
    return {row[:3] for family in FAMILIES for row in entries.family(family).rows()}


def _ends(terms: TermSet, clock: float) -> dict[Key, float]:
    """The end of each entry that has not ended."""
    return {
        row[:3]: until
        for part in (terms.v4, terms.v6)
        for row, until in zip(part.entries.rows(), part.until.tolist(), strict=True)
        if until > clock
    }


def outcomes(
    action: Action, entries: Sequence[Entry], made: Plan, now: Snapshot, clock: float
) -> tuple[AddressOutcome, ...]:
    """What became of each entry; *now* is after the change."""
    around = _Around(now, clock)
    deciding_classes = around.covering(entries)
    return tuple(
        replace(_outcome(action, entry, definition, around), outcome=outcome, expires=end)
        for entry, definition, outcome, end in zip(
            entries, deciding_classes, made.outcomes, made.ends, strict=True
        )
    )


def _outcome(action: Action, entry: Entry, definition: ClassDef | None, around: "_Around") -> AddressOutcome:
    verdict = definition.verdict if definition and definition.verdict != "none" else None
    shadows = around.members(definition, "allow") if action == "block" and verdict == "pass" else ()
    blocks = around.members(definition, "block") if action == "unblock" and verdict == "drop" else ()
    other = {"block": "pass", "unblock": "drop"}.get(action)
    partly = around.inside(entry, other) if other and verdict != other else ()
    return AddressOutcome(str(entry), "unchanged", verdict, shadows, blocks, partly)


class _Around:
    """Which classes decide around entries, at one moment."""

    def __init__(self, now: Snapshot, clock: float) -> None:
        self._now = now
        self._compiled = now.compiled
        self._clock = clock

    def members(self, definition: ClassDef | None, verdict: str) -> tuple[str, ...]:
        """The lists of one verdict, other than monitor lists, that cover an entry of this class."""
        members = definition.members if definition else frozenset()
        return tuple(
            head.name
            for head in self._compiled.heads
            if head.name in members and head.verdict == verdict and not head.monitor
        )

    def covering(self, entries: Sequence[Entry]) -> list[ClassDef | None]:
        """For each entry the class that decides for all of it."""
        found: list[ClassDef | None] = [None] * len(entries)
        wanted = EntrySet.from_entries(entries)
        for family in FAMILIES:
            rows, table = wanted.family(family), self._compiled.family(family).table
            held = match(table.entries, rows.address, rows.length)
            ids = np.zeros(len(rows), CLASS)
            ids[held >= 0] = table.class_id[held[held >= 0]]
            ids = self._deciding(ids, rows)
            by_key = {row[:3]: int(i) for row, i in zip(rows.rows(), ids.tolist(), strict=True)}
            for place, entry in enumerate(entries):
                if entry.family == family:
                    found[place] = self._compiled.registry.defs.get(by_key[entry[:3]])
        return found

    def inside(self, entry: Entry, verdict: str) -> tuple[str, ...]:
        """The lists that give *verdict* to some entry strictly inside *entry*, in list order."""
        if entry.length == BITS[entry.family]:
            return ()
        table, defs = self._compiled.family(entry.family).table, self._compiled.registry.defs
        rows = _rows_inside(entry, table)
        ids = np.flatnonzero(np.bincount(self._deciding(table.class_id[rows], table.entries.take(rows))))
        names = {defs[i].list for i in ids.tolist() if i and defs[i].verdict == verdict}
        return tuple(head.name for head in self._compiled.heads if head.name in names)

    def _deciding(self, class_id: Array, rows: Entries) -> Array:
        defs = self._compiled.registry.defs
        used = np.flatnonzero(np.bincount(class_id)).tolist()
        if not any(defs[i].timed for i in used if i):
            return class_id
        return deciding(class_id, self._now.timetable.at(rows), defs, self._clock)


def _rows_inside(entry: Entry, table: Table) -> Indices:
    outer = EntrySet.from_entries([entry]).family(entry.family).address
    parts = [np.empty(0, np.intp)]
    for length, rows in table.segments():
        if length > entry.length:
            _, inner = covered_rows(table.family, outer, entry.length, table.address[rows])
            parts.append(inner + rows.start)
    return np.concatenate(parts)
