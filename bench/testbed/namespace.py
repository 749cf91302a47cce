# SPDX-License-Identifier: Apache-2.0
"""Network namespaces with a name under /run/netns.

There `ip netns exec` and `neurowall run --netns` find them. Made by unshare on a thread of its own and a bind
mount of that thread's namespace, in a directory that is a mount itself, as iproute2 has it.
"""

import errno
import fcntl
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread

from bench.testbed import procfs, syscalls, undo
from bench.testbed.process import Completed, Place, Process
from bench.testbed.run import Run
from bench.testbed.undo import NETNS_DIR


class Namespace:
    """One network namespace of a run: run commands, start children, or enter it with the calling thread."""

    def __init__(self, run: Run, name: str) -> None:
        self.name = name
        self.path = NETNS_DIR / name
        self.processes: list[Process] = []
        self._run = run
        self._descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)

    @classmethod
    def create(cls, run: Run, label: str) -> "Namespace":
        """Make `nwb-<run id>-<label>`; it holds only a loopback device that is down."""
        return cls.create_all(run, [label])[0]

    @classmethod
    def create_all(cls, run: Run, labels: Sequence[str]) -> list["Namespace"]:
        """Make several namespaces with one journal write."""
        names = [f"nwb-{run.id}-{label}" for label in labels]
        run.journal.create("netns", *names)
        share_directory()
        for name in names:
            _create(NETNS_DIR / name)
        return [cls(run, name) for name in names]

    @property
    def descriptor(self) -> int:
        """Open descriptor of the namespace; raises OSError after `remove`."""
        if self._descriptor < 0:
            raise OSError(f"namespace {self.name} is removed")
        return self._descriptor

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Move the calling thread (no other) into the namespace for the block.

        Sockets, BPF attach calls and /proc/thread-self/net then belong to it; threads started inside inherit
        it. Note that /proc/net is the *main* thread's namespace.
        """
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            syscalls.setns_network(self.descriptor)
            yield
        finally:
            syscalls.setns_network(home)
            os.close(home)

    def exec(
        self,
        argv: Sequence[str],
        *,
        timeout: float = 30.0,
        input: str | bytes | None = None,  # noqa: A002  named as in subprocess.run
        env: Mapping[str, str] | None = None,
        cpus: set[int] | None = None,
    ) -> Completed:
        """Run a command in here to its end; only the network namespace changes, mounts are the host's."""
        return self._run.exec(argv, timeout=timeout, input=input, env=env, place=self._place(cpus))

    def spawn(
        self,
        argv: Sequence[str],
        *,
        name: str | None = None,
        env: Mapping[str, str] | None = None,
        pipes: bool = False,
        cpus: set[int] | None = None,
    ) -> Process:
        """Start a supervised child in here; it ends with the namespace at the latest."""
        process = self._run.spawn(argv, name=name, env=env, pipes=pipes, place=self._place(cpus))
        self.processes.append(process)
        process.on_end(lambda: self._forget(process))
        return process

    def remove(self) -> None:
        """End the children started in here, delete the links and the namespace; safe to call twice."""
        if self._descriptor < 0:
            return
        self._run.end(self.processes)
        os.close(self._descriptor)
        self._descriptor = -1
        undo.remove_namespace(self.name)
        self._run.journal.removed("netns", self.name)

    def _place(self, cpus: set[int] | None) -> Place:
        return Place(self.descriptor, None if cpus is None else frozenset(cpus))

    def _forget(self, process: Process) -> None:
        with suppress(ValueError):
            self.processes.remove(process)


def share_directory() -> None:
    """Make /run/netns a shared mount of itself, as the first `ip netns add` does, under the same lock.

    Were that left to iproute2, whatever is mounted below already would be hidden under the new mount: the
    copy on top can be unmounted, the one below it no more, and the name stays busy. For the same reason
    nothing is done while something is mounted there without: who made it so goes on, and a later run makes
    up for it.
    """
    NETNS_DIR.mkdir(mode=0o755, exist_ok=True)
    directory = os.open(NETNS_DIR, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        if not _shared() and all(each.path == str(NETNS_DIR) for each in procfs.mounts_below(NETNS_DIR)):
            syscalls.mount(str(NETNS_DIR), str(NETNS_DIR), "none", syscalls.MS_BIND | syscalls.MS_REC)
            _shared()
    finally:
        os.close(directory)


def _shared() -> bool:
    """Make the directory's mount a shared one; False if it is no mount."""
    try:
        syscalls.mount("", str(NETNS_DIR), "none", syscalls.MS_SHARED | syscalls.MS_REC)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return False
    return True


def _create(path: Path) -> None:
    """A file, then a new namespace bound onto it; the caller has journalled the name."""
    os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444))
    failure: list[OSError] = []

    def unshare_and_bind() -> None:
        try:
            syscalls.unshare_network()
            syscalls.mount("/proc/thread-self/ns/net", str(path), "", syscalls.MS_BIND)
        except OSError as error:
            failure.append(error)

    thread = Thread(target=unshare_and_bind, name=f"create {path.name}")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
