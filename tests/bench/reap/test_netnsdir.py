# SPDX-License-Identifier: Apache-2.0
"""`ip netns add` after a namespace of ours: it must not hide what we have mounted."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.root, pytest.mark.tool("ip", "unshare")]

HERE = Path(__file__).parent


def left_after(how: str) -> dict[str, Any]:
    """Run netnsdir.py in a mount namespace of its own; what it says, and what is left."""
    argv = ["unshare", "--mount", "--net", sys.executable, str(HERE / "netnsdir.py"), how]
    environment = {**os.environ, "PYTHONPATH": str(HERE.parents[2])}
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, env=environment, check=False)
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("how", ["removed", "reaped"])
def test_nothing_of_ours_is_left(how: str) -> None:
    """Neither a name nor a mount; that of the other program stays, once."""
    found = left_after(how)
    assert found["names"] == ["other"]
    assert found["mounts"] == ["/run/netns", "/run/netns/other"]
    assert found["said"] == (["netns", "directory"] if how == "reaped" else [])


def test_what_is_mounted_already_is_not_hidden_by_us() -> None:
    """Nor does it stay silently where `ip netns add` hides it: the error says what helps, and that helps."""
    found = left_after("unshared")
    beside, refusal = found["said"]
    assert beside == "/run/netns/old"
    assert "umount -l /run/netns" in refusal
    assert (found["names"], found["mounts"]) == (["other"], [])
