# SPDX-License-Identifier: Apache-2.0
"""What a run writes down while it measures, one JSON line each; `evaluate` judges from nothing else."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

from bench.classes import ATTACKS, ClassCount

OFFERED = 0.99
"""Share of the packets of a fixed rate that must have been sent, or what is missing counts as lost."""
EXCESS = 1.05
"""Of what limits allow, how much more is taken for theirs and not for attack traffic that passed."""

Role = Literal["measured", "same", "fixed", "flat", "warmup"]
"""`measured` counts; `same` is the other arm of the A/A pair; `fixed` the control with one source; `flat` the
control flat out, where the others are sent a share of what it does; `warmup` is discarded."""


GateKind = Literal["filter", "pass", "drop"]
"""A filter stops what is listed and passes the rest; the others do the same with all packets."""


@dataclass(frozen=True)
class Gate:
    """Did the system do its job? What it had to stop and did, what it had to pass and did, in packets."""

    kind: GateKind
    passed: bool
    listed_sent: int
    listed_blocked: int
    near_sent: int
    near_passed: int
    detail: str = ""


@dataclass(frozen=True)
class Ledger:
    """Where the packets of one trial went: `elsewhere` by place; `residual` is what nobody accounts for."""

    sent: int
    delivered: int
    dropped_by_rule: int
    elsewhere: Mapping[str, int] = field(default_factory=dict)

    @property
    def residual(self) -> int:
        """Sent less all that is accounted for; negative when more was counted than sent."""
        return self.sent - self.delivered - self.dropped_by_rule - sum(self.elsewhere.values())


@dataclass(frozen=True)
class Core:
    """The gateway's core during a trial, in seconds.

    `busy` and `steal` (taken by other virtual machines) are parts of `total`; `waited` is how long the
    generator had to wait there because other programs ran.
    """

    total: float
    busy: float
    steal: float = 0.0
    waited: float = 0.0


@dataclass(frozen=True)
class Measured:
    """What one trial gave; `seconds` is what sending took.

    `unsent` packets are those that a paced generator should have sent besides. `cpu_ns` is the gateway's CPU
    time for each packet and `program_ns` that of its XDP program, where they were measured; `latency_us` the
    time from sender to receiver by quantile ("p50", "p99", ...), where packets carried a stamp. `classes` are
    the counts of each class of packets; `limit_error` and `limit_worst` how far paced sources were from what
    limits admit, in the mean and at most.
    """

    seconds: float
    ledger: Ledger
    core: Core
    unsent: int = 0
    cpu_ns: float | None = None
    program_ns: float | None = None
    latency_us: Mapping[str, float] = field(default_factory=dict)
    classes: tuple[ClassCount, ...] = ()
    limit_error: float | None = None
    limit_worst: float | None = None

    def rate(self, metric: str) -> float:
        """Mpps of packets dropped by the system's own count, or delivered by the receiver's."""
        packets = self.ledger.dropped_by_rule if metric == "drop_mpps" else self.ledger.delivered
        return packets / self.seconds / 1e6

    def value(self, metric: str) -> float | None:
        """What this trial says about a metric that is judged trial by trial; None: nothing."""
        if metric in ("drop_mpps", "forward_mpps"):
            return self.rate(metric)
        if metric == "cpu_ns_per_packet":
            return self.cpu_ns
        if metric in _BY_CLASS:
            return _BY_CLASS[metric](self)
        return self.latency_us.get(metric.removeprefix("latency_").removesuffix("_us"))

    @property
    def offered_share(self) -> float:
        """Of the packets of a fixed rate those that were sent; 1 flat out."""
        wanted = self.ledger.sent + self.unsent
        return self.ledger.sent / wanted if wanted else 1.0

    @property
    def legit_loss(self) -> float | None:
        """Share of legitimate packets that did not arrive; None without any.

        What an overloaded gateway could not be sent is lost as well.
        """
        found = next((one for one in self.classes if one.name == "legit"), None)
        if found is None or not found.sent:
            return None
        share = self.offered_share
        wanted = found.sent if share >= OFFERED else found.sent / share
        return max(0.0, 1 - found.passed / wanted)

    @property
    def attack_passed(self) -> float | None:
        """Share of attack packets that arrived beyond what limits allow; None without any."""
        attacks = [one for one in self.classes if one.name in ATTACKS]
        sent = sum(one.sent for one in attacks)
        over = sum(max(0.0, one.passed - EXCESS * (one.allowed or 0.0)) for one in attacks)
        return over / sent if sent else None


_BY_CLASS: Mapping[str, Callable[[Measured], float | None]] = {
    "legit_loss_ratio": lambda seen: seen.legit_loss,
    "attack_pass_ratio": lambda seen: seen.attack_passed,
    "limit_error_ratio": lambda seen: seen.limit_error,
    "limit_worst_ratio": lambda seen: seen.limit_worst,
}


@dataclass(frozen=True)
class Trial:
    """One measurement of one system between two gates; where there is none, `problem` says why.

    `shared`: not measured for this point but for another, where the gateway is sent the very same packets.
    """

    block: int
    round: int
    order: int
    system: str
    point: str
    role: Role
    measured: Measured | None = None
    before: Gate | None = None
    after: Gate | None = None
    problem: str | None = None
    shared: bool = False


@dataclass(frozen=True)
class Load:
    """One configuration of one arm in one block, for the points that share it.

    `memory_mib` is what the system took then, kernel and processes, where it can be told.
    """

    block: int
    system: str
    role: Role
    points: tuple[str, ...]
    seconds: float
    notes: tuple[str, ...] = ()
    parity: Mapping[str, Any] = field(default_factory=dict)
    memory_mib: float | None = None
    problem: str | None = None


@dataclass(frozen=True)
class Difference:
    """Something that differs between the arms of a block although it must not (offloads, MTU, CPUs ...)."""

    block: int
    system: str
    what: str


Record = Trial | Load | Difference
_KINDS: dict[str, type[Any]] = {"trial": Trial, "load": Load, "difference": Difference}
_NAMES = {kind: name for name, kind in _KINDS.items()}


class Writer:
    """Appends records to a file as they come, so that a killed run leaves all it measured."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def write(self, record: Record) -> None:
        """One line, on disk as far as the kernel is concerned."""
        line = {"record": _NAMES[type(record)], **dataclasses.asdict(record)}
        self._file.write(json.dumps(line, separators=(",", ":"), default=str) + "\n")
        self._file.flush()


def read(path: Path) -> Iterator[Record]:
    """The records of a raw file; raises ValueError naming the line that is none."""
    with path.open(encoding="utf-8") as lines:
        yield from parse(lines, str(path))


def parse(lines: Iterable[str], name: str) -> Iterator[Record]:
    """Inverse of Writer.write."""
    for number, line in enumerate(lines, 1):
        try:
            fields = json.loads(line)
            kind = _KINDS[fields.pop("record")]
            record: Record = kind(**{name: _restore(name, value) for name, value in fields.items()})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{name}:{number}: not a record: {error}") from error
        yield record


def _restore(name: str, value: Any) -> Any:
    """A field of a record from its JSON."""
    if name in ("points", "notes"):
        return tuple(value)
    if name in ("before", "after") and value is not None:
        return Gate(**value)
    if name == "measured" and value is not None:
        classes = tuple(ClassCount(**one) for one in value.get("classes", ()))
        parts = {"ledger": Ledger(**value["ledger"]), "core": Core(**value["core"]), "classes": classes}
        return Measured(**{**value, **parts})
    return value
