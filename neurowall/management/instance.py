# SPDX-License-Identifier: Apache-2.0
"""One instance's run directory: where its socket, lock and record are, and who holds the lock."""

import fcntl
import grp
import json
import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from neurowall.management.errors import CannotRun, CommandError, UsageProblem

DEFAULT_RUN_DIR = Path("/run/neurowall")
DEFAULT_STATE_DIR = Path("/var/lib/neurowall")
DEFAULT_USER = "neurowall"  # runs the daemon, where it is not root
GROUP = "neurowall"  # may use the socket, if the group exists
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")


@dataclass(frozen=True)
class Record:
    """How the instance was last started: what `neurowall down` needs after the daemon is gone."""

    netns: str | None
    state_dir: str
    config: str


@dataclass(frozen=True)
class Instance:
    """The name of one daemon and its run directory. Building one touches nothing."""

    name: str
    run_dir: Path = DEFAULT_RUN_DIR

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise UsageProblem(
                f"instance name {self.name!r} is not valid: use 1 to 32 of a-z, 0-9 and '-', not '-' first"
            )

    @property
    def directory(self) -> Path:
        """The instance's own run directory."""
        return self.run_dir / self.name

    @property
    def socket(self) -> Path:
        """The API's unix socket."""
        return self.directory / "api.sock"

    @property
    def bpffs(self) -> Path:
        """Where the instance's bpffs is mounted."""
        return self.directory / "bpf"

    @property
    def lock(self) -> Path:
        """The file whose lock the daemon holds."""
        return self.directory / "lock"

    @property
    def record_file(self) -> Path:
        """How the instance was started."""
        return self.directory / "instance.json"

    def create(self) -> None:
        """Make the run directory, open to group `neurowall` if there is one, else to its owner only.

        Raises CannotRun if that is not for this user to do.
        """
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            # Else `neurowall prepare` made it for another user.
            if self.directory.stat().st_uid in {os.geteuid(), 0}:
                self.directory.chmod(0o750)
                share_with_group(self.directory)
        except PermissionError as error:
            raise CannotRun(not_ours(self.directory, error)) from error

    def record(self, record: Record) -> None:
        """Write how this instance was started, atomically."""
        draft = self.record_file.with_suffix(".tmp")
        draft.write_text(json.dumps(asdict(record)))
        draft.replace(self.record_file)

    def recorded(self) -> Record | None:
        """How this instance was last started, or None if it never was (or the record is unreadable)."""
        try:
            return Record(**json.loads(self.record_file.read_text()))
        except (OSError, ValueError, TypeError):
            return None


def not_ours(path: Path, error: OSError) -> str:
    """What to say and do where a file or folder of an instance is not this user's."""
    return (
        f"{error.filename or path}: {error.strerror}: run it as root, or have root run `neurowall prepare` "
        "for this instance and this user first"
    )


def share_with_group(path: Path) -> None:
    """Give *path* to group `neurowall`; it keeps its group if there is none or the user is not in it."""
    with suppress(KeyError, PermissionError):
        os.chown(path, -1, grp.getgrnam(GROUP).gr_gid)


@contextmanager
def locked(instance: Instance) -> Iterator[None]:
    """Hold the instance's lock: one daemon, or one `down`, at a time.

    The kernel drops the lock when its holder dies, so a stale file never blocks a start.
    Raises CommandError naming the pid that holds it.
    """
    instance.create()
    try:
        descriptor = os.open(instance.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except PermissionError as error:
        raise CannotRun(not_ours(instance.lock, error)) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CommandError(
                f"instance '{instance.name}' already runs as pid {_pid(descriptor) or 'unknown'} (lock "
                f"{instance.lock}); stop that one first, or choose another --instance"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def holder(instance: Instance) -> int | None:
    """The pid of the process that holds the instance's lock now, or None."""
    try:
        descriptor = os.open(instance.lock, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return _pid(descriptor)
    else:
        return None
    finally:
        os.close(descriptor)


def stop_holder(instance: Instance, timeout: float = 15.0) -> int | None:
    """Ask the running daemon to exit and wait for it; returns its pid, None if none ran.

    Raises CommandError if it is still there after *timeout* seconds.
    """
    pid = holder(instance)
    if pid is None:
        return None
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + timeout
    while holder(instance) is not None:
        if time.monotonic() > deadline:
            raise CommandError(
                f"pid {pid} still holds {instance.lock} {timeout:.0f} s after SIGTERM; end it first"
            )
        time.sleep(0.02)
    return pid


def _pid(descriptor: int) -> int | None:
    """What the file of the lock says, if that process is of the user whose file it is.

    Root ends the process of that number: nobody may name one that is not his own.
    """
    text = os.pread(descriptor, 32, 0).strip()
    if not text.isdigit():
        return None
    with suppress(FileNotFoundError):
        owner, user = os.fstat(descriptor).st_uid, Path(f"/proc/{int(text)}").stat().st_uid
        return int(text) if owner in {user, os.geteuid()} else None
    return None
