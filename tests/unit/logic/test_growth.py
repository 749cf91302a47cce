# SPDX-License-Identifier: Apache-2.0
"""Lists that outgrow the kernel maps, and maps that are full."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neurowall.logic.growth import FIELDS, GROWING, enlarged, larger_of
from neurowall.model.counters import Counter
from neurowall.model.errors import ApplyError, CapacityError, KernelError, MapFull
from neurowall.model.policy import Capacity, EngineName, ListSpec
from tests.unit.data.faults import Crash
from tests.unit.logic.conftest import StartEngine, policy_of
from tests.unit.logic.fake import FakeDataPlane
from tests.unit.logic.machine import FEED, MORE, World, agrees, intent

SMALL = Capacity(hosts4=4, prefixes4=4, hosts6=4, prefixes6=4)
ENTRIES = {
    "hosts4": [f"192.0.2.{i}" for i in range(40)],
    "prefixes4": [f"10.{i}.0.0/16" for i in range(40)],
    "hosts6": [f"2001:db8::{i:x}" for i in range(1, 41)],
    "prefixes6": [f"2001:db8:{i:x}::/48" for i in range(40)],
}


class TestNextSize:
    @given(st.sampled_from(GROWING), st.integers(1, 16_000_000), st.integers(1, 20_000_000))
    def test_has_room_and_stays_within_bounds(self, what: str, held: int, needed: int) -> None:
        """At least what is needed, larger than before, one field only, never more than a policy may say."""
        limit = 4_000_000 if what.startswith("prefixes") else 16_000_000
        before = Capacity.model_validate({what: min(held, limit)})
        after = enlarged(before, what, needed)
        if after is None:
            assert needed > limit or getattr(before, what) == limit
            return
        assert Capacity.model_validate(after.model_dump()) == after
        assert getattr(after, what) >= max(needed, getattr(before, what) + 1)
        assert getattr(after, what) in (limit, max(needed * 5 // 4, 2 * getattr(before, what)))
        assert after.model_dump(exclude={what}) == before.model_dump(exclude={what})

    @pytest.mark.parametrize("what", ["classes", "lists", "timed_hosts4", "lines"])
    def test_other_things_do_not_grow(self, what: str) -> None:
        """More lists or classes than there are ids for is an error of its own."""
        assert enlarged(Capacity(), what, 1) is None

    def test_the_larger_of_each(self) -> None:
        """A policy that asks for more of one thing does not take away from another."""
        found = larger_of(Capacity(hosts4=5, prefixes4=50), Capacity(hosts4=7, prefixes4=20))
        assert (found.hosts4, found.prefixes4) == (7, 50)


class TestGrowth:
    @pytest.mark.parametrize("what", ENTRIES)
    def test_a_list_that_outgrows_the_maps(self, start: StartEngine, plane: FakeDataPlane, what: str) -> None:
        """Larger maps, filled before they are in force; nothing in those that packets meet is touched."""
        engine = start(FEED, capacity=SMALL)
        engine.block(["203.0.113.77"], ttl=3600)
        before = dict(plane.rows)
        plane.operations.clear()
        plane.after_row = lambda: in_force.append(dict((plane.in_force or ({},))[0]))
        in_force: list[object] = []
        engine.load_list("many", "block", "\n".join(ENTRIES[what]))
        assert in_force
        assert all(state == before for state in in_force)
        held = engine.status().usage[what]
        assert held.used <= held.capacity == getattr(plane.held_capacity, what)
        assert plane.operations.count("grow") == 1
        assert agrees(engine, plane)
        assert [plane.verdict(text.partition("/")[0]) for text in ENTRIES[what]] == ["drop"] * 40

    def test_several_kinds_at_once_are_one_growth(self, start: StartEngine, plane: FakeDataPlane) -> None:
        """Hosts and prefixes of both families that find no room are one set of new maps."""
        engine = start(capacity=SMALL)
        engine.load_list("many", "block", "\n".join(text for part in ENTRIES.values() for text in part))
        assert plane.operations.count("grow") == 1
        assert agrees(engine, plane)

    @pytest.mark.parametrize("ttl", [None, 3600])
    def test_a_block_that_finds_no_room(
        self, start: StartEngine, plane: FakeDataPlane, ttl: float | None
    ) -> None:
        """One address more than the maps were made for."""
        engine = start(capacity=SMALL)
        engine.block(ENTRIES["hosts4"][:4])
        assert engine.block(ENTRIES["hosts4"][4:5], ttl).added == 1
        assert plane.held_capacity.hosts4 == 8
        assert agrees(engine, plane)

    def test_at_the_start(self, start: StartEngine, plane: FakeDataPlane, tmp_path: Path) -> None:
        """A declared list that is larger than the policy's own capacities, and a restart with it."""
        many = ListSpec(name="many", verdict="block", entries=tuple(ENTRIES["hosts4"]))
        engine = start(many, capacity=SMALL)
        assert agrees(engine, plane)
        plane.operations.clear()
        grown = plane.held_capacity
        engine = start(many)
        assert plane.written == []
        assert plane.held_capacity == grown

    def test_not_if_the_policy_forbids_it(self, start: StartEngine, plane: FakeDataPlane) -> None:
        """Then too much is refused before anything is touched, by name of the list and the field."""
        engine = start(FEED, capacity=SMALL.model_copy(update={"grow": False}))
        rows = dict(plane.rows)
        with pytest.raises(
            CapacityError, match="list 'many' brings hosts4 to 41, the limit is 4: raise capacity"
        ):
            engine.load_list("many", "block", "\n".join(ENTRIES["hosts4"]))
        assert plane.rows == rows
        assert "grow" not in plane.operations
        engine.reload_policy(policy_of(FEED, capacity=SMALL))
        engine.load_list("many", "block", "\n".join(ENTRIES["hosts4"]))
        assert agrees(engine, plane)

    def test_too_many_lists_are_too_many(self, start: StartEngine, plane: FakeDataPlane) -> None:
        """Sixty of one's own."""
        engine = start()
        for number in range(60):
            engine.load_list(f"l{number}", "block", "192.0.2.1")
        with pytest.raises(CapacityError, match="lists to 65"):
            engine.load_list("more", "block", "192.0.2.1")


