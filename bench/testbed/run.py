# SPDX-License-Identifier: Apache-2.0
"""One run of the harness: id, directory, journal, children, and a teardown that survives signals.

    with Run.begin() as run, Chain(run, "block-1").build() as chain:
        chain.client.exec(["ping", "-c1", "198.19.0.2"]).check()

Whatever the run makes is written to `<runs dir>/<id>/journal.jsonl` first. If this process is killed, `reap`
removes it from there; leaving the `with` block uses the same removal.
"""

import os
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, NoReturn, Self

from bench.testbed import journal, syscalls, undo
from bench.testbed.errors import TestbedError
from bench.testbed.journal import DEFAULT_RUNS_DIR, Journal
from bench.testbed.process import HERE, Completed, Place, Process, execute, start
from bench.testbed.procfs import RUN_TAG, Identity
from bench.testbed.removal import hidden_name, remove_run

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Run:
    """Owner of everything a benchmark makes here. Build it with `begin`, use it as a context manager."""

    def __init__(self, run_id: str, directory: Path, record: Journal, logs: Path) -> None:
        self.id = run_id
        self.directory = directory
        self.journal = record
        self.logs = logs
        self.processes: list[Process] = []
        self._undo = ExitStack()
        self._names: dict[tuple[str, str], int] = {}
        self._closed = False
        self._interrupts = 0
        self._raised = False
        self._late: int | None = None
        self._previous: dict[signal.Signals, Any] = {}

    @classmethod
    def begin(
        cls, runs_dir: Path = DEFAULT_RUNS_DIR, *, logs: Path | None = None, signals: bool = True
    ) -> "Run":
        """Make the run directory and journal; needs root.

        `logs` is where children write (default: `logs/` in the run directory, which goes at the end). With
        `signals`, SIGINT raises KeyboardInterrupt, SIGTERM and SIGHUP raise SystemExit(128 + number), and
        none of them can interrupt the teardown; the third one ends the program at once and leaves the rest to
        `reap`.
        """
        if os.geteuid() != 0:
            raise TestbedError("the namespace testbed needs root: network namespaces and BPF; run it as root")
        run_id = secrets.token_hex(6)
        owner = Identity.of(os.getpid())
        directory = _make_directory(runs_dir.resolve(), run_id, owner)
        record = Journal.open(directory / journal.FILE_NAME)
        run = cls(run_id, directory, record, (logs or directory / "logs").absolute())
        run.logs.mkdir(parents=True, exist_ok=True)
        if signals and threading.current_thread() is threading.main_thread():
            run._take_signals()
        return run

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except (KeyboardInterrupt, SystemExit):
            self.close()  # the signal may have come before the teardown had begun
            raise

    def on_close(self, action: Callable[[], None]) -> None:
        """Do something at the end of the run, before its processes are ended; last come, first done."""
        self._undo.callback(action)

    def close(self) -> None:
        """Remove everything the run made; safe to call twice.

        Raises TestbedError naming what could not be removed.
        """
        if self._closed:
            return
        self._closed = True  # from here on a signal waits until the end
        problems: list[str] = []
        for step in (self._undo.close, self._end_processes, self._remove_rest):
            try:
                step()
            except Exception as error:  # noqa: BLE001  the next step must still happen
                problems.append(str(error))
        self._give_signals_back()
        if problems:
            raise TestbedError(
                f"run {self.id} left something behind, `neurowall-bench reap` tries again: {problems}"
            )
        if self._late is not None:
            _raise(self._late)

    def exec(
        self,
        argv: Sequence[str],
        *,
        timeout: float = 30.0,
        input: str | bytes | None = None,  # noqa: A002  named as in subprocess.run
        env: Mapping[str, str] | None = None,
        place: Place = HERE,
    ) -> Completed:
        """Run a command to its end; a failure is the caller's to judge (`.check()`)."""
        stdin = input.encode() if isinstance(input, str) else input
        return execute(argv, place, timeout=timeout, stdin=stdin, environment=self.environment(env))

    def spawn(
        self,
        argv: Sequence[str],
        *,
        name: str | None = None,
        env: Mapping[str, str] | None = None,
        pipes: bool = False,
        place: Place = HERE,
    ) -> Process:
        """Start a supervised child, journalled before and after; its output goes to `<logs>/<name>.log`.

        With `pipes` its stdin and stdout are pipes (unbuffered) and only stderr goes to the log.
        """
        label = self.unique("process", name or Path(argv[0]).name)
        self.journal.create("process", label, argv=list(argv))
        log = self.logs / f"{label}.log"
        with log.open("ab") as output:
            stdin, stdout = (subprocess.PIPE, subprocess.PIPE) if pipes else (subprocess.DEVNULL, output)
            options = {"stdin": stdin, "stdout": stdout, "stderr": output, "bufsize": 0}
            process = Process(label, argv, start(argv, place, env=self.environment(env), **options), log)
        self.processes.append(process)
        process.on_end(lambda: self._forget(process))
        if process.identity is not None:
            self.journal.started(label, process.identity)
        return process

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """Environment of a child: ours, the tag of the run, and what is asked for.

        Without the caller's SSH session: policies of namespaces, applied by a child, have nothing to do
        with it.
        """
        own = {**os.environ, "LC_ALL": "C.UTF-8", "SSH_CONNECTION": ""}
        return {**own, **(extra or {}), RUN_TAG: self.id}

    def unique(self, kind: str, name: str) -> str:
        """`name`, or `name-2`, `name-3` ... when it was used before in this run for that kind of thing."""
        count = self._names[kind, name] = self._names.get((kind, name), 0) + 1
        return name if count == 1 else f"{name}-{count}"

    def make_directory(self, name: str) -> Path:
        """A new directory in the run's own; needs no journal entry. `remove_directory` removes it earlier."""
        path = self.directory / self.unique("directory", name)
        path.mkdir(parents=True)
        return path

    def remove_directory(self, path: Path) -> None:
        """Unmount everything below a directory of this run, unlink its pins and delete it."""
        if self.directory not in path.resolve().parents:
            raise TestbedError(f"{path} is not below {self.directory}; a run removes only what is its own")
        undo.remove_directory(path)

    def mount_bpffs(self, path: Path) -> Path:
        """Mount a new, empty BPF file system at a path, created if missing; journalled."""
        path = path.resolve()  # as /proc/self/mountinfo will name it
        self.journal.create("mount", str(path))
        path.mkdir(parents=True, exist_ok=True)
        syscalls.mount("bpf", str(path), "bpf", syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC)
        return path

    def end(self, processes: Iterable[Process]) -> None:
        """Terminate some children, the youngest first."""
        for process in reversed(list(processes)):
            process.terminate()

    def _forget(self, process: Process) -> None:
        if process in self.processes:
            self.processes.remove(process)
            self.journal.removed("process", process.name)

    def _end_processes(self) -> None:
        self.end(self.processes)
        undo.remove_tagged(self.id)

    def _remove_rest(self) -> None:
        self.journal.close()
        _, problems = remove_run(self.directory, force=True)
        if problems:
            raise TestbedError("; ".join(problems))

    def _take_signals(self) -> None:
        for number in _SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup means it
                self._previous[number] = signal.signal(number, self._interrupted)

    def _give_signals_back(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _interrupted(self, number: int, _frame: FrameType | None) -> None:
        self._interrupts += 1
        if self._interrupts >= 3:
            os._exit(128 + number)
        if self._raised:
            return
        if self._closed:
            self._late = number
            return
        self._raised = True
        _raise(number)


def _raise(number: int) -> NoReturn:
    """End the program the way the signal would have."""
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)


def _make_directory(runs_dir: Path, run_id: str, owner: Identity) -> Path:
    """The run directory appears under its name only together with a journal that names its owner."""
    hidden = runs_dir / hidden_name(run_id, owner)
    hidden.mkdir(parents=True, mode=0o700)
    Journal.begin(hidden / journal.FILE_NAME, run_id, owner, sys.argv).close()
    return hidden.rename(runs_dir / run_id)
