# SPDX-License-Identifier: Apache-2.0
"""Which rule of a policy decides over one packet: a linear scan in the policy's order."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from neurowall.logic.packettext import Packet, icmp_protocol
from neurowall.logic.packetverdict import Hook
from neurowall.model.fields import ANY, GATEWAY, port_range
from neurowall.model.icmp import icmp_type_number
from neurowall.model.policy import Policy
from neurowall.model.rules import Rule
from neurowall.model.spans import family_of, span_of

Sets = Mapping[str, tuple[str, ...]]

_NEAR = 3  # rules that are named because all but one of their fields match


@dataclass(frozen=True)
class Path:
    """Which chain a packet meets, and the zones at both ends; None: not one that the policy declares."""

    hook: Hook
    arrives: str | None
    leaves: str | None


@dataclass(frozen=True)
class Near:
    """A rule that all but one field would have made match, and that field."""

    rule: str
    field: str


@dataclass(frozen=True)
class Scan:
    """What the rules said: the one that decides, monitor rules that matched, near misses, rules asked."""

    decides: Rule | None = None
    counted: tuple[Rule, ...] = ()
    near: tuple[Near, ...] = ()
    asked: int = 0
    rest: tuple[Rule, ...] = field(default=(), repr=False)


def sets_of(policy: Policy) -> Sets:
    """Entries of the address sets by name."""
    return {each.name: each.entries for each in policy.sets}


def scan(rules: Sequence[Rule], path: Path, packet: Packet, sets: Sets) -> Scan:
    """Ask the rules in order until one decides. Limits are taken as not reached."""
    counted: list[Rule] = []
    near: list[Near] = []
    asked = 0
    for position, rule in enumerate(rules):
        if packet.state not in rule.state or not _joins(rule, path):
            continue
        asked += rule.enabled
        missing = misses(rule, packet, sets)
        if len(missing) == 1:
            near.append(Near(rule.name, missing[0]))
        if missing:
            continue
        if rule.monitor:
            counted.append(rule)
            continue
        return Scan(rule, tuple(counted), tuple(near[:_NEAR]), asked, tuple(rules[position + 1 :]))
    return Scan(None, tuple(counted), tuple(near[:_NEAR]), asked)


def misses(rule: Rule, packet: Packet, sets: Sets) -> tuple[str, ...]:
    """The fields of a rule that do not match the packet; states and zones are not looked at."""
    checks = (
        ("enabled", rule.enabled),
        ("source", holds(rule.source, packet.source, sets)),
        ("destination", holds(rule.destination, packet.destination, sets)),
        ("protocol", _is_protocol(rule, packet)),
        ("ports", _has_port(rule.ports, packet.destination_port)),
        ("source_ports", _has_port(rule.source_ports, packet.source_port)),
        ("icmp_types", _is_type(rule.icmp_types, packet)),
    )
    return tuple(name for name, matches in checks if not matches)


def in_zones(zones: Iterable[str], zone: str | None) -> bool:
    """Whether a field of zones names this one; `any` is every zone that the policy declares."""
    return zone is not None and (zone in zones or ANY in zones)


def holds(wanted: Sequence[str], address: str, sets: Sets) -> bool:
    """Whether a field of addresses, prefixes and `@set` holds an address; an empty field holds all."""
    return not wanted or any(within(text, address) for entry in wanted for text in _entries(entry, sets))


def within(entry: str, address: str) -> bool:
    """Whether an address lies in a prefix, or is the host."""
    if family_of(entry) != family_of(address):
        return False
    first, last = span_of(entry)
    return first <= span_of(address)[0] <= last


def _entries(entry: str, sets: Sets) -> tuple[str, ...]:
    return sets.get(entry[1:], ()) if entry.startswith("@") else (entry,)


def _joins(rule: Rule, path: Path) -> bool:
    """Whether a rule is about packets between these ends."""
    if path.hook == "input":
        return in_zones(rule.from_, path.arrives) and GATEWAY in rule.to
    if path.hook == "output":
        return GATEWAY in rule.from_ and in_zones(rule.to, path.leaves)
    return in_zones(rule.from_, path.arrives) and in_zones(rule.to, path.leaves)


def _is_protocol(rule: Rule, packet: Packet) -> bool:
    return not rule.protocol or packet.protocol in rule.protocol


def _has_port(wanted: Sequence[int | str], port: int | None) -> bool:
    if not wanted:
        return True
    return port is not None and any(low <= port <= high for low, high in map(port_range, wanted))


def _is_type(wanted: Sequence[str], packet: Packet) -> bool:
    if not wanted:
        return True
    protocol = icmp_protocol(packet.protocol)
    if protocol is None:
        return False
    return packet.icmp_type in {icmp_type_number(protocol, text) for text in wanted}
