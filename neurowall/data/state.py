# SPDX-License-Identifier: Apache-2.0
"""The intended state on disk: `state.json`, and the entries of each list in `lists/<sha256>.npz`.

Those of a timed list have columns that say when they end, and rows of some that did.

Entries are written before the state that names them, and removed only when no state names them any more. So
after a crash at any moment the directory holds one whole state, the old or the new one. What is damaged is
an error that says so, never an empty list.
"""

import contextlib
import fcntl
import hashlib
import io
import os
import zipfile
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np

from neurowall.data import statefile
from neurowall.data.durable import write_durably
from neurowall.model.entries import DTYPE, FAMILIES, Array, Entries, EntrySet
from neurowall.model.errors import StateError
from neurowall.model.intent import Intent
from neurowall.model.terms import TERM_COLUMNS, Terms, TermSet, columns_of

Content = TypeVar("Content", EntrySet, TermSet)


class StateStore:
    """One daemon's state directory. Methods raise StateError, and leave one whole state in any case.

    The directory belongs to one daemon at a time: `acquire` takes a lock that ends with the process.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._lists = directory / "lists"
        self._state = directory / "state.json"
        self._lock: int | None = None

    def acquire(self) -> None:
        """Create the directory if it is missing, and lock it."""
        if self._lock is not None:
            return
        try:
            self._lists.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StateError(f"{self.directory}: cannot be used for state: {error.strerror}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock)
            problem = "another daemon uses this state directory: give each its own"
            raise StateError(f"{self.directory}: {problem}") from error
        self._lock = lock

    def exists(self) -> bool:
        """Whether something was ever saved here."""
        return self._state.exists()

    def close(self) -> None:
        """Give up the lock."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def load(self) -> Intent:
        """The saved state; on the first start an empty one of generation 0.

        That is saved at once, so that stored lists without a state can only mean that the state was lost.
        """
        try:
            return statefile.decode(self._state.read_bytes())
        except FileNotFoundError:
            return self._first()
        except OSError as error:
            raise StateError(f"{self._state}: cannot be read: {error.strerror}: check permissions") from error
        except (ValueError, RecursionError) as error:
            raise StateError(f"{self._state} is damaged ({error}); {self._advice}") from error

    def save(self, intent: Intent) -> None:
        """Make *intent* the saved state; the entries that it names must have been put."""
        try:
            write_durably(self._state, statefile.encode(intent))
        except OSError as error:
            raise StateError(f"{self._state}: cannot be written: {error.strerror}") from error

    def put_entries(self, entries: EntrySet) -> str:
        """Store the entries of a list; returns their content address."""
        digest = digest_of(entries)
        with contextlib.suppress(StateError):
            self.get_entries(digest, "")
            return digest
        return self._put(digest, _columns_of(entries))

    def get_entries(self, digest: str, name: str) -> EntrySet:
        """The entries stored under *digest*; *name* is the list's, for the message."""
        return self._get(digest, name, _entries, digest_of)

    def put_terms(self, terms: TermSet) -> str:
        """Store the terms of a timed list; returns their content address."""
        columns = _columns_of(terms.entries)
        for family in FAMILIES:
            part = columns_of(terms.family(family))
            columns |= {f"{name}{family}": column for name, column in part.items()}
        return self._put(digest_of_terms(terms), columns)

    def get_terms(self, digest: str, name: str) -> TermSet:
        """The terms stored under *digest*; *name* is the list's, for the message."""
        return self._get(digest, name, _terms, digest_of_terms)

    def _put(self, digest: str, columns: Mapping[str, Array]) -> str:
        path, packed = self._path(digest), io.BytesIO()
        np.savez(packed, allow_pickle=False, **columns)
        try:
            write_durably(path, packed.getvalue())
        except OSError as error:
            raise StateError(f"{path}: cannot be written: {error.strerror}") from error
        return digest

    def _get(
        self,
        digest: str,
        name: str,
        read: Callable[[Mapping[str, Array]], Content],
        digest_of_content: Callable[[Content], str],
    ) -> Content:
        path = self._path(digest)
        advice = f"it holds list '{name}': restore it from a backup, or {self._start_over}"
        try:
            with np.load(path, allow_pickle=False) as columns:
                content = read(columns)
        except FileNotFoundError as error:
            raise StateError(f"{path} is missing; {advice}") from error
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise StateError(f"{path} is damaged ({error}); {advice}") from error
        if digest_of_content(content) != digest:
            raise StateError(f"{path} is damaged (its content does not match its name); {advice}")
        return content

    def collect(self, keep: Collection[str]) -> None:
        """Remove stored entries whose address is not in *keep*; what cannot be removed now goes later.

        Not synced: what comes back after a crash goes with the next start.
        """
        with contextlib.suppress(OSError):
            for path in list(self._lists.iterdir()):
                if path.suffix != ".npz" or path.stem not in keep:
                    path.unlink(missing_ok=True)

    def forget(self, gone: Collection[str]) -> None:
        """Remove stored entries by their addresses, as collect does."""
        with contextlib.suppress(OSError):
            for digest in gone:
                self._path(digest).unlink(missing_ok=True)

    @property
    def _start_over(self) -> str:
        return (
            f"move {self.directory} away to start from the policy alone, which forgets what was "
            "blocked, allowed and loaded at run time"
        )

    @property
    def _advice(self) -> str:
        return f"restore it from a backup, or {self._start_over}"

    def _path(self, digest: str) -> Path:
        return self._lists / f"{digest}.npz"

    def _first(self) -> Intent:
        if self._lists.is_dir() and any(self._lists.glob("*.npz")):
            raise StateError(f"{self._state} is missing, but there are lists beside it; {self._advice}")
        self.save(Intent(0, ()))
        return Intent(0, ())


def digest_of(entries: EntrySet) -> str:
    """The content address of a set of entries: SHA-256 over counts and columns, little-endian."""
    digest = hashlib.sha256(b"neurowall-entries/1")
    for family in FAMILIES:
        rows = entries.family(family)
        digest.update(len(rows).to_bytes(8, "little"))
        address = rows.address.astype("<u4", copy=False) if family == 4 else rows.address
        digest.update(address.tobytes())
        digest.update(rows.length.tobytes())
    return digest.hexdigest()


def digest_of_terms(terms: TermSet) -> str:
    """The content address of terms: SHA-256 over that of their entries and the other columns."""
    digest = hashlib.sha256(b"neurowall-terms/1" + digest_of(terms.entries).encode())
    for family in FAMILIES:
        for column in columns_of(terms.family(family)).values():
            digest.update(column.astype("<f8", copy=False).tobytes())
    return digest.hexdigest()


def _columns_of(entries: EntrySet) -> dict[str, Array]:
    v4, v6 = entries.v4, entries.v6
    return {"address4": v4.address, "length4": v4.length, "address6": v6.address, "length6": v6.length}


def _entries(columns: Mapping[str, Array]) -> EntrySet:
    return EntrySet(_column(columns, 4), _column(columns, 6))


def _column(columns: Mapping[str, Array], family: int) -> Entries:
    address = np.asarray(columns[f"address{family}"])
    return Entries(
        family, address.astype(DTYPE[family], casting="equiv"), np.asarray(columns[f"length{family}"])
    )


def _terms(columns: Mapping[str, Array]) -> TermSet:
    v4, v6 = (
        Terms(_column(columns, f), *(np.asarray(columns[f"{name}{f}"]) for name in TERM_COLUMNS))
        for f in FAMILIES
    )
    return TermSet(v4, v6)
