# SPDX-License-Identifier: Apache-2.0
"""Blocks and allows that end by themselves, on a data plane in memory with a clock of its own."""

from pathlib import Path

import pytest

from neurowall.model.errors import CapacityError, ListConflict, ListError, MapFull
from neurowall.model.policy import Bans, ListSpec
from tests.unit.logic.conftest import StartEngine, policy_of
from tests.unit.logic.fake import FakeDataPlane
from tests.unit.logic.machine import agrees

FEED = ListSpec(name="feed", verdict="block", entries=("203.0.113.7", "198.51.100.0/24"))
HOUR, DAY = 3600.0, 86_400.0
NOON = 1_000_000.0


class Clock:
    """The time, as the test says it is."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> float:
        """Unix time in seconds."""
        return self.now


@pytest.fixture
def clock(plane: FakeDataPlane) -> Clock:
    """The clock of kernel and engine."""
    plane.clock = Clock()
    return plane.clock


class TestBlock:
    def test_ends_by_itself(self, start: StartEngine, plane: FakeDataPlane, clock: Clock) -> None:
        """The kernel drops until the end, daemon or not; the answer and the list say when that is."""
        engine = start()
        result = engine.block(["192.0.2.1", "2001:db8::/48"], ttl=HOUR)
        assert (result.added, result.addresses[0].outcome, result.addresses[0].verdict) == (
            2,
            "added",
            "drop",
        )
        assert result.addresses[0].expires == NOON + HOUR
        page = engine.show_list("operator-block-timed")
        assert (page.entries, page.expires) == (("192.0.2.1", "2001:db8::/48"), (NOON + HOUR,) * 2)
        assert engine.show_list("operator-block").entries == ()
        assert engine.next_expiry() == NOON + HOUR
        clock.now += HOUR - 1
        assert plane.verdict("192.0.2.1") == plane.verdict("2001:db8::1") == "drop"
        assert engine.explain("192.0.2.1").verdict == "drop"
        clock.now += 1
        assert plane.verdict("192.0.2.1") is plane.verdict("2001:db8::1") is None

    def test_after_the_end_all_answers_agree(
        self, start: StartEngine, plane: FakeDataPlane, clock: Clock
    ) -> None:
        """Before housekeeping the entry is still in the tables, but nothing says that it is in force."""
        engine = start(FEED)
        engine.block(["203.0.113.7", "192.0.2.1"], ttl=HOUR)
        before = engine.explain("192.0.2.1")
        assert (before.list, before.expires) == ("operator-block-timed", NOON + HOUR)
        assert [cover.list for cover in before.covers] == ["operator-block-timed"]
        clock.now += HOUR
        found = engine.explain("192.0.2.1")
        assert (found.verdict, found.reason, found.list, found.entry, found.expires) == (
            None, "default", None, None, None,
        )  # fmt: skip
        assert (found.covers, found.kernel_verdict, found.in_kernel) == ((), "none", True)
        assert engine.explain("203.0.113.7").list == "feed"

    def test_a_feed_decides_before_and_after(
        self, start: StartEngine, plane: FakeDataPlane, clock: Clock
    ) -> None:
        """What another list blocks for good has no end, and stays blocked after that of the ban."""
        engine = start(FEED)
        engine.block(["203.0.113.7"], ttl=HOUR)
        assert engine.explain("203.0.113.7").list == "feed"
        assert engine.explain("203.0.113.7").expires is None
        clock.now += HOUR
        assert engine.expire() == 1
        assert plane.verdict("203.0.113.7") == "drop"
        result = engine.unblock(["203.0.113.7"])
        assert result.addresses[0].still_blocked_by == ("feed",)

    @pytest.mark.parametrize("ttl", [0, -1, float("nan"), float("inf"), 3651 * DAY])
    def test_a_ttl_that_cannot_be(self, start: StartEngine, plane: FakeDataPlane, ttl: float) -> None:
        """Nothing, negative, endless or more than ten years: refused, and nothing is touched."""
        engine = start()
        plane.operations.clear()
        with pytest.raises(ListError, match="more than 0 and at most 3650d"):
            engine.block(["192.0.2.1"], ttl=ttl)
        assert plane.operations == []

    def test_expiries_come_before_entries_and_go_after_them(
        self, start: StartEngine, plane: FakeDataPlane, clock: Clock
    ) -> None:
        """No packet meets a timed entry without its end."""
        engine = start()
        plane.operations.clear()
        engine.block(["192.0.2.1"], ttl=HOUR)
        assert writes(plane) == ["put_expiries", "put", "grace"]
        plane.operations.clear()
        engine.unblock(["192.0.2.1"])
        assert writes(plane) == ["delete", "grace", "delete_expiries"]

    def test_more_than_the_kernel_has_room_for_is_refused_first(
        self, start: StartEngine, plane: FakeDataPlane, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Hosts and prefixes of each family count apart; nothing is touched, and the advice fits a ban."""
        monkeypatch.setattr("neurowall.logic.timed.MAX_TIMED", 2)
        engine = start()
        engine.block(["192.0.2.1", "192.0.2.2", "192.0.2.0/24", "2001:db8::1"], ttl=HOUR)
        plane.operations.clear()
        with pytest.raises(CapacityError, match="timed hosts4 to 3, the limit is 2: load a list of them"):
            engine.block(["192.0.2.3"], ttl=HOUR)
        assert plane.operations == []
        assert engine.block(["192.0.2.2"], ttl=HOUR).addresses[0].outcome == "extended"

    def test_a_full_expiry_map_is_refused_whole(
        self, start: StartEngine, plane: FakeDataPlane, clock: Clock
    ) -> None:
        """That map does not grow; nothing is changed, and the message does not send to a capacity."""
        engine = start()

        def full(operation: str) -> None:
            if operation == "put_expiries":
                raise MapFull("timed_hosts4", 65536)

        plane.before = full
        with pytest.raises(Exception, match="timed_hosts4 is full at 65,536: shorten the list; nothing was"):
            engine.block(["192.0.2.1"], ttl=HOUR)
        plane.before = lambda _: None
        assert (plane.rows, plane.ends) == ({}, {})
        assert "grow" not in plane.operations


