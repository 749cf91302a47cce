# SPDX-License-Identifier: Apache-2.0
"""The policies that were in force, for longer than the state directory keeps them."""

import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

from sqlalchemy import Connection, Select, delete, func, insert, select

from neurowall.data.store import schema
from neurowall.data.store.lane import Lane
from neurowall.model.audit import plain
from neurowall.model.history import GenerationPage
from neurowall.model.intent import GenerationRecord, ListRecord

_TABLE = schema.generations
_SHOWN = [column for column in _TABLE.c if column.name not in ("policy", "node", "size")]


class Generations:
    """One node's generations. Methods raise StorageUnavailable."""

    def __init__(self, node: str, writer: Lane, reader: Lane) -> None:
        self._node, self._writer, self._reader = node, writer, reader

    def record(self, record: GenerationRecord) -> None:
        """Keep a generation; the same one again changes nothing, another of its number takes its place.

        Numbers begin again where the state directory was lost, and the newer one is what can be asked for.
        """
        self._writer.run(lambda connection: self._write(connection, record))

    def page(self, limit: int, after: int | None = None) -> GenerationPage:
        """Up to *limit* of them without texts, newest first; *after*: only lower numbers than this."""
        query = select(*_SHOWN).where(_TABLE.c.node == self._node)
        if after is not None:
            query = query.where(_TABLE.c.number < after)
        query = query.order_by(_TABLE.c.number.desc()).limit(limit + 1)
        rows = self._reader.run(partial(_records, query))
        return GenerationPage(tuple(rows[:limit]), rows[limit - 1].generation if len(rows) > limit else None)

    def get(self, number: int) -> GenerationRecord | None:
        """One generation with its text; None if it is not kept."""
        query = select(_TABLE).where(_TABLE.c.node == self._node, _TABLE.c.number == number)
        found = self._reader.run(partial(_records, query))
        return found[0] if found else None

    def known(self) -> Mapping[int, float]:
        """When each generation that is kept was put in force."""
        query = select(_TABLE.c.number, _TABLE.c.when).where(_TABLE.c.node == self._node)
        rows = self._reader.run(lambda connection: connection.execute(query).all())
        return {row.number: row.when for row in rows}

    def prune(self, connection: Connection, keep: int, most_bytes: int) -> int:
        """Delete the oldest beyond *keep* or *most_bytes*; the newest stays in any case."""
        rows = connection.execute(
            select(_TABLE.c.number, _TABLE.c.size)
            .where(_TABLE.c.node == self._node)
            .order_by(_TABLE.c.when.desc(), _TABLE.c.number.desc())
        ).all()
        held, gone = 0, 0
        for place, row in enumerate(rows):
            held += row.size
            if place and (place >= keep or held > most_bytes):
                this = (_TABLE.c.node == self._node) & (_TABLE.c.number == row.number)
                gone += connection.execute(delete(_TABLE).where(this)).rowcount
        return gone

    def _write(self, connection: Connection, record: GenerationRecord) -> None:
        this = (_TABLE.c.node == self._node) & (_TABLE.c.number == record.generation)
        held = connection.execute(select(_TABLE.c.when).where(this)).scalar_one_or_none()
        if held == record.when:
            return
        connection.execute(delete(_TABLE).where(this))
        policy = zlib.compress(record.text.encode("utf-8", "replace"))
        lists = plain(json.dumps([asdict(each) for each in record.lists], separators=(",", ":")), 10_000_000)
        connection.execute(
            insert(_TABLE).values(
                node=self._node,
                number=record.generation,
                when=record.when,
                source=plain(record.source, 32),
                filename=plain(record.filename, 500),
                note=plain(record.note, 500),
                rules=record.rules,
                lists=lists,
                policy=policy,
                size=len(policy) + len(lists),
            )
        )


def total_bytes(connection: Connection) -> int:
    """Bytes of all texts and lists."""
    return int(connection.execute(select(func.coalesce(func.sum(_TABLE.c.size), 0))).scalar_one())


def _records(query: "Select[Any]", connection: Connection) -> list[GenerationRecord]:
    return [_record(row) for row in connection.execute(query).mappings()]


def _record(row: Mapping[Any, Any]) -> GenerationRecord:
    packed = row.get("policy")
    return GenerationRecord(
        generation=row["number"],
        when=row["when"],
        source=row["source"],
        filename=row["filename"],
        note=row["note"],
        text=zlib.decompress(packed).decode() if packed is not None else "",
        rules=row["rules"],
        lists=tuple(ListRecord(**each) for each in json.loads(row["lists"])),
    )
