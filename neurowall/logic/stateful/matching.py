# SPDX-License-Identifier: Apache-2.0
"""What a rule asks of a packet, as spans of integers in each header field."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from neurowall.logic.stateful import words
from neurowall.logic.stateful.words import Expression
from neurowall.model.address import BITS
from neurowall.model.fields import port_range
from neurowall.model.icmp import icmp_type_number
from neurowall.model.rules import PORT_PROTOCOLS, Rule
from neurowall.model.spans import Span, Spans, spans_by_family

Field = str
"""source, destination, protocol, source_port, destination_port or icmp_type."""
Values = tuple[Span, ...]
"""Disjoint spans in order."""

PORTS = frozenset(words.PROTOCOLS[name] for name in PORT_PROTOCOLS)
_ICMP = {4: "icmp", 6: "icmpv6"}
_OTHER_ICMP: Mapping[int | None, str] = {4: "icmpv6", 6: "icmp"}


@dataclass(frozen=True)
class Match:
    """One rule on packets of one family, or with family None of both. A field that is not there is not asked.

    protocol is never missing where ports or types of ICMP are asked.
    """

    family: int | None
    fields: Mapping[Field, Values]

    @cached_property
    def expressions(self) -> tuple[Expression, ...]:
        """The comparisons, one a field."""
        found: list[Expression] = []
        if self.family is not None:
            found.append(words.family_is(self.family))
        for field, values in self.fields.items():
            shown = [shown_value(field, self.family, span) for span in values]
            found.append(words.is_one_of(header_field(field, self.family), shown))
        return tuple(found)


def header_field(field: Field, family: int | None) -> Expression:
    """Where nftables finds a field."""
    if field in ("source", "destination"):
        return words.payload(words.HEADER[family or 4], f"{field[0]}addr")
    if field == "protocol":
        return words.meta("l4proto")
    if field == "icmp_type":
        return words.payload(_ICMP[family or 4], "type")
    return words.payload("th", "sport" if field == "source_port" else "dport")


@lru_cache(maxsize=65_536)
def shown_value(field: Field, family: int | None, span: Span) -> Any:
    """A span of a field as nftables writes it."""
    return words.addresses(family or 4, span) if field in ("source", "destination") else words.numbers(span)


def type_of(field: Field, family: int | None) -> str:
    """The type of a set's key that holds the field."""
    if field in ("source", "destination"):
        return f"ipv{family or 4}_addr"
    return {"protocol": "inet_proto", "icmp_type": f"{_ICMP[family or 4]}_type"}.get(field, "inet_service")


def width_of(field: Field, family: int | None) -> int:
    """Bits of a field."""
    if field in ("source", "destination"):
        return BITS[family or 4]
    return 8 if field in ("protocol", "icmp_type") else 16


class Matcher:
    """Reads rules; *sets* are the policy's address sets by name."""

    def __init__(self, sets: Mapping[str, tuple[str, ...]]) -> None:
        self._sets = sets
        self._known: dict[str, tuple[Match, ...]] = {}

    def addresses(self, texts: Iterable[str]) -> dict[int, Values]:
        """The addresses behind texts and `@names`, by family; a family without any is missing."""
        entries: list[str] = []
        for text in texts:
            entries.extend(self._sets.get(text[1:], ()) if text.startswith("@") else (text,))
        return _by_family(tuple(entries))

    def matches(self, rule: Rule) -> tuple[Match, ...]:
        """The rule for each family that it can match; one Match for both where they do not differ."""
        if rule.name not in self._known:
            self._known[rule.name] = self._matches(rule)
        return self._known[rule.name]

    def _matches(self, rule: Rule) -> tuple[Match, ...]:
        if not any((rule.source, rule.destination, rule.icmp_types)) and not self._names_icmp(rule):
            families: tuple[int | None, ...] = (None,)
        else:
            families = words.FAMILIES
        found = (self._match(rule, family) for family in families)
        return tuple(match for match in found if match is not None)

    @staticmethod
    def _names_icmp(rule: Rule) -> bool:
        return not {"icmp", "icmpv6"}.isdisjoint(rule.protocol)

    def _match(self, rule: Rule, family: int | None) -> Match | None:
        fields: dict[Field, Values] = {}
        for field, texts in (("source", rule.source), ("destination", rule.destination)):
            if texts:
                fields[field] = self.addresses(texts).get(family or 4, ())
        protocols = {words.PROTOCOLS[name] for name in rule.protocol if name != _OTHER_ICMP.get(family)}
        if rule.ports or rule.source_ports:
            protocols = (protocols & PORTS) if rule.protocol else set(PORTS)
        if rule.icmp_types and family is not None:
            own = words.PROTOCOLS[_ICMP[family]]
            protocols = ({own} & protocols) if rule.protocol else {own}
        if rule.protocol or rule.ports or rule.source_ports or rule.icmp_types:
            fields["protocol"] = _single(frozenset(protocols))
        for field, ports in (("source_port", rule.source_ports), ("destination_port", rule.ports)):
            if ports:
                fields[field] = _ports(ports)
        if rule.icmp_types and family is not None:
            fields["icmp_type"] = _types(rule.icmp_types, family)
        return Match(family, fields) if all(fields.values()) else None


@lru_cache(maxsize=16_384)
def _by_family(entries: tuple[str, ...]) -> dict[int, Values]:
    return {family: spans.spans for family, spans in spans_by_family(entries).items()}


@lru_cache(maxsize=16_384)
def _ports(ports: tuple[int | str, ...]) -> Values:
    return Spans(port_range(port) for port in ports).spans


@lru_cache(maxsize=1024)
def _single(numbers: frozenset[int]) -> Values:
    return Spans((number, number) for number in numbers).spans


def _types(names: Iterable[str], family: int) -> Values:
    protocol = "icmp" if family == 4 else "icmpv6"
    found = (icmp_type_number(protocol, name) for name in names)  # type: ignore[arg-type]
    return Spans((number, number) for number in found if number is not None).spans
