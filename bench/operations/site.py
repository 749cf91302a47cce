# SPDX-License-Identifier: Apache-2.0
"""One gateway with a system on it, loaded once, on which a block's tasks are done in turn."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import numpy as np

from bench.gate import pools, run_gate
from bench.operations.base import Operated
from bench.operations.neurowall import connect
from bench.operations.probing import await_blocked
from bench.records import Gate, Ledger
from bench.sut.base import Rules, SutError
from bench.testbed.base import TestbedError
from bench.traffic.base import TrafficError
from neurowall.model.entries import Array

if TYPE_CHECKING:
    from bench.operations.scenario import Profile, Task
    from bench.testbed.base import Chain
    from bench.traffic.trial import Trial

EXPECTED = (TestbedError, SutError, TrafficError, OSError, httpx.HTTPError)
"""What makes figures void and is no defect of the harness."""
PATIENCE = 10.0
"""Seconds until a change that the system says is made must show."""


class SiteError(Exception):
    """An operation could not be measured; the message says why, and its figures are void."""


@dataclass
class Site:
    """What a task works with; `rules` is the list now loaded, `load_seconds` what that took."""

    chain: Chain
    operated: Operated
    rules: Rules
    block: int
    blocks: int
    point: str
    profile: Profile
    seed: int
    rng: np.random.Generator
    tell: Callable[[str], None]
    load_seconds: float = 0.0
    api_ms: list[float] = field(default_factory=list)
    gates: list[Gate] = field(default_factory=list)

    def load(self, room: int) -> None:
        """Bring the system up, load the point's list, and wait until its last entry is blocked."""
        with liveness(self.api_ms, lambda: self.operated.socket):
            started = self.operated.load(self.chain, self.rules, room)
        last = last_entry(self.rules)
        if last is not None:
            blocked = await_blocked(self.chain, *last, patience=PATIENCE)
            if blocked is None:
                raise SiteError("the list's last entry is not blocked although the load succeeded")
            self.load_seconds = blocked - started

    def gate(self) -> Gate:
        """Prove that the list now loaded is in force, and nothing else."""
        seen = run_gate(self.chain, self.operated.system, self.rules, self.rng)
        found = Gate(kind=self.operated.system.gate, **dataclasses.asdict(seen))
        self.gates.append(found)
        return found

    def take_gates(self) -> tuple[Gate, ...]:
        """The gates since the last call."""
        taken, self.gates = tuple(self.gates), []
        return taken

    def near(self) -> Array:
        """Addresses that gates take for unlisted."""
        return pools(self.rules, self.rng)[4].near

    def share(self, of: int, task: Task) -> int:
        """A block's part of what all blocks of a task must do together."""
        return -(-of // min(self.blocks, task.blocks or self.blocks))


def ledger_of(seen: Trial) -> Ledger:
    """Where the packets of a trial went."""
    return Ledger(seen.sent, seen.delivered, seen.dropped, seen.elsewhere)


def last_entry(rules: Rules) -> tuple[int, Array] | None:
    """(family, its first address as a column of one) of the last line of the list file; None if empty."""
    for family in (6, 4):
        for part in (rules.prefixes(family), rules.hosts(family)):
            if len(part):
                return family, part.address[-1:]
    return None


@contextlib.contextmanager
def liveness(into: list[float], socket: Callable[[], Path | None], interval: float = 0.005) -> Iterator[None]:
    """Ask an API for /liveness all the time, as soon as its socket is there; answers take so many ms."""
    stop = threading.Event()

    def ask() -> None:
        client: httpx.Client | None = None
        while not stop.wait(interval):
            began = time.monotonic()
            try:
                if client is None:
                    path = socket()
                    if path is None or not path.exists():
                        continue
                    client = connect(path)
                    client.get("/liveness")
                    continue  # the connection's own time is not the API's
                client.get("/liveness").raise_for_status()
            except (httpx.HTTPError, SutError, OSError):
                continue
            into.append(1e3 * (time.monotonic() - began))
        if client is not None:
            client.close()

    thread = threading.Thread(target=ask, name="liveness")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
