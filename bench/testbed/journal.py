# SPDX-License-Identifier: Apache-2.0
"""The journal of a run: every resource is written down before it exists.

So `reap` can remove what a killed run left behind.

One JSON object a line in `<runs dir>/<run id>/journal.jsonl`, each forced to disk before the call returns.
The first line names the owner (pid, start time, boot id). The last line may be torn by a crash: the resource
it was about to name was then never created.
"""

import contextlib
import fcntl
import json
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from bench.testbed.errors import TestbedError
from bench.testbed.procfs import Identity, pid_namespace

DEFAULT_RUNS_DIR = Path("/run/neurowall-bench")
FILE_NAME = "journal.jsonl"
FORMAT = 1

Kind = Literal["netns", "process", "mount", "directory", "file"]
"""What a journal knows.

netns: a name under /run/netns. process: its name in the run, `pid` and `start_time` once started. mount, file
and directory (removed with all it holds): an absolute path.
"""


@dataclass(frozen=True)
class Resource:
    """Something the run made, or was about to make when it died."""

    kind: Kind
    name: str
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Contents:
    """What a journal says: whose run it is and what may still exist, in order of creation.

    `pid_namespace` is where the owner's pid counts (inode of /proc/PID/ns/pid).
    """

    run_id: str
    owner: Identity
    pid_namespace: int
    command: list[str]
    started: float
    resources: list[Resource]


class Journal:
    """Append-only record of one run, written by its owner; safe to use from several threads."""

    def __init__(self, descriptor: int, path: Path) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()
        self.path = path

    @classmethod
    def begin(cls, path: Path, run_id: str, owner: Identity, command: list[str]) -> "Journal":
        """Create the file, which must not exist, and write whose run it is."""
        journal = cls(
            os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600), path
        )
        who: dict[str, Any] = {"pid": owner.pid, "start_time": owner.start_time, "boot_id": owner.boot_id}
        who["pid_namespace"] = pid_namespace()
        head = {"op": "begin", "format": FORMAT, "run": run_id, "owner": who, "command": command}
        journal.write([{**head, "time": time.time()}])
        return journal

    @classmethod
    def open(cls, path: Path) -> "Journal":
        """Go on with an existing file, and hold it: the lock tells other PID namespaces that we live."""
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        return cls(descriptor, path)

    def create(self, kind: Kind, *names: str, **details: Any) -> None:
        """Say that these resources are about to be made. Call it first, then make them."""
        self.write([{"op": "create", "kind": kind, "name": name, **details} for name in names])

    def started(self, name: str, identity: Identity) -> None:
        """Say which process a `process` resource became."""
        details = {"pid": identity.pid, "start_time": identity.start_time}
        self.write([{"op": "create", "kind": "process", "name": name, **details}])

    def removed(self, kind: Kind, *names: str) -> None:
        """Say that these resources are gone. Call it last."""
        self.write([{"op": "remove", "kind": kind, "name": name} for name in names])

    def write(self, records: list[dict[str, Any]]) -> None:
        """Append lines and return when they are on disk."""
        text = "".join(json.dumps(record, separators=(",", ":")) + "\n" for record in records)
        with self._lock:
            os.write(self._descriptor, text.encode())
            os.fdatasync(self._descriptor)

    def close(self) -> None:
        """Close the file; the journal stays on disk until its directory is removed."""
        with self._lock:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1


def read(path: Path) -> Contents:
    """What a journal on disk says; raises TestbedError when it has no readable first line."""
    records = _records(path)
    if not records or records[0].get("op") != "begin":
        raise TestbedError(f"{path}: no owner in the first line; inspect the directory and remove it by hand")
    head = records[0]
    if head.get("format") != FORMAT:
        raise TestbedError(f"{path}: journal format {head.get('format')}, this program reads {FORMAT}")
    who = head["owner"]
    owner = Identity(int(who["pid"]), int(who["start_time"]), str(who["boot_id"]))
    return Contents(
        run_id=str(head["run"]),
        owner=owner,
        pid_namespace=int(who["pid_namespace"]),
        command=list(head["command"]),
        started=float(head["time"]),
        resources=_open(records[1:]),
    )


@contextlib.contextmanager
def locked(path: Path, patience: float = 0.0) -> Iterator[bool]:
    """Exclusive lock on a journal; False when others hold it for longer than `patience` or the file is gone.

    The lock is also held by a child of a killed owner, from fork to exec: whoever gets it can find them all.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield False
        return
    try:
        yield _lock(descriptor, patience) and os.fstat(descriptor).st_nlink > 0
    finally:
        os.close(descriptor)


def _lock(descriptor: int, patience: float) -> bool:
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.001)
        else:
            return True


def _records(path: Path) -> list[dict[str, Any]]:
    """Parsed lines; a torn last line is left out, any other unreadable line is an error."""
    lines = path.read_bytes().split(b"\n")
    records = []
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        try:
            records.append(json.loads(line))
        except ValueError as error:
            if number == len(lines):  # no newline follows: the writer died here
                break
            raise TestbedError(f"{path}:{number}: unreadable journal line: {error}") from error
    return records


def _open(records: list[dict[str, Any]]) -> list[Resource]:
    """Resources created and not removed, oldest first; a later record of the same name adds details."""
    found: dict[tuple[Kind, str], Resource] = {}
    for record in records:
        kind, name = record["kind"], record["name"]
        if record["op"] == "remove":
            found.pop((kind, name), None)
            continue
        details = {key: value for key, value in record.items() if key not in {"op", "kind", "name"}}
        found[(kind, name)] = Resource(kind, name, details)
    return list(found.values())
