# SPDX-License-Identifier: Apache-2.0
"""The terminal for a program that redraws it: another screen, keys at once, and everything put back."""

import os
import select
import shutil
import signal
import sys
import termios
import tty
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

_ENTER = "\x1b[?1049h\x1b[?25l"  # the alternate screen, without a cursor
_LEAVE = "\x1b[?25h\x1b[?1049l"
_ENDING = (signal.SIGTERM, signal.SIGHUP)


class Screen:
    """The alternate screen, from `take` to the end of the context; the shell's comes back, however it ends.

    Entering takes nothing yet: an interrupt between that and the context's body would leave it taken.

    SIGTERM and SIGHUP end the program with 128 + their number, as a shell says it; Ctrl-Z gives the terminal
    back for the time.
    """

    def __init__(self) -> None:
        self._input = sys.stdin.fileno()
        self._modes: list[Any] = []
        self._previous: dict[int, Any] = {}
        self._taken = False

    def __enter__(self) -> Self:
        self._modes = termios.tcgetattr(self._input)
        for number in _ENDING:
            self._previous[number] = signal.signal(number, _end)
        self._previous[signal.SIGTSTP] = signal.signal(signal.SIGTSTP, self._stop)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number in _ENDING:  # a second one must not interrupt this
            signal.signal(number, signal.SIG_IGN)
        if self._taken:
            self._give_back()
        for each, handler in self._previous.items():
            signal.signal(each, handler)

    def take(self) -> None:
        """Begin."""
        self._taken = True
        tty.setcbreak(self._input)  # signals by Ctrl-C and Ctrl-Z stay
        self._write(_ENTER)

    def draw(self, render: Callable[[int, int], str]) -> None:
        """Show what *render* makes for so many columns and lines; what does not fit is cut off."""
        size = shutil.get_terminal_size()
        lines = render(size.columns, size.lines).splitlines()[: size.lines]
        self._write("\x1b[H" + "\n".join(f"{line}\x1b[K" for line in lines) + "\x1b[J")

    def key(self, seconds: float) -> str:
        """The next key within *seconds*; empty if there is none."""
        if not select.select([self._input], [], [], max(seconds, 0.0))[0]:
            return ""
        pressed = os.read(self._input, 1)
        if not pressed:
            raise SystemExit(0)  # the terminal has gone
        return pressed.decode(errors="replace")

    def _give_back(self) -> None:
        self._write(_LEAVE)
        termios.tcsetattr(self._input, termios.TCSADRAIN, self._modes)

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        self._give_back()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)  # stands still here until SIGCONT
        signal.signal(number, self._stop)
        self.take()

    def _write(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()


def _end(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
