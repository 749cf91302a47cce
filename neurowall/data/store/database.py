# SPDX-License-Identifier: Apache-2.0
"""One database by its URL: connections, whether its schema is ours, and whether it is still the same.

The default is SQLite: WAL, and every commit synced, since a token that was revoked must stay so after a power
cut. One connection writes; it takes the write lock when a transaction begins, so that a lock is met there and
nowhere else. PostgreSQL needs `psycopg`, which is imported only then.
"""

import contextlib
import os
import socket
import stat
import threading
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, insert, inspect, select, table, text
from sqlalchemy import column as sql_column
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import NullPool

from neurowall.data.store import schema
from neurowall.data.store.migrate import upgrade_in_child
from neurowall.model.errors import StorageUnavailable, Unsupported

PAGE_BYTES = 4096
LARGEST = 800 << 20  # bytes of the SQLite file; retention keeps far below it
WAL_KEPT = 16 << 20  # bytes that the write-ahead log is cut back to
_MAGIC = b"SQLite format 3\0"
LOCK_KEY = 0x6E77616C6C  # of the advisory lock under which a schema is made
_VERSION = table("alembic_version", sql_column("version_num"))


class Database:
    """Gives connections to one database. Raises StorageUnavailable, SQLAlchemyError or OSError.

    timeout: seconds that a statement may take. Any thread may call.
    """

    def __init__(self, url: str, timeout: float) -> None:
        self.url = read_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self._timeout = timeout
        self._file = Path(self.url.database or "") if self.is_sqlite else None
        self._descriptors: dict[tuple[int, int], int] = {}  # of the file, and of those that it replaced
        self._may_create = True
        self.is_new = False  # the tables were made by this object
        self._setting_up = threading.Lock()
        self.where = f"database {self._file or self.url.render_as_string(hide_password=True)}"
        self._engines = {writes: self._engine(writes=writes) for writes in (True, False)}

    def connect(self, *, writes: bool) -> Connection:
        """A connection to a database with our schema, which is made or brought up to date if need be."""
        with self._setting_up:
            identity = self._prepare_file(self._file) if self._file is not None else None
            connection = self._engines[writes].connect()
            try:
                connection.info["identity"] = identity
                self._check_schema(connection)
            except BaseException:
                with contextlib.suppress(Exception):
                    connection.close()
                raise
            self._may_create = False
            return connection

    def is_same(self, connection: Connection) -> bool:
        """Whether *connection* is to the file that is there. Raises StorageUnavailable if that is useless."""
        if self._file is None:
            return True
        return bool(connection.info.get("identity") == self._look(self._file))

    def interrupt(self, connection: Connection) -> None:
        """Make a statement that runs in another thread fail, also where the server does not answer."""
        with contextlib.suppress(Exception):
            raw: Any = connection.connection.dbapi_connection
            if self.is_sqlite:
                raw.interrupt()
            else:
                # To cancel asks the server, which may be frozen; a socket that is shut ends the wait here.
                with socket.socket(fileno=os.dup(raw.fileno())) as copy:
                    copy.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Give up what is open, once no connection is."""
        while self._descriptors:
            os.close(self._descriptors.popitem()[1])

    def size(self, connection: Connection) -> int:
        """Bytes on disk: of the file and its log, or of our tables and their indexes."""
        if self._file is not None:
            files = (self._file, self._file.with_name(self._file.name + "-wal"))
            return sum(name.stat().st_size for name in files if name.exists())
        names = tuple(each.name for each in schema.metadata.sorted_tables)
        sizes = text(
            "SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0) FROM pg_class c "
            "WHERE c.relname = ANY(:names) "
            "AND pg_table_is_visible(c.oid) AND c.relkind = 'r'"
        )
        return int(connection.execute(sizes, {"names": list(names)}).scalar_one())

    def _prepare_file(self, file: Path) -> tuple[int, int]:
        """Make the file if this is the first time; its device and inode. SQLite itself may not create any."""
        if self._may_create:
            with contextlib.suppress(FileExistsError):
                file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
        return self._look(file)

    def _look(self, file: Path) -> tuple[int, int]:
        """Device and inode. Raises StorageUnavailable if it is gone, damaged, or not to be written."""
        try:
            found = file.stat()
        except FileNotFoundError as error:
            problem = "is gone: put it back, or restart the daemon to begin a new one"
            raise StorageUnavailable(f"{self.where} {problem}") from error
        if not stat.S_ISREG(found.st_mode):
            raise StorageUnavailable(f"{self.where} is no file: name one in --database")
        self._check_writable(file)
        identity = (found.st_dev, found.st_ino)
        # A new file is empty until its first checkpoint.
        if os.pread(self._reading(file, identity), len(_MAGIC), 0) not in (b"", _MAGIC):
            problem = "is damaged: put a copy in its place, or move it away and restart the daemon"
            raise StorageUnavailable(f"{self.where} {problem}")
        return identity

    def _reading(self, file: Path, identity: tuple[int, int]) -> int:
        """A descriptor to read the file with, which stays open.

        To close any descriptor of a file gives up all locks that a process holds on it (fcntl(2)). Those are
        SQLite's: another process would take itself for the last one that uses the file, and delete its log.
        """
        if identity not in self._descriptors:
            self._descriptors[identity] = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        return self._descriptors[identity]

    def _check_writable(self, file: Path) -> None:
        """SQLite writes beside the file too. Root may write anywhere but where a mount is read-only."""
        if not os.access(file, os.W_OK) or not os.access(file.parent, os.W_OK):
            raise StorageUnavailable(
                f"{self.where} is read-only: mount its file system for writing, or give it to the daemon"
            )

    def _check_schema(self, connection: Connection) -> None:
        """Bring an older schema up to date, make a missing one, refuse a newer one."""
        with connection.begin():
            version = version_of(connection)
            if version is None:
                self._make(connection)
                return
        if version == schema.HEAD:
            return
        if version not in schema.REVISIONS:
            raise StorageUnavailable(
                f"{self.where} has schema {version}, newer than this Neurowall knows ({schema.HEAD}): "
                "install the newer Neurowall, or name another database"
            )
        upgrade_in_child(self.url.render_as_string(hide_password=False), self.where)

    def _make(self, connection: Connection) -> None:
        """The whole schema at once, in the transaction that is open."""
        if not self._may_create:
            raise StorageUnavailable(
                f"{self.where} lost its tables: put a copy in its place, or restart the daemon to begin anew"
            )
        if not self.is_sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK_KEY})
            if version_of(connection) is not None:  # another node was first
                return
        elif not connection.info.get("writes"):
            raise StorageUnavailable(f"{self.where} is being set up: try again")
        schema.metadata.create_all(connection)
        connection.execute(
            text(
                "CREATE TABLE IF NOT EXISTS alembic_version (version_num VARCHAR(32) NOT NULL, "
                "CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))"
            )
        )
        connection.execute(insert(_VERSION).values(version_num=schema.HEAD))
        self.is_new = True

    def _engine(self, *, writes: bool) -> Engine:
        if self._file is None:
            return _postgresql_engine(self.url, self._timeout)
        return _sqlite_engine(self._file, writes=writes, busy=self._timeout)


def version_of(connection: Connection) -> str | None:
    """The schema's version; None if there is no schema."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(select(_VERSION.c.version_num)).scalar_one_or_none()


