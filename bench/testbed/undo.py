# SPDX-License-Identifier: Apache-2.0
"""Undoing one thing at a time. Each is idempotent: what is already gone is no error."""

import contextlib
import errno
import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

from pyroute2 import IPRoute

from bench.testbed import procfs, syscalls
from bench.testbed.errors import TestbedError

NETNS_DIR = Path("/run/netns")
KILL_SECONDS = 5.0
_GROUP = 4242  # any number but 0, which is everybody's


def in_namespace(path: Path, action: Callable[[], None]) -> None:
    """Run an action inside a namespace on a thread of its own, so that no caller can be left in there."""
    failure: list[BaseException] = []

    def enter_and_act() -> None:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                syscalls.setns_network(descriptor)
            finally:
                os.close(descriptor)
            action()
        except BaseException as error:  # noqa: BLE001  raised again in the caller
            failure.append(error)

    thread = threading.Thread(target=enter_and_act, name=f"netns {path.name}")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]


def remove_namespace(name: str) -> bool:
    """Delete the links in a named namespace, then its name; False when there was nothing.

    The links first: the kernel dissolves a namespace later, in the background and under the next measurement,
    and not at all while a stray process sits in it. Raises TestbedError where something else is mounted, or
    what is mounted was hidden by a later mount on the directory.
    """
    path = NETNS_DIR / name
    if not path.exists():
        return False
    mounts = procfs.mounted_at(path)
    if other := [mount.kind for mount in mounts if mount.kind != "nsfs"]:
        raise TestbedError(f"{path} is a mount of type {other[0]}, not a network namespace: left alone")
    for _ in mounts:
        try:
            in_namespace(path, _delete_veths)
            syscalls.unmount(str(path), lazy=True)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            break  # a plain file (by now), or one on top of a mount that is hidden
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        raise TestbedError(
            f"{path} has a mount below the one on {NETNS_DIR}, which came later (`ip netns add` made it); "
            f"when nobody needs the namespaces there any more, `umount -l {NETNS_DIR}` and run reap again"
        ) from error
    return True


def _delete_veths() -> None:
    """Delete the veth links of the current namespace, with their peers, all in one go.

    Each deletion waits for RCU several times; as a group they wait together (45 ms a chain instead of 90).
    """
    with IPRoute() as netlink:
        links = [one for one in netlink.get_links() if (one.get("linkinfo") or {}).get("kind") == "veth"]
        if links:
            for link in links:
                netlink.link("set", index=link["index"], group=_GROUP)
            netlink.link("del", group=_GROUP)


def remove_process(identity: procfs.Identity) -> bool:
    """SIGKILL one process and wait for its end; False when it was gone.

    Raises TestbedError when it does not die.
    """
    if not identity.kill():
        return False
    if not identity.wait_gone(KILL_SECONDS):
        raise TestbedError(
            f"process {identity.pid} survives SIGKILL, it hangs in the kernel; run reap again later"
        )
    return True


def remove_tagged(run_id: str) -> list[int]:
    """SIGKILL every process that carries the tag of a run, until a look finds none; returns their pids."""
    killed: list[int] = []
    deadline = time.monotonic() + KILL_SECONDS
    while living := procfs.tagged(run_id):
        killed += [identity.pid for identity in living if remove_process(identity)]
        if time.monotonic() > deadline:
            raise TestbedError(f"run {run_id} starts processes as fast as they are killed; run reap again")
    return killed


def remove_mounts_below(directory: Path) -> list[str]:
    """Unmount everything at or below a directory, newest first; returns the paths.

    A bpffs is emptied first: a copy of the mount in another mount namespace would keep its pins, and with
    them programs attached, alive. Not one that is also mounted elsewhere: that is somebody's, shown here by a
    bind.
    """
    gone = []
    for mount in procfs.mounts_below(directory):
        if mount.kind == "bpf" and not _mounted_elsewhere(mount, directory):
            empty_bpffs(Path(mount.path))
        with contextlib.suppress(FileNotFoundError):
            unmount(Path(mount.path))
        gone.append(mount.path)
    return gone


def _mounted_elsewhere(mount: procfs.Mount, directory: Path) -> bool:
    """Whether the same file system is mounted outside a directory too."""
    inside = {below.path for below in procfs.mounts_below(directory)}
    return any(other.device == mount.device and other.path not in inside for other in procfs.mounts())


def empty_bpffs(directory: Path) -> None:
    """Unlink every pin below a directory, which drops the links, programs and maps they hold."""
    for folder, _, files in os.walk(directory, topdown=False):
        for name in files:
            # EPERM: maps.debug and progs.debug, which some kernels put into every bpffs for good.
            with contextlib.suppress(FileNotFoundError, PermissionError):
                Path(folder, name).unlink()


def unmount(path: Path) -> None:
    """Unmount; detach when busy, so that a shell standing in it cannot hold up the clean-up."""
    try:
        syscalls.unmount(str(path))
    except OSError as error:
        if error.errno == errno.EINVAL:  # not a mount point (any more)
            return
        if error.errno != errno.EBUSY:
            raise
        syscalls.unmount(str(path), lazy=True)


def remove_mount(path: Path) -> bool:
    """Unmount what is stacked on exactly this path and below it; False when nothing was."""
    return bool(remove_mounts_below(path))


def remove_directory(path: Path) -> bool:
    """Unmount everything below a directory, then delete it and what it holds; False when it was gone."""
    remove_mounts_below(path)
    if left := procfs.mounts_below(path):
        raise TestbedError(
            f"{left[0].path} is still mounted, {path} is not deleted; unmount it, then run reap again"
        )
    if not path.is_symlink() and not path.exists():
        return False
    shutil.rmtree(path)
    return True


def remove_file(path: Path) -> bool:
    """Delete a file; False when it was gone."""
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    return True
