# SPDX-License-Identifier: Apache-2.0
"""One instance's run directory: where its socket, lock and record are, and who holds the lock."""

import fcntl
import grp
import json
import os
import re
import signal
import stat
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
_LOCK = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
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
        draft.unlink(missing_ok=True)
        with draft.open("x") as file:  # never through a link that another user put there
            file.write(json.dumps(asdict(record)))
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
        descriptor = _open_lock(instance, os.O_CREAT)
    except FileNotFoundError as error:
        raise CommandError(f"{instance.lock} was removed just now: run it again") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = _pid(instance, descriptor) or "unknown"
            raise CommandError(
                f"instance '{instance.name}' already runs as pid {pid} (lock {instance.lock}); stop that one "
                "first, or choose another --instance"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def holder(instance: Instance) -> int | None:
    """The pid of the process that holds the instance's lock now, or None.

    Raises CannotRun if the lock is not for this user, or is none that Neurowall made.
    """
    try:
        descriptor = _open_lock(instance)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return _pid(instance, descriptor)
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
    _ask_to_exit(instance, pid)
    deadline = time.monotonic() + timeout
    while holder(instance) is not None:
        if time.monotonic() > deadline:
            raise CommandError(
                f"pid {pid} still holds {instance.lock} {timeout:.0f} s after SIGTERM; end it first"
            )
        time.sleep(0.02)
    return pid


def _open_lock(instance: Instance, flags: int = 0) -> int:
    """Open the file of the lock: a file of its own, of who owns the directory or of this user.

    Root opens it too, to write into it, in a directory that may be another user's. Raises FileNotFoundError,
    CannotRun.
    """
    try:
        descriptor = os.open(instance.lock, _LOCK | flags, 0o644)
    except FileNotFoundError:
        raise
    except PermissionError as error:
        raise CannotRun(not_ours(instance.lock, error)) from error
    except OSError as error:  # a link, a folder
        raise CannotRun(f"{_no_lock(instance)} ({error.strerror})") from error
    try:
        is_ours = _is_ours(instance, descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    if not is_ours:
        os.close(descriptor)
        raise CannotRun(_no_lock(instance))
    return descriptor


def _is_ours(instance: Instance, descriptor: int) -> bool:
    """Whether the opened file is the lock, has no other name, and is of who may have made it."""
    # By name, after it was opened: what has this one name is nobody else's file, whatever is moved about.
    found = instance.lock.lstat()
    owners = {_owner(instance), os.geteuid()}
    own = stat.S_ISREG(found.st_mode) and found.st_nlink == 1 and found.st_uid in owners
    return own and os.path.samestat(found, os.fstat(descriptor))


def _no_lock(instance: Instance) -> str:
    return f"{instance.lock} is no lock that Neurowall made: find out who put it there, and remove it"


def _owner(instance: Instance) -> int:
    """Whose the run directory is, and so the daemon."""
    return instance.directory.lstat().st_uid


def _pid(instance: Instance, descriptor: int) -> int | None:
    """What the file of the lock says, if that is a process of the directory's owner."""
    text = os.pread(descriptor, 32, 0).strip()
    return int(text) if text.isdigit() and _is_owners(instance, int(text)) else None


def _is_owners(instance: Instance, pid: int) -> bool:
    """Whether every uid of a process is that of the directory's owner.

    Root ends the process of that number: nobody may name one that is not his own.
    """
    try:
        lines = Path(f"/proc/{pid}/status").read_bytes().split(b"\n")
    except OSError:
        return False
    uids = next((line.split()[1:] for line in lines if line.startswith(b"Uid:")), [])
    return {int(uid) for uid in uids} == {_owner(instance)}


def _ask_to_exit(instance: Instance, pid: int) -> None:
    """SIGTERM to a process of the directory's owner; to nobody if it has gone, whoever has its number now."""
    try:
        process = os.pidfd_open(pid)
    except OSError:
        return
    try:
        if _is_owners(instance, pid):
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(process, signal.SIGTERM)
    finally:
        os.close(process)
