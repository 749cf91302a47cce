# SPDX-License-Identifier: Apache-2.0
"""Waiting for what a store does in its own time."""

import time
from collections.abc import Callable

from neurowall.data.store.store import Store


def until(wanted: Callable[[], bool], seconds: float = 15.0) -> None:
    """Return when *wanted* is true."""
    deadline = time.monotonic() + seconds
    while not wanted():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.02)


def settled(store: Store, seconds: float = 15.0) -> None:
    """Return when nothing waits to be written."""
    until(lambda: store.facts().audit_queued == store.facts().waiting == 0, seconds)
