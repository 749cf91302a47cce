# SPDX-License-Identifier: Apache-2.0
"""The history of bans. What is banned now, the engine knows; here is who did it, when and why."""

import ipaddress
import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    bindparam,
    delete,
    func,
    insert,
    select,
    true,
    update,
)

from neurowall.data.store import schema
from neurowall.data.store.lane import Lane
from neurowall.model.audit import plain
from neurowall.model.history import REASON, BanChange, BanPage, BanRow

CHUNK = 500  # changes in one work; entries asked about in one query
QUEUE = 1_000  # chunks that wait for the database; more are not recorded, and counted
_TABLE = schema.bans
_BITS = {4: 32, 6: 128}
_Length = tuple[int, int]  # IP version, bits of a prefix
_Place = tuple[int, int, int]  # and its first address

log = logging.getLogger(__name__)


class Bans:
    """Rows of bans that began, and ended. Questions raise StorageUnavailable; recording never does."""

    def __init__(self, node: str, writer: Lane, reader: Lane, clock: Callable[[], float] = time.time) -> None:
        self._node, self._writer, self._reader, self._clock = node, writer, reader, clock
        self.lost = 0  # changes that were not recorded, since too many waited

    def record(self, changes: Iterable[BanChange]) -> None:
        """Write what happened, in order. Never raises or waits: the bans themselves are in force already."""
        todo = list(changes)
        for start in range(0, len(todo), CHUNK):
            part = todo[start : start + CHUNK]
            if self._writer.waiting(first=False) >= QUEUE:
                self.lost += len(todo) - start
                log.warning("history of bans: %d changes are not recorded: too many wait", len(todo) - start)
                return
            self._writer.later(lambda connection, part=part: self._write(connection, part))  # type: ignore[misc]

    def page(self, limit: int, after: int | None = None, address: str | None = None) -> BanPage:
        """Up to *limit* rows, newest first; *after*: only older ones than this id.

        address: only rows of this entry, or of a prefix that holds it.
        """
        wanted = []
        if after is not None:
            wanted.append(_TABLE.c.id < after)
        if address is not None:
            wanted.append(_TABLE.c.entry.in_(_holding(address)))
        self._writer.catch_up()
        query = select(_TABLE).where(*wanted).order_by(_TABLE.c.id.desc()).limit(limit + 1)
        rows = self._reader.run(partial(_rows, query))
        return BanPage(tuple(rows[:limit]), rows[limit - 1].id if len(rows) > limit else None)

    def metadata(self, entries: Collection[str]) -> Mapping[tuple[str, str], BanRow]:
        """By entry and list: the newest row that was not taken back, of those *entries* that have one."""
        todo, found = list(entries), dict[tuple[str, str], BanRow]()
        self._writer.catch_up()
        for start in range(0, len(todo), CHUNK):
            part = todo[start : start + CHUNK]
            query = select(_TABLE).where(
                _TABLE.c.entry.in_(part), _TABLE.c.ended.is_(None), _TABLE.c.node == self._node
            )
            for row in self._reader.run(partial(_rows, query.order_by(_TABLE.c.id))):
                found[row.entry, row.list] = row
        return found

    def prune(self, connection: Connection, keep: int, keep_limit: int, batch: int) -> int:
        """Delete up to *batch* rows of this node; how many it deleted.

        Of bans by limits the last *keep_limit* stay: whoever sends packets can cause any number of them.
        Of the others *keep* stay, and the oldest that have ended go first; those in force only go where they
        alone are more.
        """
        by_limit = _TABLE.c.kind == "limit"
        gone = self._delete_oldest(connection, by_limit, true(), keep_limit, batch)
        is_over = _TABLE.c.ended.is_not(None) | (_TABLE.c.until < self._clock())
        for which in (is_over, true()):
            gone += self._delete_oldest(connection, ~by_limit, which, keep, batch - gone)
        return gone

    def _delete_oldest(
        self,
        connection: Connection,
        kind: ColumnElement[bool],
        which: ColumnElement[bool],
        keep: int,
        most: int,
    ) -> int:
        """Delete rows of *kind* beyond *keep*, the oldest of *which*; how many."""
        mine = (_TABLE.c.node == self._node) & kind
        rows = connection.execute(select(func.count()).where(mine)).scalar_one()
        excess = min(rows - keep, most)
        if excess <= 0:
            return 0
        oldest = select(_TABLE.c.id).where(mine, which).order_by(_TABLE.c.id).limit(excess)
        return connection.execute(delete(_TABLE).where(_TABLE.c.id.in_(oldest))).rowcount

    def _write(self, connection: Connection, changes: Sequence[BanChange]) -> None:
        """Close what *changes* end or replace, and add what they begin."""
        mine = (_TABLE.c.node == self._node) & _TABLE.c.ended.is_(None)
        same = (_TABLE.c.entry == bindparam("of")) & (_TABLE.c.list == bindparam("on"))
        close = update(_TABLE).where(mine & same).values(ended=bindparam("at"), ended_by=bindparam("by"))
        for together in _without_repeats(changes):
            closed = [
                {
                    "of": plain(each.entry, 64),
                    "on": plain(each.list, 64),
                    "at": each.when,
                    "by": plain(each.actor, 120),
                }
                for each in together
            ]
            connection.execute(close, closed)
            self._lift(connection, [each for each in together if _is_lift(each)])
            self._add(connection, [each for each in together if not each.ended])

    def _lift(self, connection: Connection, lifts: Sequence[BanChange]) -> None:
        """Close bans by limits, of hosts and of all within prefixes, that had not ended by themselves."""
        if not lifts:
            return
        open_now = (_TABLE.c.node == self._node) & (_TABLE.c.kind == "limit") & _TABLE.c.ended.is_(None)
        around = {_place(ipaddress.ip_network(each.entry)): each for each in lifts}
        lengths = {place[:2] for place in around}
        if any(length < _BITS[version] for version, length in lengths):
            which = open_now  # read once for all prefixes
        else:
            which = open_now & _TABLE.c.entry.in_([each.entry for each in lifts])
        closed = []
        for row in connection.execute(select(_TABLE.c.id, _TABLE.c.entry, _TABLE.c.until).where(which)):
            by = _lift_of(row.entry, around, lengths)
            if by and (row.until is None or row.until > by.when):
                closed.append({"row": row.id, "at": by.when, "by": plain(by.actor, 120)})
        if closed:
            close = update(_TABLE).where(_TABLE.c.id == bindparam("row"))
            connection.execute(close.values(ended=bindparam("at"), ended_by=bindparam("by")), closed)

    def _add(self, connection: Connection, fresh: Sequence[BanChange]) -> None:
        rows = [
            {
                "node": self._node,
                "entry": plain(each.entry, 64),
                "kind": each.kind,
                "list": plain(each.list, 64),
                "actor": plain(each.actor, 120),
                "reason": plain(each.reason, REASON),
                "since": each.when,
                "until": each.until,
            }
            for each in fresh
        ]
        if rows:
            connection.execute(insert(_TABLE), rows)


