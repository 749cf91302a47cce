# SPDX-License-Identifier: Apache-2.0
import json
import time
from collections.abc import Iterable, Sequence
from ipaddress import ip_address, ip_network
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from neurowall.logic.stateful.listelements import LONGEST, ListSet, outermost, seconds_left, sets_of
from neurowall.model.entries import Entries, EntrySet
from neurowall.model.errors import CapacityError
from neurowall.model.intent import HeldList, ListRecord
from neurowall.model.policy import ListVerdict
from neurowall.model.ruleset import text_of
from neurowall.model.terms import Terms, TermSet
from tests.unit.logic.oracle import ADDRESSES, MOMENTS, RawList, all_lists, judge, raw_lists

ROOMY = 10**9
BLOCK_TIMED = "operator-block-timed"


def held(raw: RawList) -> HeldList:
    """A list as the engine holds it."""
    verdict: ListVerdict = "allow" if raw.verdict == "allow" else "block"
    record = ListRecord(raw.name, verdict, "runtime", "", monitor=raw.monitor)
    entries = EntrySet.from_strings(raw.texts)
    if not raw.ends:
        return HeldList(record, entries)
    parts = []
    for family in (4, 6):
        rows = entries.family(family)
        ends = dict(zip((str(ip_network(text)) for text in raw.texts), raw.ends, strict=True))
        until = np.array([float(ends[str(ip_network(str(row)))]) for row in rows.rows()])
        parts.append(Terms(rows, until, until, until))
    return HeldList(record, entries, TermSet(*parts))


def sets(lists: Iterable[RawList], now: float = 0.0, limit: int = ROOMY) -> tuple[ListSet, ...]:
    """The sets of raw lists."""
    return sets_of([held(raw) for raw in lists], limit, now)


def spans(part: ListSet) -> list[tuple[int, int, float]]:
    """First and last address, and seconds left, of each element, in order."""
    found = []
    for text in part.set.elements:
        value: Any = json.loads(text)
        left = float("inf")
        if isinstance(value, dict) and "elem" in value:
            left, value = value["elem"]["timeout"], value["elem"]["val"]
        if isinstance(value, str):
            value = {"range": [value, value]}
        if "prefix" in value:
            net = ip_network(f"{value['prefix']['addr']}/{value['prefix']['len']}")
            value = {"range": [net[0], net[-1]]}
        first, last = (int(ip_address(str(each))) for each in value["range"])
        found.append((first, last, left))
    return sorted(found)


class Reading:
    """What sets say, by linear scan over their elements."""

    def __init__(self, parts: Sequence[ListSet]) -> None:
        self._rows = [(part.family, part.verdict, *span) for part in parts for span in spans(part)]

    def says(self, address: str, later: float) -> str | None:
        """What they say of an address, asked in their order, so long after they were filled."""
        parsed = ip_address(address)
        number = int(parsed)
        for family, verdict, first, last, left in self._rows:
            if family == parsed.version and first <= number <= last and later < left:
                return "pass" if verdict == "allow" else "drop"
        return None


@given(all_lists())
def test_sets_say_of_each_address_what_the_lists_say(lists: list[RawList]) -> None:
    """At every moment before, between and after the ends."""
    parts = Reading(sets(lists))
    for moment in MOMENTS:
        for address in ADDRESSES:
            assert parts.says(address, moment) == judge(lists, address, moment).verdict, (moment, address)


@given(all_lists(), st.sampled_from(MOMENTS))
def test_sets_made_later_say_the_same(lists: list[RawList], now: float) -> None:
    """What has ended by then is left out, what has not lasts as long as is left of it."""
    parts = Reading(sets(lists, now))
    for address in ADDRESSES:
        assert parts.says(address, 0) == judge(lists, address, now).verdict, address
        assert parts.says(address, 100) == judge(lists, address, now + 100).verdict, address


@given(all_lists())
@example([RawList(BLOCK_TIMED, "block", ("203.0.113.0/28", "203.0.113.4/30"), ends=(10.0, 20.0))])
def test_interval_sets_have_no_overlaps(lists: list[RawList]) -> None:
    """The kernel refuses them; hash sets hold single addresses."""
    for part in sets(lists):
        found = spans(part)
        assert all(before[1] < after[0] for before, after in pairwise(found)), part
        assert part.set.interval or all(first == last for first, last, _ in found)


@given(all_lists())
def test_elements_are_canonical_text(lists: list[RawList]) -> None:
    """Two texts of one value would be a difference where none is."""
    for part in sets(lists):
        assert all(text_of(json.loads(text)) == text for text in part.set.elements)
        assert part.set.timeout == any('"timeout"' in text for text in part.set.elements)


@given(raw_lists())
def test_the_order_of_lists_means_nothing(lists: list[RawList]) -> None:
    """Verdicts have an order, lists of one verdict have none."""
    assert sets(lists) == sets(lists[::-1])


