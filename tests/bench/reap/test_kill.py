# SPDX-License-Identifier: Apache-2.0
import json
import os
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.root, pytest.mark.tool("bpftool", "ip", "unshare", "setpriv", "setsid")]

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
MOMENTS = 10
UNSHARE = ["unshare", "--mount", "--pid", "--net", "--fork", "--kill-child", "--mount-proc"]
OWNER = [sys.executable, str(HERE / "owner.py"), "/run/neurowall-bench"]
BENCH = [sys.executable, str(HERE / "real.py"), "run", str(HERE / "killed.yaml"), "--profile", "ci"]


def kill_at_random(*arguments: object, command: list[str]) -> dict[str, Any]:
    """Run sandbox.py with mutation, seed, moments, lines and spread; return what it saw."""
    argv = [*UNSHARE, sys.executable, str(HERE / "sandbox.py"), *map(str, arguments), *command]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(argv, capture_output=True, text=True, timeout=110, env=environment, check=False)
    assert done.returncode == 0, f"{arguments}: {done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    seen: dict[str, Any] = json.loads(done.stdout)
    return seen


@pytest.fixture(scope="module")
def seed() -> int:
    """A new one each time; failures name it."""
    return random.SystemRandom().randrange(10**6)


@pytest.fixture(scope="module", params=["owner.py", "neurowall-bench run"])
def seen(request: pytest.FixtureRequest, seed: int) -> dict[str, Any]:
    """What happened around a small run that makes everything a run can make, and around the real one.

    Two sandboxes at a time, each with half of the moments.
    """
    command, lines, spread = (OWNER, 4, 0.25) if request.param == "owner.py" else (BENCH, 13, 0.6)
    with ThreadPoolExecutor(2) as pool:
        start = partial(kill_at_random, "none", command=command)
        halves = [pool.submit(start, half, MOMENTS // 2, lines, spread) for half in (seed, seed + 1)]
        first, second = (half.result() for half in halves)
    moments = first["moments"] + second["moments"]
    return {"command": command, "moments": moments, "sandboxes": [first, second]}


class TestKilledOwner:
    """SIGKILL at ten random moments, from before the first chain until the second block is under way."""

    def test_reap_leaves_everything_as_it_was(self, seen: dict[str, Any], seed: int) -> None:
        """Namespaces, links, mounts, pins, processes and run directories: exactly as before the run."""
        for moment in seen["moments"]:
            assert moment["began"]
            assert moment["problems"] == []
            assert moment["after"] == moment["before"], f"seed {seed}, {moment['moment']}"

    def test_there_was_something_to_reap(self, seen: dict[str, Any], seed: int) -> None:
        """The moments hit: each kind of thing was really left behind by some killed run."""
        kinds = seen["moments"][0]["left"]
        left = {kind: sum(len(moment["left"][kind]) for moment in seen["moments"]) for kind in kinds}
        assert left.pop("links") == 0, "links are made inside the namespaces only"
        if seen["command"] is BENCH:  # its daemon dies with it, by the parent-death signal
            left.pop("processes")
        assert all(left.values()), f"seed {seed}: {left}"

    def test_reap_says_what_it_removed(self, seen: dict[str, Any], seed: int) -> None:
        """Every namespace and directory left behind is named in the answer."""
        for moment in seen["moments"]:
            named = " ".join(moment["removed"])
            for path in moment["left"]["namespaces"]:
                assert path.split()[0].rpartition("/")[2] in named
            for path in moment["left"]["files"]:
                assert path in named

    def test_reap_is_idempotent(self, seen: dict[str, Any], seed: int) -> None:
        """A second reap finds nothing."""
        assert [moment["again"] for moment in seen["moments"]] == [[]] * MOMENTS

    def test_foreign_things_survive(self, seen: dict[str, Any], seed: int) -> None:
        """A namespace, link, bpffs, directory and processes of similar name are untouched."""
        similar = "0123456789ab"
        for sandbox in seen["sandboxes"]:
            assert sandbox["foreign_alive"] == [True] * 4
            end = sandbox["at_the_end"]
            assert [path.split()[0] for path in end["namespaces"]] == [
                f"/run/netns/nwb-{similar}-block-client"
            ]
            assert [link.split()[1] for link in end["links"]] == ["lo", "g0", "c0"]
            assert end["files"] == [f"/run/neurowall-bench/{similar}"]
            assert end["pins"] == [
                f"/run/neurowall-bench-other/{similar}/dir",
                f"/run/neurowall-bench/{similar}/bpf/map",
            ]

    def test_a_living_run_is_not_disturbed(self, seen: dict[str, Any], seed: int) -> None:
        """A second run forwards packets and keeps its child and pins through all kills and reaps."""
        assert all(moment["bystander"] for moment in seen["moments"])


class TestTheTestItself:
    """A reap that is broken on purpose must be noticed by what TestKilledOwner looks at."""

    @pytest.mark.parametrize(
        ("mutation", "kind"),
        [("no-tags", "processes"), ("no-unmount", "mounts"), ("no-links-and-names", "namespaces")],
    )
    def test_a_reap_that_forgets_something_is_caught(self, mutation: str, kind: str) -> None:
        """What it forgets is still there afterwards."""
        (moment,) = kill_at_random(mutation, 2, 1, 3, 0.2, command=OWNER)["moments"]
        assert set(moment["after"][kind]) - set(moment["before"][kind])

    def test_a_reap_that_asks_for_no_owner_is_caught(self) -> None:
        """The living run is then disturbed."""
        (moment,) = kill_at_random("no-owner", 2, 1, 3, 0.2, command=OWNER)["moments"]
        assert not moment["bystander"]
