# SPDX-License-Identifier: Apache-2.0
"""What a system under test is: something that configures a chain's gateway and counts what it dropped.

An instance serves one chain, once: configure, then counters as often as needed, then close. Registry in
bench/sut/registry.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from bench.defence import Defence, Feature
from bench.rulebook import Rulebook
from neurowall.model.entries import Entries, EntrySet

if TYPE_CHECKING:
    from bench.testbed.base import Chain

Gate = Literal["filter", "pass", "drop"]
EXCERPT_BYTES = 400
"""How much of a ruleset's text a report keeps, of the beginning and of the end each."""


class SutError(Exception):
    """A system could not be configured or read; the message says what it said and what to do next."""


class RulesetRejected(SutError):
    """The system refused its rules: nothing may be measured."""


@dataclass(frozen=True, eq=False)
class Rules:
    """What every system of a block must enforce: drop packets whose source is one of *entries*.

    book: stateful rules, None where nothing is asked of the stateful layer. defence: what XDP does besides,
    None where each system has its defaults.
    Compared and hashed by identity, so that texts and probes made from it are made once.
    """

    entries: EntrySet
    book: Rulebook | None = field(default=None, kw_only=True)
    defence: Defence | None = field(default=None, kw_only=True)

    def hosts(self, family: int) -> Entries:
        """Entries of full length."""
        entries = self.entries.family(family)
        return entries.take(slice(len(entries) - entries.hosts, None))

    def prefixes(self, family: int) -> Entries:
        """All other entries."""
        entries = self.entries.family(family)
        return entries.take(slice(0, len(entries) - entries.hosts))

    @property
    def counts(self) -> dict[str, int]:
        """Entries by kind: hosts4, prefixes4, hosts6, prefixes6."""
        return {name: len(part) for name, part in self.parts().items()}

    def parts(self) -> dict[str, Entries]:
        """The four kinds of entries by name, also the empty ones."""
        return {
            f"{kind}{family}": part(family)
            for family in (4, 6)
            for kind, part in (("hosts", self.hosts), ("prefixes", self.prefixes))
        }

    @cached_property
    def texts(self) -> dict[str, list[str]]:
        """Each kind's entries as text: '192.0.2.1', '192.0.2.0/24'."""
        return {name: to_text(part) for name, part in self.parts().items()}

    @property
    def list_text(self) -> str:
        """All entries as a list file, one a line, IPv4 first."""
        return "".join(f"{line}\n" for lines in self.texts.values() for line in lines)


@dataclass(frozen=True)
class ConfigureReport:
    """How a configuration went.

    load_seconds is from handing the rules over, as text or file, until the system said that they are in
    force; making the text and starting a daemon are not in it.
    """

    load_seconds: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class SystemCounters:
    """What the system itself has counted since it was configured; None for what it does not count."""

    dropped: int | None
    passed: int | None
    source: str


class System(Protocol):
    """One system under test."""

    name: str
    gate: Gate
    """filter: blocks what is listed and passes the rest; pass and drop: all packets, whatever the rules."""

    def available(self, rules: Rules | None = None) -> str | None:
        """Why it cannot run here (with these rules), naming the probe that failed; None if it can."""

    def configure(self, chain: "Chain", rules: Rules) -> ConfigureReport:
        """Enforce *rules* on what enters the gateway from the client. RulesetRejected if it refused them."""

    def counters(self) -> SystemCounters:
        """The system's own counters, now."""

    def memory_mib(self) -> float | None:
        """What it takes now in MiB, in the kernel and as processes; None where nothing tells."""

    def describe(self) -> dict[str, Any]:
        """What exactly is loaded: versions, sizes, an excerpt of the ruleset. For the report."""

    def close(self) -> None:
        """Take everything off the gateway again; safe to call twice, also after a failed configure."""


@runtime_checkable
class Stateful(Protocol):
    """A system that can be given stateful rules, and counts what each of them decides."""

    def rule_packets(self) -> Mapping[str, int]:
        """Packets by rule, and by `default` those that no rule matched, since it was configured.

        Empty without rules; SutError if they cannot be read.
        """


@runtime_checkable
class Defending(Protocol):
    """A system that has limits, or other features beside lists."""

    enforces: tuple[Feature, ...]
    """Those that it drops packets by."""


def to_text(entries: Entries) -> list[str]:
    """Entries as text; much faster than asking each for it."""
    if entries.family == 6:
        return [str(row) for row in entries.rows()]
    octets = entries.address.astype(">u4").view(np.uint8).reshape(-1, 4).tolist()
    lengths: npt.NDArray[Any] = entries.length
    return [
        f"{a}.{b}.{c}.{d}" if length == 32 else f"{a}.{b}.{c}.{d}/{length}"
        for (a, b, c, d), length in zip(octets, lengths.tolist(), strict=True)
    ]


def text4(address: int) -> str:
    """An IPv4 address in dots."""
    return ".".join(str(address >> shift & 0xFF) for shift in (24, 16, 8, 0))


def excerpt(text: str) -> str:
    """Beginning and end of a ruleset, for a report."""
    if len(text) <= 2 * EXCERPT_BYTES:
        return text
    return f"{text[:EXCERPT_BYTES]}\n... ({len(text)} bytes in all) ...\n{text[-EXCERPT_BYTES:]}"
