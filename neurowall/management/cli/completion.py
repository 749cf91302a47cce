# SPDX-License-Identifier: Apache-2.0
"""What a shell offers after TAB beyond commands and options: instances, and names the daemon knows.

A shell waits for this, so it asks the socket itself, briefly, and offers nothing if that fails.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from neurowall.management.cli.target import DEFAULT_INSTANCE, RUN_DIR
from neurowall.management.instance import DEFAULT_RUN_DIR

PATIENCE = 0.5  # seconds


def complete_instances(context: typer.Context, incomplete: str) -> list[str]:
    """Instances that run or ran on this machine."""
    try:
        names = sorted(each.parent.name for each in _run_dir(context).glob("*/instance.json"))
    except OSError:
        return []
    return [name for name in names if name.startswith(incomplete)]


def complete_lists(context: typer.Context, incomplete: str) -> list[str]:
    """Lists of the instance."""
    rows = _ask(context, "/lists").get("lists", ())
    return [row["name"] for row in rows if row["name"].startswith(incomplete)]


def complete_changeable_lists(context: typer.Context, incomplete: str) -> list[str]:
    """The same without those that `block` and `allow` keep."""
    return [name for name in complete_lists(context, incomplete) if not name.startswith("operator-")]


def _ask(context: typer.Context, path: str) -> dict[str, Any]:
    """An answer of the daemon; empty where there is none."""
    import socket

    instance = next(_given(context, "instance"), None) or DEFAULT_INSTANCE
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(PATIENCE)
            connection.connect(str(_run_dir(context) / instance / "api.sock"))
            connection.sendall(f"GET {path} HTTP/1.0\r\nHost: neurowall\r\n\r\n".encode())
            answer = b"".join(iter(lambda: connection.recv(1 << 16), b""))
        body = json.loads(answer.partition(b"\r\n\r\n")[2])
    except (OSError, ValueError):
        return {}
    return body if isinstance(body, dict) else {}


def _run_dir(context: typer.Context) -> Path:
    given = next(_given(context, "run_dir"), None) or os.environ.get(RUN_DIR)
    return Path(given or DEFAULT_RUN_DIR)


def _given(context: Any, name: str) -> Iterator[str]:
    """An option's values in the line so far, those of the command before those of its groups."""
    while context is not None:
        if value := context.params.get(name):
            yield value
        context = context.parent
