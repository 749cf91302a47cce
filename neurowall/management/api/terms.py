# SPDX-License-Identifier: Apache-2.0
"""Under which terms a change is asked for: If-Match, and Idempotency-Key."""

import re
from dataclasses import dataclass

from starlette.datastructures import Headers

from neurowall.management.api.problems import ApiProblem

MAX_KEY = 128  # characters
_KEY = re.compile(r"[\x21-\x7e]{1,128}")
_TAG = re.compile(r'(W/)?"([^"]*)"')


@dataclass(frozen=True)
class Terms:
    """key: of a change that must not be made twice. generations: one of these must be in force, if given."""

    key: str | None = None
    generations: frozenset[int] | None = None


def terms_of(headers: Headers, *, of_generation: bool = True) -> Terms:
    """Those of a request. Raises ApiProblem if they cannot be read: nothing is changed without them.

    of_generation: whether it may be bound to a generation; else If-Match is refused, not ignored.
    """
    key = headers.get("idempotency-key")
    if key is not None:
        key = key.strip().removeprefix('"').removesuffix('"')
        if not _KEY.fullmatch(key):
            wrong = f"expected 1 to {MAX_KEY} printable ASCII characters without spaces"
            raise _unreadable("idempotency-key", wrong)
    if not of_generation and "if-match" in headers:
        wrong = "no generation holds what this changes, so none can be named: leave it out"
        raise _unreadable("if-match", wrong)
    return Terms(key, _generations(headers.get("if-match")))


def _generations(header: str | None) -> frozenset[int] | None:
    """`"12"`, `"12", "13"`, or `*`, which every state fits; a weak tag fits none, by RFC 9110."""
    if header is None or header.strip() == "*":
        return None
    found: set[int] = set()
    for each in header.split(","):
        tag = _TAG.fullmatch(each.strip())
        if tag is None:
            raise _unreadable("if-match", 'expected the ETag of an answer, such as "12"')
        if not tag[1] and tag[2].isascii() and tag[2].isdigit():
            found.add(int(tag[2][:20]))
    return frozenset(found)


def _unreadable(header: str, why: str) -> ApiProblem:
    return ApiProblem(422, "invalid-request", f"{header}: {why}", [{"field": header, "why": why}])
