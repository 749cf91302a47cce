# SPDX-License-Identifier: Apache-2.0
"""The daemon is killed under a flood of listed sources, and started again."""

import time
from contextlib import closing
from pathlib import Path

import pytest

from neurowall.kernel.maps import Map
from tests.net.leak import account, policy, scene
from tests.net.leak_trees import copy_with

NOT_PINNED = {
    "neurowall/kernel/attachment.py": [
        (
            "        libbpf.pin(link, pin)\n    finally:\n        os.close(link)\n",
            "    finally:\n        pass\n",
        )
    ],
    # Else nftables takes over for an interface that has no pinned link, and nothing leaks.
    "neurowall/kernel/dataplane.py": [
        (
            "            return frozenset(\n                guard.name\n",
            "            return frozenset(\n                '-'\n",
        )
    ],
}
DETACH_AT_START = {
    "neurowall/management/daemon/main.py": [
        (
            "        dataplane = DataPlane.open(",
            "        end_enforcement(options.instance)\n        dataplane = DataPlane.open(",
        )
    ]
}


@pytest.mark.root
def test_a_crash_and_a_restart_leak_nothing() -> None:
    """Killed three times; pins filter alone; the restart adopts them and replaces only the program."""
    with scene(policy()) as at:
        at.must_not_pass(at.lists.listed)
        at.must_overflow()
        at.flood(at.lists.listed)
        for _ in range(3):
            link, maps = at.daemon.link(), at.daemon.map_ids()
            with at.event() as killed:
                at.daemon.kill()
            with at.event() as alone:
                assert at.daemon.readiness() == 0
                time.sleep(0.2)
            with at.event() as restarted:
                at.daemon.start(policy())
            assert (killed.leaked, alone.leaked, restarted.leaked) == (0, 0, 0)
            assert (at.daemon.link().id, at.daemon.map_ids()) == (link.id, maps)
            assert at.daemon.link().prog_id != link.prog_id
        total = at.end_flood()
        assert total.leaked == 0
        account(total)
        at.must_not_pass(at.lists.listed)


@pytest.mark.root
def test_a_restart_completes_what_a_crash_left_half_written() -> None:
    """Killed after a long prefix was registered and before its spilled copy was in the trie."""
    with scene(policy()) as at:
        at.must_overflow()
        at.daemon.kill()
        (layout,) = at.daemon.layouts()
        with closing(Map.pinned(at.daemon.pins / layout / "prefixes4")) as trie:
            for key in trie.all_keys():
                trie.delete(key)
        at.daemon.start(policy())
        at.must_not_pass(at.lists.listed)


@pytest.mark.root
def test_a_restart_adopts_a_link_that_a_crash_left_without_its_record() -> None:
    """Killed after the link was pinned and before its mode was saved."""
    with scene(policy()) as at:
        at.flood(at.lists.listed)
        at.daemon.kill()
        link = at.daemon.link().id
        (at.daemon.pins.parent / "interfaces.json").unlink()
        with at.event() as seen:
            at.daemon.start(policy())
        assert (seen.leaked, at.daemon.link().id) == (0, link)
        assert at.daemon.status()["interfaces"][0]["mode"] == "native"


@pytest.mark.root
def test_a_link_that_dies_with_the_daemon_is_caught(tmp_path: Path) -> None:
    """The same kill leaks when the link is held by the process instead of a pin."""
    with scene(policy(), copy_with(tmp_path, NOT_PINNED)) as at:
        at.flood(at.lists.listed)
        with at.watch() as seen:
            at.daemon.kill()
            time.sleep(0.3)  # the kernel takes the program off a little after the process has gone
        assert seen.leaked > 0


@pytest.mark.root
def test_a_start_that_begins_anew_is_caught(tmp_path: Path) -> None:
    """The same restart leaks when it takes away what it finds instead of adopting it."""
    with scene(policy()) as at:
        at.flood(at.lists.listed)
        at.daemon.kill()
        with at.watch() as seen:
            at.daemon.start(policy(), copy_with(tmp_path, DETACH_AT_START))
        assert seen.leaked > 0
