# SPDX-License-Identifier: Apache-2.0
"""Address translation: the two base chains of NAT and a chain for each port forward."""

from collections.abc import Iterable, Iterator, Sequence

from neurowall.logic.stateful import words
from neurowall.logic.stateful.deciding import logged
from neurowall.logic.stateful.hooks import FORWARDED_LABEL, HAIRPIN_LABEL, has_label
from neurowall.logic.stateful.matching import Matcher
from neurowall.logic.stateful.parts import Parts
from neurowall.logic.stateful.words import Expression
from neurowall.logic.stateful.zones import Zones
from neurowall.model.address import BITS, parse_entry
from neurowall.model.fields import port_range
from neurowall.model.policy import Policy
from neurowall.model.rules import Masquerade, PortForward, SourceNat
from neurowall.model.ruleset import Hook, Set, text_of

_FAMILY = {"ipv4": 4, "ipv6": 6}


def forward_counter(forward: PortForward) -> str:
    """The name of a port forward's counter."""
    return f"forward-{forward.name}"


def add_nat(parts: Parts, policy: Policy, zones: Zones, matcher: Matcher) -> None:
    """Make the chains of NAT that the policy needs."""
    before = tuple(_before_routing(parts, policy, zones, matcher))
    if before:
        parts.chain("nat-prerouting", before, Hook("nat", "prerouting", -100, "accept"))
    after = tuple(_after_routing(parts, policy, zones, matcher))
    if after:
        parts.chain("nat-postrouting", after, Hook("nat", "postrouting", 100, "accept"))


def _before_routing(parts: Parts, policy: Policy, zones: Zones, matcher: Matcher) -> Iterator[str]:
    for forward in policy.nat.port_forwards:
        arrivals = list(_arrivals(forward, zones))
        if arrivals:
            _add_forward(parts, forward)
        for interfaces, destination in arrivals:
            for source in _sources(forward.source, matcher, parse_entry(forward.to).family):
                yield words.rule(
                    words.is_one_of(words.meta("iifname"), interfaces),
                    words.family_is(parse_entry(forward.to).family),
                    _protocols(forward),
                    words.matches(words.payload("th", "dport"), words.numbers(port_range(forward.ports))),
                    *source,
                    *destination,
                    words.goto(_chain(forward)),
                )
    yield from _one_to_one(parts, policy, zones, inwards=True)


def _arrivals(forward: PortForward, zones: Zones) -> Iterator[tuple[Sequence[str], tuple[Expression, ...]]]:
    """Interfaces where a port forward is in force, with what it asks of the destination there."""
    outside = zones.names_of(forward.from_)
    inside = zones.names_of(zones.internal)
    direct: tuple[Expression, ...]
    inner: tuple[Expression, ...]
    if forward.address:
        header = words.HEADER[parse_entry(forward.address).family]
        direct = inner = (words.matches(words.payload(header, "daddr"), forward.address),)
    else:
        of_arrival = _fib("daddr", "iif")
        direct = (words.matches(of_arrival, "local"),)
        inner = (words.matches(_fib("daddr"), "local"), words.matches(of_arrival, "local", "!="))
    if outside:
        yield outside, direct
    if inside and forward.hairpin:
        yield inside, inner


def _fib(*flags: str) -> Expression:
    return {"fib": {"result": "type", "flags": list(flags)}}


def _sources(texts: Sequence[str], matcher: Matcher, family: int) -> list[tuple[Expression, ...]]:
    """The comparison of sources of one family: none where all are meant; no list where none is."""
    if not texts:
        return [()]
    spans = matcher.addresses(texts).get(family)
    if not spans:
        return []
    shown = [words.addresses(family, span) for span in spans]
    return [(words.is_one_of(words.payload(words.HEADER[family], "saddr"), shown),)]


def _chain(forward: PortForward) -> str:
    return f"port-forward.{forward.name}"


def _protocols(forward: PortForward) -> Expression:
    return words.is_one_of(words.meta("l4proto"), (words.PROTOCOLS[name] for name in forward.protocol))


def _add_forward(parts: Parts, forward: PortForward) -> None:
    """The chain that counts, marks and translates the first packet of a connection."""
    labels = (FORWARDED_LABEL, HAIRPIN_LABEL) if forward.hairpin else (FORWARDED_LABEL,)
    marks = [{"mangle": {"key": words.connection("label"), "value": bit}} for bit in labels]
    count = words.counted(parts.counter(forward_counter(forward)))
    translate = _protocols(forward), *marks, {"dnat": _target(parts, forward)}
    log = logged(forward.log, f"{forward.name} forward: ")
    parts.chain(_chain(forward), (*log, words.rule(count), words.rule(*translate)))