class TestReoffence:
    def test_an_extension_writes_only_the_expiry(
        self, start: StartEngine, plane: FakeDataPlane, clock: Clock
    ) -> None:
        """A block that runs is doubled: no table changes, and the answer comes after a grace period."""
        engine = start(FEED)
        engine.block(["192.0.2.1"], ttl=HOUR)
        clock.now += 60
        plane.operations.clear()
        result = engine.block(["192.0.2.1"], ttl=60)
        assert (result.added, result.addresses[0].outcome) == (0, "extended")
        assert result.addresses[0].expires == clock.now + 2 * HOUR
        assert [name for name in plane.operations if name != "contents"] == ["put_expiries", "grace"]
        clock.now += 2 * HOUR - 1
        assert plane.verdict("192.0.2.1") == "drop"
        assert engine.expire() == 0

    def test_counts_after_the_end_as_long_as_it_is_remembered(self, start: StartEngine, clock: Clock) -> None:
        """A day by default; housekeeping and a restart forget nothing."""
        engine = start()
        engine.block(["192.0.2.1", "192.0.2.2"], ttl=HOUR)
        clock.now += HOUR
        assert engine.expire() == 2
        clock.now += DAY - 1
        engine = start()
        again = engine.block(["192.0.2.1"], ttl=60).addresses[0]
        assert (again.outcome, again.expires) == ("extended", clock.now + 2 * HOUR)
        clock.now += 2
        fresh = engine.block(["192.0.2.2"], ttl=60).addresses[0]
        assert (fresh.outcome, fresh.expires) == ("added", clock.now + 60)

    def test_before_housekeeping_too(self, start: StartEngine, plane: FakeDataPlane, clock: Clock) -> None:
        """An ended block that is still in the tables is on again with its expiry."""
        engine = start()
        engine.block(["192.0.2.1"], ttl=HOUR)
        clock.now += 2 * HOUR
        assert engine.block(["192.0.2.1"], ttl=60).addresses[0].outcome == "extended"
        assert plane.verdict("192.0.2.1") == "drop"
        assert engine.expire() == 0

    def test_the_policy_says_how(self, start: StartEngine, clock: Clock) -> None:
        """Factor, bound and memory come from `bans`, at once after a reload."""
        engine = start()
        engine.block(["192.0.2.1"], ttl=HOUR)
        bans = Bans(repeat_factor=10, max_ttl="3h", memory="0s")
        engine.reload_policy(policy_of().model_copy(update={"bans": bans}))
        again = engine.block(["192.0.2.1"], ttl=60).addresses[0]
        assert again.expires == clock.now + 3 * HOUR
        clock.now += 3 * HOUR
        assert engine.block(["192.0.2.1"], ttl=60).addresses[0].outcome == "added"

    def test_an_unblock_is_a_pardon(self, start: StartEngine, clock: Clock) -> None:
        """What the operator takes back does not count against the address."""
        engine = start()
        engine.block(["192.0.2.1"], ttl=HOUR)
        removed = engine.unblock(["192.0.2.1"]).addresses[0]
        assert (removed.outcome, removed.expires, removed.verdict) == ("removed", NOON + HOUR, None)
        assert engine.block(["192.0.2.1"], ttl=60).addresses[0].outcome == "added"
        clock.now += HOUR
        engine.expire()
        assert engine.unblock(["192.0.2.1"]).addresses[0].outcome == "unchanged"
        assert engine.block(["192.0.2.1"], ttl=60).addresses[0].outcome == "added"


