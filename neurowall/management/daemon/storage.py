# SPDX-License-Identifier: Apache-2.0
"""The daemon's database: which one, whose rows are ours in it, and what is copied into it.

Everything that is enforced is in the state directory. So a daemon starts, and goes on, without a database.
"""

import contextlib
import logging
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from neurowall.data.generations import GenerationStore
from neurowall.data.store.store import Store
from neurowall.management.daemon.background import Background
from neurowall.model.audit import Act
from neurowall.model.errors import StateError, StorageUnavailable

FILE = "neurowall.db"
HEAD_FILE = "audit-head.json"
NODE_FILE = "node"
AGAIN_SECONDS = 2.0  # after a failure
UNASKED_SECONDS = 1.0  # SIGHUP and policies that nobody confirmed poke nobody

log = logging.getLogger(__name__)


def store_for(url: str | None, state: Path, instance: str) -> Store:
    """The store of one daemon, not open yet. *url* None: SQLite in *state*. Raises Unsupported."""
    where = url or f"sqlite:///{quote(str((state / FILE).absolute()))}"
    return Store(where, node_name(state, instance), head_file=state / HEAD_FILE)


def node_name(state: Path, instance: str) -> str:
    """Whose rows are ours: as the state directory was called first, so that a new host name orphans none."""
    kept = state / NODE_FILE
    with contextlib.suppress(OSError, UnicodeDecodeError):
        if name := kept.read_text(encoding="utf-8").strip():
            return name[:100]
    name = f"{socket.gethostname()[:64]}/{instance}"
    try:
        kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        kept.write_text(f"{name}\n", encoding="utf-8")
    except OSError as error:
        log.warning(
            "%s cannot be written: %s; a new host name would begin a new history", kept, error.strerror
        )
    return name


def started_by(version: str) -> Act:
    """The start of a daemon, for the audit."""
    return Act("daemon-start", f"uid:{os.getuid()}", detail={"version": version, "pid": os.getpid()})


class Recorder(Background):
    """A thread that copies generations into the database: those that it lacks, at the start and when poked.

    current: the generation in force; a file of a higher number may never come into force.
    """

    def __init__(self, store: Store, files: GenerationStore, current: Callable[[], int]) -> None:
        super().__init__("recorder")
        self._store, self._files, self._current = store, files, current
        self._copied: set[int] = set()
        self._known: dict[int, float] | None = None
        self._seen = -1  # the generation in force when all was copied
        self._poked = threading.Event()

    def poke(self) -> None:
        """Have it look now."""
        self._poked.set()

    def end(self) -> None:
        """Have the thread end, without waiting for that."""
        super().end()
        self._poked.set()

    def _work(self) -> None:
        while not self._ending.is_set():
            pause = UNASKED_SECONDS
            self._poked.clear()
            try:
                self._copy()
            except StorageUnavailable:
                pause = AGAIN_SECONDS  # the store says so in the log
            except Exception:
                log.exception("generations cannot be copied into the database")
            self._poked.wait(pause)

    def _copy(self) -> None:
        if self._known is None:
            self._known = dict(self._store.generations.known())
        current = self._current()
        if current == self._seen:
            return
        for number in self._files.numbers():
            if number in self._copied or number > current or self._ending.is_set():
                continue
            try:
                record = self._files.get(number)
            except StateError as error:
                log.warning("a generation is not copied into the database: %s", error)
            else:
                if self._known.get(number) != record.when:
                    self._store.generations.record(record)
            self._copied.add(number)
        self._seen = current
