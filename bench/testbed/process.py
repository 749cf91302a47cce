# SPDX-License-Identifier: Apache-2.0
"""Child processes that cannot outlive the run.

Every child is started by one thread that lives as long as this program. The kernel sends the parent-death
signal when the *thread* that forked ends, not the process, so a child started from a short-lived worker would
die with the worker. That thread also does the setns and the CPU pinning, which the child inherits; no code
runs between fork and exec. `setpriv --pdeathsig` (util-linux) asks for the signal after exec, and a
supervised child counts as started only when that is done. Children are found again by journal and by tag.
"""

import os
import queue
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from bench.testbed import syscalls
from bench.testbed.errors import TestbedError
from bench.testbed.procfs import Identity, start_time

TERMINATE_SECONDS = 5.0
_TAIL_BYTES = 4000
_WRAPPER = "setpriv"


@dataclass(frozen=True)
class Completed:
    """A command that has ended."""

    argv: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str
    seconds: float

    def check(self) -> "Completed":
        """Raise TestbedError with what the command said unless it succeeded."""
        if self.returncode != 0:
            said = (self.stderr or self.stdout).strip()[-_TAIL_BYTES:] or "nothing"
            raise TestbedError(
                f"`{' '.join(self.argv)[:200]}` ended with status {self.returncode} and said: {said}"
            )
        return self


@dataclass(frozen=True)
class Place:
    """Where a child starts: network namespace (descriptor; None is the caller's own) and CPUs (None: any)."""

    netns: int | None = None
    cpus: frozenset[int] | None = None


HERE = Place()
"""The caller's own namespace, any CPU."""