class TestForGood:
    def test_permanent_stays_permanent(self, start: StartEngine, plane: FakeDataPlane, clock: Clock) -> None:
        """A ban does not shorten a block without end."""
        engine = start()
        engine.block(["192.0.2.1"])
        generation = engine.status().generation
        result = engine.block(["192.0.2.1"], ttl=60)
        assert (result.generation, result.unchanged) == (generation, 1)
        outcome = result.addresses[0]
        assert (outcome.outcome, outcome.expires) == ("unchanged", None)
        clock.now += HOUR
        assert plane.verdict("192.0.2.1") == "drop"

    @pytest.mark.parametrize("action", ["block", "allow"])
    def test_a_permanent_one_takes_the_place_of_a_timed_one(
        self, start: StartEngine, plane: FakeDataPlane, clock: Clock, action: str
    ) -> None:
        """Without a moment in which neither is there."""
        engine = start()
        verdict = {"block": "drop", "allow": "pass"}[action]
        getattr(engine, action)(["192.0.2.1"], ttl=HOUR)
        seen = []
        plane.after_row = lambda: seen.append(plane.verdict("192.0.2.1"))
        outcome = getattr(engine, action)(["192.0.2.1"]).addresses[0]
        assert (outcome.outcome, outcome.expires) == ("added", None)
        assert set(seen) == {verdict}
        assert engine.show_list(f"operator-{action}-timed").entries == ()
        assert plane.ends == {}
        clock.now += DAY
        assert plane.verdict("192.0.2.1") == verdict

    def test_unblock_takes_both_kinds(self, start: StartEngine, plane: FakeDataPlane, clock: Clock) -> None:
        """One request removes timed and permanent entries, and says of each what it was."""
        engine = start()
        engine.block(["192.0.2.1"])
        engine.block(["192.0.2.2"], ttl=HOUR)
        result = engine.unblock(["192.0.2.1", "192.0.2.2", "192.0.2.3"])
        assert [(o.outcome, o.expires) for o in result.addresses] == [
            ("removed", None), ("removed", NOON + HOUR), ("unchanged", None),
        ]  # fmt: skip
        assert (result.removed, result.unchanged) == (2, 1)
        assert (plane.rows, plane.ends) == ({}, {})


class TestAllow:
    def test_opens_for_a_while_and_does_not_grow(
        self, start: StartEngine, plane: FakeDataPlane, clock: Clock
    ) -> None:
        """A timed allow beats a block; another one moves the end to where it asks, never back."""
        engine = start(FEED)
        assert engine.allow(["198.51.100.7"], ttl=HOUR).addresses[0].verdict == "pass"
        shorter = engine.allow(["198.51.100.7"], ttl=60).addresses[0]
        assert (shorter.outcome, shorter.expires) == ("unchanged", NOON + HOUR)
        clock.now += 60
        longer = engine.allow(["198.51.100.7"], ttl=HOUR).addresses[0]
        assert (longer.outcome, longer.expires) == ("extended", clock.now + HOUR)
        assert plane.verdict("198.51.100.7") == "pass"
        blocked = engine.block(["198.51.100.7"], ttl=DAY).addresses[0]
        assert (blocked.verdict, blocked.shadowed_by) == ("pass", ("operator-allow-timed",))
        clock.now += HOUR
        assert plane.verdict("198.51.100.7") == "drop"
        assert engine.expire() == 1
        assert engine.unblock(["198.51.100.7"]).addresses[0].still_blocked_by == ("feed",)

    def test_partly_looks_at_what_is_in_force(self, start: StartEngine, clock: Clock) -> None:
        """A hole in a blocked prefix is named as long as it is one."""
        engine = start()
        engine.allow(["192.0.2.9"], ttl=HOUR)
        assert engine.block(["192.0.2.0/24"]).addresses[0].partly == ("operator-allow-timed",)
        clock.now += HOUR
        assert engine.block(["192.0.2.0/24"]).addresses[0].partly == ()


