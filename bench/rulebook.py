# SPDX-License-Identifier: Apache-2.0
"""Policies of N varied stateful rules: seeded, nested, as YAML, and asked one rule after the other.

A book has ten sections, as operators write them: rules of one form together, forms between them different
(by source prefix and port, by port range, pairs of hosts, lists of prefixes, ICMP, IPv6 ...). Of two books of
one seed, the rules of the smaller are among those of the larger. Five rules are in every book, each somewhere
in its section: they accept the traffic that is measured, each from a /15 of its own, less some /24s that
rules before them drop. So packets accepted by one book are accepted by all, and by the same rules.

Shares no code with what compiles or enforces rules: `Rulebook.accepts` is the oracle of the gate.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any, Literal

import numpy as np

from bench import space
from neurowall.model.address import BITS, format_entry, parse_entry
from neurowall.model.entries import Array, Bools, Entries

SERVER = "198.19.0.2"
SERVICE = 4500
"""The server's address in every chain and the UDP port that measured packets are sent to."""
SECTIONS = 10
SMALLEST = SECTIONS
"""A book has no rule at all, or one in each section at least."""

Protocol = Literal["tcp", "udp", "icmp"]
Ports = tuple[int, int]

_PORTS = (53, 123, 161, 443, 500, 514, 853, 1194, SERVICE, 5060, 8080, 51820)
_ICMP_TYPES = ("echo-request", "destination-unreachable", "time-exceeded")
_SITE = "198.19.0.0/24"
_AT_ONCE = 1024
"""Sources that are compared with all rules at once."""
_LENGTHS = (20, 22, 24, 24, 26, 28, 32, 32)


@dataclass(frozen=True)
class Size:
    """Which book of a seed: so many rules, in sections or, after those that drop, in random order."""

    rules: int
    mixed: bool = False

    def __str__(self) -> str:
        return f"{'mixed' if self.mixed else 'rules'}-{self.rules}"


@dataclass(frozen=True)
class Rule:
    """New connections from outside to inside; empty fields match everything."""

    name: str
    action: Literal["accept", "drop"]
    protocol: Protocol | None = None
    sources: tuple[str, ...] = ()
    destinations: tuple[str, ...] = ()
    ports: tuple[Ports, ...] = ()
    icmp_types: tuple[str, ...] = ()

    def described(self) -> dict[str, Any]:
        """As it stands in policy.yaml."""
        fields = {
            "protocol": self.protocol,
            "source": list(self.sources),
            "destination": list(self.destinations),
            "ports": [low if low == high else f"{low}-{high}" for low, high in self.ports],
            "icmp_types": list(self.icmp_types),
        }
        given = {name: value for name, value in fields.items() if value}
        return {"name": self.name, "from": "external", "to": "internal", **given, "action": self.action}

    def of_udp(self) -> bool:
        """Whether some UDP packet over IPv4 to the server matches it."""
        if self.protocol not in (None, "udp") or any(":" in text for text in self.sources):
            return False
        return not self.destinations or any(_holds(text, SERVER) for text in self.destinations)

    def networks(self) -> list[tuple[int, int]]:
        """First and last address of each IPv4 source."""
        return [_bounds(text) for text in self.sources if ":" not in text]


