# SPDX-License-Identifier: Apache-2.0
"""`neurowall audit verify` without a daemon: on the database itself, which is only read."""

import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from neurowall.data.store.offline import verify_offline
from neurowall.management.cli.target import STATE_DIR
from neurowall.management.daemon.storage import FILE, HEAD_FILE, NODE_FILE
from neurowall.management.errors import CannotRun, CommandError
from neurowall.management.instance import DEFAULT_STATE_DIR, Instance
from neurowall.model.errors import StorageUnavailable, Unsupported

Json = dict[str, Any]


def verify_here(instance: Instance, state_dir: Path | None, database: str | None) -> Json:
    """The API's answer, made here. database None: SQLite in the instance's state directory."""
    state = _state(instance, state_dir)
    url = database or f"sqlite:///{quote(str((state / FILE).absolute()))}"
    logging.getLogger("neurowall").addHandler(logging.NullHandler())  # the answer says it all
    try:
        node, found = verify_offline(url, state / HEAD_FILE, _node(state))
    except Unsupported as error:
        raise CannotRun(str(error)) from error
    except StorageUnavailable as error:
        raise CommandError(f"no daemon answers, and {error}") from error
    answer = {"ok": found.ok, "rows": found.rows, "first_bad": found.first_bad, "why": found.why or None}
    return answer | {"head": found.head.id, "hash": found.head.hash, "note": found.note or None, "node": node}


def _state(instance: Instance, state_dir: Path | None) -> Path:
    if state_dir is not None:
        return state_dir / instance.name
    if recorded := instance.recorded():
        return Path(recorded.state_dir)
    return Path(os.environ.get(STATE_DIR) or DEFAULT_STATE_DIR) / instance.name


def _node(state: Path) -> str | None:
    """Whose rows the instance writes."""
    with suppress(OSError, UnicodeDecodeError):
        return (state / NODE_FILE).read_text(encoding="utf-8").strip() or None
    return None