class TestMapFull:
    def test_the_kernel_says_so_first(self, start: StartEngine, plane: FakeDataPlane) -> None:
        """Maps that take less than they were made for are replaced by larger ones half-way through."""
        engine = start(FEED)
        engine.block(["203.0.113.99"], ttl=3600)
        plane.limits["hosts4"] = 10
        engine.load_list("many", "block", MORE)
        assert plane.held_capacity.hosts4 == 2 * Capacity().hosts4
        assert agrees(engine, plane)

    @pytest.mark.parametrize("engine_name", ["classic", "buckets"])
    def test_what_cannot_fit_beside_the_old_deletes_nothing(
        self, start: StartEngine, plane: FakeDataPlane, engine_name: EngineName
    ) -> None:
        """Old and new hosts together find no room, and deleting what may go first is not enough: refused.

        The stale host inside a prefix has to wait for its turn; the other stale one must not leak meanwhile.
        """
        old = ListSpec(name="feed", verdict="block", entries=("192.0.2.1", "198.51.100.1", "198.51.100.0/24"))
        capacity = Capacity(hosts4=2, grow=False)
        engine = start(old, capacity=capacity, engine=engine_name)
        plane.limits["hosts4"] = 2
        seen: set[str | None] = set()
        plane.after_row = lambda: seen.add(plane.verdict("192.0.2.1"))
        with pytest.raises(ApplyError, match="hosts4 is full at 2"):
            engine.replace_list("feed", "203.0.113.1\n203.0.113.2\n198.51.100.0/24\n")
        assert seen <= {"drop"}
        assert agrees(engine, plane)

    @pytest.mark.parametrize(
        ("what", "old", "new"),
        [
            (
                "hosts4",
                ("192.0.2.1", "198.51.100.1", "198.51.100.0/24"),
                ("203.0.113.1", "203.0.113.2", "198.51.100.0/24"),
            ),
            (
                "hosts6",
                ("2001:db8:1::1", "2001:db8:2::1", "2001:db8:2::/48"),
                ("2001:db8:3::1", "2001:db8:3::2", "2001:db8:2::/48"),
            ),
        ],
    )
    def test_spare_room_for_hosts_is_used(
        self, start: StartEngine, plane: FakeDataPlane, what: str, old: tuple[str, ...], new: tuple[str, ...]
    ) -> None:
        """The bucket tables take more hosts than their capacity: with room enough nothing is refused."""
        spec = ListSpec(name="feed", verdict="block", entries=old)
        engine = start(spec, capacity=Capacity.model_validate({what: 2, "grow": False}))
        plane.limits[what] = 4
        engine.replace_list("feed", "\n".join(new))
        assert agrees(engine, plane)


