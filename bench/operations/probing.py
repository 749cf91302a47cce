# SPDX-License-Identifier: Apache-2.0
"""Single probes with known send times, and verdicts of many addresses, over the path of all trials."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Self

import numpy as np

from bench.traffic.base import Flow, Kind, TrafficError
from bench.traffic.wire import wire
from neurowall.model.entries import Array, Bools

if TYPE_CHECKING:
    from bench.testbed.base import Chain

TRIES = 3
"""How often a probe is sent that has not arrived: one lost under load is no verdict."""


def arrived(chain: Chain, family: int, sources: Array, tries: int = TRIES) -> Bools:
    """Send a probe from each source and tell which arrived; what did not is tried again."""
    ends = wire(chain)
    found = np.zeros(len(sources), np.bool_)
    for _ in range(tries):
        for part in np.array_split(np.flatnonzero(~found), -(-len(sources) // ends.sink.probes) or 1):
            if len(part):
                found[part] = _send(chain, family, sources[part])
        if found.all():
            break
    return found


def _send(chain: Chain, family: int, sources: Array) -> Bools:
    ends = wire(chain)
    ends.sink.clear(len(sources))
    ends.generator.run(chain, _flow(chain, family, sources), packets=len(sources))
    ends.sink.settle()
    return np.asarray(ends.sink.arrivals(len(sources)) > 0)


def _flow(chain: Chain, family: int, sources: Array) -> Flow:
    server = chain.server_if
    return Flow(family, sources, server.v4 if family == 4 else server.v6, kind=Kind.PROBE)


def await_blocked(chain: Chain, family: int, source: Array, patience: float) -> float | None:
    """Send probes from one source until one is blocked; when it was sent (monotonic), None: none was."""
    deadline = time.monotonic() + patience
    while (now := time.monotonic()) < deadline:
        if not arrived(chain, family, source, tries=2).any():
            return now
    return None


class ProbeStream:
    """Probes from one source at a steady rate, each with its send time, from a thread of its own.

    Its core is the generator's, so that it takes nothing from the system. Arrivals are counted, not told
    apart: the source passes until it is blocked, so as many as arrived are those before the change.
    """

    def __init__(self, chain: Chain, source: Array, pps: int) -> None:
        self._ends = wire(chain)
        self._chain = chain
        self._flow = _flow(chain, 4, source)
        self._interval = 1 / pps
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="probe-stream")
        self.sent_at: list[float] = []

    def __enter__(self) -> Self:
        self._ends.sink.clear(1)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def arrivals(self) -> int:
        """How many arrived so far."""
        return int(self._ends.sink.arrivals(1)[0])

    def await_passing(self, seconds: float) -> bool:
        """Wait until some were sent and all that were have arrived: the source passes, nothing is lost."""

        def passing() -> bool:
            sent = len(self.sent_at)
            return sent >= 3 and self.arrivals >= sent

        return self._until(passing, seconds)

    def await_blocked(self, seconds: float, in_a_row: int = 5) -> bool:
        """Wait until the latest probes have all been blocked."""
        return self._until(lambda: len(self.sent_at) - self.arrivals > in_a_row, seconds)

    def first_blocked(self) -> float:
        """When the first probe was sent that did not arrive (monotonic); call it after the stream's end."""
        self._ends.sink.settle()
        count = self.arrivals
        if count >= len(self.sent_at):
            raise TrafficError(f"all {count} probes arrived: the source was not blocked")
        return self.sent_at[count]

    def _until(self, condition: Callable[[], bool], seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self._error is not None:
                raise TrafficError(f"probes could not be sent: {self._error}") from self._error
            if condition():
                return True
            time.sleep(self._interval / 2)
        return False

    def _run(self) -> None:
        os.sched_setaffinity(0, {self._ends.generator.cpu})
        due = time.monotonic()
        try:
            while not self._stop.is_set():
                self.sent_at.append(time.monotonic())
                self._ends.generator.run(self._chain, self._flow, packets=1)
                due = max(due + self._interval, time.monotonic())
                time.sleep(max(0.0, due - time.monotonic()))
        except (TrafficError, OSError) as error:
            self._error = error
