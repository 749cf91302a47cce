# SPDX-License-Identifier: Apache-2.0
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neurowall.logic.timed import AS_ASKED, Found, TimeSteps, Timetable, deciding, renewed, time_steps
from neurowall.model.entries import Entries, EntrySet
from neurowall.model.image import ClassDef, Expiries
from neurowall.model.policy import Bans
from neurowall.model.terms import Terms, TermSet
from tests.unit.logic.oracle import ADDRESSES, RawList, covers, end_of, timed_lists

ONE = EntrySet.from_strings(["203.0.113.7"])
HOUR, DAY = 3600.0, 86_400.0
Row = tuple[float, float]


def terms(until: float, ttl: float, forget: float) -> TermSet:
    """The terms of ONE."""
    return TermSet(
        Terms(ONE.v4, *(np.array([float(value)]) for value in (until, ttl, forget))), Terms.empty(6)
    )


def only(found: TermSet) -> tuple[float, float, float]:
    """End, TTL and end of memory of the only row."""
    part = found.v4
    return float(part.until[0]), float(part.ttl[0]), float(part.forget[0])


class TestReoffence:
    BANS = Bans(repeat_factor=2, max_ttl="4h", memory="1d")

    def test_the_first_time_is_as_asked(self) -> None:
        """Also beyond max_ttl, which is a bound for growth only."""
        assert only(renewed(TermSet.empty(), ONE, DAY, 1000, self.BANS)) == (1000 + DAY, DAY, 1000 + 2 * DAY)

    @pytest.mark.parametrize(
        ("held", "asked", "now", "until", "ttl"),
        [
            ((2000, HOUR, 9e9), 60.0, 1000, 1000 + 2 * HOUR, 2 * HOUR),  # runs: doubled
            ((500, HOUR, 9e9), 60.0, 1000, 1000 + 2 * HOUR, 2 * HOUR),  # ended, remembered: doubled
            ((500, HOUR, 1000), 60.0, 1000, 1060, 60.0),  # ended, forgotten: as the first time
            ((500, HOUR, 9e9), 3 * HOUR, 1000, 1000 + 3 * HOUR, 3 * HOUR),  # asked for more than that
            ((500, 3 * HOUR, 9e9), 60.0, 1000, 1000 + 4 * HOUR, 4 * HOUR),  # bounded
            ((500, 9 * HOUR, 9e9), 60.0, 1000, 1000 + 4 * HOUR, 4 * HOUR),  # was longer by name: bounded too
            ((1000 + 9 * HOUR, 9 * HOUR, 9e9), 60.0, 1000, 1000 + 9 * HOUR, 4 * HOUR),  # never ends earlier
        ],
    )
    def test_grows_within_bounds(
        self, held: tuple[float, float, float], asked: float, now: float, until: float, ttl: float
    ) -> None:
        """Twice the last TTL, at most max_ttl, at least what is asked, never an earlier end."""
        assert only(renewed(terms(*held), ONE, asked, now, self.BANS)) == (until, ttl, until + DAY)

    def test_an_allow_does_not_grow(self) -> None:
        """It lasts as asked, or as long as it would anyway; nothing is remembered."""
        assert only(renewed(terms(2000, HOUR, 2000), ONE, 60, 1000, AS_ASKED)) == (2000, 60, 2000)
        assert only(renewed(terms(2000, HOUR, 2000), ONE, 1500, 1000, AS_ASKED)) == (2500, 1500, 2500)
        assert only(renewed(terms(900, HOUR, 900), ONE, 60, 1000, AS_ASKED)) == (1060, 60, 1060)

    @given(
        st.lists(st.tuples(st.floats(0, 2 * DAY), st.floats(1, 30 * DAY)), min_size=1, max_size=30),
        st.floats(1, 10),
        st.sampled_from(["0s", "1h", "7d"]),
        st.sampled_from(["0s", "1h", "1d"]),
    )
    def test_never_for_ever_by_accident(
        self, offences: list[Row], factor: float, max_ttl: str, memory: str
    ) -> None:
        """Through any series the end never moves back, and no TTL exceeds both what was asked and max_ttl."""
        bans = Bans(repeat_factor=factor, max_ttl=max_ttl, memory=memory)
        held, now = TermSet.empty(), 1e9
        for pause, asked in offences:
            now += pause
            before = only(held)[0] if len(held) else 0.0
            held = renewed(held, ONE, asked, now, bans)
            until, ttl, forget = only(held)
            assert until >= max(before if before > now else 0, now + asked)
            assert asked <= ttl <= max(asked, bans.max_ttl_seconds)
            assert until <= max(before, now + ttl)
            assert forget == until + bans.memory_seconds


def timetable_of(lists: Iterable[RawList]) -> Timetable:
    """The product's form of the two timed lists."""

    def terms_of(raw: RawList) -> TermSet:
        entries, ends = EntrySet.from_strings(raw.texts), dict(zip(raw.texts, raw.ends, strict=True))
        v4, v6 = (
            Terms(
                part,
                *[np.array([ends[_text(str(row), family)] for row in part.rows()], np.float64)] * 3,
            )
            for family, part in ((4, entries.v4), (6, entries.v6))
        )
        return TermSet(v4, v6)

    allow, block = lists
    return Timetable(terms_of(allow), terms_of(block))