class TestFailure:
    @pytest.mark.parametrize(
        "operation", ["grow", "set_classes", "put", "put_expiries", "contents", "switch"]
    )
    def test_leaves_the_old_maps_in_force(
        self, start: StartEngine, plane: FakeDataPlane, tmp_path: Path, operation: str
    ) -> None:
        """Whatever fails on the way: rows, expiries, capacity, saved state and generation are as before."""
        engine = start(FEED, capacity=SMALL)
        engine.block(["203.0.113.77"], ttl=3600)
        rows, ends, saved, before = dict(plane.rows), dict(plane.ends), intent(tmp_path), engine.status()
        growing = [False]

        def fail(name: str) -> None:
            growing[0] |= name == "grow"
            if growing[0] and name == operation:
                growing[0] = False
                raise KernelError(f"{name} failed")

        plane.before = fail
        with pytest.raises(ApplyError, match=f"{operation} failed; nothing was changed") as caught:
            engine.load_list("many", "block", "\n".join(ENTRIES["hosts4"]))
        assert caught.value.reverted
        plane.before = lambda _: None
        assert (plane.rows, plane.ends, plane.held_capacity) == (rows, ends, SMALL)
        assert intent(tmp_path) == saved
        assert engine.status() == before
        engine.load_list("many", "block", "\n".join(ENTRIES["hosts4"]))
        assert agrees(engine, plane)

    def test_the_intent_is_on_disk_first(self, tmp_path: Path) -> None:
        """A crash while the new maps are filled: the restart goes by the disk, and makes them."""
        world = World(tmp_path / "world")
        engine = world.start(FEED, capacity=SMALL)

        def crash(name: str) -> None:
            if name == "switch":
                raise Crash

        world.plane.before = crash
        with pytest.raises(Crash):
            engine.load_list("many", "block", "\n".join(ENTRIES["hosts4"]))
        assert world.plane.verdict("192.0.2.1") is None
        world.plane.before = lambda _: None
        engine = world.start(FEED, capacity=SMALL)
        assert world.plane.verdict("192.0.2.1") == "drop"
        assert agrees(engine, world.plane)
        world.end()

    def test_maps_that_are_full_again_are_an_error(self, start: StartEngine, plane: FakeDataPlane) -> None:
        """Growing is tried once; then all is as before."""
        engine = start(FEED)
        rows = dict(plane.rows)

        def full(name: str) -> None:
            if name == "put" and plane.rows.keys() != rows.keys():
                raise MapFull("hosts4", 7)

        plane.limits["hosts4"] = 3
        plane.before = full
        with pytest.raises(ApplyError, match="full at 7"):
            engine.load_list("many", "block", MORE)
        plane.before = lambda _: None
        assert plane.rows == rows
        assert agrees(engine, plane)


class TestReload:
    def test_a_larger_capacity_is_in_force_at_once(self, start: StartEngine, plane: FakeDataPlane) -> None:
        """By the same way as a list that outgrows the maps, and together with changed lists."""
        engine = start(FEED, capacity=SMALL)
        engine.block(["203.0.113.77"], ttl=3600)
        larger = Capacity(hosts4=100, prefixes4=4, hosts6=4, prefixes6=2)
        more = ListSpec(name="more", verdict="block", entries=tuple(ENTRIES["hosts4"]))
        result = engine.reload_policy(policy_of(FEED, more, capacity=larger))
        assert result.added == 40
        assert plane.operations.count("grow") == 1
        assert (plane.held_capacity.hosts4, plane.held_capacity.prefixes6) == (100, 4)
        assert agrees(engine, plane)

    def test_a_smaller_one_changes_no_map_and_is_said(self, start: StartEngine, plane: FakeDataPlane) -> None:
        """Maps are kept; the next ones made anew will be smaller."""
        engine = start(FEED)
        result = engine.reload_policy(policy_of(FEED, capacity=Capacity(hosts4=5, prefixes6=7)))
        (warning,) = result.warnings
        assert warning.startswith("capacity.hosts4, capacity.prefixes6: smaller than before; nothing to do")
        assert plane.held_capacity == Capacity()
        assert "grow" not in plane.operations

    def test_more_classes_keep_the_counters(self, start: StartEngine, plane: FakeDataPlane) -> None:
        """The kernel counts from 0 again in larger class maps; the sums go on."""
        engine = start(FEED, capacity=Capacity(classes=16))
        decides = plane.decides("203.0.113.7")
        assert decides
        plane.counted = {decides.id: Counter(5, 300)}
        counters = engine.counters()
        plane.before = lambda name: plane.counted.clear() if name == "switch" else None
        engine.reload_policy(policy_of(FEED, capacity=Capacity(classes=64)))
        assert plane.held_capacity.classes == 64
        assert engine.counters() == counters
        plane.counted = {decides.id: Counter(1, 60)}
        assert engine.counters().matched == {"feed": Counter(6, 360)}

    def test_fields_are_those_of_a_capacity(self) -> None:
        """Nothing that maps are made for is forgotten."""
        assert set(FIELDS) | {"grow"} == set(Capacity.model_fields)
