# SPDX-License-Identifier: Apache-2.0
"""Everybody whom an operator or a limit blocks or allows, a page at a time.

The order is that of SECTIONS; in each of them entries are in the order of lists: IPv4 first, then by length
and address. A place in it is written `section/entry`, and the entry need not be there any more.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice

import numpy as np

from neurowall.logic.results import Ban, BanKind, BanPage
from neurowall.logic.snapshot import Snapshot, page_of
from neurowall.model.address import Entry, InvalidEntry, parse_entry
from neurowall.model.entries import FAMILIES, Entries, EntrySet, clear_host_bits
from neurowall.model.errors import ListInvalid
from neurowall.model.fields import OPERATOR_ALLOW, OPERATOR_BLOCK, TIMED_ALLOW, TIMED_BLOCK
from neurowall.model.intent import HeldList
from neurowall.model.limits import LimitBan

LIMITS = "limits"
SECTIONS = (OPERATOR_BLOCK, TIMED_BLOCK, OPERATOR_ALLOW, TIMED_ALLOW, LIMITS)
_KINDS: dict[str, BanKind] = {
    OPERATOR_BLOCK: "block",
    TIMED_BLOCK: "block",
    OPERATOR_ALLOW: "allow",
    TIMED_ALLOW: "allow",
    LIMITS: "limit",
}


@dataclass(frozen=True)
class BanQuery:
    """Which bans. after: the place behind which the page begins. address: those that hold it or lie in it."""

    limit: int = 100
    after: str | None = None
    kind: BanKind | None = None
    address: str | None = None


def bans_page(
    now: Snapshot, by_limits: Callable[[], Sequence[LimitBan]], query: BanQuery, clock: float
) -> BanPage:
    """At most so many bans. by_limits: whom limits banned, asked only where the page needs it.

    Raises ListInvalid for a place or an address that is none.
    """
    section, after = _place(query.after)
    around = _entry(query.address, "address") if query.address is not None else None
    found: list[Ban] = []
    for name in SECTIONS[SECTIONS.index(section) :]:
        if query.kind not in (None, _KINDS[name]):
            continue
        start, left = after if name == section else None, query.limit + 1 - len(found)
        if name == LIMITS:
            found += islice(_of_limits(by_limits(), around, start), left)
        else:
            found += _of_list(_narrowed(now.find(name), around, clock), left, start)
        if len(found) > query.limit:
            break
    shown = tuple(found[: query.limit])
    return BanPage(shown, place_of(shown[-1]) if len(found) > query.limit else None)


def place_of(ban: Ban) -> str:
    """Where in the order a ban is."""
    return f"{ban.list or LIMITS}/{ban.entry}"


def _place(text: str | None) -> tuple[str, str | None]:
    if text is None:
        return SECTIONS[0], None
    section, _, entry = text.partition("/")
    if section not in SECTIONS:
        raise ListInvalid(f"after '{text[:60]}': not the `next` of another page")
    return section, str(_entry(entry, "after"))


def _entry(text: str, what: str) -> Entry:
    try:
        return parse_entry(text.strip())
    except InvalidEntry as error:
        raise ListInvalid(f"{what} '{text[:60]}': {error}") from error


def _of_list(held: HeldList, limit: int, after: str | None) -> Iterator[Ban]:
    page, name = page_of(held, limit, after), held.record.name
    for entry, expires in zip(page.entries, page.expires, strict=True):
        yield Ban(entry, _KINDS[name], name, None, expires)


def _narrowed(held: HeldList, around: Entry | None, clock: float) -> HeldList:
    """The list without entries that are over, or that are not around the wanted one."""
    entries = held.entries
    if held.record.timed:
        terms = held.terms.of(entries)
        if any(bool((terms.family(family).until <= clock).any()) for family in FAMILIES):
            entries = terms.running(clock)
    if around is not None:
        entries = _around(entries, around)
    return held if entries is held.entries else replace(held, entries=entries)


def _around(entries: EntrySet, wanted: Entry) -> EntrySet:
    """The entries that hold *wanted*, or lie in it."""
    rows = entries.family(wanted.family)
    one = EntrySet.from_entries([wanted]).family(wanted.family).address
    chosen = np.zeros(len(rows), np.bool_)
    for length, part in rows.segments():
        common = min(length, wanted.length)
        network = clear_host_bits(rows.family, one, common)
        chosen[part] = clear_host_bits(rows.family, rows.address[part], common) == network
    found = rows.take(chosen)
    return EntrySet(found, Entries.empty(6)) if wanted.family == 4 else EntrySet(Entries.empty(4), found)


def _of_limits(bans: Sequence[LimitBan], around: Entry | None, after: str | None) -> Iterator[Ban]:
    """Hosts, in the order of lists."""
    by_row = {parse_entry(ban.address): ban for ban in bans}
    entries = EntrySet.from_entries(by_row)
    if around is not None:
        entries = _around(entries, around)
    start = parse_entry(after)[:2] if after is not None else (0, 0)
    for row in chain(entries.v4.rows(), entries.v6.rows()):
        if after is None or row[:2] > start:
            ban = by_row[row]
            yield Ban(str(row), "limit", None, ban.limit or None, ban.until)