@dataclass(frozen=True, eq=False)
class Rulebook:
    """Rules in the order in which they are asked; what none accepts is dropped. `used` name the common five.

    Without any rule nothing is filtered.
    """

    rules: tuple[Rule, ...]
    used: tuple[str, ...]

    def accepts(self, sources: Array, port: int) -> Bools:
        """The oracle: which UDP packets from these IPv4 sources to that port of the server get through."""
        if not self.rules:
            return np.ones(len(sources), np.bool_)
        accepted = np.array([*(rule.action == "accept" for rule in self.rules), False])
        return np.asarray(accepted[self.deciding(sources, port)])

    def deciding(self, sources: Array, port: int) -> Array:
        """By source the number of the first rule that matches, -1 where none does."""
        first, last, low, high, number = self._segments
        rows = np.flatnonzero((low <= port) & (port <= high))
        if not len(rows):
            return np.full(len(sources), -1, np.int64)
        first, last, number = first[rows], last[rows], number[rows]
        found = []
        for part in np.array_split(sources.astype(np.int64)[:, None], len(sources) // _AT_ONCE + 1):
            hit = (first <= part) & (part <= last)
            found.append(np.where(hit.any(axis=1), number[hit.argmax(axis=1)], -1))
        return np.concatenate(found)

    @cached_property
    def _segments(self) -> Array:
        """First and last source, first and last port, number of the rule, in order; of IPv4 and UDP only."""
        rows = [
            (*network, *ports, number)
            for number, rule in enumerate(self.rules)
            if rule.of_udp()
            for network in (rule.networks() if rule.sources else [(0, 0xFFFFFFFF)])
            for ports in rule.ports or [(0, 65535)]
        ]
        return np.array(rows, np.int64).reshape(-1, 5).T

    def sources(self, count: int, rng: np.random.Generator) -> Array:
        """Distinct sources, shuffled, that the rules in `used` accept at the service port, equally many each.

        ValueError if there are not so many.
        """
        used = [rule for rule in self.rules if rule.name in self.used]
        wanted, drawn = -(-count // max(1, len(used))), []
        for rule in used:
            ((first, last),) = rule.networks()
            pool = rng.permutation(np.arange(first, last + 1, dtype=np.uint32))[: 2 * wanted]
            drawn.append(pool[self.accepts(pool, SERVICE)][:wanted])
            if len(drawn[-1]) < wanted:
                raise ValueError(f"rule {rule.name} accepts fewer than {wanted} sources")
        if not drawn:
            raise ValueError("without rules there are no sources that they accept")
        return np.asarray(rng.permutation(np.concatenate(drawn))[:count])

    @cached_property
    def yaml(self) -> str:
        """`rules:` and `defaults:` of a policy file; nothing without rules. One line a rule, JSON is YAML."""
        if not self.rules:
            return ""
        lines = "".join(f"  - {json.dumps(rule.described())}\n" for rule in self.rules)
        return f"rules:\n{lines}defaults:\n  input: drop\n  forward: drop\n  output: accept\n"


def beginning(book: Rulebook) -> Rulebook:
    """The few rules that the smallest book of the same seed has: number 0 of each section."""
    return replace(book, rules=tuple(rule for rule in book.rules if rule.name.endswith("-0")))


def make(size: Size, seed: int) -> Rulebook:
    """The book of that size. ValueError for one with too few rules to have every section."""
    if not size.rules:
        return Rulebook((), ())
    if size.rules < SMALLEST:
        raise ValueError(f"a book has no rule or at least {SMALLEST}, not {size.rules}")
    streams = np.random.default_rng(seed).spawn(SECTIONS + 2)
    used = _used_networks(streams[SECTIONS])
    sections = []
    for section in range(SECTIONS):
        length = size.rules // SECTIONS + (section < size.rules % SECTIONS)
        sections.append(_section(section, length, used, streams[section]))
    order = [rule for section in sections[1:] for rule in section]
    if size.mixed:
        order = [order[index] for index in streams[SECTIONS + 1].permutation(len(order)).tolist()]
    return Rulebook((*sections[0], *order), tuple(f"{name}-0" for name in _USED))


_USED = ("partner", "range", "site", "list", "trusted")
"""Sections whose first rule, number 0, accepts measured traffic."""


def _section(section: int, length: int, used: Sequence[str], rng: np.random.Generator) -> list[Rule]:
    """The first so many rules of a section; the one in use at a place that differs between lengths."""
    name = list(_FORMS)[section]
    place, stream = rng.spawn(2)
    rules = [_rule(name, number, used, stream) for number in range(length)]
    if name in _USED and length > 1:
        rules.insert(int(place.integers(length, size=2)[length % 2]), rules.pop(0))
    return rules


@dataclass(frozen=True)
class _Draw:
    """What a rule is made of: its number, three networks, a port and a range around it, and random bits."""

    number: int
    sources: tuple[str, ...]
    port: int
    width: int
    bits: int
    used: Sequence[str]

    @property
    def one(self) -> tuple[Ports, ...]:
        """A single port."""
        return ((self.port, self.port),)

    @property
    def range(self) -> tuple[Ports, ...]:
        """The same among others."""
        low = max(1, self.port - self.width // 2)
        return ((low, low + self.width),)

    @property
    def several(self) -> tuple[Ports, ...]:
        """The port, and a range elsewhere."""
        return *self.one, (self.port % 60000 + 1000, self.port % 60000 + 1010)

    @property
    def host(self) -> int:
        """Number of a host in the server's network."""
        return 3 + self.bits % 247


def _rule(section: str, number: int, used: Sequence[str], rng: np.random.Generator) -> Rule:
    """One rule. Those of a section come from one stream, so its beginning is the same whatever its length."""
    sources, port = _networks(rng, 3, used), int(rng.choice(_PORTS))
    width, bits = int(rng.integers(1, 900)), int(rng.integers(1, 1 << 32))
    if number == 0 and section in _USED:
        sources, port = (used[_USED.index(section)],), SERVICE
    form = _FORMS[section](_Draw(number, sources, port, width, bits, used))
    return replace(form, name=f"{section}-{number}")


def _blocked(draw: _Draw) -> Rule:
    """Part of a network that a rule in use accepts."""
    inside = _bounds(draw.used[draw.number % len(draw.used)])[0] + (draw.bits % 512) * 256
    return Rule("", "drop", None, (format_entry(4, inside, 24),))


def _pair(draw: _Draw) -> Rule:
    """One IPv6 host with another."""
    client = format_entry(6, 0x2600 << 112 | draw.bits << 80 | draw.bits, 128)
    server = format_entry(6, 0x2001_0002_0000_0002 << 64 | draw.host, 128)
    return Rule("", "accept", "tcp", (client,), (server,), draw.one)


def _ping(draw: _Draw) -> Rule:
    types = (_ICMP_TYPES[draw.bits % len(_ICMP_TYPES)],)
    return Rule("", "accept", "icmp", draw.sources[:1], icmp_types=types)


_FORMS: Mapping[str, Callable[[_Draw], Rule]] = {
    "blocked": _blocked,
    "partner": lambda d: Rule("", "accept", "udp", d.sources[:1], ports=d.one),
    "range": lambda d: Rule("", "accept", "udp", d.sources[:1], ports=d.range),
    "published": lambda d: Rule("", "accept", "tcp", (), (f"198.19.0.{d.host}",), d.one),
    "site": lambda d: Rule("", "accept", "udp", d.sources[:1], (_SITE,), d.several),
    "pair": _pair,
    "list": lambda d: Rule("", "accept", "udp", d.sources, (SERVER,), d.one),
    "ping": _ping,
    "refused": lambda d: Rule("", "drop", "tcp", d.sources[:1], ports=d.range),
    "trusted": lambda d: Rule("", "accept", None, d.sources[:1]),
}
"""The form of each section's rules, in the order of the sections."""


def _used_networks(rng: np.random.Generator) -> tuple[str, ...]:
    """A /15 for each rule in use, all of it ordinary space."""
    found: dict[int, None] = {}
    while len(found) < len(_USED):
        first = int(space.random_addresses(4, 1, rng)[0]) & 0xFFFE0000
        halves = np.array([first, first + 0x10000], np.uint32)
        if not space.special(Entries.make(4, halves, np.full(2, 16))).any():
            found[first] = None
    return tuple(format_entry(4, first, 15) for first in found)


def _networks(rng: np.random.Generator, count: int, besides: Sequence[str]) -> tuple[str, ...]:
    """So many networks of /20 to /32, no two in one /20, none in those besides."""
    avoided = {_bounds(text)[0] >> 17 for text in besides}
    found: dict[int, str] = {}
    while len(found) < count:
        address, length = int(space.random_addresses(4, 1, rng)[0]), int(rng.choice(_LENGTHS))
        if address >> 17 not in avoided:
            first = address >> (32 - length) << (32 - length)
            found.setdefault(address >> 12, format_entry(4, first, length))
    return tuple(found.values())


@lru_cache(65536)
def _bounds(text: str) -> tuple[int, int]:
    """First and last address of an entry, as numbers."""
    entry = parse_entry(text)
    return entry.value, entry.value + (1 << (BITS[entry.family] - entry.length)) - 1


def _holds(text: str, address: str) -> bool:
    if (":" in text) != (":" in address):
        return False
    first, last = _bounds(text)
    return first <= _bounds(address)[0] <= last
