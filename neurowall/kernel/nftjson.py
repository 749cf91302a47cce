# SPDX-License-Identifier: Apache-2.0
"""From one content of table `inet neurowall` to another: the commands of one transaction, as plain values.

Commands are those of libnftables-json(5). Nothing here talks to the kernel. What stays is not touched: named
counters count on, base chains stay attached, sets that packets fill keep what they hold.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from neurowall.model.counters import Counter
from neurowall.model.ruleset import FAMILY, TABLE, Chain, Hook, Ruleset, Set, text_of

CHUNK = 5_000
"""Elements in one command at most."""

INTERVALS = 16
"""Elements of intervals that are deleted one by one at most."""

FLOWTABLE = "offload"

Command = dict[str, Any]

_HERE = {"family": FAMILY, "table": TABLE}
_ITSELF = {"family": FAMILY, "name": TABLE}
_WHOLE: Mapping[str, Counter] = {}


@dataclass(frozen=True)
class Held:
    """What the kernel says it holds.

    exists: whether there is a table. changeable: whether it holds only what we would make, so that it can be
    changed in place; another tool may have put anything there. ruleset: in the words of the listing, which
    may be others than those it was made with: such things are written again.
    """

    exists: bool = False
    changeable: bool = True
    ruleset: Ruleset = field(default_factory=Ruleset)


@dataclass(frozen=True)
class Steps:
    """One transaction that changes what is enforced, and one that sweeps up what then is out of use.

    Two, because the kernel chooses the rules for a packet once but the contents of maps at each look: a
    packet on its way through the old rules would find a map of theirs empty if it went with them.
    """

    change: list[Command] = field(default_factory=list)
    sweep: list[Command] = field(default_factory=list)


def changes(old: Ruleset, new: Ruleset, counts: Mapping[str, Counter] = _WHOLE) -> Steps:
    """From *old*, which the kernel holds, to *new*; nothing if they are equal.

    counts: what named counters start from where the table must be made anew (see `must_rebuild`).
    """
    if old == new:
        return Steps()
    if not new:
        return Steps(deletion())
    if not old or must_rebuild(old, new):
        return Steps(creation(new, counts))
    return _transition(old, new)


def replacement(held: Held, new: Ruleset, counts: Mapping[str, Counter] = _WHOLE) -> Steps:
    """From whatever *held* is to *new*, in place if that can be.

    counts: what named counters start from where the table must be made anew.
    """
    if not new:
        return Steps(deletion() if held.exists else [])
    if not held.exists:
        return Steps(creation(new))
    if not held.changeable or must_rebuild(held.ruleset, new):
        return Steps(creation(new, counts))
    return _transition(held.ruleset, new)


def must_rebuild(old: Ruleset, new: Ruleset) -> bool:
    """Whether the table must be deleted and made anew, in one transaction all the same.

    The kernel moves no base chain to another hook, and adds interfaces to a flowtable but takes none away.
    """
    before = {chain.name: chain.hook for chain in old.chains}
    return old.flowtable != new.flowtable or any(
        chain.name in before and _place(chain.hook) != _place(before[chain.name]) for chain in new.chains
    )


def _transition(old: Ruleset, new: Ruleset) -> Steps:
    replaced = _replaced(old, new)
    rules = {chain.name: chain.rules for chain in old.chains}
    refilled = frozenset(
        chain.name for chain in new.chains if chain.name in rules and rules[chain.name] != chain.rules
    )
    names = frozenset(chain.name for chain in new.chains)
    emptied = frozenset(
        chain.name
        for chain in old.chains
        if _names_any(chain, replaced) or (chain.name not in names and _has_meter(chain))
    )
    return _Transition(old, new, refilled | emptied, replaced).steps()


def _replaced(old: Ruleset, new: Ruleset) -> frozenset[str]:
    """Names of sets of both that are deleted and made anew."""
    sets = new.by_name
    return frozenset(each.name for each in old.sets if _is_replaced(each, sets.get(each.name)))


def _is_replaced(old: Set, new: Set | None) -> bool:
    """Whether a set is deleted and made anew under its name, in one transaction with the rules that name it.

    Where its kind changes. Where many elements of intervals go: each costs time in proportion to all of them,
    in libnftables or in the kernel. And where an element with an end goes: it may have ended already, and to
    delete what is not there fails the transaction.
    """
    if new is None:
        return False
    if replace(old, elements=frozenset()) != replace(new, elements=frozenset()):
        return True
    if old.dynamic:
        return False
    gone = old.elements - new.elements
    return (old.interval and len(gone) > INTERVALS) or (old.timeout and any(is_timed(text) for text in gone))


def _names_any(chain: Chain, sets: frozenset[str]) -> bool:
    """Whether a rule of the chain looks into one of these sets."""
    return any(f'"@{name}"' in rule for rule in chain.rules for name in sets)


def _has_meter(chain: Chain) -> bool:
    """Whether a rule has a meter, whose name another chain may take over at once."""
    return any('"meter":' in rule for rule in chain.rules)


def _place(hook: Hook | None) -> Hook | None:
    """A hook without its policy, which can be changed in place."""
    return hook and replace(hook, policy="")


def creation(new: Ruleset, counts: Mapping[str, Counter] = _WHOLE) -> list[Command]:
    """Commands that delete the table, if there is one, and make it anew."""
    return [*deletion(), *_Transition(Ruleset(), new, frozenset(), frozenset(), counts).steps().change]


def deletion() -> list[Command]:
    """Commands that delete the table, whether or not there is one."""
    return [{"add": {"table": _ITSELF}}, {"delete": {"table": _ITSELF}}]


@dataclass(frozen=True)
class _Transition:
    """The commands in the order that the kernel asks for: whatever is named exists, what goes is unused.

    refilled: chains of old that are emptied, and written again if new has them. replaced: sets of both that
    are deleted and made anew; chains that look into them are among the refilled.
    """

    old: Ruleset
    new: Ruleset
    refilled: frozenset[str]
    replaced: frozenset[str]
    counts: Mapping[str, Counter] = field(default_factory=dict)

    def steps(self) -> Steps:
        """All of them. To add the table wakes a dormant one, and is no error where it is."""
        table = {"add": {"table": _ITSELF}}
        return Steps([table, *self._new_names(), *self._less(), *self._more()], list(self._out_of_use()))

    def _new_names(self) -> Iterator[Command]:
        """Counters, the flowtable and chains, which elements and rules name."""
        there = frozenset(self.old.counters)
        for name in self.new.counters:
            if name not in there:
                yield {"add": {"counter": _counter(name, self.counts.get(name))}}
        if self.new.flowtable and not self.old.flowtable:
            yield {"add": {"flowtable": flowtable(self.new.flowtable)}}
        hooks = {chain.name: chain.hook for chain in self.old.chains}
        for chain in self.new.chains:
            if chain.name not in hooks or hooks[chain.name] != chain.hook:
                yield {"add": {"chain": _chain(chain)}}

    def _less(self) -> Iterator[Command]:
        """Rules, elements and sets that go at once."""
        names = frozenset(chain.name for chain in self.new.chains)
        for chain in self.old.chains:
            if chain.name in self.refilled or (chain.hook and chain.name not in names):
                yield {"flush": {"chain": {**_HERE, "name": chain.name}}}
        sets = self.new.by_name
        for each in self.old.sets:
            if each.name in self.replaced:
                yield {"delete": {_noun(each): {**_HERE, "name": each.name}}}
            elif each.name in sets and not each.dynamic:
                gone = sorted(each.elements - sets[each.name].elements)
                yield from _elements("delete", each, (_key(each, text) for text in gone))
        for chain in self.old.chains:
            if chain.hook and chain.name not in names:
                yield {"delete": {"chain": {**_HERE, "name": chain.name}}}

    def _more(self) -> Iterator[Command]:
        """Sets, elements and rules that come."""
        there = {each.name: each.elements for each in self.old.sets if each.name not in self.replaced}
        for each in self.new.sets:
            if each.name not in there:
                yield {"add": {_noun(each): _set(each)}}
            if not each.dynamic:
                new = sorted(each.elements - there.get(each.name, frozenset()))
                yield from _elements("add", each, (json.loads(text) for text in new))
        before_names = frozenset(chain.name for chain in self.old.chains)
        for chain in self.new.chains:
            if chain.name not in before_names or chain.name in self.refilled:
                for rule in chain.rules:
                    yield {"add": {"rule": {**_HERE, "chain": chain.name, "expr": json.loads(rule)}}}

    def _out_of_use(self) -> Iterator[Command]:
        """Sets, chains and counters that no rule leads to any more."""
        names = frozenset(chain.name for chain in self.new.chains)
        gone = [chain.name for chain in self.old.chains if chain.name not in names and not chain.hook]
        sets = self.new.by_name
        for name in gone:
            yield {"flush": {"chain": {**_HERE, "name": name}}}
        for each in self.old.sets:
            if each.name not in sets:
                yield {"delete": {_noun(each): {**_HERE, "name": each.name}}}
        for name in gone:
            yield {"delete": {"chain": {**_HERE, "name": name}}}
        kept = frozenset(self.new.counters)
        for name in self.old.counters:
            if name not in kept:
                yield {"delete": {"counter": {**_HERE, "name": name}}}


def is_timed(text: str) -> bool:
    """Whether an element ends by itself."""
    return '"timeout":' in text


def _noun(each: Set) -> str:
    return "map" if each.value else "set"


def _counter(name: str, count: Counter | None) -> Command:
    start = {"packets": count.packets, "bytes": count.bytes} if count else {}
    return {**_HERE, "name": name, **start}


def flowtable(devices: Sequence[str]) -> Command:
    """The flowtable on these devices."""
    return {**_HERE, "name": FLOWTABLE, "hook": "ingress", "prio": 0, "dev": list(devices)}


def _chain(chain: Chain) -> Command:
    hook = chain.hook
    if hook is None:
        return {**_HERE, "name": chain.name}
    place = {"type": hook.type, "hook": hook.hook, "prio": hook.priority, "policy": hook.policy}
    return {**_HERE, "name": chain.name, **place}


def _set(each: Set) -> Command:
    # A set that packets fill has no flag for it here: libnftables 1.0.6 does not know the word in JSON, and
    # sets the kernel's flag by itself when a rule of the same transaction adds to the set.
    flags = [name for name in ("interval", "timeout") if getattr(each, name)]
    made: Command = {**_HERE, "name": each.name, "type": _type(each.key)}
    if each.value:
        made["map"] = _type(each.value)
    if flags:
        made["flags"] = flags
    if each.size is not None:
        made["size"] = each.size
    return made


def _type(parts: tuple[str, ...]) -> str | list[str]:
    """Libnftables takes a list of one for a concatenation, which its elements then are not."""
    return parts[0] if len(parts) == 1 else list(parts)


def _key(each: Set, text: str) -> Any:
    """What names an element when it is deleted."""
    value = json.loads(text)
    if each.value:
        value = value[0]
    return value["elem"]["val"] if isinstance(value, dict) and "elem" in value else value


def _elements(verb: str, each: Set, values: Iterable[Any]) -> Iterator[Command]:
    listed = list(values)
    for start in range(0, len(listed), CHUNK):
        some = listed[start : start + CHUNK]
        yield {verb: {"element": {**_HERE, "name": each.name, "elem": some}}}


def document(commands: Sequence[Command]) -> str:
    """The text that libnftables reads."""
    return text_of({"nftables": commands})
