# SPDX-License-Identifier: Apache-2.0
"""Which rules are asked of which way through the gateway."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from neurowall.model.fields import ANY, GATEWAY
from neurowall.model.policy import Policy
from neurowall.model.rules import Rule, State

HOOKS = ("input", "forward", "output")
Way = tuple[str, ...]
"""Of forward: the zones that a packet comes from and goes to; else the one at the other end."""


@dataclass(frozen=True)
class Section:
    """The rules, in order, that a packet of one state meets on one way.

    chain: what asks them; sections of the same rules share that of the first.
    """

    hook: str
    state: State
    way: Way
    rules: tuple[Rule, ...]
    name: str
    chain: str


class Zones:
    """The zones of a policy that have interfaces, and these."""

    def __init__(self, policy: Policy) -> None:
        self.interfaces: dict[str, tuple[str, ...]] = {}
        for zone in policy.zone_kinds:
            names = tuple(dict.fromkeys(interface.name for interface in policy.interfaces_of(zone)))
            if names:
                self.interfaces[zone] = names
        self.internal = tuple(zone for zone in self.interfaces if policy.zone_kinds[zone] == "internal")

    def expand(self, zones: Iterable[str]) -> tuple[str, ...]:
        """The zones with interfaces behind names and `any`, each once; never the gateway."""
        found: dict[str, None] = {}
        for zone in zones:
            found.update(dict.fromkeys(self.interfaces if zone == ANY else (zone,)))
        return tuple(zone for zone in found if zone in self.interfaces)

    def names_of(self, zones: Iterable[str]) -> tuple[str, ...]:
        """All interfaces of some zones."""
        return tuple(name for zone in self.expand(zones) for name in self.interfaces[zone])

    def ways(self, rule: Rule) -> Iterator[tuple[str, Way]]:
        """Hook and way of everything that the rule speaks of."""
        sources, targets = self.expand(rule.from_), self.expand(rule.to)
        if GATEWAY in rule.to:
            yield from (("input", (zone,)) for zone in sources)
        if GATEWAY in rule.from_:
            yield from (("output", (zone,)) for zone in targets)
        yield from (("forward", (source, target)) for source in sources for target in targets)


def sections_of(policy: Policy, zones: Zones) -> tuple[Section, ...]:
    """Every way and state that has rules."""
    found: dict[tuple[str, State, Way], list[Rule]] = {}
    for rule in policy.rules or ():
        if not rule.enabled:
            continue
        for hook, way in zones.ways(rule):
            for state in dict.fromkeys(rule.state):
                found.setdefault((hook, state, way), []).append(rule)
    chains: dict[tuple[str, ...], str] = {}
    made = []
    for hook, state, way in sorted(found, key=_section_name):
        rules, name = found[hook, state, way], _section_name((hook, state, way))
        chain = chains.setdefault(tuple(rule.name for rule in rules), name)
        made.append(Section(hook, state, way, tuple(rules), name, chain))
    return tuple(made)


def _section_name(place: tuple[str, State, Way]) -> str:
    hook, state, way = place
    return ".".join((hook, *way, *(() if state == "new" else (state,))))


def by_interface(section: Section, zones: Mapping[str, tuple[str, ...]]) -> Iterator[Way]:
    """The interfaces of a section's way: of forward the one in and the one out."""
    if len(section.way) == 1:
        yield from ((name,) for name in zones[section.way[0]])
        return
    source, target = section.way
    yield from ((one, other) for one in zones[source] for other in zones[target])
