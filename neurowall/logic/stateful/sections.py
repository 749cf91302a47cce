# SPDX-License-Identifier: Apache-2.0
"""The chains that find the rule of a packet on its way, at a cost that hardly depends on how many there are.

Few rules are compared one after the other. More become verdict maps: packets are told apart by family and
by what their transport header holds, so that a map never asks for a port that is not there, and each kind
gets a chain with the levels of `levels.place`.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from neurowall.logic.stateful import words
from neurowall.logic.stateful.deciding import is_final, leads_to
from neurowall.logic.stateful.levels import Item, Placed, place
from neurowall.logic.stateful.lookups import lookups
from neurowall.logic.stateful.matching import PORTS, Field, Match, Matcher, width_of
from neurowall.logic.stateful.parts import Parts
from neurowall.logic.stateful.words import Expression
from neurowall.logic.stateful.zones import Section
from neurowall.model.rules import Rule
from neurowall.model.spans import Span, Spans

FEW = 4
"""So many comparisons cost less than maps."""
_ICMP = {4: words.PROTOCOLS["icmp"], 6: words.PROTOCOLS["icmpv6"]}
Asked = tuple[Rule, Match]


@dataclass(frozen=True)
class Kind:
    """Packets whose fields are the same. protocols: which ones; None: all that no other kind has."""

    name: str
    protocols: frozenset[int] | None
    fields: tuple[Field, ...]


def add_section(parts: Parts, section: Section, matcher: Matcher) -> None:
    """Make the chain of a section, and what it needs; it returns where no rule decides."""
    asked = [(rule, match) for rule in section.rules for match in matcher.matches(rule)]
    if len(asked) <= FEW:
        parts.chain(section.name, _one_after_the_other(asked))
        return
    by_family = any(match.family is not None for _, match in asked)
    leads: list[tuple[int | None, Kind, Expression]] = []
    for family in words.FAMILIES if by_family else (None,):
        own = [(rule, match) for rule, match in asked if match.family in (family, None)]
        kinds = _kinds(own, family)
        for kind in kinds:
            chain = f"{section.name}.{family or 'any'}.{kind.name}"
            rules = tuple(_kind_rules(parts, chain, own, family, kind, kinds))
            # Without rules the next look must not find another kind's.
            lead: Expression = words.goto(parts.chain(chain, rules)) if rules else {"return": None}
            leads.append((family, kind, lead))
    parts.chain(section.name, _by_kind(leads))


def _one_after_the_other(asked: Iterable[Asked]) -> Iterator[str]:
    for rule, match in asked:
        yield words.rule(*match.expressions, leads_to(rule))


def _kinds(asked: Sequence[Asked], family: int | None) -> tuple[Kind, ...]:
    """The kinds of packets that rules tell apart, the one of all the others last."""
    fields = {field for _, match in asked for field in match.fields}
    ends: tuple[Field, ...] = ("source", "destination") if family else ()
    kinds = []
    if fields & {"source_port", "destination_port"}:
        kinds.append(Kind("ports", PORTS, (*ends, "protocol", "source_port", "destination_port")))
    if family and "icmp_type" in fields:
        kinds.append(Kind("icmp", frozenset({_ICMP[family]}), (*ends, "icmp_type")))
    return (*kinds, Kind("rest", None, (*ends, "protocol")))


def _by_kind(leads: Sequence[tuple[int | None, Kind, Expression]]) -> Iterator[str]:
    """Lead a packet to the chain of its kind."""
    named = [
        [words.concatenated([*_family_word(family), protocol]), lead]
        for family, kind, lead in leads
        for protocol in sorted(kind.protocols or ())
    ]
    families = any(family is not None for family, _, _ in leads)
    if named:
        of_family = (words.meta("nfproto"),) if families else ()
        yield words.rule(words.verdict_by(words.concatenated([*of_family, words.meta("l4proto")]), named))
    for family, kind, lead in leads:
        if kind.protocols is None and "return" not in lead:
            yield words.rule(*((words.family_is(family),) if family else ()), lead)


def _family_word(family: int | None) -> tuple[str, ...]:
    return (words.FAMILY_WORD[family],) if family else ()


def _kind_rules(
    parts: Parts,
    chain: str,
    asked: Sequence[Asked],
    family: int | None,
    kind: Kind,
    kinds: Sequence[Kind],
) -> Iterator[str]:
    """The rules of the chain of one kind."""
    elsewhere = frozenset(number for each in kinds for number in each.protocols or ())
    items: list[Item] = []
    rules: list[Asked] = []
    whole = tuple(((0, (1 << width_of(field, family)) - 1),) for field in kind.fields)
    for rule, match in asked:
        values = _values(match, kind, elsewhere, whole)
        if values is not None:
            items.append(Item(values, is_final(rule)))
            rules.append((rule, match))
    if len(items) <= FEW:
        yield from _one_after_the_other(rules)
        return
    placed = place(items)
    for level in range(1 + max((each.level for each in placed), default=-1)):
        here: list[tuple[Rule, Match, Placed]] = [
            (*rules[each.item], each) for each in placed if each.level == level
        ]
        yield from lookups(parts, f"{chain}.{level}", here, family, kind.fields)


def _values(
    match: Match, kind: Kind, elsewhere: frozenset[int], whole: Sequence[tuple[Span, ...]]
) -> tuple[tuple[Span, ...], ...] | None:
    """What a rule asks of packets of a kind, field by field; None if it cannot match one."""
    protocols = match.fields.get("protocol")
    if protocols:
        numbers = {number for first, last in protocols for number in range(first, last + 1)}
        numbers = numbers & kind.protocols if kind.protocols is not None else numbers - elsewhere
        if not numbers:
            return None
        whole_kind = kind.protocols is not None and numbers >= kind.protocols
        protocols = None if whole_kind else Spans((number, number) for number in numbers).spans
    return tuple(
        (protocols or full) if field == "protocol" else match.fields.get(field, full)
        for field, full in zip(kind.fields, whole, strict=True)
    )
