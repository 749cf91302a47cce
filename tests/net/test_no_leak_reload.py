# SPDX-License-Identifier: Apache-2.0
"""The program is replaced under a flood of listed sources."""

from pathlib import Path

import pytest

from tests.net.leak import Scene, account, policy, scene
from tests.net.leak_trees import copy_with

DETACH_FIRST = {
    "neurowall/kernel/attachment.py": [
        (
            "        libbpf.link_update(link, program_fd)\n",
            "        libbpf.link_detach(link)\n        pin.unlink()\n        return False\n",
        )
    ]
}


def reload_by_api(at: Scene) -> None:
    """`POST /reload`, as `neurowall reload` sends it."""
    at.daemon.post("/reload")


@pytest.mark.root
def test_a_reload_leaks_nothing() -> None:
    """20 link updates, two of them by the command line: another program each time, on the same link."""
    with scene(policy()) as at:
        at.must_not_pass(at.lists.listed)
        counted = at.daemon.blocked()
        at.flood(at.lists.listed)
        link, maps, programs = at.daemon.link().id, at.daemon.map_ids(), [at.daemon.link().prog_id]
        for number in range(20):
            with at.event() as seen:
                if number < 2:
                    at.daemon.cli("reload")
                else:
                    reload_by_api(at)
            assert seen.leaked == 0, seen
            programs.append(at.daemon.link().prog_id)
        total = at.end_flood()
        assert len(set(programs)) == 21
        assert (at.daemon.link().id, at.daemon.map_ids()) == (link, maps)
        assert total.leaked == 0
        account(total)
        assert at.daemon.blocked() - counted == total.blocked  # what /metrics says


@pytest.mark.root
def test_a_reload_that_detaches_first_is_caught(tmp_path: Path) -> None:
    """The same flood sees the gap when a link is taken off and made anew instead of updated."""
    with scene(policy(), copy_with(tmp_path, DETACH_FIRST)) as at:
        at.flood(at.lists.listed)
        with at.watch() as seen:
            for _ in range(3):
                reload_by_api(at)
        assert seen.leaked > 0
