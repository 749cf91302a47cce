# SPDX-License-Identifier: Apache-2.0
"""Kills runs at random moments in a world of its own and tells what reap left; run by test_kill.py.

Started in new mount, PID and network namespaces, so "exactly as before" can be taken literally while other
work goes on elsewhere on the machine. Prints one JSON object: moments, foreign_alive, at_the_end.

    sandbox.py MUTATION SEED MOMENTS LINES SPREAD COMMAND...

COMMAND is the run. A moment is up to SPREAD seconds after one of its first LINES lines of output, so that the
load of the machine does not decide what is hit. MUTATION breaks reap on purpose, `none` does not.
"""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute

from bench.testbed import procfs, reap, removal, syscalls, undo
from bench.testbed.base import Chain, Run
from bench.testbed.chain import SERVER
from bench.testbed.procfs import RUN_TAG

RUNS = Path("/run/neurowall-bench")
SIMILAR = "0123456789ab"  # looks like a run id and is none of ours


def shell(command: str, **environment: str) -> "subprocess.Popen[bytes]":
    """Start something that is not part of any run."""
    return subprocess.Popen(["sh", "-c", command], env={**os.environ, **environment})


def make_foreign_things() -> list["subprocess.Popen[bytes]"]:
    """Namespace, links, pins, directories and processes whose names are like a run's."""
    commands = (
        f"ip netns add nwb-{SIMILAR}-block-client",
        "ip link add c0 type veth peer name g0",
        f"ip -n nwb-{SIMILAR}-block-client link add c0 type veth peer name g0",
        f"mkdir -p {RUNS}/{SIMILAR}/bpf {RUNS}-other/{SIMILAR} && mount -t bpf bpf {RUNS}/{SIMILAR}/bpf",
        f"bpftool map create {RUNS}/{SIMILAR}/bpf/map type array key 4 value 4 entries 1 name nwb",
        f"mount -t bpf bpf {RUNS}-other/{SIMILAR} && mkdir {RUNS}-other/{SIMILAR}/dir",
    )
    for command in commands:
        if status := shell(command).wait():
            raise SystemExit(f"`{command}` failed with status {status}")
    tags: tuple[dict[str, str], ...] = ({RUN_TAG: SIMILAR}, {RUN_TAG: ""}, {f"{RUN_TAG}_X": SIMILAR}, {})
    return [shell("exec sleep 400", **tag) for tag in tags]


def world() -> dict[str, list[str]]:
    """Everything a run could leave behind: what exists now, by kind."""
    while True:  # orphans of killed runs come to us, as PID 1 of this sandbox
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            break
        if pid == 0:
            break
    with IPRoute() as netlink:
        links = sorted(f"{link['index']} {link.get('ifname')}" for link in netlink.get_links())
    mounts = procfs.mounts()
    bpf = [Path(mount.path) for mount in mounts if mount.kind == "bpf"]
    return {
        "namespaces": sorted(f"{path} {path.stat().st_ino}" for path in Path("/run/netns").iterdir()),
        "links": links,
        "mounts": sorted(f"{mount.path} {mount.kind} {mount.device}" for mount in mounts),
        "pins": sorted(str(path) for mount in bpf for path in mount.rglob("*") if path.suffix != ".debug"),
        "processes": sorted(path.name for path in Path("/proc").iterdir() if path.name.isdigit()),
        "files": sorted(str(path) for path in RUNS.iterdir()),
    }


class Bystander:
    """A second run in this process that lives all the time and forwards packets."""

    def __init__(self) -> None:
        self.run = Run.begin(RUNS, signals=False)
        self.chain = Chain(self.run, "bystander").build()
        self.child = self.chain.server.spawn(["sleep", "500"])
        self.pins = self.run.mount_bpffs(self.run.make_directory("bpf"))
        (self.pins / "dir").mkdir()
        with self.chain.server.enter():
            self.receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.receiver.bind((SERVER.v4, 7))
        self.receiver.settimeout(1)
        with self.chain.client.enter():
            self.sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def well(self) -> bool:
        """Whether packets pass, the child lives and the pins are there."""
        try:
            self.sender.sendto(b"?", (SERVER.v4, 7))
            answer = self.receiver.recv(9)
        except OSError:
            return False
        return answer == b"?" and self.child.alive() and (self.pins / "dir").is_dir()


def kill_one(command: list[str], line: int, wait: float, bystander: Bystander) -> dict[str, Any]:
    """One moment: start, wait, SIGKILL, reap twice; what the world was before, between and after."""
    before = world()
    owner = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert owner.stdout is not None
    lines = [owner.stdout.readline() for _ in range(line)]
    time.sleep(wait)
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    owner.stdout.close()
    left = world()
    problems: list[str] = []
    try:
        gone = reap.reap(RUNS)
    except reap.ReapError as error:
        gone, problems = error.removed, error.problems
    after = world()
    return {
        "moment": f"{wait:.3f} s after line {line}",
        "began": all(lines),
        "before": before,
        "left": {kind: sorted(set(left[kind]) - set(before[kind])) for kind in left},
        "removed": [f"{one.kind} {one.name}" for one in gone],
        "problems": problems,
        "after": after,
        "again": [] if problems else [one.name for one in reap.reap(RUNS)],
        "bystander": bystander.well(),
    }


def forget_owner() -> None:
    """Take every run for dead, and its journal for free."""
    of, remove = reap._state, removal.remove_run
    changes = {
        "_state": lambda path: replace(of(path), alive=False),
        "remove_run": lambda path, **_: remove(path, force=True),
    }
    vars(reap).update(changes)


MUTATIONS: dict[str, Callable[[], None]] = {
    "none": lambda: None,
    "no-tags": lambda: setattr(removal, "remove_tagged", lambda _run_id: []),
    "no-unmount": lambda: setattr(undo, "unmount", lambda _path: None),
    "no-links-and-names": lambda: removal._REMOVE.update(netns=lambda _name: False),
    "no-owner": forget_owner,
}
"""How reap is broken to prove that the test would notice."""


def main() -> None:
    """Do it MOMENTS times and print what was seen."""
    mutation, seed, moments, lines, spread = sys.argv[1:6]
    for mount in reversed(procfs.mounts()):  # copies of what others on this machine made, gone with them
        if mount.kind in {"nsfs", "bpf"}:
            with suppress(OSError):  # gone already, or hidden by a later mount
                syscalls.unmount(mount.path, lazy=True)
    syscalls.mount("tmpfs", "/run", "tmpfs")
    Path("/run/netns").mkdir()
    foreign = make_foreign_things()
    chance = random.Random(int(seed))
    bystander = Bystander()
    MUTATIONS[mutation]()
    seen = []
    for number in range(int(moments)):
        stretch = (number + chance.random()) / int(moments)  # one moment in each stretch, somewhere in it
        line, wait = 1 + int(stretch * int(lines)), chance.uniform(0, float(spread))
        seen.append(kill_one(sys.argv[6:], line, wait, bystander))
    if mutation == "none":
        bystander.run.close()
    alive = [process.poll() is None for process in foreign]
    json.dump({"moments": seen, "foreign_alive": alive, "at_the_end": world()}, sys.stdout)


if __name__ == "__main__":
    main()
