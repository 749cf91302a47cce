# SPDX-License-Identifier: Apache-2.0
"""What the daemon last put into table `inet neurowall`: a file in the run directory, gone with the boot.

A restart that finds the table as it was left, and wants the same, leaves it alone. `neurowall down` takes a
table away only if there is such a file: else it is not ours.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from neurowall.model.errors import StateError

NAME = "table.json"


@dataclass(frozen=True)
class Made:
    """ruleset: digest of what was wanted. fingerprint: of what the kernel held then, "" while it is made.

    names: the interfaces whose lists it holds, because no XDP program guards them.
    """

    ruleset: str
    fingerprint: str
    names: tuple[str, ...] = ()


class TableMemo:
    """The file. write raises StateError."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> Made | None:
        """What was noted, None without a readable file."""
        try:
            return Made(**json.loads(self._path.read_text()))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError):
            return Made("", "")  # the table is ours, whatever it is

    def write(self, made: Made) -> None:
        """Note it."""
        beside = self._path.with_suffix(".new")
        try:
            beside.unlink(missing_ok=True)
            with beside.open("x") as file:  # never through a link that another user put there
                file.write(json.dumps(made.__dict__))
            beside.replace(self._path)
        except OSError as error:
            raise StateError(f"{self._path}: cannot be written: {error.strerror}") from error

    def forget(self) -> None:
        """There is no table any more."""
        self._path.unlink(missing_ok=True)
