# SPDX-License-Identifier: Apache-2.0
"""The command line tools that rivals are driven by."""

import shutil
import subprocess
from collections.abc import Sequence
from functools import cache


def missing_tool(tool: str, package: str) -> str | None:
    """Why a tool cannot be used, None if it is there."""
    return None if shutil.which(tool) else f"no program {tool}: install the package {package}"


def version(argv: Sequence[str]) -> str:
    """What a tool answers to being asked for its version, the first line."""
    return _version(tuple(argv))


@cache
def _version(argv: tuple[str, ...]) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=10)
    return (done.stdout or done.stderr).strip().partition("\n")[0]
