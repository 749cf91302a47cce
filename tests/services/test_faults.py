# SPDX-License-Identifier: Apache-2.0
"""A database that is locked, full, read-only, gone, damaged, frozen or dead: refused in time, back by itself.

Of each: whoever asks is refused within the deadline, with the next step; what had begun and ended meanwhile
is written when the database is back; nobody does anything to the store for that.
"""

import re
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import pytest

from neurowall.data.store.store import Store
from neurowall.model.audit import Act, Entry, Outcome
from neurowall.model.errors import StorageUnavailable
from neurowall.model.history import BanChange
from neurowall.model.tokens import TokenRecord, digest_of
from tests.services import postgres
from tests.services.conftest import MakeStore
from tests.services.mounts import Small, with_small
from tests.services.postgres import Postgres
from tests.services.waiting import settled, until

DEADLINE = 1.0
SLACK = 1.0  # of a loaded machine
ACT = Act("block", "uid:0 root", target="203.0.113.7")


@pytest.fixture
def store(tmp_path: Path, make_store: MakeStore) -> Store:
    """A store on SQLite with something in it."""
    return used(make_store(f"sqlite:///{tmp_path}/db/neurowall.db", deadline=DEADLINE))


@pytest.fixture
def server() -> Iterator[Postgres]:
    """A PostgreSQL server that the test may kill."""
    if postgres.programs() is None:
        pytest.skip("not installed: postgresql; `make setup-test` installs what the tests need")
    with postgres.server() as server:
        yield server


def used(store: Store) -> Store:
    """The store, with a token and a change in it."""
    record = TokenRecord("a" * 12, "ci", digest_of("x"), frozenset({"read"}), time.time(), "uid:0 root")
    store.tokens.create(record)
    change(store)
    settled(store)
    return store


def change(store: Store) -> Entry:
    """A change that begins and ends."""
    entry = store.audit.begin(ACT)
    store.audit.end(entry, Outcome("ok", 200))
    return entry


class Outage:
    """What is asked of a store while its database is away, and when it is back."""

    def __init__(self, store: Store, why: str, *, reads: bool = False) -> None:
        self._store, self._why, self._reads = store, why, reads
        self._begun = store.audit.begin(ACT)

    def check(self) -> None:
        """Everything is refused in time; what needs no answer is taken."""
        store = self._store
        self._refused(lambda: store.audit.begin(ACT), self._why)
        assert re.search(self._why, store.problem or "")
        store.audit.end(self._begun, Outcome("ok", 200, 7))
        store.bans.record([BanChange("203.0.113.7", "block", "operator-block", "uid:0 root", time.time())])
        store.tokens.touch("a" * 12, time.time(), "192.0.2.1")
        assert store.facts().audit_queued == 1
        assert store.tokens.snapshot().keys() == {"a" * 12}
        self._refused(lambda: store.tokens.revoke("a" * 12))
        if not self._reads:
            self._refused(lambda: store.audit.page(1))

    def over(self) -> None:
        """It works again, and nothing is lost."""
        store = self._store
        until(lambda: store.problem is None)
        settled(store)
        assert store.facts().lost == 0
        end = store.audit.page(1).rows[0]
        assert (end.begin, end.result, end.after, end.late) == (self._begun.id, "ok", 7, True)
        assert [row.entry for row in store.bans.page(1).rows] == ["203.0.113.7"]
        change(store)
        settled(store)
        found = store.audit.verify()
        assert found.ok, found

    @staticmethod
    def _refused(asked: Callable[[], object], why: str = "database") -> None:
        begun = time.monotonic()
        with pytest.raises(StorageUnavailable, match=why):
            asked()
        assert time.monotonic() - begun < DEADLINE + SLACK


