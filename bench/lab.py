# SPDX-License-Identifier: Apache-2.0
"""What the runner needs of the world: gateways that are configured, probed and measured.

bench/netns.py is the real one; tests simulate firewalls behind the same interface.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from bench.defence import Defence
from bench.points import Traffic
from bench.records import Gate, Measured
from bench.rulebook import Rulebook
from neurowall.model.entries import Array, EntrySet


class LabError(Exception):
    """A gateway could not be configured or measured; the message says why."""


@dataclass(frozen=True, eq=False)
class Stream:
    """What to send in a trial: sources (V4 or V6, read in sequence), and the scenario's word on the rest.

    `sources6` are those of the IPv6 packets among IPv4 ones, if there are any. `pps` is the rate to keep, by
    default as fast as it goes. `stamp`: packets carry their time of sending, so that latency is measured.
    `program_stats`: the kernel times the XDP program, which costs time itself. `classes` are the sources of
    each class, where the traffic is made of several; `sources` then are those of the first.
    """

    traffic: Traffic
    sources: Array
    sources6: Array | None = None
    pps: float | None = None
    stamp: bool = False
    program_stats: bool = False
    classes: Mapping[str, Array] = field(default_factory=dict)


class Gateway(Protocol):
    """A configured system on a chain of its own."""

    load_seconds: float
    memory_mib: float | None
    """What the system takes, once configured, where it can be told."""
    notes: tuple[str, ...]

    def parity(self) -> Mapping[str, Any]:
        """What must be the same in every arm: offloads, MTU, queues, conntrack, CPUs, kernel."""

    def describe(self) -> Mapping[str, Any]:
        """What exactly is loaded, for the report."""

    def gate(self, rng: np.random.Generator) -> Gate:
        """Prove that the rules are in force; LabError if that could not be tried."""

    def trial(self, stream: Stream, seconds: float) -> Measured:
        """Send for so long, flat out or at the stream's rate; LabError if nothing could be measured."""

    def close(self) -> None:
        """Remove system and chain."""


class Lab(Protocol):
    """Where gateways come from."""

    def describe(self) -> Mapping[str, Any]:
        """Kind of testbed and which CPUs do what, for the report."""

    def place(
        self,
        system: str,
        rules: EntrySet,
        traffic: Traffic,
        label: str,
        book: Rulebook | None = None,
        defence: Defence | None = None,
    ) -> Gateway:
        """A fresh chain with the system configured, all kinds of rules included; LabError if it refused."""

    def differences(self, parities: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
        """(system, what differs) for every arm that is not like the others."""
