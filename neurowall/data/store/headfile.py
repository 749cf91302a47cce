# SPDX-License-Identifier: Apache-2.0
"""The head of the audit's chain in a file beside the state, apart from the database."""

import contextlib
import json
import logging
import os
from pathlib import Path

from neurowall.model.audit import Head

log = logging.getLogger(__name__)


class HeadFile:
    """Reads and writes it; a path of None keeps nothing.

    It is not synced: the database is, and is written first. So after a power cut the file may be behind,
    which is no tail that was cut, but never ahead.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._failed = False

    def read(self, node: str) -> Head | None:
        """The head as it was written last for this node; None if there is none, or it cannot be read."""
        if self._path is None:
            return None
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            kept = json.loads(self._path.read_bytes())
            if kept["node"] == node:
                return Head(int(kept["id"]), str(kept["hash"]))
        return None

    def node(self) -> str | None:
        """Whose head it keeps; None if there is none, or it cannot be read."""
        if self._path is not None:
            with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
                return str(json.loads(self._path.read_bytes())["node"])
        return None

    def write(self, node: str, head: Head) -> None:
        """Replace it. A failure is logged once: the chain in the database is whole without it."""
        if self._path is None:
            return
        beside = self._path.with_name(f".{self._path.name}.new")
        try:
            descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                json.dump({"node": node, "id": head.id, "hash": head.hash}, file)
            beside.replace(self._path)
            self._failed = False
        except OSError as error:
            if not self._failed:
                log.warning(
                    "%s: cannot be written: %s; a cut tail of the audit would go unseen",
                    self._path,
                    error.strerror,
                )
            self._failed = True
