# SPDX-License-Identifier: Apache-2.0
"""The text of state.json: the intent, with a schema name and a checksum."""

import hashlib
import json
from typing import Any

from pydantic import TypeAdapter, ValidationError

from neurowall.model.intent import Intent

SCHEMA = "neurowall-state/2"
_READABLE = ("neurowall-state/1", SCHEMA)  # the first knew no policy: its fields have defaults

_INTENT = TypeAdapter(Intent)


def encode(intent: Intent) -> bytes:
    """The text to save."""
    body = _canonical(_INTENT.dump_python(intent, mode="json"))
    # Written only once, by the fast encoder: this is part of the time until a ban is in force.
    return f'{{"schema":"{SCHEMA}","checksum":"{_digest(body)}","intent":{body}}}\n'.encode()


def decode(text: bytes) -> Intent:
    """The intent that *text* holds. Raises ValueError saying what is wrong with it."""
    document = json.loads(text)
    if not isinstance(document, dict) or document.get("schema") not in _READABLE:
        found = document.get("schema") if isinstance(document, dict) else None
        raise ValueError(f"its schema is {found!r}, not {SCHEMA!r}")
    if document.get("checksum") != _digest(_canonical(document.get("intent"))):
        raise ValueError("its checksum does not match")
    try:
        return _INTENT.validate_python(document["intent"])
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def _canonical(body: Any) -> str:
    return json.dumps(body, sort_keys=True, separators=(",", ":"))


def _digest(canonical: str) -> str:
    return hashlib.sha256(canonical.encode()).hexdigest()
