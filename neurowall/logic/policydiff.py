# SPDX-License-Identifier: Apache-2.0
"""What differs between two policies, in words an operator reads before saying yes."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from typing import Any, Protocol

from pydantic import BaseModel

from neurowall.logic.policyresults import DiffLine, Sign
from neurowall.model.policy import Policy
from neurowall.model.rules import Defaults, Rule

SHOWN = 6  # entries of a long field; the rest is counted

_SETTINGS = ("engine", "forwarding", "flowtable")
_RULE_PARTS = ("source", "destination", "source_ports")
_RULE_EXTRAS = ("connection_limit", "rate", "log")
_GROUPS = ("capacity", "bans", "fallback", "events", "flows")


class _Item(Protocol):
    """A part of a policy that has a name of its own."""

    @property
    def name(self) -> str: ...


def difference_of(old: Policy, new: Policy) -> tuple[DiffLine, ...]:
    """What *new* adds, removes and changes; equal ones differ in nothing. Files of lists are not read."""
    return tuple(_lines(old, new))


def _lines(old: Policy, new: Policy) -> Iterator[DiffLine]:
    yield from _named("interfaces", old.interfaces, new.interfaces)
    yield from _named("zones", old.zones, new.zones)
    yield from _named("sets", old.sets, new.sets)
    yield from _unnamed("failsafe", old.failsafe, new.failsafe)
    yield from _named("lists", old.lists, new.lists, ordered=True)
    yield from _named("limits", old.limits, new.limits)
    yield from _filtering(old, new)
    yield from _named("rules", old.rules or (), new.rules or (), ordered=True)
    yield from _named("nat.one_to_one", old.nat.one_to_one, new.nat.one_to_one)
    yield from _named("nat.port_forwards", old.nat.port_forwards, new.nat.port_forwards)
    yield from _unnamed("nat.source", old.nat.source, new.nat.source)
    yield from _unnamed("nat.masquerade", old.nat.masquerade, new.nat.masquerade)
    for group in _GROUPS:
        yield from _fields(group, getattr(old, group), getattr(new, group))
    for setting in _SETTINGS:
        before, after = getattr(old, setting), getattr(new, setting)
        if before != after:
            yield DiffLine("~", setting, "", _change(before, after))


def _filtering(old: Policy, new: Policy) -> Iterator[DiffLine]:
    """Whether nftables filters at all, which decides what packets meet that no rule matches."""
    if old.filters != new.filters:
        sign: Sign = "+" if new.filters else "-"
        meets = "connections that no rule accepts meet these" if new.filters else "no connection is filtered"
        words = described(new.defaults or old.defaults or Defaults())
        yield DiffLine(sign, "defaults", "", f"{meets}: {words}")
    elif old.filters:
        yield from _fields("defaults", old.defaults or Defaults(), new.defaults or Defaults())


def _named(
    part: str, old: Sequence[_Item], new: Sequence[_Item], *, ordered: bool = False
) -> Iterator[DiffLine]:
    """Items by name: gone, then those of *new* in their order. ordered: their order has a meaning."""
    before, after = {item.name: item for item in old}, {item.name: item for item in new}
    for name, item in before.items():
        if name not in after:
            yield DiffLine("-", part, name, described(item))
    places = _moves([item.name for item in old], [item.name for item in new]) if ordered else {}
    following = _following(list(after), before) if ordered else {}
    for name, item in after.items():
        if name not in before:
            yield DiffLine("+", part, name, described(item) + following.get(name, ""))
            continue
        changes = [*_changes(before[name], item), *([places[name]] if name in places else [])]
        if changes:
            yield DiffLine("~", part, name, "; ".join(changes))


def _following(order: list[str], known: Container[str]) -> dict[str, str]:
    """Before which item that was there already each new one stands, unless it is among the last."""
    found, following = {}, ""
    for name in reversed(order):
        if name in known:
            following = f", before {name}"
        else:
            found[name] = following
    return found


def _moves(old: list[str], new: list[str]) -> dict[str, str]:
    """The fewest items that were moved past others, and where each stands now."""
    position = {name: index for index, name in enumerate(new)}
    common = [name for name in old if name in position]
    kept = _longest_rising([position[name] for name in common])
    moved = [name for index, name in enumerate(common) if index not in kept]
    return {name: _moved(position[name], new) for name in moved}


def _moved(index: int, order: list[str]) -> str:
    return f"moved to place {index + 1}, " + (f"after {order[index - 1]}" if index else "the first")


def _longest_rising(numbers: list[int]) -> set[int]:
    """The indexes of a longest increasing subsequence."""
    tails: list[int] = []  # of the best subsequence of each length, the index of its end
    ends: list[int] = []
    before: list[int] = []
    for index, number in enumerate(numbers):
        length = bisect_left(ends, number)
        before.append(tails[length - 1] if length else -1)
        if length == len(ends):
            ends.append(number)
            tails.append(index)
        else:
            ends[length], tails[length] = number, index
    kept, index = set(), tails[-1] if tails else -1
    while index >= 0:
        kept.add(index)
        index = before[index]
    return kept


def _unnamed(part: str, old: Iterable[BaseModel], new: Iterable[BaseModel]) -> Iterator[DiffLine]:
    """Items without a name: those that went and those that came, or that only their order changed."""
    before, after = [described(item) for item in old], [described(item) for item in new]
    gone, come = Counter(before) - Counter(after), Counter(after) - Counter(before)
    yield from (DiffLine("-", part, "", text) for text in gone.elements())
    yield from (DiffLine("+", part, "", text) for text in come.elements())
    if not gone and not come and before != after:
        yield DiffLine("~", part, "", f"in another order: {'; '.join(after)}")


def _fields(part: str, old: BaseModel, new: BaseModel) -> Iterator[DiffLine]:
    """One line for each field of a group of settings."""
    for field in type(new).model_fields:
        before, after = getattr(old, field), getattr(new, field)
        if before != after:
            yield DiffLine("~", part, field, _change(before, after))


def _changes(old: Any, new: Any) -> Iterator[str]:
    """What differs between two items of one name, field by field."""
    for field, about in type(new).model_fields.items():
        before, after = getattr(old, field), getattr(new, field)
        if before != after:
            yield f"{about.alias or field}: {_change(before, after)}"


def _change(before: Any, after: Any) -> str:
    """`80 -> 443`; of long lists only what came and went."""
    if isinstance(before, tuple) and isinstance(after, tuple) and max(len(before), len(after)) > 3:
        gone, come = Counter(before) - Counter(after), Counter(after) - Counter(before)
        parts = [
            f"{sign}{_several(list(each.elements()))}" for sign, each in (("+", come), ("-", gone)) if each
        ]
        return " ".join(parts) or "in another order"
    return f"{_value(before)} -> {_value(after)}"


def _several(values: list[Any]) -> str:
    shown = ", ".join(_value(value) for value in values[:SHOWN])
    more = len(values) - SHOWN
    return f"[{shown}, and {more:,} more]" if more > 0 else f"[{shown}]"


def described(item: Any) -> str:
    """One item in a line: a rule as a sentence, else every field that is not as it would be by itself."""
    if isinstance(item, Rule):
        return _rule(item)
    given = [
        (about.alias or field, getattr(item, field))
        for field, about in type(item).model_fields.items()
        if field != "name" and (about.is_required() or getattr(item, field) != about.default)
    ]
    if not given:  # all as by itself: then it is the defaults that are of interest
        given = [(field, getattr(item, field)) for field in type(item).model_fields]
    return ", ".join(f"{field} {_value(value)}" for field, value in given)


def _rule(rule: Rule) -> str:
    """`accept tcp 80, 443 from external to dmz, source @partners, limited`."""
    parts = [f"{rule.action} {_matches(rule)}from {_bare(rule.from_)} to {_bare(rule.to)}"]
    given = [(field.replace("_", " "), getattr(rule, field)) for field in _RULE_PARTS]
    parts += [f"{words} {_bare(value)}" for words, value in given if value]
    if rule.state != ("new",):
        parts.append(f"state {_bare(rule.state)}")
    given = [(field.replace("_", " "), getattr(rule, field)) for field in _RULE_EXTRAS]
    parts += [words if value is True else f"{words} {_value(value)}" for words, value in given if value]
    parts += ["monitor only"] if rule.monitor else []
    parts += [] if rule.enabled else ["disabled"]
    return ", ".join(parts)


def _matches(rule: Rule) -> str:
    protocol = "/".join(rule.protocol)
    detail = _bare((*rule.ports, *rule.icmp_types))
    return " ".join(part for part in (protocol, detail) if part) + (" " if protocol or detail else "")


def _bare(values: Sequence[Any]) -> str:
    """A list without brackets, shortened if it is long."""
    return _several(list(values)).strip("[]")


def _value(value: Any) -> str:
    """A field's value as YAML would have it, in one line."""
    if value is None or value == ():
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return _several(list(value))
    if isinstance(value, BaseModel):
        return "{" + described(value) + "}"
    return str(value)
