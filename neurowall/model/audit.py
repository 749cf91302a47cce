# SPDX-License-Identifier: Apache-2.0
"""Who did what: the rows of the audit, and the chain that binds them.

A change is two rows: `begin` before it is made, `end` with what became of it. What is no change, such as a
failed authentication, is one row, a `note`. Every row holds the hash of the one before, so that none can be
changed, taken out, put in or moved without every later hash being wrong.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Phase = Literal["begin", "end", "note"]
Ending = Literal["ok", "refused", "failed", "unknown"]  # unknown: the daemon died before it could be written

GENESIS = "0" * 64  # the hash before the first row
TEXT = 500  # characters of a target; others are shorter
DETAIL = 2_000  # characters of a row's detail, as JSON


@dataclass(frozen=True)
class Act:
    """What somebody asks for.

    actor: `uid:0 root` or `token:<id> <name>`. source: an address, or `unix`. before: the generation that was
    in force. detail: what else is worth knowing, plain JSON values.
    """

    action: str
    actor: str
    source: str = "unix"
    target: str = ""
    request_id: str = ""
    before: int | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What became of it. status: of the HTTP answer. after: the generation that it put in force."""

    result: Ending
    status: int | None = None
    after: int | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Entry:
    """A change that has begun, by the id of its first row."""

    id: int
    act: Act


@dataclass(frozen=True)
class AuditRow:
    """One row, as it is kept. when: Unix seconds. begin: of an `end`, the row that it belongs to.

    late: written when the database was back, not when it happened. detail: JSON.
    """

    node: str
    id: int
    when: float
    phase: Phase
    begin: int | None
    request_id: str
    actor: str
    source: str
    action: str
    target: str
    before: int | None
    after: int | None
    result: Ending | None
    status: int | None
    late: bool
    detail: str
    prev: str = GENESIS
    hash: str = ""

    def chained(self) -> str:
        """The hash that this row must have: of the one before, and of all its own columns."""
        columns = asdict(self)
        del columns["prev"], columns["hash"]
        text = json.dumps(columns, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(f"{self.prev}{text}".encode()).hexdigest()


@dataclass(frozen=True)
class AuditFilter:
    """Which rows to show; None is any."""

    actor: str | None = None
    action: str | None = None
    result: Ending | None = None


@dataclass(frozen=True)
class AuditPage:
    """Rows, newest first; next is the `after` of the page behind, None at the end."""

    rows: tuple[AuditRow, ...]
    next: int | None


@dataclass(frozen=True)
class Head:
    """The last row of a chain."""

    id: int = 0
    hash: str = GENESIS


@dataclass(frozen=True)
class Verification:
    """Whether the chain is whole. rows: those that are good. first_bad: the first that is wrong or missing.

    note: what an auditor should know although the chain is whole.
    """

    ok: bool
    rows: int
    first_bad: int | None
    why: str
    head: Head
    note: str = ""


def plain(text: str, limit: int) -> str:
    """*text* as databases take it: no NUL, no lone surrogates, at most *limit* bytes of UTF-8."""
    encoded = text.replace("\0", "").encode("utf-8", "replace")
    if len(encoded) <= limit:
        return encoded.decode()
    return encoded[: limit - 3].decode("utf-8", "ignore") + "..."


def detail_json(detail: Mapping[str, Any]) -> str:
    """*detail* as canonical JSON of at most DETAIL characters; what is longer is cut and says so."""
    text = json.dumps(detail, sort_keys=True, separators=(",", ":"), default=str)
    if len(text) <= DETAIL:
        return text
    # A quarter: every character may become six of JSON once more, but hardly all do.
    short = json.dumps({"cut": text[: DETAIL // 4], "length": len(text)}, separators=(",", ":"))
    return (
        short if len(short) <= DETAIL else json.dumps({"cut": "", "length": len(text)}, separators=(",", ":"))
    )
