# SPDX-License-Identifier: Apache-2.0
"""Memory that a large list needed for a moment goes back to the system.

glibc keeps columns of up to 32 MiB, once freed, in the heaps of the threads that had them: measured after
three replacements of a million hosts, 110 MiB of 220.
"""

import ctypes
import threading
import time

_M_ARENA_MAX = -8  # malloc.h
_LATER = 2.0  # seconds: what asked for the change still holds the text and the answer


def one_heap() -> None:
    """Let all threads share one heap. Call it before the first thread is made.

    A lower M_MMAP_THRESHOLD would return columns at once, but then one ban among a million hosts takes 5 ms
    longer: each of its copies would be mapped anew.
    """
    mallopt = getattr(
        ctypes.CDLL(None), "mallopt", None
    )  # glibc has it; without it nothing but memory is lost
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)


def give_back() -> None:
    """Return freed heap memory to the system."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


class _Later:
    """Calls give_back some time after it was last asked to, in a thread that lives until then."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards the two below
        self._due = 0.0
        self._waiting = False

    def ask(self) -> None:
        with self._lock:
            self._due = time.monotonic() + _LATER
            if not self._waiting:
                self._waiting = True
                threading.Thread(target=self._wait, name="memory", daemon=True).start()

    def _wait(self) -> None:
        while (left := self._left()) > 0:
            time.sleep(left)
        give_back()

    def _left(self) -> float:
        with self._lock:
            left = self._due - time.monotonic()
            self._waiting = left > 0
            return left


_later = _Later()


def give_back_soon() -> None:
    """Return freed heap memory when the change that is being made is answered and forgotten."""
    _later.ask()
