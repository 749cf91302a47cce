# SPDX-License-Identifier: Apache-2.0
"""When to send how much: flat out, at a pace with sleep in between, or each packet when it is due."""

import contextlib
import math
import os
import platform
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

BATCH = 64
"""Frames the kernel makes before it sends them: NAPI's budget. Fastest of 16..256 measured, and never
overflows the peer's ring of 256."""
BURST = 8
"""The same for a timed run: so many packets come at once, then none until the next are due. Each alone pays
for a softirq of its own: half of what the path can do in batches is then already too much for it."""
SLICE_SECONDS = 0.010
"""Longest time in the kernel without looking at the clock and the stop flag."""
SLOWEST_TIMED = 50_000
"""Packets a second: the kernel program waits at most 160 microseconds for a burst to become due."""

_CALL_SECONDS = 0.0003  # what a call takes beyond the packets, guessed for the first; then measured
_PAUSE = 0.06  # share of a timed slice that is left to others: a real-time thread gets 95 % of a CPU, no more


@dataclass(frozen=True)
class Bounds:
    """How long, how many, how fast; None is without bound."""

    seconds: float | None
    packets: int | None
    pps: float | None


class Sender(Protocol):
    """What sends."""

    def send(self, count: int, batch: int = BATCH) -> None:
        """Send so many packets now, that many at once."""

    def schedule(self, gap: int, batch: int) -> None:
        """Let the next send() wait in the kernel: so many packets at once, gap nanoseconds apart."""


def flat_out(sender: Sender, bounds: Bounds, stop: threading.Event) -> float:
    """Send as fast as it goes, in slices of SLICE_SECONDS; answers the seconds it took."""
    left = bounds.packets if bounds.packets is not None else 1 << 62
    count, start = min(left, BATCH), time.monotonic()
    now, end = start, start + (bounds.seconds if bounds.seconds is not None else float("inf"))
    while count > 0 and not stop.is_set():
        sender.send(count)
        left -= count
        before, now = now, time.monotonic()
        wanted = min(SLICE_SECONDS, end - now) * count / (now - before)
        # Whole batches; at most doubled, since the first slices tell little about the rate.
        count = 0 if now >= end else min(left, 2 * count, max(1, round(wanted / BATCH)) * BATCH)
    return now - start


def paced(sender: Sender, bounds: Bounds, stop: threading.Event) -> float:
    """Send at a pace in slices of 1 to 10 ms with absolute deadlines; answers the seconds it took."""
    pps, total = _target(bounds)
    period = min(SLICE_SECONDS, max(0.001, BATCH / pps))
    duration, sent, start = total / pps, 0, time.monotonic()
    while sent < total and not stop.is_set() and (now := time.monotonic() - start) < duration + period:
        due = min(total, math.ceil(pps * (now + period)))  # at least sent + 1: it slept until sent / pps
        count = min(due - sent, math.ceil(pps * SLICE_SECONDS))
        sender.send(count)
        sent += count
        _sleep_until(start + sent / pps)
    return time.monotonic() - start


def timed(sender: Sender, bounds: Bounds, stop: threading.Event) -> float:
    """Send BURST packets each time they are due, the kernel program waits for that; answers the seconds.

    The clock of a slice begins with its first packet, so that neither the pause before it nor what a call
    costs is in any packet's latency; the packets of the slice make up for both by coming closer together, by
    a tenth at most. What is later than that stays unsent.
    """
    pps, total = _target(bounds)
    duration, sent, start, call = total / pps, 0, time.monotonic(), _CALL_SECONDS
    while sent < total and not stop.is_set() and (now := time.monotonic() - start) < duration:
        count = min(total - sent, math.ceil(pps * SLICE_SECONDS / BURST) * BURST)
        room = ((sent + count) / pps - now) * (1 - _PAUSE) - call
        gap = round(1e9 * max(room / count, 0.9 / pps) * BURST)
        sender.schedule(gap, BURST)
        sender.send(count, BURST)
        sent += count
        spent = time.monotonic() - start - now
        call += 0.2 * (max(0.0, spent - gap * 1e-9 * count / BURST) - call)
        _sleep_until(start + sent / pps)
    return time.monotonic() - start


@contextlib.contextmanager
def ahead_of_others() -> Iterator[None]:
    """Let the calling thread run before every ordinary program on its CPU, where that is allowed and safe.

    Otherwise one that wakes up takes the CPU for milliseconds, and pace and latencies say more about it than
    about a gateway. Only for runs that sleep now and then: flat out it halved the noise of a shared machine,
    but made the grace periods of RCU, on which changes of rules wait, ten times as long. And not before Linux
    6.5, where softirq work that was once handed to its kernel thread waits for that, which could not run.
    """
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    if _kernel() >= (6, 5):
        with contextlib.suppress(PermissionError):
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    try:
        yield
    finally:
        os.sched_setscheduler(0, *before)


def _kernel() -> tuple[int, ...]:
    """Major and minor version of the running kernel."""
    major, minor = platform.release().split(".")[:2]
    return int(major), int(minor.partition("-")[0])


def _target(bounds: Bounds) -> tuple[float, int]:
    """The pace, and how many packets that makes."""
    pps = bounds.pps or 0.0
    total = round(pps * bounds.seconds) if bounds.seconds is not None else bounds.packets or 0
    return pps, total if bounds.packets is None else min(total, bounds.packets)


def _sleep_until(deadline: float) -> None:
    if (rest := deadline - time.monotonic()) > 0:
        time.sleep(rest)
