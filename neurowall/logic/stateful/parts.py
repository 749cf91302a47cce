# SPDX-License-Identifier: Apache-2.0
"""What a ruleset is put together from while it is compiled."""

from collections.abc import Iterable
from dataclasses import replace
from hashlib import sha256

from neurowall.model.ruleset import Chain, Hook, Ruleset, Set


class Parts:
    """Chains, sets and counters in the order in which they are made. A name is used once."""

    def __init__(self) -> None:
        self._counters: dict[str, None] = {}
        self._sets: dict[str, Set] = {}
        self._chains: dict[str, Chain] = {}

    def counter(self, name: str) -> str:
        """Make a named counter, if it is not there, and return its name."""
        self._counters[name] = None
        return name

    def chain(self, name: str, rules: Iterable[str], hook: Hook | None = None) -> str:
        """Make a chain and return its name."""
        if name in self._chains:
            raise ValueError(f"chain {name} is made twice")
        self._chains[name] = Chain(name, tuple(rules), hook)
        return name

    def map(self, made: Set) -> str:
        """Make a map and return its name: the one given, and a digest of what it holds.

        So its contents never change. The kernel chooses the rules for a packet once but looks at the contents
        of maps whenever it comes to one: between two maps that change, a packet would meet a mixture of both.
        """
        digest = sha256("\n".join(sorted(made.elements)).encode()).hexdigest()[:8]
        named = replace(made, name=f"{made.name}.{digest}")
        self._sets[named.name] = named
        return named.name

    def ruleset(self, flowtable: tuple[str, ...] = ()) -> Ruleset:
        """All of it."""
        return Ruleset(
            tuple(self._counters), tuple(self._sets.values()), tuple(self._chains.values()), flowtable
        )

    @property
    def counters(self) -> frozenset[str]:
        """Names of the counters made so far."""
        return frozenset(self._counters)
