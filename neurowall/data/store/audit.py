# SPDX-License-Identifier: Apache-2.0
"""The audit: rows in a chain of hashes, one chain a node.

Rows are written by the writer's thread alone, which knows the head. So a tail that is cut while the daemon
runs shows: the next row follows the one that is not there. The head is kept in a file too, for a tail that is
cut while it does not run. Old rows are pruned behind a checkpoint, and a row in the chain says so: a
checkpoint that nobody wrote is found.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from typing import Any

from sqlalchemy import Connection, Select, and_, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from neurowall.data.store import schema
from neurowall.data.store.chaincheck import BEGUN_ANEW, OURSELVES, PRUNED, Check
from neurowall.data.store.headfile import HeadFile
from neurowall.data.store.lane import Lane
from neurowall.data.store.notes import NoteBudget
from neurowall.model.audit import (
    TEXT,
    Act,
    AuditFilter,
    AuditPage,
    AuditRow,
    Entry,
    Head,
    Outcome,
    Phase,
    Verification,
    detail_json,
    plain,
)
from neurowall.model.errors import StorageUnavailable

QUEUE = 10_000  # rows that wait for the database; while there are so many no change begins
_PAGE = 2_000  # rows that are verified in one transaction
_TABLE, _POINTS = schema.audit, schema.audit_checkpoints

log = logging.getLogger(__name__)


class Audit:
    """One node's audit. Methods raise StorageUnavailable where they do not say that they never raise."""

    def __init__(
        self,
        node: str,
        writer: Lane,
        reader: Lane,
        head_file: HeadFile,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._node, self._writer, self._reader, self._clock = node, writer, reader, clock
        self._head_file = head_file
        self._budget = NoteBudget(time.monotonic)
        self._head = Head()  # committed
        self._tip = Head()  # of the transaction that is open
        self._is_known = False  # whether the head is that of the database
        self._note = ""  # what was found when the chain was opened
        self.lost = 0  # notes and facts that were not written, since too many waited

    # -- what the API calls

    def begin(self, act: Act) -> Entry:
        """Write that a change begins, or raise StorageUnavailable: then it must not be made."""
        if self.queued >= QUEUE:
            raise StorageUnavailable(f"{self.queued:,} rows of the audit wait to be written: try again")
        when = self._clock()

        def work(connection: Connection) -> int:
            return self._append(connection, "begin", act, None, when=when).id

        def orphaned(row: int) -> None:
            why = {"why": "storage was too slow; the change was refused"}
            self.end(Entry(row, act), Outcome("refused", detail=why))

        return Entry(self._writer.run(self._again_if_moved(work), orphaned), act)

    def end(self, entry: Entry, outcome: Outcome) -> None:
        """Write what became of a change. Never raises or waits; written when the database can."""
        self._later("end", entry.act, outcome, entry.id)

    def note(self, act: Act, outcome: Outcome) -> None:
        """Write what is no change, as far as its kind's budget allows. Never raises or waits."""
        suppressed = self._budget.take(act.action)
        if suppressed is None:
            return
        if suppressed:
            act = replace(act, detail={**act.detail, "suppressed": suppressed})
        self.fact(act, outcome)

    def fact(self, act: Act, outcome: Outcome) -> None:
        """Write what happened though no request asked for it, each time. Never raises or waits.

        Only for what nobody from outside can bring about.
        """
        if self.queued >= QUEUE:
            self.lost += 1
            return
        self._later("note", act, outcome)

    @property
    def queued(self) -> int:
        """How many rows wait to be written."""
        return self._writer.waiting(first=True)

    def page(self, limit: int, after: int | None = None, which: AuditFilter | None = None) -> AuditPage:
        """Up to *limit* of this node's rows, newest first; *after*: only older ones than this id."""
        which = which or AuditFilter()
        asked = {"actor": which.actor, "action": which.action, "result": which.result}
        wanted = [_TABLE.c.node == self._node]
        wanted += [_TABLE.c[name] == value for name, value in asked.items() if value is not None]
        if after is not None:
            wanted.append(_TABLE.c.id < after)
        self._writer.catch_up()
        query = select(_TABLE).where(and_(*wanted)).order_by(_TABLE.c.id.desc()).limit(limit + 1)
        rows = self._reader.run(partial(_rows, query))
        return AuditPage(tuple(rows[:limit]), rows[limit - 1].id if len(rows) > limit else None)

    def verify(self) -> Verification:
        """Check the whole chain, against the head that this daemon and the file know."""
        for _ in range(3):
            found = self._walk()
            if found is not None:
                return found
        raise StorageUnavailable("the audit is being pruned: verify it again")

    # -- in the writer's thread

    def open(self, connection: Connection, *, is_new: bool) -> None:
        """Find the end of the chain; with each new connection. is_new: the database was just made."""
        last = connection.execute(self._newest()).first()
        stored = Head(last.id, last.hash) if last else self._checkpoint(connection)
        kept = self._head if self._is_known else self._head_file.read(self._node)
        self._is_known = True
        if kept is None:
            self._head = stored
            if stored.id:
                self._note = "the file of the chain's head was not there when the daemon started"
        elif stored.id >= kept.id and self._follows(connection, kept):
            self._head = stored  # written by us, though we were not told
        else:
            # The next row follows what should be there, so that the gap shows for ever.
            self._head = kept
            log.error("audit: the row %d that was written last is not in the database", kept.id)
        self._tip = self._head
        if self._head.id and is_new:
            self._begin_anew(connection)

    def settle(self, committed: bool) -> None:  # noqa: FBT001 - a hook
        """After each transaction: what was appended is the head, or never was."""
        if not committed:
            self._tip = self._head
        elif self._tip != self._head:
            self._head = self._tip
            self._head_file.write(self._node, self._head)

    def close_open_ends(self, connection: Connection) -> None:
        """Changes that an earlier daemon began and did not end: nobody will; once, at the start."""
        ended = select(_TABLE.c.begin).where(_TABLE.c.node == self._node, _TABLE.c.phase == "end")
        wanted = (_TABLE.c.node == self._node) & (_TABLE.c.phase == "begin") & _TABLE.c.id.not_in(ended)
        why = {"why": "the daemon ended before this was written"}
        for row in _rows(select(_TABLE).where(wanted).order_by(_TABLE.c.id), connection):
            act = Act(row.action, row.actor, row.source, row.target, row.request_id, row.before)
            outcome = Outcome("unknown", detail=why)
            self._append(connection, "end", act, outcome, begin=row.id, when=self._clock(), late=True)

    def prune(self, connection: Connection, keep: int, batch: int) -> int:
        """Delete all rows behind the last *keep*, if those are *batch* or more; how many it deleted."""
        point = self._checkpoint(connection)
        through = self._tip.id - keep
        if through - point.id < batch:
            return 0
        row = connection.execute(
            select(_TABLE.c.id, _TABLE.c.hash)
            .where(_TABLE.c.node == self._node, _TABLE.c.id <= through)
            .order_by(_TABLE.c.id.desc())
            .limit(1)
        ).first()
        if row is None:
            return 0
        now = self._clock()
        told = {"through": row.id, "hash": row.hash}
        self._append(connection, "note", Act(PRUNED, OURSELVES, detail=told), Outcome("ok"), when=now)
        self._point(connection, Head(row.id, row.hash), now)
        gone = delete(_TABLE).where(_TABLE.c.node == self._node, _TABLE.c.id <= row.id)
        return connection.execute(gone).rowcount

    # -- inside

    def _later(self, phase: Phase, act: Act, outcome: Outcome, begin: int | None = None) -> None:
        when, failures, was_down = self._clock(), self._writer.failures, self._writer.problem is not None

        def work(connection: Connection) -> None:
            # Tried before, and perhaps committed though we were told otherwise.
            late = was_down or self._writer.failures != failures
            if begin is not None and late and self._has_end(connection, begin):
                return
            self._append(connection, phase, act, outcome, begin=begin, when=when, late=late)

        self._writer.later(self._again_if_moved(work), first=True)

    def _again_if_moved(self, work: Callable[[Connection], Any]) -> Callable[[Connection], Any]:
        """*work*, and once more if somebody else wrote to this node's chain."""

        def guarded(connection: Connection) -> Any:
            before = self._tip
            try:
                with connection.begin_nested():
                    return work(connection)
            except IntegrityError:
                last = connection.execute(self._newest()).first()
                if last is None or last.id <= self._head.id:
                    raise
                log.error(  # noqa: TRY400 - no trace
                    "audit: another daemon writes as node %s: give each a name of its own", self._node
                )
                self._tip = Head(last.id, last.hash)
                if before == self._tip:
                    raise
                return work(connection)

        return guarded

    def _append(
        self,
        connection: Connection,
        phase: Phase,
        act: Act,
        outcome: Outcome | None,
        *,
        begin: int | None = None,
        when: float,
        late: bool = False,
    ) -> AuditRow:
        row = AuditRow(
            node=self._node,
            id=self._tip.id + 1,
            when=round(when, 6),
            phase=phase,
            begin=begin,
            request_id=plain(act.request_id, 64),
            actor=plain(act.actor, 120),
            source=plain(act.source, 64),
            action=plain(act.action, 64),
            target=plain(act.target, TEXT),
            before=act.before,
            after=outcome.after if outcome else None,
            result=outcome.result if outcome else None,
            status=outcome.status if outcome else None,
            late=late,
            detail=detail_json({**act.detail, **outcome.detail} if outcome else act.detail),
            prev=self._tip.hash,
        )
        row = replace(row, hash=row.chained())
        connection.execute(insert(_TABLE).values(**asdict(row)))
        self._tip = Head(row.id, row.hash)
        return row

    def _newest(self) -> Any:
        mine = select(_TABLE.c.id, _TABLE.c.hash).where(_TABLE.c.node == self._node)
        return mine.order_by(_TABLE.c.id.desc()).limit(1)

    def _has_end(self, connection: Connection, begin: int) -> bool:
        mine = (_TABLE.c.node == self._node) & (_TABLE.c.id > begin)
        found = select(_TABLE.c.id).where(mine & (_TABLE.c.phase == "end") & (_TABLE.c.begin == begin))
        return connection.execute(found.limit(1)).first() is not None

    def _follows(self, connection: Connection, head: Head) -> bool:
        """Whether the database holds this head, or has pruned it."""
        if head.id == 0 or head.id < self._checkpoint(connection).id:
            return True
        if head == self._checkpoint(connection):
            return True
        mine = (_TABLE.c.node == self._node) & (_TABLE.c.id == head.id)
        return connection.execute(select(_TABLE.c.hash).where(mine)).scalar_one_or_none() == head.hash

    def _checkpoint(self, connection: Connection) -> Head:
        row = connection.execute(select(_POINTS).where(_POINTS.c.node == self._node)).first()
        return Head(row.id, row.hash) if row else Head()

    def _begin_anew(self, connection: Connection) -> None:
        """A new database in the place of one that held a chain: say so in the first row."""
        told = {"through": self._head.id, "hash": self._head.hash}
        self._point(connection, self._head, self._clock())
        act = Act(BEGUN_ANEW, OURSELVES, detail=told)
        self._append(connection, "note", act, Outcome("ok"), when=self._clock())

    def _point(self, connection: Connection, head: Head, when: float) -> None:
        """Move the checkpoint."""
        values = {"id": head.id, "hash": head.hash, "when": when}
        mine = _POINTS.c.node == self._node
        if not connection.execute(update(_POINTS).where(mine).values(values)).rowcount:
            connection.execute(insert(_POINTS).values(node=self._node, **values))

    def _walk(self) -> Verification | None:
        """Check all rows; None if some were pruned meanwhile."""
        point = self._reader.run(self._checkpoint)
        if not self._is_known:
            raise StorageUnavailable(self._writer.problem or "the audit is not open yet: try again")
        check = Check(
            point, self._head
        )  # known after the checkpoint: what is written meanwhile is not judged
        while check.wants_more():
            rows = self._reader.run(lambda connection: self._next(connection, check.last.id))
            check.take(rows)
        if self._reader.run(self._checkpoint) != point:
            return None
        return check.verdict(self._note)

    def _next(self, connection: Connection, after: int) -> list[AuditRow]:
        mine = (_TABLE.c.node == self._node) & (_TABLE.c.id > after)
        return _rows(select(_TABLE).where(mine).order_by(_TABLE.c.id).limit(_PAGE), connection)


def _rows(query: "Select[Any]", connection: Connection) -> list[AuditRow]:
    return [AuditRow(**each) for each in connection.execute(query).mappings()]