class TestHousekeeping:
    def test_takes_out_what_ended_and_nothing_else(
        self, start: StartEngine, plane: FakeDataPlane, clock: Clock
    ) -> None:
        """Entries and expiries go; an end inside a longer one does not cut that short."""
        engine = start()
        engine.block(["192.0.2.1", "192.0.2.0/24"], ttl=HOUR)
        engine.block(["192.0.2.0/25"], ttl=2 * HOUR)
        assert engine.expire() == 0
        clock.now += HOUR
        generation = engine.status().generation
        assert plane.verdict("192.0.2.1") == "drop"
        assert plane.verdict("192.0.2.200") is None
        assert engine.expire() == 2
        assert engine.status().generation == generation + 1
        assert plane.verdict("192.0.2.1") == "drop"
        assert list(plane.ends.values()) == [(0.0, NOON + 2 * HOUR)]
        assert agrees(engine, plane)
        clock.now += HOUR
        assert (engine.expire(), engine.next_expiry()) == (1, None)
        assert (plane.rows, plane.ends) == ({}, {})

    def test_nothing_to_do_makes_no_generation(self, start: StartEngine, plane: FakeDataPlane) -> None:
        """Looking costs nothing."""
        engine = start(FEED)
        plane.operations.clear()
        generation = engine.status().generation
        assert (engine.expire(), engine.next_expiry()) == (0, None)
        assert (engine.status().generation, plane.operations) == (generation, [])

    def test_the_timed_lists_are_not_loaded_or_removed(self, start: StartEngine) -> None:
        """Their entries come with ends, one by one; their names are taken."""
        engine = start()
        for name in ("operator-block-timed", "operator-allow-timed"):
            with pytest.raises(ListConflict, match="built in"):
                engine.replace_list(name, "192.0.2.1")
            with pytest.raises(ListConflict, match="built in"):
                engine.remove_list(name)
            with pytest.raises(ListConflict, match="built in"):
                engine.load_list(name, "block", "192.0.2.1")


class TestRestart:
    def test_goes_on_with_the_remaining_time(
        self, start: StartEngine, plane: FakeDataPlane, clock: Clock
    ) -> None:
        """Also if the kernel lost everything; what ended meanwhile is gone, from disk and kernel."""
        engine = start(FEED)
        engine.block(["192.0.2.1"], ttl=HOUR)
        engine.block(["192.0.2.2"], ttl=3 * HOUR)
        engine.allow(["203.0.113.7"], ttl=2 * HOUR)
        clock.now += HOUR
        plane.rows.clear()
        plane.ends.clear()
        engine = start(FEED)
        assert agrees(engine, plane)
        assert engine.show_list("operator-block-timed").expires == (NOON + 3 * HOUR,)
        assert plane.verdict("203.0.113.7") == "pass"
        clock.now += HOUR
        assert plane.verdict("203.0.113.7") == "drop"
        clock.now += HOUR
        assert plane.verdict("192.0.2.2") is None

    def test_ends_in_the_kernel_are_those_of_the_disk(
        self, start: StartEngine, plane: FakeDataPlane, clock: Clock
    ) -> None:
        """Expiries that the disk does not know are removed, others written again."""
        start().block(["192.0.2.1"], ttl=HOUR)
        plane.ends[4, 32, 0xC0000201] = (5e9, 5e9)
        plane.ends[4, 32, 0xC0000299] = (0.0, 5e9)
        start()
        assert plane.ends == {(4, 32, 0xC0000201): (0.0, NOON + HOUR)}

    def test_a_second_restart_changes_nothing(
        self, start: StartEngine, plane: FakeDataPlane, clock: Clock
    ) -> None:
        """Tables are adopted, in the same generation."""
        engine = start(FEED)
        engine.block(["192.0.2.1"], ttl=HOUR)
        before, ends = engine.status(), dict(plane.ends)
        plane.operations.clear()
        assert start(FEED).status() == before
        assert plane.written == []
        assert plane.ends == ends

    def test_a_lost_state_gives_no_rest_away(
        self, start: StartEngine, plane: FakeDataPlane, tmp_path: Path, clock: Clock
    ) -> None:
        """While entries of unknown classes go, what comes after their end keeps its meaning."""
        engine = start()
        engine.load_list("watched", "block", "192.0.2.1", monitor=True)
        engine.block(["192.0.2.1"], ttl=HOUR)
        (tmp_path / "state").rename(tmp_path / "gone")
        clock.now += 2 * HOUR
        seen = []
        plane.after_row = lambda: seen.append(plane.verdict("192.0.2.1"))
        many = ListSpec(name="many", verdict="block", entries=("198.51.100.1",))
        engine = start(many)
        assert set(seen) == {None}
        assert agrees(engine, plane)


def writes(plane: FakeDataPlane) -> list[str]:
    """The operations that change the kernel, and the waits between."""
    return [
        name
        for name in plane.operations
        if name in ("put", "delete", "grace", "put_expiries", "delete_expiries")
    ]
