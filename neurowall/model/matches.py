# SPDX-License-Identifier: Apache-2.0
"""Which packets a rule asks for, as sets that can be compared: zones, addresses, protocols, ports, states."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product

from neurowall.model.fields import ANY, GATEWAY, port_range
from neurowall.model.icmp import IcmpProtocol, icmp_type_number
from neurowall.model.policy import Policy
from neurowall.model.rules import Rule
from neurowall.model.spans import Spans, spans_by_family

Pair = tuple[str, str]
"""Zones, or `gateway`, that a packet comes from and goes to."""


@dataclass(frozen=True)
class Match:
    """What a rule matches. source, destination: by family; None: everything. The same for the others.

    pairs: without zones that have no interfaces. limited: a rate or a connection limit takes some of it away.
    """

    rule: Rule
    pairs: frozenset[Pair]
    families: frozenset[int]
    source: dict[int, Spans] | None
    destination: dict[int, Spans] | None
    protocols: frozenset[str] | None
    ports: Spans | None
    source_ports: Spans | None
    icmp_types: frozenset[tuple[str, int]] | None
    states: frozenset[str]

    @property
    def limited(self) -> bool:
        """Whether the rule stops matching beyond some rate or number."""
        return self.rule.rate is not None or self.rule.connection_limit is not None

    @property
    def decides(self) -> bool:
        """Whether what the rule matches ends here."""
        return self.rule.enabled and not self.rule.monitor

    def covers(self, other: "Match", pairs: frozenset[Pair] | None = None) -> bool:
        """Whether every packet that *other* matches (of *pairs*, if given), this one matches too."""
        wanted = other.pairs if pairs is None else pairs
        return (
            wanted <= self.pairs
            and other.states <= self.states
            and _holds(self.protocols, other.protocols)
            and _holds(self.icmp_types, other.icmp_types)
            and _spans_hold(self.ports, other.ports)
            and _spans_hold(self.source_ports, other.source_ports)
            and _addresses_hold(self.source, other.source, other.families)
            and _addresses_hold(self.destination, other.destination, other.families)
        )


def match_of(policy: Policy, rule: Rule, sets: dict[str, dict[int, Spans]] | None = None) -> Match:
    """What a rule matches. *sets*: `spans_of_sets(policy)`, for callers with many rules."""
    sets = spans_of_sets(policy) if sets is None else sets
    source = _addresses(rule.source, sets)
    destination = _addresses(rule.destination, sets)
    protocols = frozenset[str](rule.protocol) if rule.protocol else None
    families = {4, 6}
    for part in (source, destination):
        families &= {4, 6} if part is None else part.keys()
    if protocols and protocols <= {"icmp"}:
        families &= {4}
    if protocols and protocols <= {"icmpv6"}:
        families &= {6}
    return Match(
        rule,
        frozenset(pairs_of(policy, rule)),
        frozenset(families),
        source,
        destination,
        protocols,
        Spans(port_range(port) for port in rule.ports) if rule.ports else None,
        Spans(port_range(port) for port in rule.source_ports) if rule.source_ports else None,
        _icmp_types(rule),
        frozenset(rule.state),
    )


def spans_of_sets(policy: Policy) -> dict[str, dict[int, Spans]]:
    """The addresses of each declared set, by family."""
    return {each.name: spans_by_family(each.entries) for each in policy.sets}


def zones_in_use(policy: Policy) -> tuple[str, ...]:
    """The zones that have interfaces, in the order of their first one."""
    return tuple(dict.fromkeys(interface.zone for interface in policy.interfaces))


def pairs_of(policy: Policy, rule: Rule) -> list[Pair]:
    """The pairs of zones that a rule is about, without zones that have no interfaces."""
    zones = zones_in_use(policy)
    return list(product(_expand(rule.from_, zones), _expand(rule.to, zones)))


def _expand(named: tuple[str, ...], zones: tuple[str, ...]) -> list[str]:
    if ANY in named:
        return list(zones)
    return [zone for zone in dict.fromkeys(named) if zone == GATEWAY or zone in zones]


def _addresses(texts: Iterable[str], sets: dict[str, dict[int, Spans]]) -> dict[int, Spans] | None:
    texts = tuple(texts)
    if not texts:
        return None
    found: dict[int, list[tuple[int, int]]] = {}
    plain = spans_by_family(text for text in texts if not text.startswith("@"))
    for part in (plain, *(sets[text[1:]] for text in texts if text.startswith("@"))):
        for family, spans in part.items():
            found.setdefault(family, []).extend(spans.spans)
    return {family: Spans(spans) for family, spans in found.items()}


def _icmp_types(rule: Rule) -> frozenset[tuple[str, int]] | None:
    """Protocol and number of each type; protocols that have no such type match nothing."""
    if not rule.icmp_types:
        return None
    protocols: tuple[IcmpProtocol, ...] = ("icmp", "icmpv6")
    numbers = (
        (protocol, icmp_type_number(protocol, text))
        for protocol in protocols
        if protocol in rule.protocol
        for text in rule.icmp_types
    )
    return frozenset((protocol, number) for protocol, number in numbers if number is not None)


def _holds(mine: frozenset[object] | None, theirs: frozenset[object] | None) -> bool:
    return mine is None or (theirs is not None and theirs <= mine)


def _spans_hold(mine: Spans | None, theirs: Spans | None) -> bool:
    return mine is None or (theirs is not None and mine.covers(theirs))


def _addresses_hold(
    mine: dict[int, Spans] | None, theirs: dict[int, Spans] | None, families: frozenset[int]
) -> bool:
    if mine is None:
        return True
    if theirs is None:
        return False
    return all(family in mine and mine[family].covers(theirs[family]) for family in families)
