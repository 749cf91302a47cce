# SPDX-License-Identifier: Apache-2.0
"""The store: what the daemon keeps in a database, and what it does while that cannot be used.

Two threads reach the database, one writes and one reads. Nobody waits for them longer than the deadline, and
nothing that decides about packets waits for them at all.
"""

import logging
import time
from pathlib import Path

from sqlalchemy import Connection, delete, insert

from neurowall.data.store import schema
from neurowall.data.store.audit import Audit
from neurowall.data.store.bans import Bans
from neurowall.data.store.database import Database
from neurowall.data.store.generations import Generations
from neurowall.data.store.headfile import HeadFile
from neurowall.data.store.lane import Hooks, Lane
from neurowall.data.store.replies import Replies
from neurowall.data.store.retention import Keep, Retention
from neurowall.data.store.tokens import Tokens
from neurowall.model.history import StorageFacts

DEADLINE = 2.0  # seconds
_EARLIER = (
    0.25  # seconds before the deadline at which the database itself gives up: its reason is the better one
)
_SIZE_SECONDS = 30.0
_PROBE_BYTES = 64 << 10  # more than finds room by chance on a full disk

log = logging.getLogger(__name__)


class Store:
    """The database of one daemon. node: whose audit and history it is, unique among those who share it.

    head_file: where the head of the audit's chain is kept too. Raises Unsupported for a URL that no driver is
    for.
    """

    def __init__(
        self,
        url: str,
        node: str,
        *,
        deadline: float = DEADLINE,
        head_file: Path | None = None,
        keep: Keep | None = None,
    ) -> None:
        self.node = node
        self._deadline = deadline
        self._database = Database(url, max(deadline - _EARLIER, 0.1))
        writing = Hooks(begin=self._begin, probe=_probe, settle=self._settle, tick=self._write_tick)
        self._writer = Lane(self._database, deadline, writes=True, hooks=writing)
        self._reader = Lane(self._database, deadline, writes=False, hooks=Hooks(tick=self._read_tick))
        self.tokens = Tokens(self._writer, self._reader)
        self.audit = Audit(node, self._writer, self._reader, HeadFile(head_file))
        self.bans = Bans(node, self._writer, self._reader)
        self.generations = Generations(node, self._writer, self._reader)
        self.replies = Replies(node, self._writer, self._reader)
        self._retention = Retention(keep or Keep(), self.audit, self.bans, self.generations, self.replies)
        self._is_first = True
        self._is_started = False
        self._size: int | None = None
        self._size_due = 0.0

    def start(self) -> None:
        """Start the threads, in the network namespace of the caller; they touch nothing yet."""
        for lane in (self._writer, self._reader):
            lane.start()
        self._is_started = True

    def open(self) -> None:
        """Begin to use it. Never raises; waits for a first try, but no longer than the deadline."""
        if not self._is_started:
            self.start()
        until = time.monotonic() + self._deadline
        for lane in (self._writer, self._reader):  # the writer first: it makes what is not there
            lane.begin()
            lane.first_try.wait(max(until - time.monotonic(), 0.0))

    def close(self) -> None:
        """Write what waits, if that takes no longer than the deadline, and end."""
        if not self._is_started:
            return
        self._writer.stop(self._deadline)
        self._reader.stop(self._deadline)
        if not (self._writer.is_alive or self._reader.is_alive):
            self._database.close()
        if left := self.audit.queued:
            log.error("%d rows of the audit were not written: the database was away until the end", left)

    @property
    def problem(self) -> str | None:
        """Why it cannot be used now, with the next step; None if it can."""
        return self._writer.problem or self._reader.problem

    def facts(self) -> StorageFacts:
        """What is to be told of it. Waits for nothing."""
        return StorageFacts(
            backend="sqlite" if self._database.is_sqlite else "postgresql",
            where=self._database.where,
            problem=self.problem,
            size=self._size,
            audit_queued=self.audit.queued,
            waiting=self._writer.waiting(first=False),
            lost=self.audit.lost + self.bans.lost + self._writer.dropped,
        )

    def _begin(self, connection: Connection) -> None:
        """With each new connection of the writer."""
        self.audit.open(connection, is_new=self._database.is_new and self._is_first)
        if self._is_first:
            self.audit.close_open_ends(connection)
        self._is_first = False

    def _settle(self, committed: bool) -> None:  # noqa: FBT001 - a hook
        self.audit.settle(committed)
        self.replies.settle(committed)

    def _write_tick(self) -> None:
        self.tokens.write_touches()
        if self._retention.is_due():
            self._writer.run(self._retention.step)

    def _read_tick(self) -> None:
        self.tokens.refresh()
        if time.monotonic() >= self._size_due:
            self._size = self._reader.run(self._database.size)
            self._size_due = time.monotonic() + _SIZE_SECONDS


def _probe(connection: Connection) -> None:
    """Write, and take it back: whether there is leave and room to."""
    connection.execute(delete(schema.meta).where(schema.meta.c.key == "probe"))
    with connection.begin_nested() as there:
        connection.execute(insert(schema.meta).values(key="probe", value="x" * _PROBE_BYTES))
        there.rollback()
