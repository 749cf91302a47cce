# SPDX-License-Identifier: Apache-2.0
"""Answers that are kept, so that a request that is sent twice does a thing once."""

import json
import threading
import time
import zlib
from collections.abc import Callable
from typing import Any

from sqlalchemy import ColumnElement, Connection, bindparam, delete, func, insert, select

from neurowall.data.store import schema
from neurowall.data.store.lane import Lane
from neurowall.model.audit import plain
from neurowall.model.history import Reply

KEPT = 24 * 3600.0  # seconds
LONGEST = 4 << 20  # bytes of a packed body
ROW = 200  # bytes of a row beside its body and headers, and twice its key and actor, which an index has too
AT_ONCE = 16 << 20  # bytes that are deleted in one transaction, and one reply more
UNWRITTEN = 1_000  # replies that wait for the database; of more the oldest are forgotten
_TABLE = schema.replies


class Replies:
    """One node's answers by key and actor: what another one did was not done here."""

    def __init__(self, node: str, writer: Lane, reader: Lane, clock: Callable[[], float] = time.time) -> None:
        self._node, self._writer, self._reader, self._clock = node, writer, reader, clock
        self._lock = threading.Lock()
        self._unwritten: dict[tuple[str, str], Reply] = {}
        self._written: list[tuple[tuple[str, str], Reply]] = []  # in the transaction that is open

    def get(self, key: str, actor: str) -> Reply | None:
        """The answer of the last 24 hours; None if there is none. Raises StorageUnavailable."""
        place = (plain(key, 255), plain(actor, 120))
        with self._lock:
            held = self._unwritten.get(place)
        if held is None:
            held = self._reader.run(lambda connection: self._read(connection, place))
        return held if held is not None and self._clock() - held.created < KEPT else None

    def put(self, reply: Reply) -> None:
        """Keep an answer. Never raises or waits: what it tells of is done already."""
        place = (plain(reply.key, 255), plain(reply.actor, 120))
        with self._lock:
            self._unwritten[place] = reply
            while len(self._unwritten) > UNWRITTEN:
                del self._unwritten[next(iter(self._unwritten))]
        self._writer.later(lambda connection: self._write(connection, place))

    def settle(self, committed: bool) -> None:  # noqa: FBT001 - a hook
        """After each transaction of the writer: what it wrote need not be held any more."""
        written, self._written = self._written, []
        if committed and written:
            with self._lock:
                for place, reply in written:
                    if self._unwritten.get(place) is reply:
                        del self._unwritten[place]

    def prune(self, connection: Connection, most_rows: int, most_bytes: int, batch: int) -> int:
        """Delete up to *batch* of the oldest, if they are older than 24 hours or too much; how many it did.

        As few bytes at once as are deleted soon: call it again until it is 0.
        """
        mine = _TABLE.c.node == self._node
        sizes = select(func.count(), func.coalesce(func.sum(_TABLE.c.size), 0)).where(mine)
        rows, held = connection.execute(sizes).one()
        oldest = select(_TABLE.c.key, _TABLE.c.actor, _TABLE.c.created, _TABLE.c.size).where(mine)
        before, freed = self._clock() - KEPT, 0
        gone: list[dict[str, str]] = []
        for row in connection.execute(oldest.order_by(_TABLE.c.created).limit(batch)):
            is_kept = row.created >= before and rows <= most_rows and held <= most_bytes
            if is_kept or freed >= AT_ONCE:
                break
            rows, held, freed = rows - 1, held - row.size, freed + row.size
            gone.append({"of": row.key, "by": row.actor})
        if gone:
            this = mine & (_TABLE.c.key == bindparam("of")) & (_TABLE.c.actor == bindparam("by"))
            connection.execute(delete(_TABLE).where(this), gone)
        return len(gone)

    def _write(self, connection: Connection, place: tuple[str, str]) -> None:
        with self._lock:
            reply = self._unwritten.get(place)
        if reply is None:
            return
        packed, headers = zlib.compress(reply.body, 6), json.dumps(dict(reply.headers), sort_keys=True)
        cut = reply.cut or len(packed) > LONGEST
        body = b"" if cut else packed
        key, actor = place
        connection.execute(delete(_TABLE).where(self._at(place)))
        connection.execute(
            insert(_TABLE).values(
                node=self._node,
                key=key,
                actor=actor,
                digest=reply.digest,
                created=reply.created,
                status=reply.status,
                headers=headers,
                body=body,
                size=len(body) + len(headers) + 2 * _bytes(*place) + ROW,
                cut=cut,
            )
        )
        self._written.append((place, reply))

    def _at(self, place: tuple[str, str]) -> ColumnElement[bool]:
        key, actor = place
        return (_TABLE.c.node == self._node) & (_TABLE.c.key == key) & (_TABLE.c.actor == actor)

    def _read(self, connection: Connection, place: tuple[str, str]) -> Reply | None:
        row = connection.execute(select(_TABLE).where(self._at(place))).first()
        return None if row is None else _reply(row)


def _bytes(*texts: str) -> int:
    return sum(len(text.encode()) for text in texts)


def _reply(row: Any) -> Reply:
    return Reply(
        key=row.key,
        actor=row.actor,
        digest=row.digest,
        created=row.created,
        status=row.status,
        headers=json.loads(row.headers),
        body=b"" if row.cut else zlib.decompress(row.body),
        cut=row.cut,
    )
