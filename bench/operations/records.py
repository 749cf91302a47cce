# SPDX-License-Identifier: Apache-2.0
"""What one operation on one gateway gave; judged by bench/operations/evaluate.py, kept raw beside it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import IO

from bench.records import Gate, Ledger


@dataclass(frozen=True)
class Observation:
    """Samples by metric; `problem` says why they are worth nothing.

    `ledgers` account for the packets of each flood. `wanting` names metrics that cannot be told, and why;
    `remarks` is for people.
    """

    block: int
    system: str
    point: str
    operation: str
    samples: Mapping[str, list[float]] = field(default_factory=dict)
    again: list[float] = field(default_factory=list)
    """Of a churn's base: drop_mpps measured once more, the other arm of its A/A pair."""
    gates: tuple[Gate, ...] = ()
    ledgers: tuple[Ledger, ...] = ()
    wanting: Mapping[str, str] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    problem: str | None = None


class Writer:
    """Appends observations to a file as they come, so that a killed run leaves all it measured."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def write(self, observation: Observation) -> None:
        """One JSON object a line."""
        line = {"record": "observation", **dataclasses.asdict(observation)}
        self._file.write(json.dumps(line, separators=(",", ":"), default=str) + "\n")
        self._file.flush()
