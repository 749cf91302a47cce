# SPDX-License-Identifier: Apache-2.0
"""A real PostgreSQL server as a child process of user postgres, in a directory of its own."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

READY_SECONDS = 20.0
_AS_POSTGRES = ("setpriv", "--reuid", "postgres", "--regid", "postgres", "--clear-groups", "--")


def programs() -> Path | None:
    """Where Debian keeps initdb and postgres; the newest version that is there."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


class Postgres:
    """One server, reached by a unix socket only."""

    def __init__(self, directory: Path, programs: Path) -> None:
        self.directory, self._programs = directory, programs
        self._data = directory / "data"
        self._process: subprocess.Popen[bytes] | None = None
        self._made = 0

    def create(self) -> None:
        """Make the cluster; nothing in it is worth a sync."""
        command = (
            "initdb",
            "-D",
            str(self._data),
            "-U",
            "postgres",
            "--auth=trust",
            "--no-sync",
            "-E",
            "UTF8",
        )
        self._do(*command)

    def start(self, *settings: str) -> None:
        """Start the server and wait until it answers. settings: as `name=value`."""
        given = ("listen_addresses=", f"unix_socket_directories={self.directory}", "fsync=off", *settings)
        more = [part for each in given for part in ("-c", each)]
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                (*_AS_POSTGRES, str(self._programs / "postgres"), "-D", str(self._data), *more),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                start_new_session=True,  # Ctrl-C would end it before the tests that use it
            )
        deadline = time.monotonic() + READY_SECONDS
        while True:
            assert self._process.poll() is None, self.log()
            assert time.monotonic() < deadline, self.log()
            try:
                self.ask("SELECT 1")
            except psycopg.OperationalError:
                time.sleep(0.05)
            else:
                return

    def stop(self) -> None:
        """End it as `pg_ctl stop -m fast` does; nothing if it does not run."""
        if self._process and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(20)

    def kill(self) -> None:
        """SIGKILL to it and to its sessions, which would outlive it for a moment."""
        assert self._process
        for pid in self.pids():
            os.kill(pid, signal.SIGKILL)
        self._process.wait(20)

    def freeze(self) -> None:
        """SIGSTOP to it and to all of its sessions."""
        for pid in self.pids():
            os.kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Take freeze back."""
        for pid in self.pids():
            os.kill(pid, signal.SIGCONT)

    def pids(self) -> list[int]:
        """The server's process, and its children."""
        assert self._process
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text(
            encoding="ascii"
        )
        return [self._process.pid, *map(int, children.split())]

    def ask(self, text: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """The rows that a statement gives, if any, in a connection of its own."""
        where = f"host={self.directory} user=postgres dbname={database}"
        with psycopg.connect(where, autocommit=True) as link:
            cursor = link.execute(text.encode())
            return cursor.fetchall() if cursor.description else []

    def database(self) -> str:
        """Make a database; its URL."""
        self._made += 1
        name = f"nw{self._made}"
        self.ask(f"CREATE DATABASE {name}")
        return f"postgresql://postgres@/{name}?host={self.directory}"

    def log(self) -> str:
        """What the server said."""
        return (self.directory / "log").read_text(encoding="utf-8", errors="replace")[-4000:]

    def _do(self, program: str, *arguments: str) -> None:
        command = (*_AS_POSTGRES, str(self._programs / program), *arguments)
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=self.directory)
        assert done.returncode == 0, done.stderr


@contextmanager
def server() -> Iterator[Postgres]:
    """A running server that is gone afterwards."""
    found = programs()
    assert found
    # Not pytest's: only root may enter those.
    directory = Path(tempfile.mkdtemp(prefix="neurowall-postgres-"))
    try:
        shutil.chown(directory, "postgres", "postgres")
        postgres = Postgres(directory, found)
        postgres.create()
        postgres.start()
        try:
            yield postgres
        finally:
            postgres.stop()
    finally:
        shutil.rmtree(directory, ignore_errors=True)
