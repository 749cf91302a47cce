# SPDX-License-Identifier: Apache-2.0
"""The SSH session that a command is given in: which connection must not be cut."""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from neurowall.logic.lockout import Session
from neurowall.model.address import InvalidEntry, parse_address

VARIABLE = "SSH_CONNECTION"
_GENERATIONS = 20  # of parents; a login shell is a few away


def read_session(text: str) -> Session:
    """`203.0.113.7 50000 192.0.2.1 22`: client, its port, server, its port. Raises ValueError."""
    words = text.split()
    expected = f"'{text[:80]}': expected client, port, server, port, as in {VARIABLE}"
    if len(words) != 4 or not all(word.isascii() and word.isdigit() for word in words[1::2]):
        raise ValueError(expected)
    client_port, server_port = int(words[1]), int(words[3])
    if not 0 < client_port < 65536 or not 0 < server_port < 65536:
        raise ValueError(expected)
    try:
        client, server = (_address(word) for word in words[::2])
    except InvalidEntry as error:
        raise ValueError(f"{expected}: {error}") from error
    return Session(client, client_port, server, server_port)


def _address(text: str) -> str:
    """A link-local address keeps its interface, which is behind a %."""
    address, percent, interface = text.removeprefix("::ffff:" if "." in text else "").partition("%")
    return f"{parse_address(address)}{percent}{interface}"


def own_session(environment: Mapping[str, str] | None = None, proc: Path = Path("/proc")) -> str | None:
    """SSH_CONNECTION of this process or of the nearest ancestor that has it; None outside of SSH.

    sudo takes the variable away, so the caller's own environment is not enough. An empty one says that there
    is no session.
    """
    given = (os.environ if environment is None else environment).get(VARIABLE)
    if given is not None:
        return given or None
    for parent in _ancestors(proc):
        try:
            entries = (parent / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        for entry in entries:
            name, _, value = entry.partition(b"=")
            if name == VARIABLE.encode() and value:
                return value.decode(errors="replace")
    return None


def _ancestors(proc: Path) -> Iterator[Path]:
    process = proc / "self"
    for _ in range(_GENERATIONS):
        try:
            found = re.search(r"^PPid:\s*(\d+)$", (process / "status").read_text(), re.MULTILINE)
        except OSError:
            return
        if found is None or int(found[1]) <= 1:
            return
        process = proc / found[1]
        yield process
