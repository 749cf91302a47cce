# SPDX-License-Identifier: Apache-2.0
"""Policies applied and changed: seconds from the request until its answer, and that it is then in force.

An answer counts only if probes sent right after it meet the fate that the new rules say; a full gate, rule by
rule, stands before and after all of them.
"""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bench import rulegate
from bench.operations.base import Policed
from bench.operations.records import Observation
from bench.operations.site import Site, SiteError
from bench.rulebook import SERVICE, SMALLEST, Rule, Rulebook, beginning

if TYPE_CHECKING:
    from bench.operations.scenario import Apply, Change

WITNESSES = 32
"""Probes at most that must prove a change, of those whose fate it changes."""


def apply(site: Site, task: Apply) -> Observation:
    """The point's rules applied again and again, each time where only a few of them were in force."""
    policed, whole = _policed(site)
    few = beginning(whole)
    took, commands = [], []
    for _ in range(site.share(site.profile.applies, task)):
        policed.put(few)
        took.append(_timed(site, policed, few, whole))
    if policed.has_command:
        policed.put(few)
        began = time.monotonic()
        policed.command(whole)
        commands.append(time.monotonic() - began)
        _prove(site, few, whole)
    site.gate()
    site.tell(f"{site.operated.name} applied {len(whole.rules):,} rules in {max(took):.2f} s at most")
    samples = {"apply_seconds": took, **({"command_seconds": commands} if commands else {})}
    return Observation(
        site.block, site.operated.name, site.point, task.operation, samples, gates=site.take_gates()
    )


def change(site: Site, task: Change) -> Observation:
    """One rule of the point's changed, and back again; each is a change."""
    policed, whole = _policed(site)
    policed.put(whole)
    site.gate()
    now, took = whole, []
    changes = edits(whole, site.rng)
    for number in range(site.share(site.profile.changes, task)):
        then = next(changes) if number % 2 == 0 else whole
        took.append(_timed(site, policed, now, then))
        now = then
    if now is not whole:
        policed.put(whole)
    site.gate()
    site.tell(f"{site.operated.name}: {len(took)} changes of one rule, the slowest in {max(took):.3f} s")
    return Observation(
        site.block,
        site.operated.name,
        site.point,
        task.operation,
        {"change_seconds": took},
        gates=site.take_gates(),
    )


def edits(book: Rulebook, rng: np.random.Generator) -> Iterator[Rulebook]:
    """The book with one rule changed, without end: its action, its ports, gone, or a new one before it."""
    for number in itertools.count():
        row = int(rng.integers(len(book.rules)))
        rule, before, after = book.rules[row], book.rules[:row], book.rules[row + 1 :]
        changed = _FORMS[number % len(_FORMS)](rule, number)
        yield dataclasses.replace(book, rules=(*before, *changed, *after))


def _other_action(rule: Rule, _: int) -> tuple[Rule, ...]:
    return (dataclasses.replace(rule, action="drop" if rule.action == "accept" else "accept"),)


def _other_ports(rule: Rule, number: int) -> tuple[Rule, ...]:
    """Other ports; of a rule without any the other action."""
    if not rule.ports:
        return _other_action(rule, number)
    port = 20_000 + number % 10_000
    return (dataclasses.replace(rule, ports=((port, port),)),)


def _gone(_: Rule, __: int) -> tuple[Rule, ...]:
    return ()


def _one_more(rule: Rule, number: int) -> tuple[Rule, ...]:
    """A rule of its own before it."""
    host = f"9.{number >> 16 & 0xFF}.{number >> 8 & 0xFF}.{number & 0xFF}"
    return Rule(f"added-{number}", "accept", "udp", (host,), ports=((SERVICE, SERVICE),)), rule


_FORMS = (_other_action, _other_ports, _gone, _one_more)


@dataclass(frozen=True)
class Witnesses:
    """Probes whose fate differs between two books, by port; empty where no UDP packet can tell them apart."""

    pool: rulegate.Pool

    @classmethod
    def of(cls, old: Rulebook, new: Rulebook, rng: np.random.Generator) -> Witnesses:
        """From the sources of the rules that are in one of them only."""
        both = set(old.rules) & set(new.rules)
        differing = [rule for rule in (*old.rules, *new.rules) if rule not in both and rule.of_udp()]
        found: list[rulegate.Probes] = []
        left = WITNESSES
        for row in rng.permutation(len(differing))[:WITNESSES].tolist():
            rule = differing[row]
            edges = [edge for first, last in rule.networks() for edge in (first, last)]
            sources = np.array(sorted(set(edges)), np.uint32)
            for port in rulegate.ports_of(rule):
                probes = rulegate.probes(new, port, sources)
                rows = np.flatnonzero(old.accepts(probes.sources, port) != probes.accepted)[:left]
                if len(rows):
                    found.append(probes.take(rng.permutation(rows)))
                    left -= len(rows)
            if left <= 0:
                break
        return cls(tuple(found))


def _timed(site: Site, policed: Policed, old: Rulebook, new: Rulebook) -> float:
    """Seconds of one request; SiteError where its answer came before its effect."""
    text = policed.written(new)
    began = time.monotonic()
    policed.send(text)
    took = time.monotonic() - began
    _prove(site, old, new)
    return took


def _prove(site: Site, old: Rulebook, new: Rulebook) -> None:
    """Send probes that can tell the books apart."""
    witnesses = Witnesses.of(old, new, site.rng)
    if wrong := rulegate.fates(site.chain, witnesses.pool):
        raise SiteError(f"the answer came, but the new rules are not in force: {wrong[0]}")


def _policed(site: Site) -> tuple[Policed, Rulebook]:
    book = site.rules.book
    if book is None or len(book.rules) <= SMALLEST or not isinstance(site.operated, Policed):
        raise SiteError(f"{site.operated.name} at {site.point} has no policy with rules to apply")
    return site.operated, book
