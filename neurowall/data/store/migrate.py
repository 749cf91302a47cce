# SPDX-License-Identifier: Apache-2.0
"""Migrations run in a child process: alembic and what it needs would stay in the daemon's memory for ever."""

import os
import subprocess
import sys
from pathlib import Path

from neurowall.model.errors import StorageUnavailable

SECONDS = 120.0
_PACKAGE = Path(__file__).parents[3]


def upgrade_in_child(url: str, where: str, revision: str = "head") -> None:
    """Bring the schema to *revision*; raises StorageUnavailable if that fails, with nothing changed."""
    path = [str(_PACKAGE), *(entry or str(Path.cwd()) for entry in sys.path)]
    try:
        done = subprocess.run(
            [sys.executable, "-S", "-P", "-m", __name__, revision],
            input=url,  # not an argument: it may hold a password, and everybody reads those
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
        )
    except subprocess.TimeoutExpired as error:
        raise StorageUnavailable(
            f"{where}: its schema was not updated in {SECONDS:g} s: look at its load"
        ) from error
    if done.returncode:
        last = done.stderr.strip().rpartition("\n")[2] or f"exit code {done.returncode}"
        raise StorageUnavailable(f"{where}: its schema cannot be updated: {last}")


def move(url: str, revision: str) -> None:
    """Bring the schema to *revision*, up or down, in this process."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    config.attributes["url"] = url
    down = revision == "base" or revision.startswith("-")
    (command.downgrade if down else command.upgrade)(config, revision)


if __name__ == "__main__":
    move(sys.stdin.read(), sys.argv[1])
