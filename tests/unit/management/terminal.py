# SPDX-License-Identifier: Apache-2.0
"""A program on a terminal of its own, as a person has it: what it shows, what is typed, how it leaves it."""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from types import TracebackType
from typing import Any, Self

NEUROWALL = (sys.executable, "-m", "neurowall.management.cli.main")
COLUMNS, LINES = 100, 30


class Terminal:
    """Runs *argv* as leader of a session on a new terminal; its end is forced when this is left."""

    def __init__(self, *argv: str, environment: dict[str, str] | None = None) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
        self.before = _modes(theirs)
        self._theirs = theirs  # kept open: the modes are asked for after the program's end
        self.shown = ""
        self._process = subprocess.Popen(
            ("setsid", "--ctty", *argv),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=os.environ | {"TERM": "xterm", "NO_COLOR": "1"} | (environment or {}),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._ours)
        os.close(self._theirs)

    @property
    def modes(self) -> Any:
        """How the terminal is set now."""
        return _modes(self._theirs)

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self._ours, keys.encode())

    def signal(self, number: signal.Signals) -> None:
        """Send the program a signal."""
        self._process.send_signal(number)

    def wait_for(self, text: str, seconds: float = 20.0) -> str:
        """What was shown up to *text*, which is not searched again."""
        deadline = time.monotonic() + seconds
        while text not in self.shown:
            assert self._read(deadline - time.monotonic()), (
                f"no {text!r} at the end of {self.shown[-1500:]!r}"
            )
        seen, _, self.shown = self.shown.partition(text)
        return seen + text

    def end(self, seconds: float = 20.0) -> int:
        """The program's exit code; `shown` has the rest."""
        deadline = time.monotonic() + seconds
        while self._process.poll() is None:
            assert time.monotonic() < deadline, f"still running: {self.shown[-1500:]!r}"
            self._read(0.05)
        while self._read(0.05):
            pass
        return self._process.returncode

    def _read(self, seconds: float) -> bool:
        if not select.select([self._ours], [], [], max(seconds, 0))[0]:
            return False
        self.shown += os.read(self._ours, 65536).decode(errors="replace")
        return True


def _modes(descriptor: int) -> Any:
    return termios.tcgetattr(descriptor)
