# SPDX-License-Identifier: Apache-2.0
"""Single entries that an operator blocks, allows or unblocks: reading them, and what became of them."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from neurowall.logic.classes import ListHead
from neurowall.logic.compile import Compiled
from neurowall.logic.cover import covered_rows, match
from neurowall.logic.results import AddressOutcome
from neurowall.model.address import Entry, InvalidEntry, parse_entry
from neurowall.model.entries import FAMILIES, EntrySet
from neurowall.model.errors import TEXT_LIMIT, ListInvalid, Problem
from neurowall.model.image import ClassDef, Table

Action = Literal["block", "allow", "unblock", "unallow"]


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


def outcomes(
    action: Action, entries: Sequence[Entry], changed: EntrySet, compiled: Compiled
) -> tuple[AddressOutcome, ...]:
    """What became of each entry; *changed* are those that the list did not hold, or no longer holds."""
    done = "removed" if action in ("unblock", "unallow") else "added"
    keys = {row[:3] for family in FAMILIES for row in changed.family(family).rows()}
    classes = _covering_classes(entries, compiled)
    return tuple(
        _outcome(action, entry, done if entry[:3] in keys else "unchanged", definition, compiled)
        for entry, definition in zip(entries, classes, strict=True)
    )


def _outcome(
    action: Action, entry: Entry, outcome: str, definition: ClassDef | None, compiled: Compiled
) -> AddressOutcome:
    verdict = definition.verdict if definition else None
    shadows = _members(definition, compiled.heads, "allow") if action == "block" and verdict == "pass" else ()
    blocks = (
        _members(definition, compiled.heads, "block") if action == "unblock" and verdict == "drop" else ()
    )
    other = {"block": "pass", "unblock": "drop"}.get(action)
    partly = _inside(entry, compiled, other) if other and verdict != other else ()
    return AddressOutcome(str(entry), outcome, verdict, shadows, blocks, partly)


def _members(definition: ClassDef | None, heads: Sequence[ListHead], verdict: str) -> tuple[str, ...]:
    members = definition.members if definition else frozenset()
    return tuple(head.name for head in heads if head.name in members and head.verdict == verdict)


def _covering_classes(entries: Sequence[Entry], compiled: Compiled) -> list[ClassDef | None]:
    """For each entry the class of the longest one that covers all of it."""
    found: list[ClassDef | None] = [None] * len(entries)
    for family in FAMILIES:
        table = compiled.family(family).table
        positions = [i for i, entry in enumerate(entries) if entry.family == family]
        wanted = [entries[i] for i in positions]
        addresses = np.array(
            [e.value if family == 4 else e.packed for e in wanted], dtype=table.address.dtype
        )
        lengths = np.array([e.length for e in wanted], dtype=np.uint8)
        for position, row in zip(positions, match(table.entries, addresses, lengths).tolist(), strict=True):
            if row >= 0:
                found[position] = compiled.registry.defs[int(table.class_id[row])]
    return found


def _inside(entry: Entry, compiled: Compiled, verdict: str) -> tuple[str, ...]:
    """The lists that give *verdict* to some entry strictly inside *entry*, in list order."""
    table = compiled.family(entry.family).table
    ids = {int(i) for i in np.unique(_classes_inside(entry, table))}
    names = {compiled.registry.defs[i].list for i in ids if compiled.registry.defs[i].verdict == verdict}
    return tuple(head.name for head in compiled.heads if head.name in names)


def _classes_inside(entry: Entry, table: Table) -> "np.ndarray":
    outer = EntrySet.from_entries([entry]).family(entry.family).address
    parts = [table.class_id[:0]]
    for length, rows in table.segments():
        if length > entry.length:
            _, inner = covered_rows(table.family, outer, entry.length, table.address[rows])
            parts.append(table.class_id[rows][inner])
    return np.concatenate(parts)