def test_a_longer_end_inside_is_cut_out_of_what_covers_it() -> None:
    """Each address has the latest end of what covers it."""
    raw = RawList(
        BLOCK_TIMED, "block", ("203.0.113.0/28", "203.0.113.4/30", "203.0.113.8/31"), ends=(10, 20, 5)
    )
    (part,) = sets([raw])
    assert part.set.name == "fallback-block4-timed-prefixes"
    assert part.set.elements == {
        '{"elem":{"timeout":10,"val":{"prefix":{"addr":"203.0.113.0","len":30}}}}',
        '{"elem":{"timeout":20,"val":{"prefix":{"addr":"203.0.113.4","len":30}}}}',
        '{"elem":{"timeout":10,"val":{"prefix":{"addr":"203.0.113.8","len":29}}}}',
    }


def test_one_more_host_is_one_more_element() -> None:
    """So a ban among many costs one element, not a set."""
    raw = RawList("feed", "block", ("198.51.100.0/24", "203.0.113.7", "2001:db8::/32"))
    before, after = sets([raw]), sets([raw._replace(texts=(*raw.texts, "203.0.113.8"))])
    assert len(before) == len(after) == 3
    new = [b.set.elements - a.set.elements for a, b in zip(before, after, strict=True)]
    assert sorted(map(sorted, new)) == [[], [], ['"203.0.113.8"']]


def test_a_timed_host_that_is_listed_for_good_has_no_end() -> None:
    """It would only be one element more."""
    lists = [
        RawList("feed", "block", ("203.0.113.7",)),
        RawList(BLOCK_TIMED, "block", ("203.0.113.7",), ends=(9.0,)),
    ]
    assert [part.set.name for part in sets(lists)] == ["fallback-block4-hosts"]


@pytest.mark.parametrize(
    ("verdict", "left", "seconds"),
    [("block", 1.2, 2), ("allow", 1.8, 1), ("block", 3.0, 3), ("block", 1e12, LONGEST)],
)
def test_ends_are_rounded_to_the_safe_side(verdict: Any, left: float, seconds: int) -> None:
    """A block holds a moment longer, an allow a moment less; no number is larger than can be read."""
    assert seconds_left(1000.0 + left, 1000.0, verdict) == seconds


def test_an_allow_that_ends_within_a_second_is_no_element() -> None:
    """A timeout of 0 would be none: it would hold for ever."""
    raw = RawList("operator-allow-timed", "allow", ("203.0.113.7", "203.0.113.8/31"), ends=(0.9, 0.9))
    assert sets([raw]) == ()


@pytest.mark.parametrize(
    ("texts", "kept"),
    [
        (("0.0.0.0/1", "128.0.0.0/1", "255.255.255.0/24"), ("0.0.0.0/1", "128.0.0.0/1")),
        (("10.0.0.0/8", "10.0.0.0/9", "10.128.0.0/9", "11.0.0.0/8"), ("10.0.0.0/8", "11.0.0.0/8")),
        (("::/1", "ffff::/16", "fe80::/10"), ("::/1", "fe80::/10", "ffff::/16")),
        (("2001:db8::/32", "2001:db8:ffff:ffff::/64", "2001:db9::/32"), ("2001:db8::/32", "2001:db9::/32")),
        ((), ()),
    ],
)
def test_only_the_outermost_prefixes_are_kept(texts: tuple[str, ...], kept: tuple[str, ...]) -> None:
    """Those inside another one add nothing, at either end of the range too."""
    family = 6 if ":" in "".join(texts) else 4
    found = outermost(EntrySet.from_strings(texts).family(family))
    assert sorted(map(str, found.rows())) == sorted(kept)


class TestCapacity:
    LISTS = (
        RawList("one", "block", ("203.0.113.7", "198.51.100.0/24")),
        RawList("watched", "block", tuple(f"192.0.2.{i}" for i in range(50)), monitor=True),
        RawList("two", "block", ("203.0.113.7", "2001:db8::1", "2001:db8::2")),
        RawList("three", "allow", ("203.0.113.9",)),
    )

    @pytest.mark.parametrize(("limit", "crosses"), [(4, "three"), (3, "two"), (2, "two"), (1, "one")])
    def test_too_much_names_the_list_that_crosses_the_limit(self, limit: int, crosses: str) -> None:
        """An entry of two lists counts once, monitor lists count nothing."""
        with pytest.raises(CapacityError) as caught:
            sets(self.LISTS, limit=limit)
        assert (caught.value.what, caught.value.limit, caught.value.wanted) == ("fallback", limit, 5)
        assert caught.value.list_name == crosses

    def test_as_much_as_the_limit_fits(self) -> None:
        """Five elements."""
        assert sum(len(part.set.elements) for part in sets(self.LISTS, limit=5)) == 5


def test_a_hundred_thousand_entries_take_less_than_half_a_second() -> None:
    """CPU time, hosts and nested prefixes of both families: it is done again for every ban."""
    r = np.random.default_rng(7)
    v4 = Entries.make(4, r.integers(1 << 24, 0xDF000000, 50_000, np.uint32), r.integers(8, 33, 50_000))
    octets = r.integers(0, 256, (50_000, 16), np.uint8)
    octets[:, 0] = 0x20
    v6 = Entries.make(6, octets.view("S16").reshape(-1), r.integers(24, 129, 50_000))
    lists = [HeldList(ListRecord("feed", "block", "runtime", ""), EntrySet(v4, v6))]
    before = time.process_time()
    sets_of(lists, ROOMY, 0.0)
    assert time.process_time() - before < 0.5
