# SPDX-License-Identifier: Apache-2.0
"""The instance's bpffs: what keeps enforcement alive when the daemon is not.

It is mounted at <run directory>/bpf in the host's mount namespace and holds maps-<tag>/<map>, the maps in
force, whose tag is a hash of their layout and, after dashes, the capacities that they were made for;
new-<tag>/, being made, renamed when complete, removed by the next start; links/<interface>, the XDP link of
each interface, and links/<interface>:egress, that of its program at egress if it has one.
"""

import ctypes as c
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from neurowall.model.errors import Unsupported

_BPF_FS_MAGIC = 0xCAFE4A11
_UMOUNT_NOFOLLOW = 8
_LIBC = c.CDLL(None, use_errno=True)


def _magic(path: Path) -> int:
    buffer = (c.c_long * 32)()
    if _LIBC.statfs(os.fsencode(path), c.byref(buffer)):
        return 0
    return int(buffer[0]) & 0xFFFFFFFF


def is_mounted(path: Path) -> bool:
    """Whether a bpffs is at *path*."""
    return _magic(path) == _BPF_FS_MAGIC


def mount(path: Path) -> None:
    """Mount a bpffs at *path* unless one is there; Unsupported if the kernel or our rights forbid it.

    Its root is the caller's: give it to somebody else by chown, which every kernel's bpffs knows.
    """
    if not path.is_symlink():
        path.mkdir(parents=True, exist_ok=True)
        if is_mounted(path):
            return
    try:
        # The folder around it may be another user's, who could put a link to some other place there.
        place = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise Unsupported(f"cannot mount a bpffs at {path}: {error.strerror}") from error
    try:
        failed = _LIBC.mount(b"bpf", f"/proc/self/fd/{place}".encode(), b"bpf", 0, b"mode=0700")
        reason = os.strerror(c.get_errno())
    finally:
        os.close(place)
    if failed:
        raise Unsupported(
            f"cannot mount a bpffs at {path}: {reason}; it needs CAP_SYS_ADMIN (root, or "
            "`neurowall prepare` by root before) and CONFIG_BPF_SYSCALL"
        )


def unmount(path: Path) -> None:
    """Take the bpffs away with every pin on it, and its mount point."""
    if path.is_dir() and is_mounted(path):
        _LIBC.umount2(os.fsencode(path), _UMOUNT_NOFOLLOW)
    if path.is_dir():
        path.rmdir()


class Pins:
    """Names on one bpffs."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.links = root / "links"

    def maps(self, tag: str) -> Path:
        """Where the maps of a layout are once complete."""
        return self.root / f"maps-{tag}"

    def begin(self, tag: str) -> Path:
        """An empty directory to pin new maps into; commit() makes it count."""
        path = self.root / f"new-{tag}"
        remove_tree(path)
        path.mkdir()
        return path

    def commit(self, tag: str) -> None:
        """The maps pinned since begin() are complete; what a crash left under that name goes."""
        remove_tree(self.maps(tag))
        (self.root / f"new-{tag}").rename(self.maps(tag))

    def tags(self, origin: str) -> list[str]:
        """Tags of the complete sets of maps whose layout is *origin*."""
        prefix = f"maps-{origin}-"
        return [p.name.removeprefix("maps-") for p in self.root.iterdir() if p.name.startswith(prefix)]

    def complete(self, tag: str) -> list[Path]:
        """The maps of a complete set; not what a crash left half made beside them."""
        return [path for path in sorted(self.maps(tag).iterdir()) if ":" not in path.name]

    def others(self, tag: str) -> Iterator[Path]:
        """Directories of maps that are not of this layout, and unfinished ones."""
        for path in sorted(self.root.iterdir()):
            if path.name.startswith(("maps-", "new-")) and path != self.maps(tag):
                yield path


def remove_tree(path: Path) -> None:
    """Unpin everything below *path*; what is attached or in use elsewhere lives on."""
    if path.is_dir():
        shutil.rmtree(path)
