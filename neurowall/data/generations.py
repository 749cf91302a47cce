# SPDX-License-Identifier: Apache-2.0
"""The policies that were in force, one file each: `generations/<number>.json`.

A file is written, and synced, before the state that names it, and never changes. The last KEPT are kept, the
lists of the last WITH_LISTS among them too.
"""

import contextlib
import hashlib
import json
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from neurowall.data.durable import write_durably
from neurowall.model.errors import StateError
from neurowall.model.intent import GenerationRecord

SCHEMA = "neurowall-generation/1"
KEPT = 100
WITH_LISTS = 10

_RECORD = TypeAdapter(GenerationRecord)


class GenerationStore:
    """The generations in one daemon's state directory. Methods raise StateError."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory / "generations"
        self._digests: set[str] | None = None

    def put(self, record: GenerationRecord) -> None:
        """Keep a generation, and no more than KEPT of them."""
        self._digests = None
        body = json.dumps(_RECORD.dump_python(record, mode="json"), sort_keys=True)
        text = json.dumps({"schema": SCHEMA, "checksum": _digest(body), "generation": json.loads(body)})
        path = self._path(record.generation)
        try:
            self._directory.mkdir(mode=0o700, exist_ok=True)
            write_durably(path, text.encode())
        except OSError as error:
            raise StateError(f"{path}: cannot be written: {error.strerror}") from error
        with contextlib.suppress(OSError):
            for number in self.numbers()[:-KEPT]:
                self._path(number).unlink(missing_ok=True)

    def get(self, number: int) -> GenerationRecord:
        """One generation."""
        path = self._path(number)
        try:
            document = json.loads(path.read_bytes())
        except FileNotFoundError as error:
            kept = ", ".join(map(str, self.numbers())) or "none"
            raise StateError(
                f"generation {number} put no policy in force, or is not kept; there are: {kept}"
            ) from error
        except OSError as error:
            raise StateError(f"{path}: cannot be read: {error.strerror}: check permissions") from error
        except ValueError as error:
            raise StateError(f"{path} is damaged ({error}): roll back to another generation") from error
        return _decoded(path, document)

    def numbers(self) -> list[int]:
        """The generations that are kept, oldest first."""
        with contextlib.suppress(OSError):
            return sorted(int(path.stem) for path in self._directory.glob("*.json") if path.stem.isdigit())
        return []

    def at(self, generation: int) -> int | None:
        """The newest kept generation that is not newer than *generation*: whose policy was in force then."""
        return max((number for number in self.numbers() if number <= generation), default=None)

    def discard(self, number: int) -> None:
        """Forget a generation that never came into force."""
        self._digests = None
        with contextlib.suppress(OSError):
            self._path(number).unlink(missing_ok=True)

    def digests(self) -> set[str]:
        """The stored lists that the last generations name; damaged files name none."""
        if self._digests is None:  # read once: every change of a list asks
            self._digests = set()
            for number in self.numbers()[-WITH_LISTS:]:
                with contextlib.suppress(StateError):
                    self._digests |= {record.sha256 for record in self.get(number).lists}
        return self._digests

    def _path(self, number: int) -> Path:
        return self._directory / f"{number:010}.json"


def _decoded(path: Path, document: object) -> GenerationRecord:
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise StateError(f"{path} is damaged (its schema is not {SCHEMA}): roll back to another generation")
    body = document.get("generation")
    if document.get("checksum") != _digest(json.dumps(body, sort_keys=True)):
        raise StateError(f"{path} is damaged (its checksum does not match): roll back to another generation")
    try:
        return _RECORD.validate_python(body)
    except ValidationError as error:
        first = error.errors()[0]
        problem = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise StateError(f"{path} is damaged ({problem}): roll back to another generation") from error


def _digest(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()
