# SPDX-License-Identifier: Apache-2.0
"""A list outgrows the kernel's maps under a flood of what they hold already."""

import random
import time
from contextlib import suppress
from pathlib import Path
from threading import Thread

import httpx
import pytest

from tests.net.leak import TIGHT, Scene, account, policy, scene
from tests.net.leak_trees import copy_with

SWITCH_FIRST = {
    "neurowall/kernel/dataplane.py": [
        (
            """            fill()
            self._growing = None
            with self._lock:
                self._switch(larger)
""",
            """            with self._lock:
                self._switch(larger)
            fill()
            self._growing = None
""",
        )
    ]
}


def more(number: int = 0) -> str:
    """30,000 hosts that no list of the scene holds, others for each number."""
    return "".join(f"{45 + number}.{n >> 16}.{n >> 8 & 255}.{n & 255}\n" for n in range(30_000))


@pytest.mark.root
@pytest.mark.parametrize("engine", ["buckets", "classic"])
def test_growing_leaks_nothing(engine: str) -> None:
    """Larger maps are filled beside those in force; the same link gets a program that uses them."""
    with scene(policy(engine, TIGHT)) as at:
        at.flood(at.lists.listed)
        before, (maps,) = at.daemon.link(), at.daemon.layouts()
        with at.event() as seen:
            at.daemon.put(at.lists.first + more())
        assert seen.leaked == 0, seen
        (grown,) = at.daemon.layouts()
        assert grown != maps
        assert at.daemon.link().id == before.id
        assert at.daemon.link().prog_id != before.prog_id
        with at.event() as seen:
            at.daemon.kill()
            at.daemon.start(policy(engine, TIGHT))
        assert seen.leaked == 0, seen
        assert at.daemon.layouts() == [grown], "the grown maps are adopted, not made anew"
        at.must_not_pass(at.lists.listed)
        total = at.end_flood()
        assert total.leaked == 0
        account(total)


@pytest.mark.root
def test_a_crash_while_maps_grow_leaks_nothing() -> None:
    """The old maps are in force, or the new ones, filled; the next start ends with one set."""
    rng = random.Random()
    with scene(policy("buckets", TIGHT)) as at:
        at.flood(at.lists.listed)
        for number in range(4):
            text = "".join([at.lists.first, *map(more, range(number + 1))])
            with at.event() as seen:
                change = Thread(target=_put, args=(at, text))
                change.start()
                time.sleep(rng.uniform(0.02, 0.6))
                at.daemon.kill()
                change.join()
                at.daemon.start(policy("buckets", TIGHT))
            assert seen.leaked == 0, (number, seen)
            assert len(at.daemon.layouts()) == 1
            at.must_not_pass(at.lists.listed)
        total = at.end_flood()
        assert total.leaked == 0
        account(total)


def _put(at: Scene, text: str) -> None:
    with suppress(httpx.TransportError):
        at.daemon.put(text)


@pytest.mark.root
def test_a_switch_to_maps_that_are_not_filled_is_caught(tmp_path: Path) -> None:
    """The same flood sees it."""
    with scene(policy("buckets", TIGHT), copy_with(tmp_path, SWITCH_FIRST)) as at:
        at.flood(at.lists.listed)
        with at.watch() as seen:
            at.daemon.put(at.lists.first + more())
        assert seen.leaked > 0
