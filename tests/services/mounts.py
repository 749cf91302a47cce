# SPDX-License-Identifier: Apache-2.0
"""A small file system of a test's own, in a mount namespace that ends with the test."""

import ctypes
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

_CLONE_NEWNS = 0x00020000


class Small:
    """A tmpfs that can be full, and read-only."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._filler = path / "filler"

    def fill(self) -> None:
        """Leave no room."""
        with self._filler.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"x" * 4096)
            except OSError:
                return

    def empty(self) -> None:
        """Take fill back."""
        self._filler.unlink()

    def remount(self, how: str) -> None:
        """Make it `ro` or `rw`."""
        _run("mount", "-o", f"remount,{how}", str(self.path))

    def cover(self) -> None:
        """Make it read-only for whoever opens it now; what is open stays so."""
        _run("mount", "--bind", str(self.path), str(self.path))
        _run("mount", "-o", "remount,bind,ro", str(self.path))

    def uncover(self) -> None:
        """Take cover back."""
        _run("umount", str(self.path))


def with_small(path: Path, size: str, test: Callable[[Small], None]) -> None:
    """Run *test* in a thread that sees a tmpfs of *size* at *path*, as do threads that it makes."""
    failure: list[BaseException] = []

    def body() -> None:
        try:
            assert ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNS) == 0, ctypes.get_errno()
            _run("mount", "--make-rprivate", "/")
            path.mkdir(exist_ok=True)
            _run("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path))
            test(Small(path))
        except BaseException as error:  # noqa: BLE001 - raised again where pytest sees it
            failure.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
