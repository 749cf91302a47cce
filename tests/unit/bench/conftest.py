# SPDX-License-Identifier: Apache-2.0
"""A simulated lab: firewalls whose rates and noise are known, and which can be broken."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import plan as planning
from bench.classes import ClassCount
from bench.defence import Defence
from bench.lab import LabError, Stream
from bench.lists import Counts, generate
from bench.points import Traffic
from bench.records import Core, Gate, Ledger, Measured, Record
from bench.rulebook import Rulebook
from bench.runner import Runner
from bench.scenario import Scenario
from bench.session import Session
from neurowall.model.entries import EntrySet

RATES = {
    "none": 1.0,
    "xdp-null": 3.0,
    "xdp-touch": 2.0,
    "neurowall": 1.9,
    "neurowall-classic": 1.0,
    "neurowall-lists": 2.0,
    "xdp-lru-limiter": 0.8,
    "xdp-lru-flows": 0.7,
    "nft-limit": 0.4,
    "nft-set": 0.6,
    "ipset": 0.7,
    "nft-linear": 0.05,
}


@dataclass
class FakeLab:
    """Rates in Mpps by system; `noise` is the sigma of a trial, `drift` of a block (for all systems)."""

    rates: dict[str, float] = field(default_factory=lambda: dict(RATES))
    noise: float = 0.01
    drift: float = 0.2
    fixed_gain: float = 1.05
    busy: float = 0.99
    waited: float = 0.0
    refuse: set[str] = field(default_factory=set)
    leak: set[str] = field(default_factory=set)
    lose: set[str] = field(default_factory=set)
    offloads: dict[str, str] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)
    deaf: bool = False
    admit: float = 0.005  # share of an attack that a filter lets through
    lost: dict[str, float] = field(default_factory=dict)  # share of legitimate packets, by system
    interrupt_after: int | None = None
    opened: list[str] = field(default_factory=list)
    books: list[Rulebook | None] = field(default_factory=list)
    defences: list[tuple[str, Defence | None]] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    trials: list[tuple[str, float, int]] = field(default_factory=list)
    sent: list[tuple[str, Stream]] = field(default_factory=list)
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(1))

    def describe(self) -> dict[str, str]:
        """Not a real one."""
        return {"testbed": "simulated"}

    def place(
        self,
        system: str,
        rules: EntrySet,
        traffic: Traffic,
        label: str,
        book: Rulebook | None = None,
        defence: Defence | None = None,
    ) -> "FakeGateway":
        """A gateway, unless it is to refuse; its stateful rules and features are kept."""
        self.books.append(book)
        self.defences.append((system, defence))
        if system in self.refuse:
            raise LabError("nft: Error: syntax error")
        self.opened.append(label)
        memory = 1e-3 * len(rules) if system.startswith("neurowall") else None
        return FakeGateway(self, system, label, traffic, 1e-6 * len(rules), memory)

    def differences(self, parities: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
        """Arms with TSO on."""
        return [(name, f"tso is {p['tso']}") for name, p in parities.items() if p["tso"] != "off"]

    def block_effect(self, label: str) -> float:
        """The factor that all systems of a block share."""
        block = int(label.partition("-")[0].removeprefix("b"))
        return float(np.exp(np.random.default_rng(block).normal(0, self.drift)))


@dataclass
class FakeGateway:
    """One simulated firewall."""

    lab: FakeLab
    system: str
    label: str
    traffic: Traffic
    load_seconds: float
    memory_mib: float | None = None
    notes: tuple[str, ...] = ()

    def parity(self) -> dict[str, str]:
        """One offload."""
        return {"tso": self.lab.offloads.get(self.system, "off")}

    def describe(self) -> dict[str, str]:
        """Its name."""
        return {"loaded": self.system}

    def gate(self, rng: np.random.Generator) -> Gate:
        """Green unless it is to leak."""
        leaking = self.system in self.lab.leak
        detail = "256 of 256 got through" if leaking else ""
        return Gate("filter", not leaking, 256, 0 if leaking else 256, 256, 256, detail)

    def trial(self, stream: Stream, seconds: float) -> Measured:
        """Rates with the noise asked for."""
        lab = self.lab
        if lab.interrupt_after is not None and len(lab.trials) >= lab.interrupt_after:
            raise KeyboardInterrupt
        lab.trials.append((self.system, seconds, len(stream.sources)))
        lab.sent.append((self.label, stream))
        rate = lab.rates[self.system] * lab.block_effect(self.label) * np.exp(lab.rng.normal(0, lab.noise))
        if len(stream.sources) == 1:
            rate *= lab.fixed_gain
        rate = rate if stream.pps is None else min(rate, stream.pps / 1e6)
        sent = 0 if self.system in lab.silent else round(rate * 1e6 * seconds)
        lost = sent // 100 if self.system in lab.lose else 0
        dropped = sent - lost if stream.traffic.dropped else 0
        arrived = sent - lost - dropped
        if stream.classes:
            return self._of_classes(stream, seconds, sent)
        ledger = Ledger(
            sent, 0 if lab.deaf else arrived, dropped, {"s0 rx_dropped": arrived if lab.deaf else 0}
        )
        return Measured(seconds, ledger, Core(seconds, seconds * lab.busy, 0.0, seconds * lab.waited))

    def _of_classes(self, stream: Stream, seconds: float, sent: int) -> Measured:
        """Each class by its share; what limits allow is twice what is let through."""
        total, counts = sum(one.share for one in stream.traffic.classes), []
        for one in stream.traffic.classes:
            share = {"drop": 0.0, "pass": 1.0}[stream.traffic.null_verdict]
            if self.system != "xdp-null":
                lost = self.lab.lost.get(self.system, 0.0)
                share = {"legit": 1 - lost, "paced": 0.4}.get(one.name, self.lab.admit)
            own = sent * one.share // total
            allowed = None if self.system == "xdp-null" or one.name == "legit" else 0.4 * own
            counts.append(ClassCount(one.name, own, round(share * own), allowed))
        passed = sum(one.passed for one in counts)
        every = sum(one.sent for one in counts)
        unsent = 0 if stream.pps is None else max(0, round(stream.pps * seconds) - sent)
        error = None if self.system == "xdp-null" else 0.02
        ledger, core = Ledger(every, passed, every - passed), Core(seconds, seconds * self.lab.busy)
        return Measured(seconds, ledger, core, unsent, 900.0, None, {}, tuple(counts), error, error)

    def close(self) -> None:
        """Remember that it was."""
        self.lab.closed.append(self.label)


DOCUMENT: dict[str, Any] = {
    "purpose": "What does a test of the harness need?",
    "systems": ["xdp-null", "xdp-touch", "neurowall", "nft-set"],
    "points": {"hosts-500": {"hosts4": 500}},
    "traffic": {"kind": "flood", "sources": "listed"},
    "metrics": ["drop_mpps", "cost_ns", "load_seconds"],
    "bars": [
        {"figure": "N1", "ratio": "neurowall/xdp-touch@hosts-500", "bar": 0.80},
        {"figure": "N3", "ratio": "neurowall/nft-set@hosts-500", "bar": 2.3},
    ],
    "control": {"same": "xdp-touch"},
    "profiles": {
        name: {"blocks": blocks, "rounds": 4, "trial_seconds": 0.1}
        for name, blocks in (("ci", 2), ("quick", 4), ("standard", 8), ("rfc", 10))
    },
}


@pytest.fixture
def document() -> dict[str, Any]:
    """A small drop scenario as it stands in YAML; a fresh copy for each test."""
    import copy

    return copy.deepcopy(DOCUMENT)


@pytest.fixture
def scenario(document: dict[str, Any]) -> Scenario:
    """The same, read."""
    return Scenario.model_validate(document)


@pytest.fixture
def lab() -> FakeLab:
    """A simulated lab to break."""
    return FakeLab()


Measure = Callable[..., list[Record]]


def everything_is_available(system: str, counts: Counts) -> None:
    """No reason against anything."""


@pytest.fixture
def measure(scenario: Scenario, lab: FakeLab) -> Measure:
    """Run a scenario (by default the small one, profile quick) in the simulated lab; answers the records."""

    def run(
        chosen: Scenario = scenario, profile: str = "quick", seed: int = 1, events: Any = None
    ) -> list[Record]:
        plan = planning.make("small", chosen, profile, everything_is_available)  # type: ignore[arg-type]
        rules = {counts: generate(counts, seed) for counts in plan.lists}
        records: list[Record] = []
        told: list[Any] = [] if events is None else events
        try:
            Runner(plan, lab, rules, seed, records.append, told.append).run()
        except KeyboardInterrupt:
            assert lab.interrupt_after is not None
        return records

    return run


@pytest.fixture
def run_small(
    scenario: Scenario, lab: FakeLab, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Any]:
    """A whole session of the small scenario in the simulated lab, files and all; answers its result."""

    def run(chosen: Scenario = scenario, seed: int = 1, directory: Path | None = None) -> Any:
        session = Session(directory or tmp_path_factory.mktemp("run"), "quick", seed, None, lambda _: None)
        planned = session.plan("small", chosen, lambda *_: None)
        session.environment = {"machine": "m1", "kernel": {"release": "6.1"}, "cpu": {"model": "x"}}
        return session.measure(planned, lab)

    return run
