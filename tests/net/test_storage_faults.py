# SPDX-License-Identifier: Apache-2.0
"""While the database cannot be used, packets are filtered as before, and changes are refused with why."""

import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import pytest

from tests.net.conftest import MakeDaemon
from tests.net.daemon import Daemon, until
from tests.net.probes import Probes
from tests.services import postgres

pytestmark = pytest.mark.root

LISTED, FREE, TIMED = "203.0.113.7", "203.0.113.8", "203.0.113.9"
Fault = Callable[[Path], AbstractContextManager[str]]
SOON = 5.0  # seconds: the deadline is 2, and the machine is loaded


@contextmanager
def locked(file: Path) -> Iterator[str]:
    """Another process would do the same; what is refused, is."""
    with closing(sqlite3.connect(file, isolation_level=None)) as link:
        link.execute("BEGIN IMMEDIATE")
        yield "locked by another process"
        link.execute("ROLLBACK")


@contextmanager
def gone(file: Path) -> Iterator[str]:
    """Moved away."""
    file.rename(file.with_name("aside"))
    yield "is gone: put it back"
    file.with_name("aside").rename(file)


@contextmanager
def damaged(file: Path) -> Iterator[str]:
    """Overwritten from the first byte on."""
    kept = file.with_name("kept")
    with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(kept)) as copy:
        source.backup(copy)
        # Else the log holds every page, and SQLite repairs the file from it.
        source.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    size = file.stat().st_size
    with file.open("r+b") as opened:
        opened.write(b"\xa5" * size)
    yield "is damaged: put a copy in its place"
    for beside in ("neurowall.db-wal", "neurowall.db-shm"):
        file.with_name(beside).unlink(missing_ok=True)
    kept.rename(file)


def goes_on_without(daemon: Daemon, probes: Probes, why: str) -> None:
    """Everything that is said of a daemon without a database."""
    begun = time.monotonic()
    refused = daemon.ask("POST", "/block", json={"addresses": [FREE]})
    assert time.monotonic() - begun < SOON
    assert refused.status_code == 503, refused.text
    problem = refused.json()
    assert problem["type"] == "urn:neurowall:problem:storage-unavailable"
    assert why in problem["detail"]
    assert refused.headers["retry-after"] == "1"
    assert probes.blocked(LISTED, FREE) == {LISTED}
    now = daemon.get("/status")
    assert why in now["storage"]["problem"]
    assert any(why in warning for warning in now["warnings"])
    assert "neurowall_storage_up 0.0" in daemon.ask("GET", "/metrics").text
    assert daemon.ask("GET", "/readiness").status_code == 200


def is_back(daemon: Daemon, probes: Probes) -> None:
    """Without anybody's help."""
    until(lambda: daemon.get("/status")["storage"]["problem"] is None, 15)
    daemon.post("block", FREE)
    assert probes.blocked(LISTED, FREE) == {LISTED, FREE}
    daemon.post("unblock", FREE)
    assert daemon.get("/audit/verify")["ok"]


@pytest.mark.parametrize("fault", [locked, gone, damaged])
def test_sqlite(make_daemon: MakeDaemon, probes: Probes, fault: Fault) -> None:
    """Enforcement goes on, timed bans end, SIGHUP puts a policy in force, and that is recorded afterwards."""
    daemon = make_daemon()
    daemon.start()
    daemon.post("block", LISTED)
    answer = daemon.ask("POST", "/block", json={"addresses": [TIMED], "ttl": 4})
    assert answer.status_code == 200
    ends = time.time() + 4
    file = daemon.state_dir / "main/neurowall.db"
    until(lambda: daemon.get("/status")["storage"]["audit_queued"] == 0)
    with fault(file) as why:
        goes_on_without(daemon, probes, why)
        more = "lists:\n  - {name: d, verdict: block, entries: [192.0.2.1]}\n"
        daemon.config.write_text(daemon.config.read_text() + more)
        assert daemon.process
        daemon.process.signal(signal.SIGHUP)
        until(lambda: probes.blocked("192.0.2.1") == {"192.0.2.1"})
        time.sleep(max(ends - time.time(), 0))
        until(lambda: probes.arrived(TIMED) == {TIMED})
        until(lambda: daemon.get("/status")["timed"]["block"] == 0)
        in_force = daemon.get("/policy")["generation"]
    is_back(daemon, probes)

    def numbers() -> list[int]:
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as link:
            return [row[0] for row in link.execute("SELECT number FROM generations")]

    until(lambda: in_force in numbers(), 15)


def test_a_daemon_starts_without_its_database(make_daemon: MakeDaemon, probes: Probes) -> None:
    """What was in force is in force again; the database is taken up when it is whole."""
    daemon = make_daemon()
    daemon.start()
    daemon.post("block", LISTED)
    assert daemon.stop() == 0
    with damaged(daemon.state_dir / "main/neurowall.db") as why:
        daemon.start()
        goes_on_without(daemon, probes, why)
    is_back(daemon, probes)


def test_postgresql_frozen_and_killed(make_daemon: MakeDaemon, probes: Probes) -> None:
    """A server that does not answer holds nobody up longer than the deadline."""
    if postgres.programs() is None:
        pytest.skip("not installed: postgresql; `make setup-test` installs what the tests need")
    with postgres.server() as server:
        daemon = make_daemon()
        daemon.start("--database", server.database())
        daemon.post("block", LISTED)
        server.freeze()
        try:
            goes_on_without(daemon, probes, "database postgresql")
        finally:
            server.thaw()
        is_back(daemon, probes)
        server.kill()
        goes_on_without(daemon, probes, "start")
        server.start()
        is_back(daemon, probes)
        assert daemon.stop() == 0
