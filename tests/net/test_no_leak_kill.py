# SPDX-License-Identifier: Apache-2.0
"""The daemon is killed at random moments of a replacement, under a flood of what both lists hold.

While it is dead the kernel may hold old and new entries together, in one order only: everything new comes
before anything old goes. After the next start it holds one list, whole, and nothing else.
"""

import random
import time
from contextlib import ExitStack, closing, suppress
from ipaddress import ip_network
from threading import Thread

import httpx
import numpy as np
import pytest

from neurowall.kernel.maps import Map
from tests.net.leak import FAMILIES, ROOMY, Scene, account, policy, scene
from tests.net.leak_lists import make
from tests.net.leak_many import make as make_many
from tests.net.test_no_leak_many import MANY, capacity

Entries = set[tuple[int, int]]
SAMPLE = 1 << 16  # words of the table that are watched


class Killer:
    """Replaces the list, kills the daemon meanwhile, looks, starts it again and looks again."""

    def __init__(self, at: Scene, policy_text: str) -> None:
        self.mixed = 0  # deaths that left something of both lists
        self._at = at
        self._policy = policy_text
        self._texts = (at.lists.first, at.lists.second)
        self._entries = tuple(entries4(text) for text in self._texts)
        self._in_force = 0
        self._seconds = self._take_time()

    def _take_time(self) -> float:
        """Of a replacement that nothing disturbs; there and back."""
        begin = time.monotonic()
        for index in (1, 0):
            self._at.daemon.put(self._texts[index])
        return (time.monotonic() - begin) / 2

    def kill_once(self, moment: float, *, after_first_store: bool) -> None:
        """*moment* is the part of the replacement that may pass before, 0 to 1, or of what is left of it."""
        at, wanted = self._at, 1 - self._in_force
        with at.event() as seen:
            change = Thread(target=self._put, args=(self._texts[wanted],))
            change.start()
            if after_first_store:
                self._wait_for_store()
                moment /= 20
            time.sleep(moment * self._seconds)
            at.daemon.kill()
            change.join()
            at.must_not_pass(at.some(at.lists.common))
            self._must_be_in_order(wanted)
            at.daemon.start(self._policy)
        assert seen.leaked == 0, seen
        self._in_force = self._whole_list()

    def _wait_for_store(self) -> None:
        """Return when an entry of the new list is in the table of hosts, or it takes too long."""
        (layout,) = self._at.daemon.layouts()
        with closing(Map.pinned(self._at.daemon.pins / layout / "lines")) as lines:
            words = lines.mapped(np.dtype("<u8"))[:SAMPLE]
        before, deadline = np.count_nonzero(words), time.monotonic() + 2 * self._seconds
        while np.count_nonzero(words) == before and time.monotonic() < deadline:
            pass

    def _put(self, text: str) -> None:
        with suppress(httpx.TransportError):
            self._at.daemon.put(text)

    def _must_be_in_order(self, wanted: int) -> None:
        """Nothing that only the old list holds has gone unless all of the new list is there."""
        old, new = self._blocked(1 - wanted), self._blocked(wanted)
        assert all(old) or all(new), f"{sum(old)} of {len(old)} old and {sum(new)} of {len(new)} new ones"
        self.mixed += any(old) and any(new)

    def _blocked(self, index: int) -> list[bool]:
        """Of a part of each kind of entries that only this list holds, whether they are blocked."""
        at = self._at
        chosen = at.some(at.lists.only_second if index else at.lists.only_first)
        return [bool(each) for f in FAMILIES if len(chosen[f]) for each in ~at._probe(f, chosen[f])]

    def _whole_list(self) -> int:
        """The list that is in force, by packets, by the tables and by what the daemon says."""
        at = self._at
        blocked = [self._blocked(index) for index in (0, 1)]
        (index,) = (i for i in (0, 1) if all(blocked[i]))
        assert not any(blocked[1 - index]), "something of the other list is left"
        assert held4(at) == self._entries[index]
        said = at.daemon.http.get("/lists/feed", params={"limit": 1}).json()["entries"]
        assert sum(said.values()) == len(self._texts[index].split())
        return index


def entries4(text: str) -> Entries:
    """The IPv4 entries of a list: address and length."""
    networks = (ip_network(line) for line in text.split() if ":" not in line)
    return {(int(each.network_address), each.prefixlen) for each in networks}


def held4(at: Scene) -> Entries:
    """What the tables of the buckets engine hold of IPv4, read slot by slot; see struct nw_line."""
    (layout,) = at.daemon.layouts()
    with ExitStack() as stack:
        lines, spilled, registry = (
            stack.enter_context(closing(Map.pinned(at.daemon.pins / layout / name)))
            for name in ("lines", "hosts4", "registry4")
        )
        slots = np.delete(lines.mapped(np.dtype("<u8")).reshape(-1, 8), 7, axis=1).ravel()
        prefixes = registry.mapped(np.dtype("<u8"))
        hosts = {(int(slot) >> 32, 32) for slot in slots[slots >> np.uint64(16) & np.uint64(0xFFFF) != 0]}
        hosts |= {(int.from_bytes(key, "big"), 32) for key in spilled.all_keys()}
        return hosts | {(int(slot) >> 32, int(slot) & 63) for slot in prefixes[prefixes != 0]}


def kill_often(at: Scene, policy_text: str, times: int) -> Killer:
    """At moments that are others every time; every second one after the first entry is in the kernel."""
    r, killer = random.Random(), Killer(at, policy_text)
    at.flood(at.lists.common, seconds=3600)
    for number in range(times):
        killer.kill_once(r.uniform(0, 1.1), after_first_store=number % 2 == 1)
    total = at.end_flood()
    assert total.leaked == 0
    account(total)
    return killer


@pytest.mark.root
def test_a_replacement_that_is_killed_leaves_one_list_whole() -> None:
    """Five times."""
    text = policy("buckets", ROOMY)
    with scene(text, lists=make()) as at:
        kill_often(at, text, 5)


@pytest.mark.root
@pytest.mark.soak
def test_many_replacements_that_are_killed_leave_one_list_whole() -> None:
    """50 times, with lists so large that the kernel's part takes a good part of the time."""
    text = policy("buckets", capacity(MANY))
    with scene(text, lists=make_many(MANY)) as at:
        killer = kill_often(at, text, 50)
        print(f"{killer.mixed} of 50 died with something of both lists in the kernel")  # noqa: T201
        assert killer.mixed >= 3
