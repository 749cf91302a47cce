# SPDX-License-Identifier: Apache-2.0
"""The lab of network namespaces: each gateway is a fresh chain client - gateway - server on this machine."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bench.defence import Defence
from bench.gate import run_gate
from bench.lab import LabError, Stream
from bench.measure import parity
from bench.points import Traffic
from bench.records import Core, Gate, Ledger, Measured
from bench.rulebook import SERVICE, Rulebook
from bench.sut import registry
from bench.sut.base import Rules, SutError, System
from bench.testbed.base import Chain, Run, TestbedError
from bench.traffic.base import Flow, Kind, TrafficError
from bench.traffic.blended import Blended, blend, blended_trial
from bench.traffic.stateful import stateful_trial
from bench.traffic.trial import Trial, trial
from bench.traffic.wire import generator, release
from neurowall.model.entries import EntrySet

_KINDS = {"flood": Kind.FLOOD, "clean": Kind.CLEAN}
_EXPECTED = (TestbedError, SutError, TrafficError, OSError)


class NetnsLab:
    """Chains of one run. Generator and gateways have the last CPU, everything else what `own_cpus` leaves."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._rules: dict[tuple[int, int, Defence | None], Rules] = {}
        self.cpu = generator().cpu

    def describe(self) -> Mapping[str, Any]:
        """Which CPUs do what."""
        others = sorted(os.sched_getaffinity(0))
        return {"testbed": "netns", "generator_and_gateway_cpu": self.cpu, "everything_else_on_cpus": others}

    def place(
        self,
        system: str,
        rules: EntrySet,
        traffic: Traffic,
        label: str,
        book: Rulebook | None = None,
        defence: Defence | None = None,
    ) -> NetnsGateway:
        """A fresh chain with the system configured; LabError if it refused, with nothing left behind."""
        with contextlib.ExitStack() as undo:
            try:
                chain = Chain(self._run, label, traffic.generators)
                undo.callback(chain.close)
                chain.build()
                undo.callback(release, chain)
                made = registry.create(system, null_verdict=traffic.null_verdict)
                undo.callback(made.close)
                gateway = NetnsGateway(chain, made, self._shared(rules, book, defence), self.cpu)
            except _EXPECTED as error:
                raise LabError(f"{type(error).__name__}: {error}") from error
            gateway.undo = undo.pop_all()
        return gateway

    def differences(self, parities: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
        """(arm, what differs) for every arm that is not like most."""
        return parity.compare_parity(parities)

    def _shared(self, rules: EntrySet, book: Rulebook | None, defence: Defence | None) -> Rules:
        """One Rules for each list, since texts and probes made from it are kept with it."""
        made = Rules(rules, book=book, defence=defence)
        return self._rules.setdefault((id(rules), id(book), defence), made)


class NetnsGateway:
    """One configured system on its own chain."""

    def __init__(self, chain: Chain, system: System, rules: Rules, core: int) -> None:
        self._chain = chain
        self._system = system
        self._rules = rules
        self._core = core
        self.undo = contextlib.ExitStack()
        report = system.configure(chain, rules)
        self.load_seconds = report.load_seconds
        self.memory_mib = system.memory_mib()
        self.notes = report.notes

    def parity(self) -> Mapping[str, Any]:
        """What must be the same in every arm, after something has gone through."""
        with _as_lab_error():
            self.gate(np.random.default_rng(0))
            found = parity.arm_parity(self._chain, {self._core})
            if self._rules.book is not None:
                del found["conntrack"]  # part of what rules cost: a gateway without any has none
            return found

    def describe(self) -> Mapping[str, Any]:
        """What exactly is loaded."""
        with _as_lab_error():
            return self._system.describe()

    def gate(self, rng: np.random.Generator) -> Gate:
        """Probe it."""
        with _as_lab_error():
            seen = run_gate(self._chain, self._system, self._rules, rng)
            return Gate(kind=self._system.gate, **dataclasses.asdict(seen))

    def trial(self, stream: Stream, seconds: float) -> Measured:
        """Send for so long; every packet is counted by who sent, dropped, lost or received it."""
        waited = _run_queue_wait()
        with _as_lab_error():
            found = self._trial(stream, seconds)
        seen = found.trial
        waited = _run_queue_wait() - waited
        return Measured(
            seconds=seen.seconds,
            ledger=Ledger(seen.sent, seen.delivered, seen.dropped, seen.elsewhere),
            core=Core(seen.core.total, seen.core.busy, seen.core.steal, waited),
            unsent=seen.unsent,
            cpu_ns=seen.cpu_ns,
            program_ns=seen.program_ns,
            latency_us=seen.latency_us,
            classes=found.classes,
            limit_error=found.limit_error,
            limit_worst=found.limit_worst,
        )

    def _trial(self, stream: Stream, seconds: float) -> Blended:
        if stream.classes:
            return self._blended(stream, seconds)
        return Blended(self._plain(stream, seconds))

    def _blended(self, stream: Stream, seconds: float) -> Blended:
        """Several classes of packets at once."""
        sent = blend(self._chain, stream.traffic, stream.classes)
        defence = self._rules.defence
        return blended_trial(self._chain, self._system, sent, stream.traffic, defence, seconds, stream.pps)

    def _plain(self, stream: Stream, seconds: float) -> Trial:
        flow, book = self._flow(stream), self._rules.book
        if book is None:
            pps, count_runs = stream.pps, stream.program_stats
            return trial(self._chain, self._system, flow, seconds, pps=pps, count_runs=count_runs)
        # One source can open one connection only: the control that has it is sent packets of a known one.
        opened = stream.traffic.connections == "opened" and len(stream.sources) > 1
        return stateful_trial(self._chain, self._system, book, flow, seconds, opened=opened)

    def _flow(self, stream: Stream) -> Flow:
        traffic, server = stream.traffic, self._chain.server_if
        return Flow(
            traffic.family,
            stream.sources,
            server.v4 if traffic.family == 4 else server.v6,
            traffic.frame,
            _KINDS[traffic.kind],
            sources6=stream.sources6,
            destination6="" if stream.sources6 is None else server.v6,
            ipv6_every=0 if stream.sources6 is None else traffic.ipv6_every,
            stamp=stream.stamp,
            ports=(1024, SERVICE if traffic.sources == "accepted" else 9),
        )

    def close(self) -> None:
        """Take the system off and remove the chain; safe to call twice."""
        self.undo.close()


def _run_queue_wait() -> float:
    """Seconds that the generator's thread has been ready to run while another program ran on its CPU.

    Source: Documentation/scheduler/sched-stats.rst, the second number of schedstat.
    """
    for thread in threading.enumerate():
        if thread.name.startswith("xdpgen"):
            path = Path(f"/proc/self/task/{thread.native_id}/schedstat")
            with contextlib.suppress(OSError):  # a kernel without scheduler statistics
                return int(path.read_text(encoding="ascii").split()[1]) / 1e9
    return 0.0


@contextlib.contextmanager
def _as_lab_error() -> Iterator[None]:
    try:
        yield
    except _EXPECTED as error:
        raise LabError(f"{type(error).__name__}: {error}") from error