def read_url(text: str) -> URL:
    """The URL. Raises Unsupported for what no driver is here for."""
    try:
        url = make_url(text)
    except (ArgumentError, ValueError) as error:
        raise Unsupported(
            "--database is no URL: use sqlite:////path/to/file or postgresql://user@host/name"
        ) from error
    if url.drivername in ("sqlite", "sqlite+pysqlite"):
        if not url.database or url.database == ":memory:" or not Path(url.database).is_absolute():
            raise Unsupported(
                "--database sqlite:///... needs an absolute path, so four slashes: sqlite:////path/to/file"
            )
        return url.set(drivername="sqlite+pysqlite")
    if url.drivername in ("postgresql", "postgres", "postgresql+psycopg"):
        try:
            import psycopg  # noqa: F401 - only whether it is there
        except ImportError as error:
            raise Unsupported(
                "no driver for PostgreSQL is installed: pip install 'neurowall[postgresql]'"
            ) from error
        return url.set(drivername="postgresql+psycopg")
    raise Unsupported(
        f"--database {url.drivername}://... is not supported: use sqlite:///... or postgresql://..."
    )


def _sqlite_engine(file: Path, *, writes: bool, busy: float) -> Engine:
    from urllib.parse import quote

    target = f"file:{quote(str(file))}?mode=rw"
    engine = create_engine(
        f"sqlite+pysqlite:///{target}&uri=true",
        poolclass=NullPool,
        # The lane's thread uses it; another one may interrupt it.
        connect_args={
            "check_same_thread": False,
            "timeout": busy,
            "isolation_level": None,
            "cached_statements": 32,
        },
    )

    @event.listens_for(engine, "connect")
    def _set_up(raw: Any, record: Any) -> None:
        record.info["writes"] = writes
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            "cache_size=-1024",
            f"max_page_count={LARGEST // PAGE_BYTES}",
            f"journal_size_limit={WAL_KEPT}",
            "trusted_schema=OFF",
        ):
            raw.execute(f"PRAGMA {pragma}").close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _postgresql_engine(url: URL, timeout: float) -> Engine:
    limit = max(int(timeout * 1000), 1)
    options = (
        f"-c statement_timeout={limit} -c lock_timeout={limit} -c idle_in_transaction_session_timeout=10000"
    )
    return create_engine(
        url,
        poolclass=NullPool,
        connect_args={"connect_timeout": 2, "application_name": "neurowall", "options": options},
    )