def _is_lift(change: BanChange) -> bool:
    return change.ended and change.kind == "limit" and not change.list


def _place(network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> _Place:
    return network.version, network.prefixlen, int(network.network_address)


def _lift_of(entry: str, around: Mapping[_Place, BanChange], lengths: Iterable[_Length]) -> BanChange | None:
    """The one of *around*, whose prefixes have *lengths*, that holds a host; None if none does."""
    host = ipaddress.ip_address(entry)
    for version, length in lengths:
        if version == host.version:
            rest = _BITS[version] - length
            if found := around.get((version, length, int(host) >> rest << rest)):
                return found
    return None


def _without_repeats(changes: Sequence[BanChange]) -> Iterator[list[BanChange]]:
    """Parts in which no entry of a list is there twice: rows must be written before they are closed."""
    part: list[BanChange] = []
    seen: set[tuple[str, str]] = set()
    for change in changes:
        if (change.entry, change.list) in seen:
            yield part
            part, seen = [], set()
        seen.add((change.entry, change.list))
        part.append(change)
    yield part


def _holding(address: str) -> list[str]:
    """The entry itself and every prefix that holds it, as the engine writes them."""
    try:
        network = ipaddress.ip_network(address.strip(), strict=False)
    except ValueError:
        return []
    prefixes = [str(network.supernet(new_prefix=length)) for length in range(network.prefixlen)]
    host = [str(network.network_address)] if network.prefixlen == network.max_prefixlen else []
    return [*prefixes, str(network), *host]


def _rows(query: "Select[Any]", connection: Connection) -> list[BanRow]:
    return [BanRow(**each) for each in connection.execute(query).mappings()]
