# SPDX-License-Identifier: Apache-2.0
"""Tokens: kept in the database, looked up in memory.

A request is authenticated from the snapshot, which never waits. It is renewed by each change made here, and
every second, since another node may have changed what both use. While the database is away the last one
stays: it lets questions be asked, and changes are refused anyway.
"""

import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from sqlalchemy import Connection, func, insert, select, update

from neurowall.data.store import schema
from neurowall.data.store.lane import Lane
from neurowall.model.audit import plain
from neurowall.model.errors import StorageRefused
from neurowall.model.tokens import TokenRecord, descendants, maker_of

MOST = 1_000  # tokens that are neither revoked nor expired
TOUCH_SECONDS = 10.0  # between two writes of when tokens were used

_TABLE = schema.tokens


class Tokens:
    """The tokens of one database. Methods that touch it raise StorageUnavailable."""

    def __init__(self, writer: Lane, reader: Lane) -> None:
        self._writer, self._reader = writer, reader
        self._snapshot: Mapping[str, TokenRecord] = MappingProxyType({})
        self._lock = threading.Lock()  # guards the two below
        self._touched: dict[str, tuple[float, str]] = {}
        self._changes = 0
        self._written = 0.0  # when touches were written, monotonic

    def create(self, record: TokenRecord) -> None:
        """Keep a new token.

        Raises StorageRefused if there are too many, if one of that name is in use, or if it was made by a
        token that is not valid any more.
        """
        self._writer.run(lambda connection: _insert(connection, record))
        self._note(record)

    def all(self) -> tuple[TokenRecord, ...]:
        """Every token that is kept, revoked and expired ones too, newest first."""
        return tuple(self._reader.run(_read_all))

    def revoke(self, identifier: str) -> tuple[str, ...]:
        """Revoke a token at once, with those that it made and that are valid still, and so on.

        Answers which were revoked now: not itself if there is none, or it was revoked already.
        """
        now = time.time()
        done = tuple(self._writer.run(lambda connection: _revoke(connection, identifier, now)))
        for each in (identifier, *done):
            held = self._snapshot.get(each)
            if held is not None:
                self._note(replace(held, revoked=held.revoked or now))
        return done

    def touch(self, identifier: str, when: float, source: str) -> None:
        """Note that a token was used. Never waits; written some seconds later, or not at all."""
        with self._lock:
            if identifier in self._snapshot:
                self._touched[identifier] = (when, plain(source, 64))

    def snapshot(self) -> Mapping[str, TokenRecord]:
        """All tokens by id, from memory."""
        return self._snapshot

    def refresh(self) -> None:
        """Renew the snapshot; in the reader's thread."""
        with self._lock:
            before = self._changes
        found = {record.id: record for record in self._reader.run(_read_all)}
        with self._lock:
            if self._changes == before:  # else what was read may be older than what a change noted
                self._snapshot = MappingProxyType(found)

    def write_touches(self) -> None:
        """Hand over what was touched, if it is time; in the writer's thread."""
        if time.monotonic() - self._written < TOUCH_SECONDS:
            return
        with self._lock:
            touched, self._touched = self._touched, {}
        if touched:
            self._written = time.monotonic()
            self._writer.later(lambda connection: _touch(connection, touched))

    def _note(self, record: TokenRecord) -> None:
        with self._lock:
            self._changes += 1
            self._snapshot = MappingProxyType({**self._snapshot, record.id: record})


def _revoke(connection: Connection, identifier: str, now: float) -> list[str]:
    """Itself first: `_insert` holds the row of a maker, so that none is made behind its back."""
    done: list[str] = []
    wanted = [identifier]
    while wanted:
        for each in wanted:
            open_still = (_TABLE.c.id == each) & _TABLE.c.revoked.is_(None)
            if connection.execute(update(_TABLE).where(open_still).values(revoked=now)).rowcount:
                done.append(each)
        made = descendants(_read_all(connection), identifier)
        wanted = [each.id for each in made if each.is_valid(now)]
    return done


def _insert(connection: Connection, record: TokenRecord) -> None:
    if maker := maker_of(record.created_by):
        columns = (_TABLE.c.revoked, _TABLE.c.expires)
        row = connection.execute(select(*columns).where(_TABLE.c.id == maker).with_for_update()).first()
        is_valid = row and row.revoked is None and (row.expires is None or record.created < row.expires)
        if not is_valid:
            raise StorageRefused(f"the token {maker}, which was to make this one, is not valid any more")
    active = _TABLE.c.revoked.is_(None) & (_TABLE.c.expires.is_(None) | (_TABLE.c.expires > record.created))
    if connection.execute(select(func.count()).where(active)).scalar_one() >= MOST:
        raise StorageRefused(
            f"there are {MOST:,} tokens in use already: revoke some (`neurowall token revoke`)"
        )
    if connection.execute(select(_TABLE.c.id).where(active & (_TABLE.c.name == record.name))).first():
        raise StorageRefused(f"a token called {record.name!r} is in use: revoke it, or choose another name")
    connection.execute(
        insert(_TABLE).values(
            id=record.id,
            name=record.name,
            digest=record.digest,
            scopes=" ".join(sorted(record.scopes)),
            created=record.created,
            created_by=plain(record.created_by, 120),
            expires=record.expires,
        )
    )


def _read_all(connection: Connection) -> list[TokenRecord]:
    rows = connection.execute(select(_TABLE).order_by(_TABLE.c.created.desc(), _TABLE.c.id))
    return [TokenRecord(**{**row, "scopes": frozenset(row["scopes"].split())}) for row in rows.mappings()]


def _touch(connection: Connection, touched: Mapping[str, tuple[float, str]]) -> None:
    for identifier, (when, source) in touched.items():
        later = _TABLE.c.last_used.is_(None) | (_TABLE.c.last_used < when)
        connection.execute(
            update(_TABLE)
            .where((_TABLE.c.id == identifier) & later)
            .values(last_used=when, last_source=source)
        )
