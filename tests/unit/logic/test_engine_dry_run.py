# SPDX-License-Identifier: Apache-2.0
"""Dry runs of everything that changes lists: the same checks and answer, and nothing is different after."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from neurowall.logic.engine import Engine
from neurowall.logic.results import Result
from neurowall.model.errors import CapacityError, ListConflict, ListInvalid, ListMissing, NeurowallError
from neurowall.model.limits import LimitBan
from neurowall.model.policy import Capacity, ListSpec
from tests.unit.logic.conftest import StartEngine
from tests.unit.logic.fake import FakeDataPlane

SPECS = (
    ListSpec(name="partners", verdict="allow", entries=("192.0.2.0/28",)),
    ListSpec(name="feed", verdict="block", entries=("203.0.113.0/24", "2001:db8:bad::/48")),
)
PREFIXES = "\n".join(f"198.18.{n}.0/24" for n in range(200))
EMPTY = """
interfaces: [{name: wan0, zone: external}]
lists: [{name: x, verdict: block, entries: []}]
"""
Request = Callable[..., Result]

CHANGES: dict[str, Callable[[Engine], Request]] = {
    "block": lambda e: lambda **how: e.block(["198.51.100.7", "192.0.2.1", "203.0.113.0/24"], **how),
    "block-for-a-time": lambda e: lambda **how: e.block(["198.51.100.7", "198.51.100.9"], 3600.0, **how),
    "block-prefix": lambda e: lambda **how: e.block(["192.0.2.0/24"], **how),
    "allow": lambda e: lambda **how: e.allow(["203.0.113.9", "2001:db8:bad::1"], **how),
    "allow-for-a-time": lambda e: lambda **how: e.allow(["203.0.113.9"], 60.0, **how),
    "unblock": lambda e: lambda **how: e.unblock(["198.51.100.1", "198.51.100.9", "198.51.100.66"], **how),
    "unallow": lambda e: lambda **how: e.unallow(["198.51.100.2"], **how),
    "load": lambda e: lambda **how: e.load_list("new", "allow", "203.0.113.1\n203.0.113.1\n", **how),
    "load-with-bad-lines": lambda e: (
        lambda **how: e.load_list("new", "block", "no\n192.0.2.77/24\n", skip_invalid=True, **how)
    ),
    "replace": lambda e: lambda **how: e.replace_list("feed", "198.51.100.0/24\n203.0.113.0/24\n", **how),
    "replace-with-the-same": lambda e: lambda **how: e.replace_list("old", "192.0.2.200\n", **how),
    "monitor": lambda e: lambda **how: e.set_monitor("feed", True, **how),
    "remove": lambda e: lambda **how: e.remove_list("old", **how),
}

REFUSALS: dict[str, tuple[type[NeurowallError], Callable[[Engine], Request]]] = {
    "no-address": (ListInvalid, lambda e: lambda **how: e.block(["300.1.1.1"], **how)),
    "too-many": (
        CapacityError,
        lambda e: lambda **how: e.block([f"198.18.{n // 256}.{n % 256}" for n in range(2000)], **how),
    ),
    "too-large-a-list": (
        CapacityError,
        lambda e: (
            lambda **how: e.replace_list("feed", "\n".join(f"198.18.{n}.0/24" for n in range(200)), **how)
        ),
    ),
    "a-list-that-is-there": (ListConflict, lambda e: lambda **how: e.load_list("feed", "block", "", **how)),
    "a-list-that-is-not": (ListMissing, lambda e: lambda **how: e.remove_list("nothing", **how)),
    "built-in": (ListConflict, lambda e: lambda **how: e.set_monitor("operator-block", True, **how)),
    "declared": (ListConflict, lambda e: lambda **how: e.remove_list("feed", **how)),
}


@pytest.fixture
def engine(start: StartEngine, plane: FakeDataPlane) -> Engine:
    """One with lists of every kind, and a ban by a limit; its clock stands still."""
    plane.clock = plane.limiter.clock = lambda: 1_000_000.0
    capacity = Capacity(hosts4=1000, prefixes4=100, hosts6=100, prefixes6=100, classes=64, grow=False)
    engine = start(*SPECS, capacity=capacity)
    engine.block(["198.51.100.1"])
    engine.block(["198.51.100.9"], 60.0)
    engine.allow(["198.51.100.2"])
    engine.load_list("old", "block", "192.0.2.200\n")
    plane.limiter.banned["198.51.100.66"] = LimitBan("198.51.100.66", 1_000_060.0, "syn")
    return engine


def everything(engine: Engine, plane: FakeDataPlane, directory: Path) -> object:
    """All that a change could change: kernel, disk and answers."""
    files = {path: path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()}
    answers = engine.status(), engine.limit_bans(), [engine.show_list(info.name) for info in engine.lists()]
    return dict(plane.rows), dict(plane.ends), dict(plane.classes), plane.held_capacity, files, answers


class TestDryRun:
    @pytest.mark.parametrize("what", CHANGES)
    def test_answers_as_the_change_itself_and_changes_nothing(
        self, engine: Engine, plane: FakeDataPlane, tmp_path: Path, what: str
    ) -> None:
        """All but the generation, which is the present one, and that it was a dry run."""
        change = CHANGES[what](engine)
        before = everything(engine, plane, tmp_path)
        plane.operations.clear()
        tried = change(dry_run=True)
        assert everything(engine, plane, tmp_path) == before
        assert plane.written == []
        assert tried.dry_run
        done = change()
        assert not done.dry_run
        assert replace(tried, generation=done.generation, dry_run=False) == done

    @pytest.mark.parametrize("what", REFUSALS)
    def test_refuses_what_the_change_refuses(
        self, engine: Engine, plane: FakeDataPlane, tmp_path: Path, what: str
    ) -> None:
        """With the same words."""
        error, make = REFUSALS[what]
        change = make(engine)
        before = everything(engine, plane, tmp_path)
        with pytest.raises(error) as tried:
            change(dry_run=True)
        assert everything(engine, plane, tmp_path) == before
        with pytest.raises(error) as done:
            change()
        assert str(tried.value) == str(done.value)

    def test_of_maps_that_grow_makes_none(self, start: StartEngine, plane: FakeDataPlane) -> None:
        """A list for which the kernel maps would be made larger is only compiled."""
        capacity = Capacity(hosts4=1000, prefixes4=100, hosts6=100, prefixes6=100, classes=64, grow=True)
        engine = start(capacity=capacity)
        text = "\n".join(f"198.18.{n // 256}.{n % 256}" for n in range(2000))
        tried = engine.load_list("large", "block", text, dry_run=True)
        assert (tried.added, "grow" in plane.operations) == (2000, False)
        assert engine.load_list("large", "block", text).added == 2000
        assert "grow" in plane.operations

    def test_of_a_confirmation_leaves_the_policy_waiting(self, start: StartEngine) -> None:
        """It answers as if it was confirmed, and the policy can be confirmed afterwards."""
        engine = start()
        engine.apply_policy(EMPTY, "p.yaml", confirm=60)
        assert engine.confirm_policy(dry_run=True).pending is None
        assert engine.policy_now().pending is not None
        assert engine.confirm_policy().pending is None
        assert engine.policy_now().pending is None
