# SPDX-License-Identifier: Apache-2.0
"""Large lists are read in a process of their own.

What comes over the API decides how long reading it takes and how much memory: a line that is refused costs
microseconds of Python and hundreds of bytes, and there may be tens of millions of them. So a process with a
bound for both reads a large text, and the daemon goes on answering. Measured: 0.1 s of CPU to start one. One
that is kept waiting would save that and hold 15 MiB for ever.

Compiling stays in the daemon: a million hosts take 0.03 s, twenty lists with prefixes 0.3 s, almost all of it
in numpy, which lets other threads run.
"""

import contextlib
import ctypes
import os
import pickle
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np

from neurowall.model.entries import Entries, EntrySet
from neurowall.model.errors import ListError, Problem
from neurowall.model.listfile import ParsedList, parse_list

SMALL_LINES, SMALL_BYTES = 20_000, 4 << 20  # both: at worst 0.2 s of Python, which other threads interrupt
SECONDS = 120.0
MEMORY = 1 << 30  # bytes of address space; a million plain lines need a third of it
_PR_SET_PDEATHSIG = 1  # prctl(2)
_NO_MEMORY = 3  # exit code
_PACKAGE = Path(__file__).parent.parent


class Worker:
    """Reads lists as parse_list does; *seconds* and *memory* bound the process for each of the large ones.

    One large list is read at a time. Any thread may call; the process dies with the thread that waits for it.
    """

    def __init__(self, *, seconds: float = SECONDS, memory: int = MEMORY, small: int = SMALL_LINES) -> None:
        self._seconds, self._memory, self._small = seconds, memory, small
        self._turn = threading.Lock()
        self._state = threading.Lock()  # guards the two below
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = False

    def parse(self, text: str | bytes) -> ParsedList:
        """Read a whole list. Raises ListError if its process is killed or exceeds a bound."""
        data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
        if len(data) <= SMALL_BYTES and data.count(b"\n") < self._small:
            return parse_list(data)
        with self._turn, _memory_file("list") as request, _memory_file("answer") as answer:
            request.write(data)
            request.seek(0)
            self._run(request.fileno(), answer.fileno())
            answer.seek(0)
            return _load(answer)

    def close(self) -> None:
        """End a process that runs; whoever waits for it gets a ListError, as does every later caller."""
        with self._state:
            self._closed = True
            if self._process:
                self._process.kill()

    def _run(self, request: int, answer: int) -> None:
        """Start the process, and return when it has succeeded."""
        with self._state:
            if self._closed:
                raise ListError("the daemon is exiting; nothing was changed")
            self._process = process = _start(request, answer, self._memory)
        try:
            _, complaint = process.communicate(timeout=self._seconds)
        except subprocess.TimeoutExpired as error:
            raise ListError(
                f"reading the list took more than {self._seconds:g} s and was ended; nothing was changed: "
                "load it in parts"
            ) from error
        finally:
            with self._state:
                self._process = None
            if process.poll() is None:  # also when this thread is interrupted
                process.kill()
                process.communicate()
        if process.returncode:
            raise self._failure(process.returncode, complaint)

    def _failure(self, code: int, complaint: bytes) -> ListError:
        if self._closed:
            return ListError("the daemon is exiting; nothing was changed")
        if code == _NO_MEMORY:
            limit = f"{self._memory >> 20:,} MiB of memory"
            return ListError(
                f"reading the list takes more than {limit}; nothing was changed: load it in parts"
            )
        if code < 0:
            name = signal.Signals(-code).name
            return ListError(
                f"the process that read the list was killed ({name}), perhaps for want of memory; "
                "nothing was changed: try again, or load it in parts"
            )
        last = complaint.decode("utf-8", "replace").strip().rpartition("\n")[2]
        return ListError(f"the process that read the list failed ({last or code}); nothing was changed")


def _memory_file(name: str) -> Any:
    return os.fdopen(os.memfd_create(f"neurowall-{name}"), "w+b")


def _start(request: int, answer: int, memory: int) -> "subprocess.Popen[bytes]":
    """A new interpreter, not a fork: the daemon has threads."""
    path = [str(_PACKAGE.parent), *(entry or str(Path.cwd()) for entry in sys.path)]
    # BLAS would start threads, and nobody multiplies matrices here.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path), "OPENBLAS_NUM_THREADS": "1"}
    numbers = (request, answer, os.getpid(), memory)
    return subprocess.Popen(
        [sys.executable, "-S", "-P", "-m", __name__, *map(str, numbers)],
        pass_fds=(request, answer),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environment,
        start_new_session=True,  # Ctrl-C is the daemon's to judge
    )


def _dump(parsed: ParsedList, file: Any) -> None:
    """Write a list in columns: unpickling as many objects would hold up all threads of the daemon."""
    v4, v6, problems = parsed.entries.v4, parsed.entries.v6, parsed.problems
    columns = (
        *(v4.address, v4.length, v6.address, v6.length),
        np.array([problem.line for problem in problems], np.int64),
        np.array(parsed.host_bits, np.int64),
    )
    # What is shown of a line is printable: it has no line ends.
    texts = "\n".join(problem.text for problem in problems)
    reasons = "\n".join(problem.why for problem in problems)
    pickle.dump((columns, texts, reasons, parsed.duplicates), file, protocol=5)


def _load(file: Any) -> ParsedList:
    # Only the process that we started can have written there.
    columns, texts, reasons, duplicates = pickle.load(file)  # noqa: S301
    address4, length4, address6, length6, lines, host_bits = columns
    shared: dict[str, str] = {}
    return ParsedList(
        entries=EntrySet(Entries(4, address4, length4), Entries(6, address6, length6)),
        problems=tuple(
            Problem(line, text, shared.setdefault(why, why))
            for line, text, why in zip(lines.tolist(), texts.split("\n"), reasons.split("\n"), strict=False)
        ),
        duplicates=duplicates,
        host_bits=tuple(host_bits.tolist()),
    )


def _serve(request: int, answer: int, parent: int, memory: int) -> None:
    """The process: one list, then it ends; at once if its parent does."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        return
    # Where memory is short, the kernel shall take this process and not the daemon.
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        with os.fdopen(request, "rb") as file:
            parsed = parse_list(file.read())
        with os.fdopen(answer, "wb") as file:
            _dump(parsed, file)
    except MemoryError:
        os._exit(_NO_MEMORY)


if __name__ == "__main__":
    _serve(*map(int, sys.argv[1:]))
