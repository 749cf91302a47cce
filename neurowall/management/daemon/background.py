# SPDX-License-Identifier: Apache-2.0
"""What works beside the daemon while it runs: a thread that is told to end, then waited for."""

import threading
from abc import ABC, abstractmethod


class Background(ABC):
    """One thread under a *name*. `_work` is to return soon after `_ending` is set."""

    PATIENCE = 10.0  # seconds that stop() waits

    def __init__(self, name: str) -> None:
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def end(self) -> None:
        """Have the thread end, without waiting for that."""
        self._ending.set()

    def stop(self) -> None:
        """End the thread; returns when it is gone, or after PATIENCE."""
        self.end()
        self._thread.join(timeout=self.PATIENCE)

    @abstractmethod
    def _work(self) -> None:
        """What the thread does."""
