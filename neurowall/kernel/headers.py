# SPDX-License-Identifier: Apache-2.0
"""Kernel headers for bcc, which compiles nothing without; those of another kernel do, see vmlinux."""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from neurowall.model.errors import Unsupported

MODULES = Path("/lib/modules")
VARIABLE = "BCC_KERNEL_SOURCE"
_ARCHITECTURES = {"x86_64": "x86", "aarch64": "arm64"}


def find(release: str | None = None, modules: Path = MODULES) -> Path:
    """A folder below /lib/modules that has headers: of this kernel, else the newest of any.

    Unsupported with the package to install if there is none.
    """
    release = release or os.uname().release
    if has_headers(modules / release):
        return modules / release
    others = [path for path in modules.iterdir() if has_headers(path)] if modules.is_dir() else []
    if others:
        return max(
            others, key=lambda path: [int(word) if word.isdigit() else -1 for word in _words(path.name)]
        )
    raise Unsupported(
        f"bcc needs kernel headers, and there are none below {modules}: apt install linux-headers-{release}; "
        "where there is no such package, linux-headers-amd64 (Ubuntu: linux-headers-generic), since those of "
        "another kernel are enough"
    )


def _words(release: str) -> list[str]:
    return release.replace("-", ".").split(".")


def has_headers(folder: Path) -> bool:
    """Whether a kernel's folder leads to its headers."""
    return any((folder / part / "include/linux/kconfig.h").is_file() for part in ("build", "source"))


@contextmanager
def for_bcc(folder: Path) -> Iterator[None]:
    """While in the block, bcc finds the headers: Debian keeps them in two trees, and it looks into one."""
    if VARIABLE in os.environ:  # the user knows better
        yield
        return
    with TemporaryDirectory(prefix="neurowall-headers-") as merged:
        _merge(folder, Path(merged))
        os.environ[VARIABLE] = merged
        try:
            yield
        finally:
            del os.environ[VARIABLE]


def _merge(folder: Path, into: Path) -> None:
    """One tree of links to what is in both."""
    machine = platform.machine()
    for part in ("include", f"arch/{_ARCHITECTURES.get(machine, machine)}/include"):
        made = into / part
        made.mkdir(parents=True)
        for tree in ("build", "source"):
            there = folder / tree / part
            for entry in there.iterdir() if there.is_dir() else ():
                if not (made / entry.name).exists():
                    (made / entry.name).symlink_to(entry.resolve())
