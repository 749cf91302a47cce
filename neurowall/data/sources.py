# SPDX-License-Identifier: Apache-2.0
"""Files that the operator wrote: the policy and the lists that it declares."""

from pathlib import Path

from neurowall.model.errors import ListError, PolicyError
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
    """Read the file of a declared list. Raises ListError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ListError(
            f"{path}: cannot be read: {error.strerror}: check the path and its permissions"
        ) from error
