# SPDX-License-Identifier: Apache-2.0
"""A clock that nobody sets, and that goes on while the machine sleeps: CLOCK_BOOTTIME, with the boot's id."""

import time
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def now() -> float:
    """Seconds since the machine started."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot_id() -> str:
    """Which boot that was."""
    return _BOOT_ID.read_text(encoding="ascii").strip()
