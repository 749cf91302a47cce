# SPDX-License-Identifier: Apache-2.0
"""The audit of a daemon that does not run: verified without changing anything, not even a file beside it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from sqlalchemy import Connection, create_engine, event, select
from sqlalchemy import Engine as Database
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from neurowall.data.store import schema
from neurowall.data.store.audit import Audit
from neurowall.data.store.database import read_url, version_of
from neurowall.data.store.faults import explain
from neurowall.data.store.headfile import HeadFile
from neurowall.data.store.lane import Lane
from neurowall.model.audit import Verification
from neurowall.model.errors import StorageUnavailable


def verify_offline(url: str, head_file: Path, node: str | None = None) -> tuple[str, Verification]:
    """Whose chain was checked, and what was found. *node*: whose, if there are several and no head file.

    Raises StorageUnavailable, and Unsupported for a URL that no driver is for.
    """
    parsed = read_url(url)
    where = f"database {parsed.database if _is_sqlite(parsed) else parsed.render_as_string()}"
    try:
        with _reading(parsed, where).connect() as connection:
            _check_schema(connection, where)
            heads = HeadFile(head_file)
            name = heads.node() or node or _only_node(connection, where)
            reader = cast("Lane", _Reader(connection))
            audit = Audit(name, reader, reader, heads)
            audit.open(connection, is_new=False)
            return name, audit.verify()
    except (SQLAlchemyError, OSError) as error:
        raise StorageUnavailable(explain(error, where)) from error


class _Reader:
    """A lane's questions on one connection, in the caller's thread."""

    problem: str | None = None

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def run(self, work: Callable[[Connection], Any]) -> Any:
        """Ask at once."""
        return work(self._connection)


def _is_sqlite(url: URL) -> bool:
    return url.get_backend_name() == "sqlite"


def _reading(url: URL, where: str) -> Database:
    if not _is_sqlite(url):
        return create_engine(url, poolclass=NullPool).execution_options(postgresql_readonly=True)
    from urllib.parse import quote

    file = Path(url.database or "")
    if not file.is_file():
        raise StorageUnavailable(f"{where} is not there: name another with --database")
    # Without a log nobody has it open. SQLite would leave one behind for a reader, root's, which a daemon of
    # another user could not use.
    still = "" if file.with_name(file.name + "-wal").exists() else "&immutable=1"
    engine = create_engine(
        f"sqlite+pysqlite:///file:{quote(str(file))}?mode=ro{still}&uri=true", poolclass=NullPool
    )

    @event.listens_for(engine, "connect")
    def _set_up(raw: Any, _record: Any) -> None:
        raw.execute("PRAGMA trusted_schema=OFF").close()

    return engine


def _check_schema(connection: Connection, where: str) -> None:
    version = version_of(connection)
    if version is None:
        raise StorageUnavailable(f"{where} holds nothing of Neurowall: name another with --database")
    if version != schema.HEAD:
        raise StorageUnavailable(
            f"{where} has schema {version}, this Neurowall's is {schema.HEAD}: let a daemon of this version "
            "open it, or verify it with the Neurowall that wrote it"
        )


def _only_node(connection: Connection, where: str) -> str:
    names = sorted(connection.execute(select(schema.audit.c.node).distinct()).scalars())
    if len(names) != 1:
        held = f"several nodes ({', '.join(names)}): a state directory says whose is whose"
        raise StorageUnavailable(f"{where} holds the audit of {held if names else 'nobody'}")
    return str(names[0])
