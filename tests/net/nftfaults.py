# SPDX-License-Identifier: Apache-2.0
"""`neurowall` on a faulty libnftables: python nftfaults.py FILE ARGUMENTS...

FILE that says "missing" at the start: there is no such module. FILE that says "HOW WHEN CALL": the call of
that number from then on fails, 1 being the next one. HOW: `answers` an error, `raises` an exception, or
`succeeds` and then answers an error. WHEN: `once`, which removes FILE, or `always`, while FILE is there.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from neurowall.management.cli.main import main

COMPLAINT = "the disk of the library is on fire"
Command = Callable[[Any, str], tuple[int, str, str]]


def _faulty(command: Command, file: Path) -> Command:
    def called(context: Any, text: str) -> tuple[int, str, str]:
        how = _due(file)
        if how is None:
            return command(context, text)
        if how == "raises":
            raise RuntimeError(COMPLAINT)
        if how == "succeeds":
            command(context, text)
        return 1, "", f"Error: {COMPLAINT}\n"

    return called


def _due(file: Path) -> str | None:
    """How this call is to fail; None if it is not."""
    try:
        how, when, left = file.read_text().split()
    except FileNotFoundError:
        return None
    if left != "1":
        file.write_text(f"{how} {when} {int(left) - 1}")
        return None
    if when == "once":
        file.unlink()
    return how


if __name__ == "__main__":
    armed = Path(sys.argv.pop(1))
    if armed.exists() and armed.read_text() == "missing":
        sys.modules["nftables"] = None  # type: ignore[assignment]
    else:
        import nftables

        nftables.Nftables.cmd = _faulty(nftables.Nftables.cmd, armed)
    main()
