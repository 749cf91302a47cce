# SPDX-License-Identifier: Apache-2.0
"""Crashes in the middle of a change."""

from collections.abc import Callable
from pathlib import Path

import pytest

from neurowall.logic.engine import Engine
from neurowall.logic.results import ListInfo
from tests.unit.data.faults import Crash, fault_at
from tests.unit.logic.machine import CHANGES, FEED, World, agrees

Content = list[tuple[ListInfo, tuple[str, ...], tuple[float | None, ...]]]


class TestCrash:
    @pytest.mark.parametrize("change", CHANGES)
    def test_at_every_disk_call(self, tmp_path: Path, change: str) -> None:
        """After a crash at any call that touches the disk a restart has the old or the new lists, whole."""
        outcomes, after = [], wanted(tmp_path / "done", change)
        for number in range(50):
            world = World(tmp_path / str(number))
            engine = world.prepared()
            before = content(engine)
            try:
                with fault_at(number, Crash):
                    CHANGES[change](engine)
            except Crash:
                found = content(world.start(FEED))
                assert found in (before, after)
                outcomes.append(found == after)
            else:
                break
            finally:
                world.end()
        assert outcomes == sorted(outcomes)
        assert set(outcomes) == {False, True}

    @pytest.mark.parametrize("change", CHANGES)
    def test_at_every_kernel_row(self, tmp_path: Path, change: str) -> None:
        """After a crash between any two entries a restart finishes the change."""
        after = wanted(tmp_path / "done", change)
        for number in range(100):
            world = World(tmp_path / str(number))
            engine = world.prepared()
            world.plane.after_row = crash_after(number)
            try:
                CHANGES[change](engine)
            except Crash:
                restarted = world.start(FEED)
                assert content(restarted) == after
                assert agrees(restarted, world.plane)
            else:
                break
            finally:
                world.end()
        assert number >= 1


def crash_after(rows: int) -> Callable[[], None]:
    """An `after_row` that crashes at the row with this number, from 0."""
    left = [rows]

    def hook() -> None:
        left[0] -= 1
        if left[0] < 0:
            raise Crash

    return hook


def wanted(directory: Path, change: str) -> Content:
    """The lists after an undisturbed change."""
    world = World(directory)
    engine = world.prepared()
    CHANGES[change](engine)
    world.end()
    return content(engine)


def content(engine: Engine) -> Content:
    """All lists: what they hold, until when, and whether they only count."""
    return [(page.info, page.entries, page.expires) for page in map(engine.show_list, names(engine))]


def names(engine: Engine) -> list[str]:
    """The names of all lists."""
    return [info.name for info in engine.lists()]
