# SPDX-License-Identifier: Apache-2.0
"""Lists as elements of nftables sets: pure, and quick enough to be done again for every ban.

Hosts go into hash sets, to which one more costs the same however many are there; prefixes into interval
sets, which take no two that overlap. What ends by itself has sets of its own, so that those that hold the
bulk stay as they are.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from socket import AF_INET6, inet_ntoa, inet_ntop
from typing import Literal, NamedTuple

import numpy as np

from neurowall.model.address import BITS, format_entry
from neurowall.model.entries import (
    FAMILIES,
    Entries,
    EntrySet,
    last_address,
    sorted_unique,
)
from neurowall.model.errors import CapacityError
from neurowall.model.intent import HeldList
from neurowall.model.ruleset import Set, text_of
from neurowall.model.terms import Terms

WHAT = "fallback"
"""How a CapacityError calls these sets."""

Verdict = Literal["allow", "block"]
VERDICTS: tuple[Verdict, ...] = ("allow", "block")

LONGEST = 2**31
"""Seconds. An entry that lasts longer is given so many: libnftables reads no larger number."""

_KEY = {4: "ipv4_addr", 6: "ipv6_addr"}


class Segment(NamedTuple):
    """Addresses from *first* to *last* that are listed until *until*, Unix time in seconds."""

    first: int
    last: int
    until: float


@dataclass(frozen=True)
class ListSet:
    """One set of addresses of one family that one verdict holds for."""

    family: int
    verdict: Verdict
    set: Set


def sets_of(lists: Sequence[HeldList], limit: int, now: float) -> tuple[ListSet, ...]:
    """The sets that hold an element, allow before block; an address is in one of a verdict's or in none.

    Monitor lists decide nothing and are left out. now: Unix time in seconds.
    Raises CapacityError, naming the list that crosses it, if more than *limit* elements are needed.
    """
    deciding = [held for held in lists if not held.record.monitor]
    found = [
        ListSet(family, verdict, made)
        for family in FAMILIES
        for verdict in VERDICTS
        for made in _sets([held for held in deciding if held.record.verdict == verdict], family, verdict, now)
        if made.elements
    ]
    wanted = sum(len(each.set.elements) for each in found)
    if wanted > limit:
        raise CapacityError(WHAT, limit, wanted, _crossing(deciding, limit))
    return tuple(found)


def _crossing(lists: Sequence[HeldList], limit: int) -> str:
    """The first list with which there are more than *limit* entries, else the last that has any."""
    so_far = {verdict: EntrySet.empty() for verdict in VERDICTS}
    name = ""
    for held in lists:
        verdict = held.record.verdict
        so_far[verdict] = so_far[verdict].union(held.entries)
        name = held.record.name if len(held.entries) else name
        if sum(map(len, so_far.values())) > limit:
            break
    return name


def _sets(lists: Sequence[HeldList], family: int, verdict: Verdict, now: float) -> Iterator[Set]:
    """The four sets of one verdict, some of them empty."""
    lasting = _union(family, [held.entries for held in lists if not held.record.timed])
    hosts, prefixes = _hosts_and_prefixes(lasting)
    name = f"fallback-{verdict}{family}"
    key = (_KEY[family],)
    yield Set(f"{name}-hosts", key, frozenset(texts(hosts)))
    yield Set(f"{name}-prefixes", key, frozenset(texts(outermost(prefixes))), interval=True)
    timed_hosts, timed_prefixes = frozenset[str](), frozenset[str]()
    for held in lists:
        if held.record.timed:
            terms = held.terms.of(held.entries).family(family)
            terms = terms.take(terms.until > now)
            row = len(terms) - terms.entries.hosts
            timed_hosts = frozenset(_timed_hosts(terms.take(slice(row, None)), hosts, verdict, now))
            segments = disjoint(terms.take(slice(0, row)))
            timed_prefixes = frozenset(_timed_segments(segments, family, verdict, now))
    yield Set(f"{name}-timed-hosts", key, timed_hosts, timeout=True)
    yield Set(f"{name}-timed-prefixes", key, timed_prefixes, interval=True, timeout=True)


def _union(family: int, parts: Iterable[EntrySet]) -> Entries:
    return reduce(Entries.union, (part.family(family) for part in parts), Entries.empty(family))


def _hosts_and_prefixes(entries: Entries) -> tuple[Entries, Entries]:
    row = len(entries) - entries.hosts
    return entries.take(slice(row, None)), entries.take(slice(0, row))


def outermost(entries: Entries) -> Entries:
    """Those that no other one covers: they are disjoint, and hold the same addresses."""
    if len(entries) < 2:
        return entries
    last = last_address(entries.family, entries.address, entries.length)
    # Ranks instead of addresses: numpy computes with them in either family.
    order = sorted_unique(np.concatenate((entries.address, last)))
    first_rank, last_rank = np.searchsorted(order, entries.address), np.searchsorted(order, last)
    by_address = np.lexsort((entries.length, first_rank))
    reached = np.maximum.accumulate(last_rank[by_address])
    inside = np.zeros(len(entries), np.bool_)
    inside[by_address[1:]] = reached[:-1] >= first_rank[by_address[1:]]
    return entries.take(~inside)


def disjoint(terms: Terms) -> list[Segment]:
    """The same ends by address, without overlaps: each address has the latest end of what covers it."""
    bits = BITS[terms.entries.family]
    rows = sorted(
        (row.value, -(row.value | (1 << bits - row.length) - 1), until)
        for row, until in zip(terms.entries.rows(), terms.until.tolist(), strict=True)
    )
    found: list[Segment] = []
    open_: list[Segment] = []  # each inside the one before and ending later
    reached = 0  # the first address of the innermost that is not covered yet

    def close() -> None:
        nonlocal reached
        _, last, until = open_.pop()
        if reached <= last:
            found.append(Segment(reached, last, until))
        reached = last + 1

    for first, minus_last, until in rows:
        while open_ and open_[-1].last < first:
            close()
        if open_ and until <= open_[-1].until:
            continue
        if open_ and reached < first:
            found.append(Segment(reached, first - 1, open_[-1].until))
        open_.append(Segment(first, -minus_last, until))
        reached = first
    while open_:
        close()
    return found


def texts(entries: Entries) -> list[str]:
    """Each entry as the JSON text of an element."""
    if entries.family == 4:
        packed, size = entries.address.astype(">u4").tobytes(), 4
        addresses = [inet_ntoa(packed[at : at + size]) for at in range(0, len(packed), size)]
    else:
        packed, size = np.ascontiguousarray(entries.address).tobytes(), 16
        addresses = [inet_ntop(AF_INET6, packed[at : at + size]) for at in range(0, len(packed), size)]
    bits = BITS[entries.family]
    return [
        f'"{address}"' if length == bits else f'{{"prefix":{{"addr":"{address}","len":{length}}}}}'
        for address, length in zip(addresses, entries.length.tolist(), strict=True)
    ]


def seconds_left(until: float, now: float, verdict: Verdict) -> int:
    """The timeout of an element: whole seconds, so that a block holds to its end and an allow no longer."""
    left = until - now
    return min(LONGEST, math.ceil(left) if verdict == "block" else math.floor(left))


def _timed_hosts(terms: Terms, lasting: Entries, verdict: Verdict, now: float) -> Iterator[str]:
    terms = terms.without(lasting)
    for text, until in zip(texts(terms.entries), terms.until.tolist(), strict=True):
        yield from _with_timeout(text, seconds_left(until, now, verdict))


def _timed_segments(segments: Iterable[Segment], family: int, verdict: Verdict, now: float) -> Iterator[str]:
    for first, last, until in segments:
        yield from _with_timeout(_range_text(family, first, last), seconds_left(until, now, verdict))


def _with_timeout(text: str, seconds: int) -> Iterator[str]:
    """An element with an end; none if that is now."""
    if seconds > 0:
        yield f'{{"elem":{{"timeout":{seconds},"val":{text}}}}}'


def _range_text(family: int, first: int, last: int) -> str:
    """A prefix where it is one, else a range."""
    size = last - first + 1
    bits = BITS[family]
    if size & size - 1 == 0 and first % size == 0:
        length = bits + 1 - size.bit_length()
        address = format_entry(family, first, bits)
        return text_of(address if length == bits else {"prefix": {"addr": address, "len": length}})
    return text_of({"range": [format_entry(family, each, bits) for each in (first, last)]})
