# SPDX-License-Identifier: Apache-2.0
"""The four system calls that Python 3.11 does not offer: setns, unshare, mount and umount2.

All raise OSError with the path or purpose in its `filename`. setns and unshare change the calling thread
only.
"""

import ctypes
import os

CLONE_NEWNET = 0x40000000
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_BIND = 4096
MS_REC = 16384
MS_SHARED = 1 << 20
MNT_DETACH = 2
UMOUNT_NOFOLLOW = 8

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)


def setns_network(descriptor: int) -> None:
    """Move the calling thread into the network namespace behind an open descriptor."""
    _check(_libc.setns(descriptor, CLONE_NEWNET), "setns")


def unshare_network() -> None:
    """Give the calling thread a new, empty network namespace."""
    _check(_libc.unshare(CLONE_NEWNET), "unshare(CLONE_NEWNET)")


def mount(source: str, target: str, kind: str, flags: int = 0, data: str = "") -> None:
    """Attach a file system; its type `kind` is ignored with MS_BIND, source too with MS_SHARED."""
    arguments = (
        os.fsencode(source),
        os.fsencode(target),
        kind.encode(),
        ctypes.c_ulong(flags),
        data.encode(),
    )
    _check(_libc.mount(*arguments), target)


def unmount(target: str, *, lazy: bool = False) -> None:
    """umount2(2), never through a symbolic link; `lazy` detaches a busy mount (MNT_DETACH)."""
    flags = UMOUNT_NOFOLLOW | (MNT_DETACH if lazy else 0)
    _check(_libc.umount2(os.fsencode(target), flags), target)