def _target(parts: Parts, forward: PortForward) -> dict[str, object]:
    """Where to: the port stays, is one port, or is looked up, since the kernel keeps no order in ranges."""
    family = parse_entry(forward.to).family
    target: dict[str, object] = {"family": words.HEADER[family], "addr": forward.to}
    ports = port_range(forward.ports)
    new = port_range(forward.ports if forward.to_ports is None else forward.to_ports)
    if new == ports:
        return target
    if new[0] == new[1]:
        return {**target, "port": new[0]}
    pairs = zip(range(ports[0], ports[1] + 1), range(new[0], new[1] + 1), strict=True)
    name = parts.map(
        Set(
            _chain(forward),
            ("inet_service",),
            frozenset(text_of(list(pair)) for pair in pairs),
            ("inet_service",),
        )
    )
    return {**target, "port": {"map": {"key": words.payload("th", "dport"), "data": f"@{name}"}}}


def _one_to_one(parts: Parts, policy: Policy, zones: Zones, *, inwards: bool) -> Iterator[str]:
    """Static NAT in one direction: hosts of a zone by one look, prefixes one after the other.

    No two overlap, so their order is free.
    """
    hosts: dict[tuple[str, int], list[str]] = {}
    for pair in policy.nat.one_to_one:
        outside, inside = parse_entry(pair.outside), parse_entry(pair.inside)
        old, new = (outside, inside) if inwards else (inside, outside)
        if not zones.names_of((pair.zone,)):
            continue
        if old.length == BITS[old.family]:
            hosts.setdefault((pair.zone, old.family), []).append(text_of([str(old), str(new)]))
            continue
        left = words.payload(words.HEADER[old.family], "daddr" if inwards else "saddr")
        target = {"addr": words.prefix(*new[:3]), "flags": ["netmap"], "type_flags": "prefix"}
        yield words.rule(
            _at_zone(zones, pair.zone, inwards=inwards),
            words.matches(left, words.prefix(*old[:3])),
            _translation(old.family, target, inwards=inwards),
        )
    for (zone, family), pairs in hosts.items():
        name = f"one-to-one.{zone}.{family}.{'in' if inwards else 'out'}"
        made = Set(name, (f"ipv{family}_addr",), frozenset(pairs), (f"ipv{family}_addr",))
        key = words.payload(words.HEADER[family], "daddr" if inwards else "saddr")
        target = {"addr": {"map": {"key": key, "data": f"@{parts.map(made)}"}}}
        yield words.rule(
            _at_zone(zones, zone, inwards=inwards), _translation(family, target, inwards=inwards)
        )


def _at_zone(zones: Zones, zone: str, *, inwards: bool) -> Expression:
    """Packets that come from or go to a zone."""
    return words.is_one_of(words.meta("iifname" if inwards else "oifname"), zones.names_of((zone,)))


def _translation(family: int, target: dict[str, object], *, inwards: bool) -> Expression:
    return {"dnat" if inwards else "snat": {"family": words.HEADER[family], **target}}


def _after_routing(parts: Parts, policy: Policy, zones: Zones, matcher: Matcher) -> Iterator[str]:
    yield from _one_to_one(parts, policy, zones, inwards=False)
    if any(forward.hairpin for forward in policy.nat.port_forwards) and zones.interfaces:
        same = [[one, other] for names in zones.interfaces.values() for one in names for other in names]
        yield words.rule(has_label(HAIRPIN_LABEL), _ways(same), {"masquerade": None})
    for nat in policy.nat.source:
        address = parse_entry(nat.address)
        target = {"snat": {"family": words.HEADER[address.family], "addr": nat.address}}
        yield from _source_nat(nat, zones, matcher, (address.family,), target)
    for masquerade in policy.nat.masquerade:
        families = tuple(_FAMILY[name] for name in masquerade.families)
        yield from _source_nat(masquerade, zones, matcher, families, {"masquerade": None})


def _source_nat(
    nat: SourceNat | Masquerade,
    zones: Zones,
    matcher: Matcher,
    families: Iterable[int],
    target: Expression,
) -> Iterator[str]:
    sources, targets = zones.names_of(nat.from_), zones.names_of(nat.to)
    if not sources or not targets:
        return
    way = _ways([[one, other] for one in sources for other in targets])
    for family in families:
        for source in _sources(nat.source, matcher, family):
            yield words.rule(way, words.family_is(family), *source, target)


def _ways(pairs: Iterable[Sequence[str]]) -> Expression:
    key = words.concatenated((words.meta("iifname"), words.meta("oifname")))
    return words.is_one_of(key, (words.concatenated(pair) for pair in pairs))
