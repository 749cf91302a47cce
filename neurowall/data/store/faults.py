# SPDX-License-Identifier: Apache-2.0
"""What a database's error means to an operator: what is wrong, and the next step."""

import sqlite3

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, SQLAlchemyError

from neurowall.model.errors import StorageUnavailable

_SQLITE = {
    "SQLITE_BUSY": "is locked by another process: end what holds it (fuser -v names it)",
    "SQLITE_LOCKED": "is locked by another process: end what holds it (fuser -v names it)",
    "SQLITE_READONLY": "is read-only: mount its file system for writing, or give it to the daemon's user",
    "SQLITE_PERM": "may not be opened: give it back to the daemon's user",
    "SQLITE_FULL": "has no room: free some on its file system",
    "SQLITE_CANTOPEN": "cannot be opened: its directory must be there, be the daemon's and be writable",
    "SQLITE_CORRUPT": "is damaged: put a copy in its place, or move it away and restart the daemon",
    "SQLITE_NOTADB": "is damaged: put a copy in its place, or move it away and restart the daemon",
    "SQLITE_IOERR": "cannot be read or written: look at the kernel's log and at its disk",
    "SQLITE_INTERRUPT": "took too long: look at the load of its disk",
    "SQLITE_ERROR": "lacks what it should hold: put a copy in its place, or restart without it",
}
_POSTGRESQL = {
    "53300": "has no connection left: raise max_connections, or end other clients",
    "53": "has no room or memory left: free some on its server",
    "57014": "took too long: look at its load and locks",
    "55P03": "is locked by another client: end it (pg_stat_activity names it)",
    "57P": "is being stopped or started: nothing to do if that is meant, else look at its log",
    "28": "does not let us in: check user and password in --database, and pg_hba.conf",
    "3D000": "does not exist: create it (createdb)",
    "3F000": "has no schema to write to: create it, or set search_path",
    "25006": "is read-only, a standby perhaps: name the primary in --database",
    "42501": "does not let us write: grant the user its tables and schema",
    "42": "lacks what it should hold: put a copy in its place, or restart the daemon",
    "XX": "is damaged: look at its server's log",
    "58": "cannot read or write its files: look at its server's log",
}


def is_fault(error: Exception) -> bool:
    """Whether *error* says that the database cannot be used, rather than that one statement is wrong."""
    if isinstance(error, IntegrityError | DataError):
        return False
    return isinstance(error, SQLAlchemyError | sqlite3.Error | OSError | StorageUnavailable)


def explain(error: Exception, where: str) -> str:
    """One sentence about the database at *where*, with the next step."""
    if isinstance(error, StorageUnavailable):
        return str(error)
    if isinstance(error, OSError):
        return f"{where} cannot be used: {error.strerror or error}: check its directory and disk"
    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, sqlite3.Error):
        return f"{where} {_of_sqlite(cause)}"
    return f"{where} {_of_postgresql(cause)}"


def _of_sqlite(error: sqlite3.Error) -> str:
    name = getattr(error, "sqlite_errorname", None) or ""
    for prefix, meaning in _SQLITE.items():
        if name.startswith(prefix):
            return f"{meaning} ({name}: {error})"
    return f"failed ({name or type(error).__name__}: {error}): look at its file and disk"


def _of_postgresql(error: BaseException | None) -> str:
    state = getattr(error, "sqlstate", None) or ""
    said = " ".join(str(error).split())[:300]
    for prefix, meaning in _POSTGRESQL.items():
        if state.startswith(prefix):
            return f"{meaning} ({state}: {said})"
    # A refusal while connecting has no state of its own, only the server's words.
    for words, known in (
        ("too many clients", "53300"),
        ("remaining connection slots", "53300"),
        ("starting up", "57P"),
        ("shutting down", "57P"),
        ("authentication", "28"),
        ("does not exist", "3D000"),
    ):
        if words in said:
            return f"{_POSTGRESQL[known]} ({said})"
    return f"does not answer: start its server, or check host and port in --database ({said})"
