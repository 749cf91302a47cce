# SPDX-License-Identifier: Apache-2.0
"""The daemon is started on pins of another layout, under a flood of listed sources."""

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from neurowall.kernel.maps import Map
from tests.net.leak import ROOMY, TIGHT, Scene, account, policy, scene
from tests.net.leak_trees import copy_with, other_abi

ATTACH_FIRST = {
    "neurowall/management/daemon/main.py": [
        (
            "        engine.start()\n        _check_attached(",
            (
                "        from neurowall.model.guards import guards_of\n\n"
                "        dataplane.configure(guards_of(declared.policy))\n"
                "        engine.start()\n        _check_attached("
            ),
        )
    ]
}
LARGER = {name: 2 * size for name, size in ROOMY.items()}


def change_layout(at: Scene, end: Callable[[], None], policy_text: str, tree: Path | None = None) -> None:
    """Restart on another layout: no leak, the same link, another program, and only the new maps remain."""
    link, (before,) = at.daemon.link(), at.daemon.layouts()
    end()
    with at.event() as seen:
        at.daemon.start(policy_text, tree)
    (after,) = at.daemon.layouts()
    assert seen.leaked == 0, seen
    assert after != before
    assert at.daemon.link().id == link.id
    assert at.daemon.link().prog_id != link.prog_id


@pytest.mark.root
def test_another_engine_or_capacity_leaks_nothing() -> None:
    """From buckets to classic and back, then to larger maps; ended politely and killed in turn."""
    with scene(policy("buckets", TIGHT)) as at:
        at.flood(at.lists.listed)
        change_layout(at, at.daemon.stop, policy("classic", ROOMY))
        assert at.daemon.status()["engine"] == "classic"
        change_layout(at, at.daemon.kill, policy("buckets", ROOMY))
        assert at.daemon.status()["engine"] == "buckets"
        change_layout(at, at.daemon.stop, policy("buckets", LARGER))
        total = at.end_flood()
        assert total.leaked == 0
        account(total)
        at.must_not_pass(at.lists.listed)


@pytest.mark.root
def test_crashes_before_another_layout_is_in_force_leak_nothing() -> None:
    """Killed at moments of its start: the old program stays, or the new one on maps that are filled."""
    rng = random.Random()
    with scene(policy("buckets", TIGHT)) as at:
        at.flood(at.lists.listed)
        at.daemon.kill()
        with at.event() as seen:
            for _ in range(3):
                at.daemon.launch(policy("classic", ROOMY))
                time.sleep(rng.uniform(0.3, 1.0))
                at.daemon.kill()
            at.daemon.start(policy("classic", ROOMY))
        assert seen.leaked == 0, seen
        assert len(at.daemon.layouts()) == 1
        total = at.end_flood()
        assert total.leaked == 0
        account(total)
        at.must_not_pass(at.lists.listed)


@pytest.mark.root
def test_another_version_of_the_structs_leaks_nothing(tmp_path: Path) -> None:
    """Up from and down to a version with another ABI, whose class elements have another size."""
    other = other_abi(tmp_path)
    with scene(policy()) as at:
        ours = class_bytes(at)
        at.flood(at.lists.listed)
        change_layout(at, at.daemon.kill, policy(), other)
        assert class_bytes(at) == ours + 8
        change_layout(at, at.daemon.kill, policy())
        assert class_bytes(at) == ours
        total = at.end_flood()
        assert total.leaked == 0
        account(total)
        at.must_not_pass(at.lists.listed)


def class_bytes(at: Scene) -> int:
    """The value size of the pinned map `classes`."""
    (layout,) = at.daemon.layouts()
    classes = Map.pinned(at.daemon.pins / layout / "classes")
    size = classes.value_size
    classes.close()
    return size


@pytest.mark.root
def test_a_program_on_maps_that_are_not_filled_is_caught(tmp_path: Path) -> None:
    """The same change leaks when the program is replaced before its new maps hold the lists."""
    with scene(policy("buckets", TIGHT)) as at:
        at.flood(at.lists.listed)
        at.daemon.stop()
        with at.watch() as seen:
            at.daemon.start(policy("classic", ROOMY), copy_with(tmp_path, ATTACH_FIRST))
        assert seen.leaked > 0
