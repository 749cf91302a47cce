# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from neurowall.data.state import StateStore
from neurowall.kernel import bootclock
from neurowall.logic.engine import Engine
from neurowall.model.policy import Capacity, EngineName, Interface, ListSpec, Policy
from tests.unit.logic.fake import FakeDataPlane
from tests.unit.logic.policymachine import Machine

StartEngine = Callable[..., Engine]


def policy_of(*specs: ListSpec, capacity: Capacity | None = None, engine: EngineName = "buckets") -> Policy:
    """A policy with one interface and these lists."""
    interface = Interface(name="wan0", zone="external")
    return Policy(interfaces=(interface,), lists=specs, capacity=capacity or Capacity(), engine=engine)


@pytest.fixture
def plane() -> FakeDataPlane:
    """A kernel that holds nothing yet."""
    return FakeDataPlane()


@pytest.fixture
def start(plane: FakeDataPlane, tmp_path: Path) -> Iterator[StartEngine]:
    """Start an engine on the test's kernel and state directory; a second call restarts it."""
    running: list[StateStore] = []

    def begin(*specs: ListSpec, capacity: Capacity | None = None, engine: EngineName = "buckets") -> Engine:
        for store in running:
            store.close()
        running.append(StateStore(tmp_path / "state"))
        if capacity:
            plane.held_capacity = capacity
        policy = policy_of(*specs, capacity=capacity, engine=engine)
        started = Engine(policy, plane, running[-1], clock=plane.clock)
        started.start()
        return started

    yield begin
    for store in running:
        store.close()


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine whose daemon was started with interfaces only."""
    machine: list[Machine] = []
    monkeypatch.setattr(bootclock, "now", lambda: machine[0].time if machine else 0.0)
    monkeypatch.setattr(bootclock, "boot_id", lambda: machine[0].boot_id if machine else "first")
    machine.append(Machine(tmp_path))
    return machine[0]
