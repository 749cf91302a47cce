# SPDX-License-Identifier: Apache-2.0
"""Whether a daemon can run here at all: capabilities, kernel, bpffs. Checked before anything is touched.

Nobody asks who the user is: a daemon runs as root, or as anybody with the three capabilities for whom
`neurowall prepare` mounted the bpffs.
"""

import os
import re
from pathlib import Path

from neurowall.kernel import pins
from neurowall.management.errors import CannotRun

FLOOR = (5, 4)
CAP_NET_ADMIN, CAP_SYS_ADMIN, CAP_PERFMON, CAP_BPF = 12, 21, 38, 39  # linux/capability.h


def check(
    *, admin: bool, bpffs: Path | None = None, proc: Path = Path("/proc"), release: str | None = None
) -> None:
    """Raise CannotRun with everything that is missing; parameters as of missing()."""
    if lacking := missing(admin=admin, bpffs=bpffs, proc=proc, release=release):
        raise CannotRun("Neurowall cannot run here", lacking)


def missing(
    *, admin: bool, bpffs: Path | None = None, proc: Path = Path("/proc"), release: str | None = None
) -> tuple[str, ...]:
    """Everything that is missing, each with its remedy.

    admin: what only CAP_SYS_ADMIN may will be done, such as entering a network namespace. bpffs: where one is
    to be, or is to be mounted. *proc* and *release* (as `uname -r`) are parameters so that tests can describe
    other machines.
    """
    return (
        *_privilege(proc, admin=admin),
        *_kernel(release or os.uname().release),
        *_bpffs(proc),
        *_place(proc, bpffs),
        *_mounts(proc, bpffs),
    )


def _held(proc: Path) -> int:
    """The effective capabilities of this process, a bit each."""
    held = re.search(r"^CapEff:\s*([0-9a-f]+)$", (proc / "self/status").read_text(), re.MULTILINE)
    return int(held[1], 16) if held else 0


def _privilege(proc: Path, *, admin: bool) -> tuple[str, ...]:
    mask = _held(proc)
    lacking = []
    if not mask >> CAP_NET_ADMIN & 1:
        lacking.append("CAP_NET_ADMIN")
    if not mask >> CAP_SYS_ADMIN & 1:
        # Namespaces and mounts take CAP_SYS_ADMIN, loading takes the narrower two.
        narrower = {CAP_BPF: "CAP_BPF", CAP_PERFMON: "CAP_PERFMON"}
        wanted = {CAP_SYS_ADMIN: "CAP_SYS_ADMIN"} if admin else narrower
        lacking += [name for bit, name in wanted.items() if not mask >> bit & 1]
    if not lacking:
        return ()
    return (f"no {', '.join(lacking)}: run it as root (sudo neurowall ...), or by neurowall@.service",)


def _place(proc: Path, bpffs: Path | None) -> tuple[str, ...]:
    """Without CAP_SYS_ADMIN the bpffs must be there already, and be ours to write."""
    if bpffs is None or _held(proc) >> CAP_SYS_ADMIN & 1:
        return ()
    prepare = "have root run `neurowall prepare` for this instance and this user first"
    if not pins.is_mounted(bpffs):
        return (f"no bpffs at {bpffs}, and no CAP_SYS_ADMIN to mount one: {prepare}",)
    if not os.access(bpffs, os.R_OK | os.W_OK | os.X_OK):
        return (f"the bpffs at {bpffs} is somebody else's: {prepare}",)
    return ()


def _kernel(release: str) -> tuple[str, ...]:
    number = re.match(r"(\d+)\.(\d+)", release)
    if number and (int(number[1]), int(number[2])) >= FLOOR:
        return ()
    return (f"kernel {release} is older than {FLOOR[0]}.{FLOOR[1]}: boot a newer one",)


def _bpffs(proc: Path) -> tuple[str, ...]:
    known = {line.split()[-1] for line in (proc / "filesystems").read_text().splitlines() if line}
    if "bpf" in known:
        return ()
    return ("the kernel has no bpffs (no 'bpf' in /proc/filesystems): boot one with CONFIG_BPF_SYSCALL",)


def _mounts(proc: Path, bpffs: Path | None) -> tuple[str, ...]:
    """Pins in a private mount namespace would die with it, and enforcement with them.

    A sandbox may have one all the same, if the bpffs in it is the host's.
    """
    hosts = _host_mounts(proc)
    if hosts is None or (proc / "self/ns/mnt").readlink() == hosts or _is_hosts(proc, bpffs):
        return ()
    why = "this process has a private mount namespace, so its pins would die with it"
    return (f"{why}: use --netns NAME instead of `ip netns exec NAME neurowall run`",)


def _is_hosts(proc: Path, bpffs: Path | None) -> bool:
    """Whether the host has the same file system mounted there."""
    if bpffs is None or not pins.is_mounted(bpffs):
        return False
    try:
        seen_by_host = proc / "1/root" / bpffs.absolute().relative_to("/")
        return seen_by_host.stat().st_dev == bpffs.stat().st_dev
    except OSError:
        return False


def _host_mounts(proc: Path) -> Path | None:
    """The mount namespace of pid 1; where /proc hides that, of the kernel's threads; else None."""
    for pid, name in (("1", None), ("2", "kthreadd")):
        try:
            if name is None or (proc / pid / "comm").read_text().strip() == name:
                return (proc / pid / "ns/mnt").readlink()
        except OSError:
            continue
    return None
