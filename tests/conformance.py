# SPDX-License-Identifier: Apache-2.0
"""Whether an answer is one that the API's description promises."""

import json
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry
from referencing.jsonschema import DRAFT202012

Json = dict[str, Any]
_ROOT = "urn:openapi"


class Description:
    """One OpenAPI document, and answers held against it."""

    def __init__(self, document: Json) -> None:
        self.document = document
        resource = DRAFT202012.create_resource(document)
        self._registry: Any = Registry().with_resource(_ROOT, resource)
        self._paths = [(_pattern(path), path) for path in sorted(document["paths"], key=_literal_first)]
        self._validator = cache(self._make_validator)

    def operation(self, method: str, path: str) -> tuple[str, Json] | None:
        """The described path that a request is for, and the operation; None if there is none."""
        for pattern, described in self._paths:
            if pattern.fullmatch(path):
                found = self.document["paths"][described].get(method.lower())
                return (described, found) if found else None
        return None

    def problem_with(
        self, method: str, path: str, status: int, headers: Mapping[str, str], body: bytes
    ) -> str | None:
        """Why the answer is none of the promised ones; None if it is. Paths that are not described pass."""
        found = self.operation(method, path)
        if not found:
            return None
        described, operation = found
        answer = operation["responses"].get(str(status))
        if not answer:
            return f"{method} {described} answered {status}, which is not described: {body[:300]!r}"
        media = headers.get("content-type", "").split(";")[0]
        if media not in answer["content"]:
            return f"{method} {described} answered {status} as {media!r}, not {list(answer['content'])}"
        if not media.endswith("json"):
            return None
        validator = self._validator(described, method.lower(), status, media)
        wrong = next(validator.iter_errors(json.loads(body)), None)
        what = f"{method} {described} answered {status}"
        return f"{what}: {wrong.json_path}: {wrong.message}" if wrong else None

    def wrong(self, schema: Json, value: Any) -> str | None:
        """Why a value is not of a schema of this document; None if it is."""
        local = json.loads(json.dumps(schema).replace('"#/', f'"{_ROOT}#/'))
        found = next(Draft202012Validator(local, registry=self._registry).iter_errors(value), None)
        return f"{found.json_path}: {found.message}" if found else None

    def _make_validator(self, path: str, method: str, status: int, media: str) -> Any:
        place = "/".join(
            part.replace("~", "~0").replace("/", "~1")
            for part in ("paths", path, method, "responses", str(status), "content", media, "schema")
        )
        return Draft202012Validator({"$ref": f"{_ROOT}#/{place}"}, registry=self._registry)


def _pattern(path: str) -> re.Pattern[str]:
    """What requests for a path look like; addresses to explain may hold a slash."""
    rest = ".+" if path.startswith("/explain/") else "[^/]+"
    parts = re.split(r"(\{\w+\})", path)
    return re.compile("".join(rest if part[:1] == "{" else re.escape(part) for part in parts))


def _literal_first(path: str) -> tuple[int, str]:
    return path.count("{"), path
