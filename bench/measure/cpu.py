# SPDX-License-Identifier: Apache-2.0
"""What each CPU did over a window, from /proc/stat; the kernel counts in ticks, so windows need >= 0.2 s.

Source: proc(5); guest time is already part of user time.
"""

import gzip
import os
import platform
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")
_FIELDS = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
_STAT = Path("/proc/stat")


@dataclass(frozen=True)
class CpuTimes:
    """Seconds one CPU has spent in each state, since boot or over a window."""

    user: float
    nice: float
    system: float
    idle: float
    iowait: float
    irq: float
    softirq: float
    steal: float

    @property
    def busy(self) -> float:
        """Seconds of our own work: neither idle nor waiting nor stolen."""
        return self.user + self.nice + self.system + self.irq + self.softirq

    @property
    def total(self) -> float:
        """All seconds."""
        return self.busy + self.idle + self.iowait + self.steal

    def __sub__(self, earlier: "CpuTimes") -> "CpuTimes":
        return CpuTimes(*(max(0.0, getattr(self, name) - getattr(earlier, name)) for name in _FIELDS))

    def __add__(self, other: "CpuTimes") -> "CpuTimes":
        return CpuTimes(*(getattr(self, name) + getattr(other, name) for name in _FIELDS))


@dataclass
class Window:
    """A stretch of time; `cpus` and `seconds` are set when it has ended."""

    cpus: Mapping[int, CpuTimes]
    seconds: float = 0.0

    def sum(self) -> CpuTimes:
        """All CPUs together."""
        total = CpuTimes(*[0.0] * len(_FIELDS))
        for times in self.cpus.values():
            total += times
        return total


def read() -> dict[int, CpuTimes]:
    """Times of every CPU since boot, by number."""
    found = {}
    for line in _STAT.read_text(encoding="ascii").splitlines():
        head, *values = line.split()
        if head.startswith("cpu") and head != "cpu":
            found[int(head[3:])] = CpuTimes(*(int(value) / _TICK for value in values[: len(_FIELDS)]))
    return found


def between(before: Mapping[int, CpuTimes], after: Mapping[int, CpuTimes]) -> dict[int, CpuTimes]:
    """What each CPU did between two readings; CPUs that came or went are left out."""
    return {cpu: after[cpu] - before[cpu] for cpu in after if cpu in before}


@contextmanager
def window() -> Iterator[Window]:
    """Measure a block of code; what is yielded is complete when the block has ended."""
    before, began = read(), time.monotonic()
    seen = Window({})
    try:
        yield seen
    finally:
        seen.seconds = time.monotonic() - began
        seen.cpus = between(before, read())


def machine_steal(seconds: float = 0.5) -> float:
    """Share of all CPU time that the hypervisor gave to others, watched for some seconds."""
    with window() as seen:
        time.sleep(seconds)
    total = seen.sum()
    return total.steal / total.total if total.total else 0.0


def softirq_thread_seconds(cpu: int) -> float:
    """CPU time so far of the kernel thread that does the softirq work which nobody else got done in time.

    0 where there is no such thread. Source: Documentation/scheduler/sched-stats.rst.
    """
    thread = _softirq_thread(cpu)
    return int(thread.read_text(encoding="ascii").split()[0]) / 1e9 if thread else 0.0


@cache
def _softirq_thread(cpu: int) -> Path | None:
    for comm in Path("/proc").glob("[0-9]*/comm"):
        try:
            if comm.read_text(encoding="utf-8").strip() == f"ksoftirqd/{cpu}":
                return comm.with_name("schedstat")
        except OSError:  # a process that has just ended
            continue
    return None


@cache
def threads_pay_for_softirqs() -> bool:
    """Whether softirq work that interrupts a thread counts as that thread's CPU time.

    It does unless the kernel accounts for interrupts apart (CONFIG_IRQ_TIME_ACCOUNTING).
    """
    release = platform.release()
    for path in (Path("/proc/config.gz"), Path(f"/boot/config-{release}")):
        try:
            content = path.read_bytes()
        except OSError:
            continue
        text = gzip.decompress(content) if path.suffix == ".gz" else content
        return b"CONFIG_IRQ_TIME_ACCOUNTING=y" not in text
    return True