class _Starter:
    """The thread that forks every child of this program."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[tuple[Callable[[], Any], queue.SimpleQueue[Any]]] = queue.SimpleQueue()
        self._pid = 0
        self._lock = threading.Lock()

    def run(self, job: Callable[[], Any]) -> Any:
        """Do a job on the thread and return what it returns, or raise what it raises."""
        with self._lock:
            if self._pid != os.getpid():  # first use, or we are a fork, which inherits no threads
                self._pid = os.getpid()
                self._jobs = queue.SimpleQueue()
                threading.Thread(target=self._serve, args=(self._jobs,), name="starter", daemon=True).start()
        answer: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._jobs.put((job, answer))
        result, error = answer.get()
        if error is not None:
            raise error
        return result

    @staticmethod
    def _serve(jobs: "queue.SimpleQueue[tuple[Callable[[], Any], queue.SimpleQueue[Any]]]") -> None:
        while True:
            job, answer = jobs.get()
            try:
                answer.put((job(), None))
            except BaseException as error:  # noqa: BLE001  raised again in the caller
                answer.put((None, error))


_starter = _Starter()


def start(argv: Sequence[str], place: Place, **options: Any) -> "subprocess.Popen[bytes]":
    """Popen with a parent-death signal, in a session of its own, at a place; `options` are Popen's.

    Raises TestbedError when the program does not exist.
    """
    program = shutil.which(argv[0])
    if program is None:
        raise TestbedError(
            f"program `{argv[0]}` is not installed or not on PATH; `make setup` installs what is needed"
        )
    if shutil.which(_WRAPPER) is None:
        raise TestbedError("program `setpriv` is not on PATH; install the package util-linux")
    command = [_WRAPPER, "--pdeathsig", "SIGKILL", "--", program, *argv[1:]]

    def fork() -> "subprocess.Popen[bytes]":
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        allowed = os.sched_getaffinity(0)
        try:
            if place.netns is not None:
                syscalls.setns_network(place.netns)
            if place.cpus is not None:
                os.sched_setaffinity(0, place.cpus)
            return subprocess.Popen(command, start_new_session=True, **options)
        finally:
            os.sched_setaffinity(0, allowed)
            syscalls.setns_network(home)
            os.close(home)

    child: subprocess.Popen[bytes] = _starter.run(fork)
    return child


def execute(
    argv: Sequence[str], place: Place, *, timeout: float, stdin: bytes | None, environment: Mapping[str, str]
) -> Completed:
    """Run a command to its end; on timeout kill it with its process group and raise TestbedError."""
    began = time.monotonic()
    source = subprocess.DEVNULL if stdin is None else subprocess.PIPE
    child = start(
        argv, place, stdin=source, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=dict(environment)
    )
    try:
        out, err = child.communicate(stdin, timeout=timeout)
    except subprocess.TimeoutExpired as error:
        raise TestbedError(
            f"`{' '.join(argv)[:200]}` did not end within {timeout} s and was killed"
        ) from error
    finally:
        if child.returncode is None:
            os.killpg(child.pid, signal.SIGKILL)  # not reaped yet, so the group is still ours
            child.wait()
            for stream in (child.stdin, child.stdout, child.stderr):
                if stream is not None:
                    stream.close()
    seconds = time.monotonic() - began
    return Completed(
        tuple(argv), child.returncode, out.decode(errors="replace"), err.decode(errors="replace"), seconds
    )


class Process:
    """A supervised child: its output goes to `log`, its end can be waited for, its group can be ended."""

    def __init__(self, name: str, argv: Sequence[str], child: "subprocess.Popen[bytes]", log: Path) -> None:
        self.name = name
        self.argv = tuple(argv)
        self.log = log
        self.pid = child.pid
        self._child = child
        self._on_end: list[Callable[[], None]] = []
        if Path(argv[0]).name != _WRAPPER:
            _await_program(child.pid)
        self.identity = _identity(child.pid)
        self._pidfd = os.pidfd_open(child.pid)

    @property
    def stdin(self) -> IO[bytes]:
        """Pipe to the child; only when spawned with `pipes=True`."""
        return _piped(self._child.stdin, self.name)

    @property
    def stdout(self) -> IO[bytes]:
        """Pipe from the child; only when spawned with `pipes=True`."""
        return _piped(self._child.stdout, self.name)

    @property
    def returncode(self) -> int | None:
        """Exit status, negative signal number, or None while it runs."""
        return self._child.poll()

    def alive(self) -> bool:
        """Whether it still runs."""
        return self.returncode is None

    def wait(self, timeout: float) -> int:
        """Wait for the end and return the status; raises TestbedError when the time is over."""
        try:
            status = self._child.wait(timeout)
        except subprocess.TimeoutExpired as error:
            raise TestbedError(
                f"{self.name} (pid {self.pid}) still runs after {timeout} s; see {self.log}"
            ) from error
        self._ended()
        return status

    def signal(self, number: int) -> None:
        """Send a signal to exactly this process; nothing happens when it has ended."""
        if self.alive():
            signal.pidfd_send_signal(self._pidfd, number)

    def kill(self) -> int:
        """SIGKILL the whole process group, now."""
        self._signal_group(signal.SIGKILL)
        return self.wait(TERMINATE_SECONDS)

    def terminate(self, seconds: float = TERMINATE_SECONDS) -> int:
        """SIGTERM, then SIGKILL for what is left of the group after some seconds; returns the exit status."""
        self.signal(signal.SIGTERM)
        deadline = time.monotonic() + seconds
        while self._child.returncode is None and time.monotonic() < deadline:
            # WNOWAIT leaves the zombie, which keeps the process group id from being reused before the kill.
            if os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None:
                break
            time.sleep(0.002)
        return self.kill()

    def _signal_group(self, number: int) -> None:
        if self._child.returncode is None:  # not reaped yet, so the group is still ours
            try:
                os.killpg(self.pid, number)
            except ProcessLookupError:
                return

    def tail(self, size: int = _TAIL_BYTES) -> str:
        """The last bytes of the log, for error messages."""
        with self.log.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - size))
            return log.read().decode(errors="replace").strip()

    def on_end(self, action: Callable[[], None]) -> None:
        """Call an action once, when the end of the process has been seen."""
        self._on_end.append(action)

    def _ended(self) -> None:
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1
        for stream in (self._child.stdin, self._child.stdout):
            if stream is not None:
                stream.close()
        while self._on_end:
            self._on_end.pop()()


def _await_program(pid: int) -> None:
    """Wait until `setpriv` has made way for the program: from then on the child dies with us."""
    deadline = time.monotonic() + TERMINATE_SECONDS
    while time.monotonic() < deadline and start_time(pid) is not None:
        try:
            if Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip() != _WRAPPER:
                return
        except (FileNotFoundError, ProcessLookupError):
            return
        time.sleep(0.0005)


def _identity(pid: int) -> Identity | None:
    """Identity of a fresh child; None when it has ended already."""
    try:
        return Identity.of(pid)
    except ProcessLookupError:
        return None


def _piped(stream: IO[bytes] | None, name: str) -> IO[bytes]:
    if stream is None:
        raise TestbedError(f"{name} has no pipes; spawn it with pipes=True")
    return stream
