# SPDX-License-Identifier: Apache-2.0
"""A namespace of ours, then the first `ip netns add`, then ours is removed; run by test_netnsdir.py.

Started in a new mount namespace; /run is made empty. Prints one JSON object: said, mounts (what is mounted
on /run/netns or below) and names.

    netnsdir.py removed|reaped|unshared
"""

import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from bench.testbed import namespace, procfs, reap, syscalls, undo
from bench.testbed.base import Run, TestbedError
from bench.testbed.namespace import Namespace

RUNS = Path("/run/neurowall-bench")
KILLED = (
    "import os, signal; from pathlib import Path; from bench.testbed.base import Run\n"
    "from bench.testbed.namespace import Namespace\n"
    f"Namespace.create(Run.begin(Path({str(RUNS)!r}), signals=False), 'ours')\n"
    "os.kill(os.getpid(), signal.SIGKILL)"
)


def add_another() -> None:
    """What any other program may do at any time."""
    subprocess.run(["ip", "netns", "add", "other"], check=True)


def removed() -> list[str]:
    """By the run itself."""
    with Run.begin(RUNS, signals=False) as run:
        ours = Namespace.create(run, "ours")
        add_another()
        ours.remove()
    return []


def reaped() -> list[str]:
    """By reap, after the run was killed."""
    subprocess.run([sys.executable, "-c", KILLED], check=False)
    add_another()
    return [one.kind for one in reap.reap(RUNS)]


def unshared() -> list[str]:
    """One that was made without the shared directory, as before there was one, and one of a run beside it."""
    path = undo.NETNS_DIR / "old"
    path.parent.mkdir()
    namespace._create(path)
    with Run.begin(RUNS, signals=False) as run:
        Namespace.create(run, "ours").remove()
    beside = [mount.path for mount in procfs.mounts_below(undo.NETNS_DIR)]
    add_another()
    refusal = ""
    try:
        undo.remove_namespace(path.name)
    except TestbedError as error:
        refusal = str(error)
    syscalls.unmount(str(undo.NETNS_DIR), lazy=True)
    undo.remove_namespace(path.name)
    return [*beside, refusal]


def main() -> None:
    """Do it and print what is left."""
    for mount in reversed(procfs.mounts()):  # copies of what others on this machine made, gone with them
        if mount.kind in {"nsfs", "bpf"} or mount.path == str(undo.NETNS_DIR):
            with suppress(OSError):  # gone already, or hidden by a later mount
                syscalls.unmount(mount.path, lazy=True)
    syscalls.mount("tmpfs", "/run", "tmpfs")
    said = {"removed": removed, "reaped": reaped, "unshared": unshared}[sys.argv[1]]()
    mounts = [mount.path for mount in procfs.mounts_below(undo.NETNS_DIR)]
    names = sorted(path.name for path in undo.NETNS_DIR.iterdir())
    json.dump({"said": said, "mounts": sorted(mounts), "names": names}, sys.stdout)


if __name__ == "__main__":
    main()
