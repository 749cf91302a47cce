# SPDX-License-Identifier: Apache-2.0
"""What table `inet neurowall` is to hold: plain values in the words of libnftables-json(5).

Everything is compared and hashed: JSON is kept as its canonical text (`text_of`), so two equal rulesets are
equal objects, and the same policy always compiles to the same one.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

FAMILY = "inet"
TABLE = "neurowall"


def text_of(value: Any) -> str:
    """Canonical JSON text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


@dataclass(frozen=True)
class Hook:
    """Where a base chain is attached. priority is the kernel's number; policy is `accept` or `drop`."""

    type: str
    hook: str
    priority: int
    policy: str


@dataclass(frozen=True)
class Chain:
    """One chain. rules: the expressions of each rule, as the JSON text of a list; in order."""

    name: str
    rules: tuple[str, ...]
    hook: Hook | None = None


@dataclass(frozen=True)
class Set:
    """One named set, or with *value* a map.

    key: the types of its parts. value: "verdict" or the types of what it maps to. elements: the JSON text of
    each; of a map of [key, value]. dynamic: packets add its elements, which are neither written nor compared.
    timeout: elements may have one.
    A set of another key, value or flags gets another name: kinds never change.
    """

    name: str
    key: tuple[str, ...]
    elements: frozenset[str] = frozenset()
    value: tuple[str, ...] = ()
    interval: bool = False
    dynamic: bool = False
    timeout: bool = False
    size: int | None = None


@dataclass(frozen=True)
class Ruleset:
    """The whole table. counters: names of named counters; one that stays keeps its count.

    flowtable: devices of flowtable `offload`, empty: none.
    """

    counters: tuple[str, ...] = ()
    sets: tuple[Set, ...] = ()
    chains: tuple[Chain, ...] = ()
    flowtable: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Whether there is anything to enforce; without, there is no table."""
        return bool(self.chains)

    @property
    def digest(self) -> str:
        """What tells two rulesets apart."""
        parts = [
            text_of([self.counters, self.flowtable]),
            *(repr((each.name, each.rules, each.hook)) for each in self.chains),
            *(repr(replace(each, elements=frozenset())) for each in self.sets),
            *(text for each in self.sets for text in sorted(each.elements)),
        ]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def chain(self, name: str) -> Chain | None:
        """The chain of that name, if there is one."""
        return next((chain for chain in self.chains if chain.name == name), None)

    @property
    def by_name(self) -> Mapping[str, Set]:
        """All sets and maps."""
        return {each.name: each for each in self.sets}
