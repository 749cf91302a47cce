# SPDX-License-Identifier: Apache-2.0
"""What is intended, as it is saved: which lists there are, where they come from, and what class ids mean."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from neurowall.model.entries import EntrySet
from neurowall.model.image import ClassDef
from neurowall.model.policy import TIMED, ListVerdict
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
class Intent:
    """Everything that is saved. lists are in the order that decides which of them names a hit."""

    generation: int
    lists: tuple[ListRecord, ...]
    classes: Mapping[int, ClassDef] = field(default_factory=dict)
