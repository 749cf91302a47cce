# SPDX-License-Identifier: Apache-2.0
"""An engine with something in every list, changes to make on it, and a check of the outcome."""

from collections.abc import Callable
from pathlib import Path

from neurowall.data.state import StateStore
from neurowall.logic.engine import Engine
from neurowall.logic.results import ListInfo
from neurowall.model.address import Entry
from neurowall.model.intent import Intent
from neurowall.model.policy import Capacity, ListSpec
from tests.unit.logic.conftest import StartEngine, policy_of
from tests.unit.logic.fake import FakeDataPlane
from tests.unit.logic.oracle import RawList, judge

FEED = ListSpec(name="feed", verdict="block", entries=("203.0.113.7", "198.51.100.0/24"))
MORE = "".join(f"192.0.2.{i}\n" for i in range(20)) + "198.51.100.9\n"

Change = Callable[[Engine], object]
CHANGES: dict[str, Change] = {
    "block": lambda engine: engine.block(["192.0.2.1", "198.51.100.7", "203.0.113.0/24"]),
    "unblock": lambda engine: engine.unblock(["192.0.2.77"]),
    "allow": lambda engine: engine.allow(["198.51.100.0/28"]),
    "load": lambda engine: engine.load_list("bad", "block", MORE),
    "replace": lambda engine: engine.replace_list("feed", MORE),
    "remove": lambda engine: engine.remove_list("loaded"),
    "ban": lambda engine: engine.block(["192.0.2.1", "198.51.100.7", "203.0.113.0/24"], ttl=3600),
    "ban again": lambda engine: engine.block(["192.0.2.88"], ttl=3600),
    "ban for good": lambda engine: engine.block(["192.0.2.88", "192.0.2.89"]),
    "pardon": lambda engine: engine.unblock(["192.0.2.88", "192.0.2.77"]),
    "allow for a while": lambda engine: engine.allow(["198.51.100.0/28"], ttl=60),
    "monitor": lambda engine: engine.set_monitor("feed", monitor=True),
    "enforce": lambda engine: engine.set_monitor("watched", monitor=False),
}


def prepared(start: StartEngine, capacity: Capacity | None = None) -> Engine:
    """An engine with something in every kind of list."""
    engine = start(FEED, capacity=capacity)
    engine.block(["192.0.2.77", "2001:db8::/64"])
    engine.load_list("loaded", "block", "203.0.113.7\n192.0.2.99\n")
    engine.load_list("watched", "block", "192.0.2.0/25\n192.0.2.88\n", monitor=True)
    engine.block(["192.0.2.88", "192.0.2.96/28"], ttl=1800)
    engine.allow(["192.0.2.97"], ttl=1800)
    return engine


def intent(tmp_path: Path) -> Intent:
    """What is saved."""
    return StateStore(tmp_path / "state").load()


class World:
    """A machine of its own, that can crash and start again."""

    def __init__(self, directory: Path) -> None:
        self.plane = FakeDataPlane()
        self.plane.clock = lambda: 1_000_000.0
        self._directory = directory
        self._store = StateStore(directory)

    def start(self, *specs: ListSpec, capacity: Capacity | None = None) -> Engine:
        """Start the daemon, after a crash too."""
        self._store.close()
        self._store = StateStore(self._directory)
        self.plane.after_row = lambda: None
        if capacity:
            self.plane.held_capacity = capacity
        engine = Engine(policy_of(*specs, capacity=capacity), self.plane, self._store, clock=self.plane.clock)
        engine.start()
        return engine

    def prepared(self) -> Engine:
        """Start with something in every kind of list."""
        return prepared(self.start)

    def end(self) -> None:
        """Give the directory up."""
        self._store.close()


def agrees(engine: Engine, plane: FakeDataPlane) -> bool:
    """The kernel holds just what the engine's lists mean, by the oracle's scan."""
    lists = [raw_of(engine, info) for info in engine.lists()]
    rows, ends = (
        {str(Entry(family, value, length)) for family, length, value in held}
        for held in (plane.rows, plane.ends)
    )
    return (
        rows == {text for raw in lists for text in raw.texts}
        and ends == {text for raw in lists for text in raw.texts if raw.ends}
        and all(
            plane.verdict(first) == judge(lists, first, plane.clock()).verdict
            for first in (text.partition("/")[0] for text in rows)
        )
    )


def raw_of(engine: Engine, info: ListInfo) -> RawList:
    """A list as the engine shows it, for the oracle."""
    page = engine.show_list(info.name)
    ends = tuple(end for end in page.expires if end is not None)
    return RawList(info.name, info.verdict, page.entries, info.monitor, ends)
