# SPDX-License-Identifier: Apache-2.0
"""Names that follow contents, so that a new table can be built beside the one in force.

The kernel makes a transaction visible to packets at one moment, but not all of it: rules are chosen once
for a packet, elements of maps are looked up as they are then, and the contents of interval sets come a
little after the rules (set->ops->commit in nf_tables_commit, net/netfilter/nf_tables_api.c): 70 us in which
such a set is empty, 0.02 % of packets lost at 4 changes a second. So whatever changes gets another name:
first it is added, used by nobody (`together`); then the base chains, which keep their names and hold
nothing that needs time, lead to it.
"""

import hashlib
import re
from collections.abc import Collection
from dataclasses import replace

from neurowall.model.ruleset import Chain, Ruleset, Set, text_of

_REFERENCE = re.compile(r'("target":"|"@)([^"]+)"')


def addressed(ruleset: Ruleset, kept: Collection[str] = ()) -> Ruleset:
    """The same table; what has no hook and is not filled by packets is called after its contents.

    A base chain only leads to its rules, in a chain of their own: an anonymous set that it held would come
    late too. kept: sets that keep their names, whose elements come and go one by one.
    """
    naming = _Naming(ruleset, kept)
    chains: list[Chain] = []
    for chain in ruleset.chains:
        if chain.hook is None:
            chains.append(naming.chain(chain.name))
            continue
        rules = naming.texts(chain.rules)
        inner = Chain(_called(f"{chain.name}.rules", *rules), rules)
        chains += [inner, replace(chain, rules=(text_of([{"goto": {"target": inner.name}}]),))]
    sets = (naming.set(each.name) if naming.renames(each.name) else each for each in ruleset.sets)
    return replace(ruleset, sets=tuple(sets), chains=tuple(chains))


def together(old: Ruleset, new: Ruleset) -> Ruleset:
    """What is enforced by *old*, with everything that *new* will need beside it."""
    chains = {chain.name for chain in old.chains}
    counters = frozenset(old.counters)
    return replace(
        old,
        counters=(*old.counters, *(name for name in new.counters if name not in counters)),
        sets=(*old.sets, *(each for each in new.sets if each.name not in old.by_name)),
        chains=(*old.chains, *(each for each in new.chains if not each.hook and each.name not in chains)),
        flowtable=old.flowtable or new.flowtable,
    )


class _Naming:
    """Gives each object its name after those that it names."""

    def __init__(self, ruleset: Ruleset, kept: Collection[str]) -> None:
        self._sets = {each.name: each for each in ruleset.sets if not each.dynamic and each.name not in kept}
        self._chains = {chain.name: chain for chain in ruleset.chains if not chain.hook}
        self._made_sets: dict[str, Set] = {}
        self._made_chains: dict[str, Chain] = {}

    def renames(self, name: str) -> bool:
        """Whether a set gets another name."""
        return name in self._sets

    def chain(self, name: str) -> Chain:
        """The chain as it will be called."""
        if name not in self._made_chains:
            rules = self.texts(self._chains[name].rules)
            self._made_chains[name] = Chain(_called(name, *rules), rules)
        return self._made_chains[name]

    def set(self, name: str) -> Set:
        """The set as it will be called."""
        if name not in self._made_sets:
            held = self._sets[name]
            elements = held.elements
            if held.value:
                elements = frozenset(self._text(text) for text in elements)
            kind = repr((held.key, held.value, held.interval, held.timeout, held.size))
            made = _called(name, kind, *sorted(elements))
            self._made_sets[name] = replace(held, name=made, elements=elements)
        return self._made_sets[name]

    def texts(self, rules: tuple[str, ...]) -> tuple[str, ...]:
        """Rules that name what they name by its new name."""
        return tuple(self._text(text) for text in rules)

    def _text(self, text: str) -> str:
        return _REFERENCE.sub(self._renamed, text)

    def _renamed(self, found: re.Match[str]) -> str:
        before, name = found[1], found[2]
        if before == '"@' and name in self._sets:
            return f'"@{self.set(name).name}"'
        if before != '"@' and name in self._chains:
            return f'{before}{self.chain(name).name}"'
        return found[0]


def _called(name: str, *contents: str) -> str:
    digest = hashlib.sha256("\n".join(contents).encode()).hexdigest()
    return f"{name}.{digest[:10]}"
