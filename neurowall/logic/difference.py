# SPDX-License-Identifier: Apache-2.0
"""The steps from one kernel image to another during which no packet gets a verdict that neither of them has.

Order: put every new entry and every changed class, longest first, while all old entries are still there; then
delete every stale entry, shortest first.

Proof, for one address. The kernel takes the longest entry that covers it, m; o is the longest of the old
image, n of the new one.
- While putting, everything old is there, and of the new everything longer than the current length. If m
carries its
  new class, no longer new entry covers the address, since those are there already: m is n. Else m is an old
  entry as it was, and no longer old one covers the address, since none is gone: m is o.
- While deleting, everything new is there, and of the stale everything longer than the current length. If m
is of
  the new image, m is n. Else m is stale, a longer old entry would still be there, and m is o.
So m gives the old or the new verdict at every step, and steps of one length may come in any order, since
entries of one length are disjoint.

A packet under way may see one step and miss another, if both happen while it runs. That is harmless unless
the two concern the same address, so unless the entry of one covers that of the other, and the verdicts
differ. `rounds` joins lengths where that cannot be; between rounds the caller waits for a grace period.
A class with an end has a verdict that changes by itself, so it is taken to differ from every other class.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from neurowall.logic.cover import locate, strictly_covered, strictly_covering
from neurowall.model.entries import FAMILIES, Bools, Entries
from neurowall.model.image import ClassDef, Contents, Image, Table


@dataclass(frozen=True)
class Difference:
    """What to do, in order: set classes_added, put, delete.

    puts: new entries and those of another class, one table a family and length, longest first. deletes: stale
    entries, one set a family and length, shortest first. put_rounds and delete_rounds group the same tables
    and sets; a grace period belongs between rounds and after the last.
    """

    classes_added: tuple[ClassDef, ...]
    put_rounds: tuple[tuple[Table, ...], ...]
    delete_rounds: tuple[tuple[Entries, ...], ...]

    @property
    def puts(self) -> list[Table]:
        """All tables to put, in order."""
        return [table for group in self.put_rounds for table in group]

    @property
    def deletes(self) -> list[Entries]:
        """All entries to delete, in order."""
        return [entries for group in self.delete_rounds for entries in group]

    def __bool__(self) -> bool:
        return bool(self.put_rounds or self.delete_rounds)


def difference(
    old: Image | Contents, new: Image, old_classes: Mapping[int, ClassDef] | None = None
) -> Difference:
    """The steps from *old* to *new*.

    old_classes: what the ids of *old* mean, if it does not know itself; entries of an unknown id are taken
    to differ in verdict from everything.
    """
    known = old.classes if isinstance(old, Image) else (old_classes or {})
    added = tuple(d for i, d in sorted(new.classes.items()) if known.get(i) != d)
    verdicts = _verdicts(known) | _verdicts(new.classes)
    puts: list[list[Table]] = []
    deletes: list[list[Table]] = []
    for family in FAMILIES:
        put, delete = _changes(old.family(family), new.family(family))
        puts.append([put.take(rows) for _, rows in reversed(put.segments())])
        deletes.append([delete.take(rows) for _, rows in delete.segments()])
    return Difference(
        added,
        tuple(_merged([_rounds(tables, verdicts) for tables in puts])),
        tuple(
            tuple(table.entries for table in group)
            for group in _merged([_rounds(tables, verdicts) for tables in deletes])
        ),
    )


def isolated_stale(old: Contents | Image, new: Image) -> list[Entries]:
    """Stale entries that may go first, to make room: one set a family and length.

    No other old entry covers them, and no new one covers or is inside them. Without one of them its
    addresses have the verdict of the new image, "not listed", or of an older entry inside it: so what
    remains of the old image is itself an image with old and new verdicts only, and the proof above goes on
    from there.
    """
    free = []
    for family in FAMILIES:
        before, after = old.family(family).entries, new.family(family).entries
        stale = before.take(~locate(after, before)[1])
        apart = ~(
            strictly_covered(before, stale) | strictly_covered(after, stale) | strictly_covering(stale, after)
        )
        chosen = stale.take(apart)
        free += [chosen.take(rows) for _, rows in chosen.segments()]
    return free


def _changes(old: Table, new: Table) -> tuple[Table, Table]:
    """Rows of *new* to put, and rows of *old* to delete."""
    index, hit = locate(old.entries, new.entries)
    same = hit.copy()
    same[hit] = old.class_id[index[hit]] == new.class_id[hit]
    stays = np.zeros(len(old), np.bool_)
    stays[index[hit]] = True
    return new.take(~same), old.take(~stays)


def _verdicts(classes: Mapping[int, ClassDef]) -> dict[int, str]:
    """What packets of each class get; of a class with an end a word of its own."""
    return {i: f"as class {i}" if known.timed else known.verdict for i, known in classes.items()}


def _rounds(tables: Sequence[Table], verdicts: Mapping[int, str]) -> list[list[Table]]:
    """Join consecutive tables of one family while none conflicts with another of its round."""
    rounds: list[list[Table]] = []
    for table in tables:
        if rounds and not any(_conflict(table, other, verdicts) for other in rounds[-1]):
            rounds[-1].append(table)
        else:
            rounds.append([table])
    return rounds


def _conflict(one: Table, other: Table, verdicts: Mapping[int, str]) -> bool:
    """Whether entries of the two tables, each of one length, nest and differ in verdict."""
    outer, inner = (one, other) if one.length[0] < other.length[0] else (other, one)
    outer_verdicts, inner_verdicts = _split(outer, verdicts), _split(inner, verdicts)
    return any(
        verdict is None or verdict != inner_verdict
        for verdict, outer_rows in outer_verdicts.items()
        for inner_verdict, inner_rows in inner_verdicts.items()
        if (verdict is None or verdict != inner_verdict)
        and strictly_covered(outer.take(outer_rows).entries, inner.take(inner_rows).entries).any()
    )


def _split(table: Table, verdicts: Mapping[int, str]) -> dict[str | None, Bools]:
    """The rows of each verdict; those of unknown classes under None."""
    of_class = {int(i): verdicts.get(int(i)) for i in np.flatnonzero(np.bincount(table.class_id))}
    return {
        verdict: np.isin(table.class_id, [i for i, v in of_class.items() if v == verdict])
        for verdict in set(of_class.values())
    }


def _merged(families: Sequence[list[list[Table]]]) -> Iterator[tuple[Table, ...]]:
    """The rounds of all families side by side: an address is of one family only."""
    for number in range(max((len(rounds) for rounds in families), default=0)):
        yield tuple(table for rounds in families if number < len(rounds) for table in rounds[number])
