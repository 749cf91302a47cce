# SPDX-License-Identifier: Apache-2.0
"""Whether the rows of an audit are the ones that were written: all of them, unchanged, in their order."""

import json
from collections.abc import Sequence

from neurowall.model.audit import AuditRow, Head, Verification

OURSELVES = "neurowall"  # the actor of rows that nobody asked for
PRUNED = "audit-prune"
BEGUN_ANEW = "audit-anew"


class Check:
    """Takes rows in their order, from behind *point* (where the chain was pruned) up to *head*."""

    def __init__(self, point: Head, head: Head) -> None:
        self.last = point
        self._point, self._head = point, head
        self._told = Head()  # where the chain says that it was pruned
        self._rows = 0
        self._wrong = ""
        self._note = ""

    def wants_more(self) -> bool:
        """Whether there should be rows that were not taken."""
        return not self._wrong and self.last.id < self._head.id

    def take(self, rows: Sequence[AuditRow]) -> None:
        """The next rows; none at all means that the rest is missing."""
        if not rows:
            self._wrong = _missing(self.last.id + 1, self._head.id)
        for row in rows:
            if row.id > self._head.id:
                break
            self._wrong = self._look(row)
            if self._wrong:
                break
            self.last, self._rows = Head(row.id, row.hash), self._rows + 1

    def verdict(self, note: str) -> Verification:
        """What was found. *note*: what else is known."""
        notes = "; ".join(each for each in (note, self._note) if each)
        if not self._wrong and self.last.hash != self._head.hash:
            self._wrong = f"row {self._head.id} is not the one that was written"
            return Verification(False, self._rows, self._head.id, self._wrong, self._head, notes)
        if not self._wrong and self._told != self._point:
            told = f"of row {self._told.id}" if self._told.id else "of none"
            self._wrong = f"it begins behind row {self._point.id} and tells {told}: older rows were taken out"
            return Verification(False, self._rows, self._point.id, self._wrong, self._head, notes)
        bad = self.last.id + 1 if self._wrong else None
        return Verification(bad is None, self._rows, bad, self._wrong, self._head, notes)

    def _look(self, row: AuditRow) -> str:
        if row.id != self.last.id + 1:
            return _missing(self.last.id + 1, row.id - 1)
        if row.prev != self.last.hash:
            return f"row {row.id} does not follow the one before it: one of the two was changed"
        if row.hash != row.chained():
            return f"row {row.id} was changed"
        if row.actor == OURSELVES and row.action in (PRUNED, BEGUN_ANEW):
            told = json.loads(row.detail)
            self._told = Head(told["through"], told["hash"])
            if row.action == BEGUN_ANEW:
                self._note = (
                    f"the database was begun anew behind row {told['through']}: older rows are not in it"
                )
        return ""


def _missing(first: int, last: int) -> str:
    return f"row {first} is missing" if first >= last else f"rows {first} to {last} are missing"
