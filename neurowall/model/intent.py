# SPDX-License-Identifier: Apache-2.0
"""What is intended, as it is saved: which lists there are, where they come from, and what class ids mean."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from neurowall.model.entries import EntrySet
from neurowall.model.fields import TIMED
from neurowall.model.image import ClassDef
from neurowall.model.policy import ListVerdict
from neurowall.model.terms import TermSet

Origin = Literal["operator", "policy", "runtime"]


@dataclass(frozen=True)
class ListRecord:
    """A list without its entries.

    origin: "operator" for the built-in ones, "policy" if declared in the policy file, "runtime" if loaded
    since. sha256: content address of the entries, of timed lists that of their terms. declared_sha256: of
    what the policy declared when this was last read, None for other origins. override: a declared list that
    was replaced at run time. monitor: its entries are counted and decide nothing. declared_monitor: what the
    policy said of that when it was last read.
    """

    name: str
    verdict: ListVerdict
    origin: Origin
    sha256: str
    declared_sha256: str | None = None
    override: bool = False
    monitor: bool = False
    declared_monitor: bool | None = None

    @property
    def timed(self) -> bool:
        """Whether its entries end by themselves."""
        return self.name in TIMED


@dataclass(frozen=True)
class HeldList:
    """A list with the entries that are in force.

    terms: of a timed list when these end, and what is remembered of others that ended; else empty.
    """

    record: ListRecord
    entries: EntrySet
    terms: TermSet = field(default_factory=TermSet.empty)


@dataclass(frozen=True)
class PendingRecord:
    """A policy that is taken back unless confirmed.

    until: CLOCK_BOOTTIME in seconds, of the boot with this id: after another boot its time is over.
    seconds: how long it was given. revert_to: generation of the policy before.
    """

    until: float
    boot_id: str
    seconds: float
    revert_to: int


@dataclass(frozen=True)
class PolicyState:
    """Which policy is in force.

    generation: the one that put it in force, 0 for none. config_sha256: of the daemon's own policy file
    at that time: another content is a newer word of the operator.
    """

    generation: int = 0
    config_sha256: str = ""
    pending: PendingRecord | None = None


@dataclass(frozen=True)
class Intent:
    """Everything that is saved. lists are in the order that decides which of them names a hit."""

    generation: int
    lists: tuple[ListRecord, ...]
    classes: Mapping[int, ClassDef] = field(default_factory=dict)
    policy: PolicyState = PolicyState()


@dataclass(frozen=True)
class GenerationRecord:
    """A policy that was put in force, as it is kept.

    when: Unix time in seconds. source: what did it: start, apply, reload, rollback or unconfirmed. text: the
    policy file; filename: what it was called, for messages and for the files beside it. lists: the declared
    ones as they were. rules: how many stateful ones there are.
    """

    generation: int
    when: float
    source: str
    filename: str
    note: str
    text: str
    rules: int
    lists: tuple[ListRecord, ...]
