# SPDX-License-Identifier: Apache-2.0
"""Books of stateful rules: nested, valid policies, and an oracle that a slower one agrees with."""

import ipaddress
import itertools

import numpy as np
import pytest

from bench import space
from bench.rulebook import SECTIONS, SERVER, SERVICE, SMALLEST, Rule, Rulebook, Size, beginning, make
from neurowall.model.entries import Array, Entries
from neurowall.model.policy import load_policy

INTERFACES = "interfaces:\n  - {name: g0, zone: external}\n  - {name: g1, zone: internal}\n"


def slow_verdict(book: Rulebook, source: int, port: int) -> str | None:
    """The name of the first rule that matches a UDP packet to the server, by ipaddress, one by one."""
    address, server = ipaddress.ip_address(source), ipaddress.ip_address(SERVER)
    for rule in book.rules:
        networks = [ipaddress.ip_network(text) for text in rule.sources]
        targets = [ipaddress.ip_network(text) for text in rule.destinations]
        if rule.protocol not in (None, "udp"):
            continue
        if networks and not any(address in network for network in networks):
            continue
        if targets and not any(server in target for target in targets):
            continue
        if not rule.ports or any(low <= port <= high for low, high in rule.ports):
            return rule.name
    return None


def edges(book: Rulebook) -> Array:
    """First and last source of every IPv4 network, and the addresses beyond."""
    found = {
        edge for rule in book.rules for a, b in rule.networks() for edge in (a - 1, a, b, b + 1) if edge > 0
    }
    return np.array(sorted(found), np.uint32)


def test_the_oracle_agrees_with_a_slower_one() -> None:
    """At every edge of every source, for ports in and beyond ranges, in sections and mixed."""
    for size, port in itertools.product((Size(60), Size(60, mixed=True)), (SERVICE, 53, 443, 5060, 6010)):
        book = make(size, 5)
        sources = edges(book)
        names = [book.rules[number].name if number >= 0 else None for number in book.deciding(sources, port)]
        assert names == [slow_verdict(book, source, port) for source in sources.tolist()]
        accepted = {rule.name for rule in book.rules if rule.action == "accept"}
        assert book.accepts(sources, port).tolist() == [name in accepted for name in names]
        assert len({name for name in names if name}) >= 4


@pytest.mark.parametrize("mixed", [False, True])
def test_books_of_a_seed_are_nested_and_in_sections(mixed: bool) -> None:
    """The rules of a smaller one are among those of a larger, whose order keeps forms together or not."""
    books = [make(Size(rules, mixed), 3) for rules in (10, 57, 400)]
    for small, large in itertools.pairwise(books):
        assert set(small.rules) < set(large.rules)
    assert [len(book.rules) for book in books] == [10, 57, 400]
    names = [rule.name for rule in books[-1].rules]
    assert len(set(names)) == 400
    sections = [name.partition("-")[0] for name in names]
    runs = len([section for section, _ in itertools.groupby(sections)])
    assert runs > 200 if mixed else runs == SECTIONS
    assert sections[:40] == ["blocked"] * 40  # those that drop stand first in both
    assert set(beginning(books[-1]).rules) == set(books[0].rules)


def test_a_book_is_the_same_for_its_seed_only() -> None:
    """As every random choice of a run."""
    assert make(Size(50), 1).rules == make(Size(50), 1).rules
    assert make(Size(50), 1).rules != make(Size(50), 2).rules


def test_a_book_has_every_form_or_no_rule() -> None:
    """Nine rules cannot have ten sections."""
    assert make(Size(0), 1).rules == ()
    assert make(Size(0), 1).yaml == ""
    assert make(Size(0), 1).accepts(np.array([1], np.uint32), 1).all()
    with pytest.raises(ValueError, match="at least 10, not 9"):
        make(Size(SMALLEST - 1), 1)


@pytest.mark.parametrize("size", [Size(0), Size(10), Size(300), Size(300, mixed=True)])
def test_a_book_is_a_valid_policy(size: Size) -> None:
    """The product's own loader reads it, with every rule, and filters unless there is none."""
    book = make(size, 7)
    policy = load_policy(INTERFACES + book.yaml, "bench.yaml")
    assert [rule.name for rule in policy.rules or ()] == [rule.name for rule in book.rules]
    assert policy.filters == bool(size.rules)
    assert {p for rule in policy.rules or () for p in rule.protocol} == (
        {"tcp", "udp", "icmp"} if size.rules else set()
    )


def test_measured_sources_are_accepted_by_five_rules_of_every_book() -> None:
    """Ordinary addresses, each once, decided by a rule in use at every size, in equal shares."""
    sources = make(Size(1000), 4).sources(2000, np.random.default_rng(1))
    assert len(np.unique(sources)) == 2000
    assert not space.special(Entries.make(4, np.sort(sources), np.full(2000, 32))).any()
    for size in (Size(10), Size(100), Size(1000), Size(1000, mixed=True)):
        book = make(size, 4)
        decided = [book.rules[number].name for number in book.deciding(sources, SERVICE)]
        assert set(decided) == set(book.used)
        assert all(decided.count(name) == 400 for name in book.used)


def test_some_sources_are_dropped_inside_of_what_is_accepted() -> None:
    """So that the order of rules matters."""
    book = make(Size(1000), 4)
    used = [rule for rule in book.rules if rule.name in book.used]
    blocked = np.array([rule.networks()[0][0] for rule in book.rules if rule.name.startswith("blocked")])
    assert len(blocked) == 100
    assert not book.accepts(blocked.astype(np.uint32), SERVICE).any()
    inside = [any(a <= first <= b for rule in used for a, b in rule.networks()) for first in blocked]
    assert all(inside)


def test_too_many_sources_are_refused() -> None:
    """A /15 has 131,072 addresses; without rules there are none to accept any."""
    rng = np.random.default_rng(1)
    with pytest.raises(ValueError, match="fewer than 200000 sources"):
        make(Size(10), 1).sources(1_000_000, rng)
    with pytest.raises(ValueError, match="without rules"):
        make(Size(0), 1).sources(10, rng)


def test_a_rule_that_no_udp_packet_meets_is_known() -> None:
    """Another protocol, IPv6, or another server."""
    assert Rule("a", "accept", "udp", ("8.8.8.8",)).of_udp()
    assert Rule("a", "accept", None, (), ("198.19.0.0/24",)).of_udp()
    assert not Rule("a", "accept", "tcp").of_udp()
    assert not Rule("a", "accept", "udp", ("2600::1",)).of_udp()
    assert not Rule("a", "accept", "udp", (), ("198.19.0.9",)).of_udp()
