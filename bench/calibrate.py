# SPDX-License-Identifier: Apache-2.0
"""What differences this machine can tell: every system against itself, A/A.

Two gateways of one system with the same rules, measured alternately. Their ratio is one; how far it strays is
the machine's noise and not the system's, and says how many blocks it takes to tell a real difference. A run
has an A/A pair of its own, by which it is judged: this is for planning one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from bench import sources, stats
from bench.evaluate import derive
from bench.lab import Gateway, Lab, LabError, Stream
from bench.lists import Counts
from bench.points import Traffic
from bench.progress import Event
from bench.records import Gate
from bench.result import Ratio
from bench.validity import Values
from neurowall.model.entries import EntrySet

SCHEMA: Literal["neurowall-bench-calibration/1"] = "neurowall-bench-calibration/1"
FILE = "calibration.json"
COUNTS = Counts(250_000, 0, 0, 0)
"""The rules that are loaded, by default."""
TRAFFIC = Traffic(kind="flood", sources="listed")


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Noise(_Model):
    """One system against itself."""

    ratio: Ratio
    noise_floor: float = Field(description="smallest relative difference that these blocks can tell")
    blocks_for: dict[str, int | None] = Field(
        description="by difference ('2%', '5%'): blocks that it takes to tell; null: more than anybody runs"
    )
    samples: list[list[float]] = Field(description="every ratio, by block")


class Calibration(_Model):
    """The file `calibration.json`; `refused` says by system why there is nothing about it."""

    format: Literal["neurowall-bench-calibration/1"] = Field(SCHEMA, alias="schema")
    machine: str = Field(description="digest of what must be the same for this to hold")
    started: str
    seconds: float
    seed: int
    blocks: int
    rounds: int
    trial_seconds: float
    rules: dict[str, int]
    traffic: dict[str, Any]
    systems: dict[str, Noise]
    refused: dict[str, str]
    environment: dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """What is measured and how long; a block takes a few seconds for each system."""

    systems: Sequence[str]
    seed: int
    blocks: int = 6
    rounds: int = 4
    trial_seconds: float = 0.2
    warmup_seconds: float = 0.1
    traffic: Traffic = TRAFFIC


def calibrate(
    lab: Lab,
    environment: Mapping[str, Any],
    rules: EntrySet,
    settings: Settings,
    tell: Callable[[Event], None] = lambda _: None,
) -> Calibration:
    """Measure each system against itself, with *rules* loaded and traffic from sources of these.

    A system that cannot be configured or measured, or that does not do its job, is in `refused`.
    """
    started, clock = datetime.now(UTC).isoformat(timespec="seconds"), time.monotonic()
    seed, systems, traffic = settings.seed, settings.systems, settings.traffic
    rng = np.random.default_rng(derive(seed, "sources", "calibrate"))
    stream = Stream(traffic, sources.draw(traffic, rules.family(traffic.family), rng))
    pairs: dict[str, tuple[Values, Values]] = {system: ({}, {}) for system in systems}
    refused: dict[str, str] = {}
    turns = [(block, system) for block in range(settings.blocks) for system in systems]
    for done, (block, system) in enumerate(turns, 1):
        text = f"block {block + 1} of {settings.blocks}: {system} against itself"
        order = np.random.default_rng(derive(seed, "order", "calibrate", block, system))
        if system not in refused:
            try:
                _Block(lab, system, rules, stream, settings, block, order).measure(pairs[system])
            except LabError as error:
                refused[system] = text = str(error)
        tell(Event("trial", "calibrate", text, done, len(turns), {"system": system}))
    return Calibration(
        machine=str(environment.get("machine", "")),
        started=started,
        seconds=round(time.monotonic() - clock, 1),
        seed=seed,
        blocks=settings.blocks,
        rounds=settings.rounds,
        trial_seconds=settings.trial_seconds,
        rules={name: count for name, count in dataclasses.asdict(Counts.of(rules)).items() if count},
        traffic=traffic.model_dump(mode="json"),
        systems={s: _noise(pairs[s], derive(seed, "bootstrap", s)) for s in systems if s not in refused},
        refused=refused,
        environment={**environment, **lab.describe()},
    )


def save(calibration: Calibration, directory: Path) -> Path:
    """Write calibration.json into a directory, whole or not at all; answers its path."""
    path = directory / FILE
    temporary = path.with_suffix(".tmp")
    text = json.dumps(calibration.model_dump(mode="json", by_alias=True), indent=1)
    temporary.write_text(text + "\n", encoding="utf-8")
    return temporary.replace(path)


def load(path: Path) -> Calibration:
    """Read what `save` wrote; ValueError if it is something else."""
    return Calibration.model_validate_json(path.read_text(encoding="utf-8"))


@dataclass(frozen=True)
class _Block:
    """Two fresh gateways of one system, measured in turns."""

    lab: Lab
    system: str
    rules: EntrySet
    stream: Stream
    settings: Settings
    number: int
    rng: np.random.Generator

    def measure(self, pair: tuple[Values, Values]) -> None:
        """Add the block's rates to those of both arms; LabError if one of them cannot be trusted."""
        with contextlib.ExitStack() as undo:
            arms = [self._place(undo, name) for name in ("a", "b")]
            for gateway in arms:
                gateway.trial(self.stream, self.settings.warmup_seconds)
            for number in range(self.settings.rounds):
                for index in self.rng.permutation(2).tolist():
                    pair[index][self.number, number] = self._rate(arms[index])

    def _place(self, undo: contextlib.ExitStack, arm: str) -> Gateway:
        label = f"b{self.number}-{self.system}-{arm}"
        gateway = self.lab.place(self.system, self.rules, self.stream.traffic, label)
        undo.callback(gateway.close)
        return gateway

    def _rate(self, gateway: Gateway) -> float:
        """Packets a second that were dropped by rule or arrived, between two gates."""
        gates: list[Gate] = [gateway.gate(self.rng)]
        measured = gateway.trial(self.stream, self.settings.trial_seconds)
        gates.append(gateway.gate(self.rng))
        for gate in gates:
            if not gate.passed:
                raise LabError(f"its effectiveness gate failed: {gate.detail}")
        return (measured.ledger.dropped_by_rule + measured.ledger.delivered) / measured.seconds


def _noise(pair: tuple[Values, Values], seed: int) -> Noise:
    series = stats.pair(*pair)
    found = stats.geometric_mean(series, seed)
    return Noise(
        ratio=Ratio(value=found.value, ci_low=found.ci_low, ci_high=found.ci_high, n=found.n),
        noise_floor=stats.noise_floor(found),
        blocks_for={f"{d:.0%}": stats.blocks_to_tell(series, d) for d in (0.02, 0.05)},
        samples=series,
    )
