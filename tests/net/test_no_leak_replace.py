# SPDX-License-Identifier: Apache-2.0
"""A list is replaced by another one under a flood of what both hold."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Self

import pytest

from tests.net.leak import ROOMY, TIGHT, Daemon, Scene, account, policy, scene
from tests.net.leak_trees import copy_with

DELETE_FIRST = {
    "neurowall/logic/apply.py": [
        (
            "        for put_round in steps.put_rounds:\n",
            """
        for delete_round in steps.delete_rounds:
            for entries in delete_round:
                self._dataplane.delete(entries)
        for put_round in steps.put_rounds:
""",
        )
    ]
}


class Bystander:
    """Blocks and unblocks other sources, around and beside listed ones, one and many at a time."""

    def __init__(self, daemon: Daemon, entries: tuple[str, ...]) -> None:
        self.changes = 0
        self._daemon = daemon
        self._entries = entries
        self._stop = Event()
        self._worker = ThreadPoolExecutor(1, "bystander")
        self._run = self._worker.submit(self._work)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._worker.shutdown()
        self._run.result()

    def _work(self) -> None:
        begin, size = 0, 1
        while not self._stop.is_set():
            chosen = self._entries[begin : begin + size]
            for verb in ("block", "unblock"):
                self._daemon.post(f"/{verb}", addresses=chosen)
                self.changes += 1
            begin, size = (begin + 7) % len(self._entries), 11 - size


def replace_once(at: Scene, number: int) -> None:
    """Put the second list in force, and the first one the next time."""
    answer = at.daemon.put(at.lists.second if number % 2 == 0 else at.lists.first)
    assert answer["added"] > 1000
    assert answer["removed"] > 1000


@pytest.mark.root
@pytest.mark.parametrize(
    ("engine", "capacity"), [("buckets", TIGHT), ("buckets", ROOMY), ("classic", ROOMY)], ids=str
)
def test_a_replaced_list_leaks_nothing_that_both_hold(engine: str, capacity: dict[str, int]) -> None:
    """10 times there and back, the same sources held by hosts in one list and prefixes in the other.

    With the tight capacity old and new entries together do not fit.
    """
    with scene(policy(engine, capacity)) as at:
        at.flood(at.lists.common)
        with Bystander(at.daemon, at.lists.bystanders) as bystander:
            for number in range(10):
                with at.event() as seen:
                    replace_once(at, number)
                assert seen.leaked == 0, (number, seen)
                gone, come = at.lists.only_first, at.lists.only_second
                at.must_pass(gone if number % 2 == 0 else come)
                at.must_not_pass(come if number % 2 == 0 else gone)
        assert bystander.changes >= 10  # changes wait for each other: about two to a replacement
        total = at.end_flood()
        assert total.leaked == 0
        account(total)


@pytest.mark.root
def test_a_replacement_that_is_refused_leaks_nothing() -> None:
    """Old and new prefixes together do not fit and none can go first: the old list stays, whole."""
    with scene(policy("buckets", {**TIGHT, "prefixes4": 1600, "grow": False})) as at:
        at.flood(at.lists.listed)
        with at.event() as seen:
            refused = at.daemon.http.put("/lists/feed", content=at.lists.second.encode())
        assert refused.status_code == 507, refused.text
        assert seen.leaked == 0, seen
        assert at.daemon.readiness() == 200
        at.must_pass(at.lists.only_second)
        at.must_not_pass(at.lists.listed)
        total = at.end_flood()
        assert total.leaked == 0
        account(total)


@pytest.mark.root
def test_a_replacement_that_deletes_first_is_caught(tmp_path: Path) -> None:
    """The same flood sees the gap when stale entries go before new ones have come."""
    with scene(policy("classic", ROOMY), copy_with(tmp_path, DELETE_FIRST)) as at:
        at.flood(at.lists.common)
        with at.watch() as seen:
            replace_once(at, 0)
        assert seen.leaked > 0
