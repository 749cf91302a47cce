# SPDX-License-Identifier: Apache-2.0
"""Freed memory goes back to the system, whichever thread had it."""

import re
import subprocess
import sys

MEASURED = """
import threading, time
from pathlib import Path
import numpy as np
from neurowall.logic import memory

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

def use(kept):
    warm = np.ones(31 << 20, np.uint8)  # freed: what is smaller comes from the heap from now on
    del warm
    columns = [np.ones(4 << 20, np.uint8) for _ in range(16)]
    kept += [bytes(100_000) for _ in range(8)]
    del columns

{before}
start, kept = resident(), []
threads = [threading.Thread(target=use, args=(kept,)) for _ in range(2)]
for thread in threads:
    thread.start()
    thread.join()
{after}
print((resident() - start) >> 20)
"""


def held(before: str = "", after: str = "") -> int:
    """MiB that a process holds more than at its start, after two threads used 64 each and freed them."""
    program = MEASURED.format(before=before, after=after)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert re.fullmatch(r"-?\d+\n", done.stdout)
    return int(done.stdout)


def test_what_was_freed_is_given_back() -> None:
    """A quarter of what one thread used is more than remains; without it, more than that does."""
    assert held("memory.one_heap()", "memory.give_back()") < 16
    assert held() > 32


def test_soon_is_after_the_change() -> None:
    """Not at once, and without anybody waiting for it."""
    soon = "[memory.give_back_soon() for _ in range(100)]; assert threading.active_count() == 2"
    assert held("memory.one_heap()", soon) > 32
    assert held("memory.one_heap()", f"{soon}; time.sleep(memory._LATER + 1)") < 16


def test_each_change_has_its_turn() -> None:
    """One that comes while the memory of another is waited for, and one after that."""
    twice = "memory.give_back_soon(); time.sleep(memory._LATER / 2); " * 2 + "time.sleep(memory._LATER + 1); "
    again = "use(kept); memory.give_back_soon(); time.sleep(memory._LATER + 1)"
    assert held("memory.one_heap()", twice + again) < 16
