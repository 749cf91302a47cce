# SPDX-License-Identifier: Apache-2.0
"""Who a process is and what is mounted, read from /proc.

A pid alone names nobody, since it is reused: an identity is pid + start time (clock ticks since boot, field
22 of /proc/PID/stat) + boot id. Source: proc(5).
"""

import os
import re
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

RUN_TAG = "NEUROWALL_BENCH_RUN"
"""Environment variable that marks every process of a run; its value is the run id."""

EXEC_SECONDS, YOUNG_SECONDS = 0.2, 5.0
"""How long an exec may take, and how long after its start a process is given that time."""

_PF_KTHREAD = 0x00200000
_TICK = os.sysconf("SC_CLK_TCK")
_OCTAL = re.compile(r"\\([0-7]{3})")


def boot_id() -> str:
    """Random name of this boot of the machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def pid_namespace() -> int:
    """Inode of the PID namespace in which this process counts pids."""
    return Path("/proc/self/ns/pid").stat().st_ino


def start_time(pid: int) -> int | None:
    """Start time of a process in clock ticks since boot; None when it is gone or only a zombie."""
    fields = _stat(pid)
    return None if fields is None or fields[0] in "ZX" else int(fields[19])


def _stat(pid: int) -> list[str] | None:
    """/proc/PID/stat from the third field on (state is 0, flags 6, start time 19); None when it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    return stat.rpartition(")")[2].split()  # the name before ')' may hold blanks and parentheses


@dataclass(frozen=True)
class Identity:
    """One process for all time: its pid is reused, the three together are not."""

    pid: int
    start_time: int
    boot_id: str

    @classmethod
    def of(cls, pid: int) -> "Identity":
        """Identity of a living process; raises ProcessLookupError when there is none."""
        started = start_time(pid)
        if started is None:
            raise ProcessLookupError(f"no living process {pid}")
        return cls(pid, started, boot_id())

    def alive(self) -> bool:
        """Whether exactly this process still runs (a zombie does not)."""
        return self.boot_id == boot_id() and start_time(self.pid) == self.start_time

    def kill(self) -> bool:
        """SIGKILL exactly this process; False when it was gone. A pidfd closes the race with pid reuse."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return False
        try:
            if not self.alive():
                return False
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        except ProcessLookupError:
            return False
        finally:
            os.close(descriptor)
        return True

    def wait_gone(self, seconds: float) -> bool:
        """Wait until the process is gone or a zombie; False when it outlived the time given."""
        deadline = time.monotonic() + seconds
        while self.alive():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.002)
        return True


def _pids() -> Iterator[int]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            yield int(entry.name)


def tagged(run_id: str) -> list[Identity]:
    """Living processes whose initial environment carries the tag of this run, the caller excepted."""
    wanted = f"{RUN_TAG}={run_id}".encode()
    found = []
    for pid in _pids():
        if wanted in _environment(pid).split(b"\0") and pid != os.getpid():
            started = start_time(pid)
            if started is not None:
                found.append(Identity(pid, started, boot_id()))
    return found


def _environment(pid: int) -> bytes:
    """Initial environment of a process, b"" if it has none or is gone.

    In the middle of an exec there is none for a moment, so a young process that shows none is asked again.
    """
    deadline = time.monotonic() + EXEC_SECONDS
    while True:
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:  # gone meanwhile
            return b""
        if environment or not _is_young(pid) or time.monotonic() > deadline:
            return environment
        time.sleep(0.001)


def _is_young(pid: int) -> bool:
    """Whether a process (not a kernel thread) lives and started within the last seconds."""
    fields = _stat(pid)
    if fields is None or fields[0] in "ZX" or int(fields[6]) & _PF_KTHREAD:
        return False
    return time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / _TICK < YOUNG_SECONDS


@dataclass(frozen=True)
class Mount:
    """One line of /proc/self/mountinfo."""

    path: str
    kind: str
    device: str  # major:minor, one for each file system instance


def mounts() -> list[Mount]:
    """Every mount this process sees, oldest first."""
    found = []
    for line in (
        Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    ):
        fields = line.split()
        kind = fields[fields.index("-") + 1]
        found.append(Mount(_unescape(fields[4]), kind, fields[2]))
    return found


def mounts_below(directory: Path) -> list[Mount]:
    """Mounts at or below a directory, the newest first, which is the order to unmount them in."""
    prefix = f"{directory}/"
    return [m for m in reversed(mounts()) if m.path == str(directory) or m.path.startswith(prefix)]


def mounted_at(path: Path) -> list[Mount]:
    """Mounts stacked on exactly this path."""
    return [m for m in mounts() if m.path == str(path)]


def _unescape(text: str) -> str:
    """Undo the octal escapes of blanks, tabs, newlines and backslashes."""
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), text)
