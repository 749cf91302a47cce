# SPDX-License-Identifier: Apache-2.0
"""The effectiveness gate of stateful rules: each probe meets the fate, and the rule, that the oracle says.

Probes are UDP packets from the edges of rules' sources (first, last, a random one, and both neighbours) to
ports at the edges of their ranges. Beside what arrives, the system's own count of each rule must say that it
was this rule that decided: a gateway that lets the right packets through for another reason is red.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np

from bench import space
from bench.rulebook import SERVICE, Rule, Rulebook
from bench.sut.base import Stateful, System
from bench.traffic.base import Array, Flow, Kind
from bench.traffic.wire import wire
from neurowall.model.entries import Entries

if TYPE_CHECKING:
    from bench.testbed.base import Chain

PORTS = 48
"""Destination ports in a pool."""
PORTS_IN_GATE = 8
PROBES = 256
"""Probes of a gate that must arrive, and as many that must not, as far as there are."""
TRIES = 3
_RANDOM = 256

_pools: WeakKeyDictionary[Rulebook, Pool] = WeakKeyDictionary()


@dataclass(frozen=True)
class Probes:
    """Packets to one port of the server: from where, and the number of the rule that decides (-1: none)."""

    port: int
    sources: Array
    rules: Array
    accepted: Array

    def take(self, rows: Array) -> Probes:
        """Those rows."""
        return Probes(self.port, self.sources[rows], self.rules[rows], self.accepted[rows])


Pool = tuple[Probes, ...]


@dataclass(frozen=True)
class Outcome:
    """What a gate saw: complaints in words, and probes by what had to become of them."""

    complaints: tuple[str, ...]
    blocked: int
    to_block: int
    passed: int
    to_pass: int


def run(chain: Chain, system: System, book: Rulebook, rng: np.random.Generator) -> Outcome:
    """Probe a system; one of the gate kind `pass` must let everything through, whatever the book says."""
    chosen = draw(pool(book, rng), rng)
    filters = system.gate == "filter"
    counting = system if filters and isinstance(system, Stateful) else None
    before = counting.rule_packets() if counting else {}
    complaints: list[str] = []
    arrived = []
    for probes in chosen:
        wanted = probes.accepted if filters else np.ones(len(probes.sources), np.bool_)
        found = _send(chain, probes, wanted)
        arrived.append(found)
        complaints += _wrong(probes, wanted, found)
    if counting:
        complaints += _uncounted(book, chosen, before, counting.rule_packets())
    wanted_all = np.concatenate([p.accepted for p in chosen])
    if not filters:
        wanted_all = np.ones(len(wanted_all), np.bool_)
    found_all = np.concatenate(arrived)
    return Outcome(
        tuple(complaints),
        blocked=int((~found_all & ~wanted_all).sum()),
        to_block=int((~wanted_all).sum()),
        passed=int((found_all & wanted_all).sum()),
        to_pass=int(wanted_all.sum()),
    )


def pool(book: Rulebook, rng: np.random.Generator) -> Pool:
    """Probes for every rule that a UDP packet can meet, by port; made once for each book."""
    if book not in _pools:
        edges: dict[int, list[int]] = {}
        members = max(1, PROBES // max(1, len(book.rules)))  # of each network
        for rule in book.rules:
            if rule.of_udp():
                for port in ports_of(rule):
                    edges.setdefault(port, []).extend(_around(rule, members, rng))
        anywhere = space.random_addresses(4, _RANDOM, rng)
        _pools[book] = tuple(
            probes(book, port, np.concatenate((np.array(edges.get(port, ()), np.uint32), anywhere)))
            for port in (SERVICE, *_most_used(edges, rng))
        )
    return _pools[book]


def fates(chain: Chain, chosen: Pool) -> list[str]:
    """What meets another fate than the probes say, in words; nothing if all is well."""
    return [
        complaint
        for probes in chosen
        for complaint in _wrong(probes, probes.accepted, _send(chain, probes, probes.accepted))
    ]


def draw(pooled: Pool, rng: np.random.Generator) -> Pool:
    """Half of a gate's probes to the service port, the rest to some others."""
    others = [pooled[1 + row] for row in rng.permutation(len(pooled) - 1)[: PORTS_IN_GATE - 1].tolist()]
    share = PROBES // 2 if others else PROBES
    chosen = [_some(pooled[0], share, rng)]
    chosen += [_some(probes, share // len(others) + 1, rng) for probes in others]
    return tuple(chosen)


def _most_used(edges: Mapping[int, list[int]], rng: np.random.Generator) -> list[int]:
    """Ports of a pool besides the service port, drawn by how many probes each has."""
    others = [port for port in edges if port != SERVICE]
    if not others:
        return []
    weights = np.array([len(edges[port]) for port in others], np.float64)
    count = min(PORTS - 1, len(others))
    return [others[row] for row in rng.choice(len(others), count, replace=False, p=weights / weights.sum())]


def ports_of(rule: Rule) -> Iterator[int]:
    """The service port, and those at and beyond the edges of the rule's ranges."""
    yield SERVICE
    for low, high in rule.ports:
        yield from (port for port in (low - 1, low, high, high + 1) if 0 < port < 65536)


def _around(rule: Rule, members: int, rng: np.random.Generator) -> Iterator[int]:
    """Edges and random members of each of its networks, and the addresses before and behind it."""
    for first, last in rule.networks():
        yield from (max(1, first - 1), first, last, min(0xFFFFFFFF, last + 1))
        yield from rng.integers(first, last, members, endpoint=True).tolist()


def probes(book: Rulebook, port: int, sources: Array) -> Probes:
    """With the oracle's word on each; sources that no packet from outside may have are left out."""
    sources = np.unique(sources)
    sources = sources[~space.special(Entries.make(4, sources, np.full(len(sources), 32)))]
    return Probes(port, sources, book.deciding(sources, port), book.accepts(sources, port))


def _some(probes: Probes, count: int, rng: np.random.Generator) -> Probes:
    """So many that are accepted and as many that are not, mixed; fewer where there are fewer."""
    rows = [
        rng.permutation(np.flatnonzero(probes.accepted == accepted))[:count] for accepted in (True, False)
    ]
    return probes.take(rng.permutation(np.concatenate(rows)))


def _send(chain: Chain, probes: Probes, wanted: Array) -> Array:
    """Send each probe; those that must arrive and did not are tried again. Which arrived."""
    ends = wire(chain)
    found = np.zeros(len(probes.sources), np.bool_)
    waiting = np.arange(len(found))
    for _ in range(TRIES):
        if not len(waiting):
            break
        sources = np.ascontiguousarray(probes.sources[waiting])
        ends.sink.clear(len(waiting))
        flow = Flow(4, sources, chain.server_if.v4, kind=Kind.PROBE, ports=(1024, probes.port))
        ends.generator.run(chain, flow, packets=len(waiting))
        ends.sink.settle()
        found[waiting] |= ends.sink.arrivals(len(waiting)) > 0
        waiting = np.flatnonzero(wanted & ~found)
    return found


def _wrong(probes: Probes, wanted: Array, found: Array) -> Iterator[str]:
    for rows, what in ((found & ~wanted, "got through"), (wanted & ~found, "did not arrive")):
        if rows.any():
            some = ", ".join(str(_text(source)) for source in probes.sources[rows][:3].tolist())
            yield f"{int(rows.sum())} probes to port {probes.port} {what} against the rules: {some}"


def _uncounted(
    book: Rulebook, chosen: Pool, before: Mapping[str, int], after: Mapping[str, int]
) -> Iterator[str]:
    """Rules that counted fewer packets than they had to decide."""
    names = [*(rule.name for rule in book.rules), "default"]
    decided = np.bincount(np.concatenate([p.rules for p in chosen]) % len(names), minlength=len(names))
    missing = [
        f"{name} counted {after.get(name, 0) - before.get(name, 0)} of {expected}"
        for name, expected in zip(names, decided.tolist(), strict=True)
        if after.get(name, 0) - before.get(name, 0) < expected
    ]
    if missing:
        yield f"{len(missing)} rules did not decide what they had to: {', '.join(missing[:3])}"


def _text(address: int) -> str:
    return ".".join(str(address >> shift & 0xFF) for shift in (24, 16, 8, 0))
