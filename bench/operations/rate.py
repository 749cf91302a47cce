# SPDX-License-Identifier: Apache-2.0
"""How many packets entered the gateway in any stretch of time, by the interface's own counter."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

if TYPE_CHECKING:
    from bench.testbed.base import Chain

_INTERVAL = 0.02


class Meter:
    """Watches the client side of a chain's gateway from a thread of its own, as a context manager."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="meter")
        self.readings: list[tuple[float, int]] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def await_packets(self, count: int, seconds: float) -> float:
        """Wait until so many came since the watch began, at most some seconds; when that was (monotonic)."""
        deadline = time.monotonic() + seconds
        while (now := time.monotonic()) < deadline:
            if self.readings and self.readings[-1][1] - self.readings[0][1] >= count:
                break
            time.sleep(_INTERVAL / 4)
        return now

    def packets(self, began: float, ended: float) -> float:
        """Packets that came between two moments (monotonic), interpolated between readings."""
        times, counts = np.array(self.readings, dtype=np.float64).T
        first, last = np.interp([began, ended], times, counts)
        return float(last - first)

    def _watch(self) -> None:
        with self._chain.gateway.enter():
            while True:
                self.readings.append((time.monotonic(), received(self._chain.gateway_in.name)))
                if self._stop.wait(_INTERVAL):
                    break
            self.readings.append((time.monotonic(), received(self._chain.gateway_in.name)))


def received(device: str) -> int:
    """Packets that a device of the calling thread's namespace has taken in."""
    for line in Path("/proc/thread-self/net/dev").read_text(encoding="ascii").splitlines()[2:]:
        name, _, values = line.partition(":")
        if name.strip() == device:
            return int(values.split()[1])
    raise FileNotFoundError(f"no device {device}")
