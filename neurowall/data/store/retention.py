# SPDX-License-Identifier: Apache-2.0
"""How much is kept. All of it together stays within 1 GB for each gateway, whoever asks for what.

A row has a largest size, since every text in it has; so a number of rows is a number of bytes.
"""

import time
from dataclasses import dataclass

from sqlalchemy import Connection, delete, select

from neurowall.data.store import schema
from neurowall.data.store.audit import Audit
from neurowall.data.store.bans import Bans
from neurowall.data.store.generations import Generations
from neurowall.data.store.replies import Replies

EVERY = 60.0  # seconds

# Bytes on disk at the most, with indexes and what pages leave unused; tests measure them on both engines.
AUDIT_ROW = 4_200
BAN_ROW = 1_000
TOKEN_ROW = 1_000
REPLY_FACTOR = 2.0  # of what a reply counts: bodies of half a page leave the other half unused


@dataclass(frozen=True)
class Keep:
    """Rows and bytes that are kept of each node. dead_tokens: of all nodes, those revoked or expired."""

    audit: int = 100_000
    bans: int = 150_000  # by operators
    limit_bans: int = 50_000
    generations: int = 1_000
    generation_bytes: int = 64 << 20
    replies: int = 50_000
    reply_bytes: int = 40 << 20
    dead_tokens: int = 1_000
    batch: int = 1_000  # rows of audit that are pruned at once; of bans five times as many


class Retention:
    """Deletes what is too much, a part at a time, so that nobody waits long for it."""

    def __init__(
        self, keep: Keep, audit: Audit, bans: Bans, generations: Generations, replies: Replies
    ) -> None:
        self._keep, self._audit, self._bans = keep, audit, bans
        self._generations, self._replies = generations, replies
        self._due = 0.0

    def is_due(self) -> bool:
        """Whether it is time to look."""
        return time.monotonic() >= self._due

    def step(self, connection: Connection) -> None:
        """Delete a part of what is too much; due again at once while there is more."""
        keep = self._keep
        more = self._audit.prune(connection, keep.audit, keep.batch) >= keep.batch
        more |= self._bans.prune(connection, keep.bans, keep.limit_bans, 5 * keep.batch) >= 5 * keep.batch
        self._generations.prune(connection, keep.generations, keep.generation_bytes)
        more |= self._replies.prune(connection, keep.replies, keep.reply_bytes, 2 * keep.batch) > 0
        _prune_tokens(connection, keep.dead_tokens)
        self._due = time.monotonic() + (0.0 if more else EVERY)


def _prune_tokens(connection: Connection, keep: int) -> None:
    table = schema.tokens
    dead = table.c.revoked.is_not(None) | (table.c.expires < time.time())
    rows = connection.execute(
        select(table.c.id).where(dead).order_by(table.c.created.desc()).offset(keep)
    ).all()
    for row in rows:
        connection.execute(delete(table).where(table.c.id == row.id))