@contextmanager
def another_process(file: Path) -> Iterator[None]:
    """A process that holds the write lock."""
    program = (
        "import sqlite3, sys; link = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "link.execute('BEGIN IMMEDIATE'); print('held', flush=True); sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", program, str(file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        holder.stdout.readline()
        yield
        holder.communicate()


class TestSqlite:
    def test_who_looks_into_the_file_takes_nothing_away(self, store: Store, tmp_path: Path) -> None:
        """Another process that opens and closes it must know that it is in use, and leave the log alone."""
        file = tmp_path / "db/neurowall.db"
        program = "import sqlite3, sys; print(*sqlite3.connect(sys.argv[1]).execute(sys.argv[2]).fetchone())"
        command = [sys.executable, "-c", program, str(file), "SELECT count(*) FROM audit"]
        for expected in (2, 4):
            looked = subprocess.run(command, capture_output=True, text=True, check=True)
            assert int(looked.stdout) == expected
            assert file.with_name("neurowall.db-wal").exists()
            change(store)
            settled(store)
        assert len(store.audit.page(9).rows) == 6

    def test_locked_by_another_process(self, store: Store, tmp_path: Path) -> None:
        """Questions are answered meanwhile: that is what WAL is for."""
        outage = Outage(store, "locked by another process: end what holds it", reads=True)
        with another_process(tmp_path / "db/neurowall.db"):
            outage.check()
            assert store.tokens.all()
        outage.over()

    def test_gone(self, store: Store, tmp_path: Path) -> None:
        """The file is moved away, and comes back. Nothing is made in its place."""
        file = tmp_path / "db/neurowall.db"
        outage = Outage(store, "is gone: put it back, or restart the daemon")
        file.rename(tmp_path / "aside")
        outage.check()
        time.sleep(2.5)  # it has tried again, and made nothing
        assert not file.exists()
        (tmp_path / "aside").rename(file)
        outage.over()

    def test_deleted_and_begun_anew_by_a_restart(
        self, store: Store, tmp_path: Path, make_store: MakeStore
    ) -> None:
        """As the message says; the new chain tells of it."""
        shutil.rmtree(tmp_path / "db")
        with pytest.raises(StorageUnavailable, match="restart the daemon to begin a new one"):
            store.audit.begin(ACT)
        store.close()
        again = make_store(f"sqlite:///{tmp_path}/db/neurowall.db")
        assert again.problem is None
        change(again)
        settled(again)
        assert "begun anew" in again.audit.verify().note

    def test_overwritten(self, store: Store, tmp_path: Path) -> None:
        """Damaged while it is open; a copy in its place is taken up."""
        file = tmp_path / "db/neurowall.db"
        outage = Outage(store, "is damaged: put a copy in its place")
        copy(file, tmp_path / "copy")
        file.write_bytes(b"\xa5" * file.stat().st_size)
        outage.check()
        restore(tmp_path / "copy", file)
        outage.over()

    def test_damaged_when_it_is_opened(self, store: Store, tmp_path: Path, make_store: MakeStore) -> None:
        """Also where the first page is whole. The daemon starts, and waits for a copy."""
        file = tmp_path / "db/neurowall.db"
        store.close()
        copy(file, tmp_path / "copy")
        with file.open("r+b") as damaged:
            damaged.seek(100)
            damaged.write(b"\xa5" * (file.stat().st_size - 100))
        again = make_store(f"sqlite:///{file}", deadline=DEADLINE)
        with pytest.raises(StorageUnavailable, match="is damaged: put a copy in its place"):
            again.audit.begin(ACT)
        assert again.tokens.snapshot() == {}
        restore(tmp_path / "copy", file)
        until(lambda: again.problem is None)
        until(lambda: again.tokens.snapshot().keys() == {"a" * 12})
        assert again.audit.verify().ok

    def test_an_older_copy_works_and_its_missing_rows_show(self, store: Store, tmp_path: Path) -> None:
        """What was written since the copy was made is gone, which the audit says for ever."""
        file = tmp_path / "db/neurowall.db"
        copy(file, tmp_path / "copy")
        last = change(store)
        settled(store)
        restore(tmp_path / "copy", file)
        change(store)
        found = store.audit.verify()
        assert (found.ok, found.first_bad) == (False, last.id)

    def test_no_room(self, tmp_path: Path) -> None:
        """A full file system."""

        def test(small: Small) -> None:
            store = opened(small.path)
            outage = Outage(store, "has no room: free some on its file system", reads=True)
            small.fill()
            until(lambda: not _works(store))
            outage.check()
            small.empty()
            # Some of those that filled it did not come to their end here.
            until(lambda: store.problem is None)
            settled(store)
            assert store.facts().lost == 0
            assert store.audit.verify().ok
            store.close()

        with_small(tmp_path / "small", "1m", test)

    def test_read_only_when_it_is_opened(self, tmp_path: Path) -> None:
        """The daemon starts all the same."""

        def test(small: Small) -> None:
            opened(small.path).close()
            small.remount("ro")
            store = Store(f"sqlite:///{small.path}/x.db", "gw", deadline=DEADLINE)
            store.open()
            with pytest.raises(StorageUnavailable, match="is read-only: mount its file system for writing"):
                store.audit.begin(ACT)
            small.remount("rw")
            until(lambda: store.problem is None)
            change(store)
            store.close()

        with_small(tmp_path / "small", "4m", test)

    def test_read_only_while_it_is_open(self, tmp_path: Path) -> None:
        """Found before anything is written to what is still open."""

        def test(small: Small) -> None:
            store = opened(small.path)
            outage = Outage(store, "is read-only: mount its file system for writing")
            small.cover()
            outage.check()
            small.uncover()
            outage.over()
            store.close()

        with_small(tmp_path / "small", "4m", test)


def opened(directory: Path) -> Store:
    """A store in *directory*, open and used."""
    store = Store(f"sqlite:///{directory}/x.db", "gw", deadline=DEADLINE)
    store.open()
    return used(store) if not store.tokens.all() else store


def copy(file: Path, target: Path) -> None:
    """A copy as an operator makes it, with what is in the log."""
    source, made = sqlite3.connect(file), sqlite3.connect(target)
    source.backup(made)
    # Else the log holds every page, and SQLite repairs a damaged file from it.
    source.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    source.close()
    made.close()


def restore(source: Path, file: Path) -> None:
    """Put a copy in the place of a database, as the manual says."""
    for beside in ("-wal", "-shm"):
        file.with_name(file.name + beside).unlink(missing_ok=True)
    source.rename(file)


def _works(store: Store) -> bool:
    try:
        change(store)
    except StorageUnavailable:
        return False
    return True


@pytest.mark.root
class TestPostgresql:
    def test_killed_and_started_again(self, server: Postgres, make_store: MakeStore) -> None:
        """SIGKILL to the server and all its sessions."""
        outage = Outage(used(make_store(server.database(), deadline=DEADLINE)), "start")
        server.kill()
        outage.check()
        server.start()
        outage.over()

    def test_frozen(self, server: Postgres, make_store: MakeStore) -> None:
        """SIGSTOP: connections stand, and nothing answers."""
        outage = Outage(
            used(make_store(server.database(), deadline=DEADLINE)), "look at its server|start its server"
        )
        server.freeze()
        try:
            outage.check()
        finally:
            server.thaw()
        outage.over()

    def test_restarted(self, server: Postgres, make_store: MakeStore) -> None:
        """Stopped and started as an upgrade does."""
        outage = Outage(used(make_store(server.database(), deadline=DEADLINE)), "start")
        server.stop()
        outage.check()
        server.start()
        outage.over()

    def test_no_connection_left(self, server: Postgres, make_store: MakeStore) -> None:
        """Others have all of them when the daemon starts."""
        url = server.database()
        used(make_store(url, deadline=DEADLINE)).close()
        server.stop()
        server.start("max_connections=5", "superuser_reserved_connections=0", "max_wal_senders=0")
        others = list[psycopg.Connection]()
        with suppress(psycopg.OperationalError):
            while True:
                others.append(psycopg.connect(host=str(server.directory), user="postgres"))
        store = make_store(url, deadline=DEADLINE)
        with pytest.raises(StorageUnavailable, match="no connection left: raise max_connections"):
            store.audit.begin(ACT)
        for other in others:
            other.close()
        until(lambda: store.problem is None)
        change(store)

    def test_locked_by_another_client(self, server: Postgres, make_store: MakeStore) -> None:
        """A table that somebody holds."""
        url = server.database()
        store = used(make_store(url, deadline=DEADLINE))
        outage = Outage(store, "locked by another client: end it|look at its")
        with psycopg.connect(url) as other:
            other.execute("LOCK TABLE audit, tokens IN ACCESS EXCLUSIVE MODE")
            outage.check()
        outage.over()

    def test_read_only(self, server: Postgres, make_store: MakeStore) -> None:
        """A primary that became a standby, as far as a client sees."""
        url = server.database()
        outage = Outage(
            used(make_store(url, deadline=DEADLINE)), "is read-only, a standby perhaps", reads=True
        )
        server.ask("ALTER SYSTEM SET default_transaction_read_only = on")
        server.ask("SELECT pg_reload_conf()")
        until(lambda: server.ask("SHOW default_transaction_read_only") == [("on",)])
        outage.check()
        server.ask("ALTER SYSTEM RESET default_transaction_read_only")
        server.ask("SELECT pg_reload_conf()")
        outage.over()

    def test_tables_that_are_gone(self, server: Postgres, make_store: MakeStore) -> None:
        """Nothing is made in their place while the daemon runs."""
        url = server.database()
        store = used(make_store(url, deadline=DEADLINE))
        with psycopg.connect(url, autocommit=True) as other:
            other.execute("ALTER TABLE audit RENAME TO aside")
            with pytest.raises(StorageUnavailable, match="lacks what it should hold"):
                store.audit.begin(ACT)
            other.execute("ALTER TABLE aside RENAME TO audit")
        until(lambda: store.problem is None)
        change(store)
        settled(store)
        assert store.audit.verify().ok


def test_a_server_that_never_was(tmp_path: Path, make_store: MakeStore) -> None:
    """The daemon starts, and says what to do."""
    begun = time.monotonic()
    store = make_store(f"postgresql://nobody@/x?host={tmp_path}", deadline=DEADLINE)
    assert time.monotonic() - begun < DEADLINE + SLACK
    with pytest.raises(StorageUnavailable, match="start its server, or check host and port"):
        store.audit.begin(ACT)


def test_a_password_is_never_in_a_message(make_store: MakeStore) -> None:
    """Neither in the problem nor in what is told of the database."""
    store = make_store("postgresql://eve:s3cret@127.0.0.1:9/x", deadline=DEADLINE)
    until(lambda: store.problem is not None)
    assert "s3cret" not in f"{store.problem} {store.facts()}"
