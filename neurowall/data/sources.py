# SPDX-License-Identifier: Apache-2.0
"""Files that the operator wrote: the policy and the lists that it declares."""

import os
import stat
from pathlib import Path

from neurowall.model.errors import ListError, PolicyError
from neurowall.model.listfile import MAX_LIST
from neurowall.model.policy import Policy, load_policy


def read_policy(path: Path) -> Policy:
    """Read and check a policy file. Raises PolicyError."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise PolicyError(
            [f"{path}: cannot be read: {error.strerror}: check the path and its permissions"]
        ) from error
    return load_policy(text, str(path))


def read_source(path: Path) -> bytes:
    """Read the file of a declared list: a regular file of at most MAX_LIST bytes. Raises ListError."""
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ListError(f"{path}: cannot be read: not a regular file: name a file of entries")
            content = file.read(MAX_LIST + 1)
    except (OSError, ValueError) as error:  # ValueError: no file can have this name
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise ListError(f"{path}: cannot be read: {why}: check the path and its permissions") from error
    if len(content) > MAX_LIST:
        raise ListError(f"{path}: cannot be read: more than {MAX_LIST >> 20} MiB: shorten it")
    return content


def _without_waiting(path: str, flags: int) -> int:
    """A FIFO that nobody writes to would hold everything up."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)
