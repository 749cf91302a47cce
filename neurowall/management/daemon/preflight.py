# SPDX-License-Identifier: Apache-2.0
"""Whether a daemon can run here at all: privilege, kernel, bpffs. Checked before anything is touched."""

import os
import re
from pathlib import Path

from neurowall.management.errors import CannotRun

FLOOR = (5, 4)
CAP_NET_ADMIN, CAP_SYS_ADMIN, CAP_PERFMON, CAP_BPF = 12, 21, 38, 39  # linux/capability.h


def check(*, netns: bool, proc: Path = Path("/proc"), release: str | None = None) -> None:
    """Raise CannotRun with everything that is missing; parameters as of missing()."""
    if lacking := missing(netns=netns, proc=proc, release=release):
        raise CannotRun("Neurowall cannot run here", lacking)


def missing(*, netns: bool, proc: Path = Path("/proc"), release: str | None = None) -> tuple[str, ...]:
    """Everything that is missing, each with its remedy; *netns*: a network namespace will be entered.

    *proc* and *release* (as `uname -r`) are parameters so that tests can describe other machines.
    """
    return (
        *_privilege(proc, netns=netns),
        *_kernel(release or os.uname().release),
        *_bpffs(proc),
        *_mounts(proc),
    )


def _privilege(proc: Path, *, netns: bool) -> tuple[str, ...]:
    held = re.search(r"^CapEff:\s*([0-9a-f]+)$", (proc / "self/status").read_text(), re.MULTILINE)
    mask = int(held[1], 16) if held else 0
    lacking = []
    if not mask >> CAP_NET_ADMIN & 1:
        lacking.append("CAP_NET_ADMIN")
    if not mask >> CAP_SYS_ADMIN & 1:
        # Entering a namespace and mounting a bpffs take CAP_SYS_ADMIN, loading takes the narrower two.
        narrower = {CAP_BPF: "CAP_BPF", CAP_PERFMON: "CAP_PERFMON"}
        wanted = {CAP_SYS_ADMIN: "CAP_SYS_ADMIN"} if netns else narrower
        lacking += [name for bit, name in wanted.items() if not mask >> bit & 1]
    if not lacking:
        return ()
    return (f"no {', '.join(lacking)}: run it as root (sudo neurowall run ...)",)


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


def _mounts(proc: Path) -> tuple[str, ...]:
    """Pins in a private mount namespace would die with it, and enforcement with them."""
    hosts = _host_mounts(proc)
    if hosts is None or (proc / "self/ns/mnt").readlink() == hosts:
        return ()
    why = "this process has a private mount namespace, so its pins would die with it"
    return (f"{why}: use --netns NAME instead of `ip netns exec NAME neurowall run`",)


def _host_mounts(proc: Path) -> Path | None:
    """The mount namespace of pid 1; where /proc hides that, of the kernel's threads; else None."""
    for pid, name in (("1", None), ("2", "kthreadd")):
        try:
            if name is None or (proc / pid / "comm").read_text().strip() == name:
                return (proc / pid / "ns/mnt").readlink()
        except OSError:
            continue
    return None