def _text(text: str, family: int) -> str:
    return text if "/" in text else f"{text}/{32 if family == 4 else 128}"


def plain(times: Iterable[Expiries]) -> dict[str, Row]:
    """Ends by entry."""
    return {
        _text(str(row), part.family): (allow, block)
        for part in times
        for row, allow, block in zip(
            part.entries.rows(), part.allow_until.tolist(), part.block_until.tolist(), strict=True
        )
    }


class TestTimetable:
    @given(timed_lists())
    def test_the_longest_match_has_the_ends_of_all_that_cover(self, lists: list[RawList]) -> None:
        """For every address the longest row says what a scan of all timed entries says."""
        held = plain(times_of(timetable_of(lists)))
        assert set(held) == {text for raw in lists for text in raw.texts}
        for address in ADDRESSES:
            assert at(held, address) == tuple(end_of(raw, address) for raw in lists), address

    @given(timed_lists())
    def test_the_next_end_is_the_first(self, lists: list[RawList]) -> None:
        """Over both lists and families."""
        assert timetable_of(lists).next() == min((end for raw in lists for end in raw.ends), default=None)


def times_of(timetable: Timetable | Found) -> list[Expiries]:
    """All that the kernel is to be told."""
    return [timetable.at(timetable.rows(family)) for family in (4, 6)]


def applied(held: dict[str, Row], steps: TimeSteps) -> tuple[dict[str, Row], dict[str, Row]]:
    """What the kernel holds while its tables change, and at the end."""
    during = {**held, **plain(steps.raised)}
    after = {**during, **plain(steps.lowered)}
    for entries in steps.gone:
        for row in entries.rows():
            del after[_text(str(row), row.family)]
    return during, after


def at(held: dict[str, Row], address: str) -> Row:
    """The ends of an address, by longest match."""
    covering = max(held, key=lambda text: covers(text, address), default="")
    return held[covering] if covering and covers(covering, address) >= 0 else (0.0, 0.0)


class TestSteps:
    @pytest.mark.parametrize("read_back", [False, True])
    @given(one=timed_lists(), other=timed_lists())
    def test_lead_to_the_new_ends_and_are_generous_meanwhile(
        self, read_back: bool, one: list[RawList], other: list[RawList]
    ) -> None:
        """While tables change every address has the later of its old and new ends; no part mixes lengths."""
        old, new = timetable_of(one), timetable_of(other)
        before, wanted = plain(times_of(old)), plain(times_of(new))
        steps = time_steps(Found(*times_of(old)) if read_back else old, new)
        during, after = applied(before, steps)
        assert after == wanted
        for address in ADDRESSES:
            assert at(during, address) == tuple(map(max, at(before, address), at(wanted, address)))
        parts: list[Expiries | Entries] = [*steps.raised, *steps.lowered, *steps.gone]
        assert all(len(set(part.length.tolist())) == 1 for part in parts)

    @given(timed_lists(), st.integers(0, 4))
    def test_a_few_changed_entries_are_enough_to_know(self, lists: list[RawList], place: int) -> None:
        """Naming what changes gives the same steps as looking at everything."""
        allow, block = lists
        other = block._replace(texts=block.texts[:place], ends=tuple(end + 1 for end in block.ends[:place]))
        old, new = timetable_of(lists), timetable_of([allow, other])
        changed = EntrySet.from_strings(block.texts)
        by_family = {4: changed.v4, 6: changed.v6}
        assert time_steps(old, new, by_family) == time_steps(old, new)

    @given(timed_lists())
    def test_nothing_is_written_without_a_difference(self, lists: list[RawList]) -> None:
        """The same ends twice are no work."""
        timetable = timetable_of(lists)
        assert time_steps(timetable, timetable) == TimeSteps()


class TestDeciding:
    DEFS = {  # noqa: RUF012 - a table
        1: ClassDef(1, "pass", "a", frozenset("a"), "allow", 2),
        2: ClassDef(2, "drop", "b", frozenset("b"), "block", 3),
        3: ClassDef(3, "none", "c", frozenset("c")),
        4: ClassDef(4, "drop", "b", frozenset("b"), "block"),
    }

    @pytest.mark.parametrize(
        ("class_id", "allow", "block", "decides"),
        [
            (1, 11, 0, 1), (1, 10, 11, 2), (1, 10, 10, 3), (2, 99, 9, 3), (2, 0, 11, 2), (3, 0, 0, 3),
            (4, 0, 10, 0), (4, 0, 11, 4), (0, 0, 0, 0), (9, 0, 0, 9),
        ],
    )  # fmt: skip
    def test_follows_classes_that_ended(
        self, class_id: int, allow: float, block: float, decides: int
    ) -> None:
        """At 10: an end at 10 is over."""
        row = EntrySet.from_strings(["203.0.113.7"]).v4
        ends = Expiries(4, row.address, row.length, np.array([float(allow)]), np.array([float(block)]))
        assert deciding(np.array([class_id], np.uint16), ends, self.DEFS, 10.0).tolist() == [decides]
