# SPDX-License-Identifier: Apache-2.0
"""Answers about who may use the API, and who did."""

from typing import Any, Literal

from pydantic import ConfigDict, Field

from neurowall.management.api.openapi.common import Answer, Count, Generation, Moment

_ID = "^[a-z0-9]{12}$"
_HASH = "^[0-9a-f]{64}$"


class _TokenFacts(Answer):
    """What is known of a token. Moments are null where that has not happened, or never will."""

    name: str
    scopes: list[str]
    created: Moment
    created_by: str
    expires: Moment | None
    last_used: Moment | None
    last_source: str | None
    revoked: Moment | None


class Token(_TokenFacts):
    """A token without its secret. Moments are null where that has not happened, or never will."""

    id: str = Field(pattern=_ID)


class Tokens(Answer):
    """Tokens, newest first. next: the `after` of the following page, null at the end."""

    tokens: list[Token]
    next: str | None


class TokenMade(_TokenFacts):
    """A new token. token: its text, which is nowhere else; null, as the id, of a dry run."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "4f7k2m9x1q8z",
                    "name": "ci",
                    "scopes": ["read"],
                    "created": "2026-03-01T12:00:00Z",
                    "created_by": "uid:0 root",
                    "expires": "2026-05-30T12:00:00Z",
                    "last_used": None,
                    "last_source": None,
                    "revoked": None,
                    "token": "nw_4f7k2m9x1q8z_...",
                    "dry_run": False,
                }
            ]
        }
    )

    id: str | None = Field(pattern=_ID)
    token: str | None
    dry_run: bool


class TokenNamed(Answer):
    """Which token."""

    id: str = Field(pattern=_ID)
    name: str


class TokenRevoked(Answer):
    """revoked: whether this request did it; false if it was revoked before. also: what went with it."""

    id: str
    revoked: bool
    also: list[TokenNamed]
    dry_run: bool


class AuditRow(Answer):
    """One row. A change has one of phase `begin` and one of phase `end`, which names the first in `begin`.

    before, after: generations. late: written when the database was back. hash: SHA-256 over prev and the
    other columns of the row, of which `when_seconds` and `detail` are as they were kept.
    """

    node: str
    id: int = Field(ge=1)
    when: Moment
    when_seconds: float
    phase: Literal["begin", "end", "note"]
    begin: int | None
    request_id: str
    actor: str
    source: str
    action: str
    target: str
    before: Generation | None
    after: Generation | None
    result: Literal["ok", "refused", "failed", "unknown"] | None
    status: int | None
    late: bool
    detail: str
    details: Any
    prev: str = Field(pattern=_HASH)
    hash: str = Field(pattern=_HASH)


class Audit(Answer):
    """Rows, newest first. next: the `after` of older ones, null at the end."""

    audit: list[AuditRow]
    next: int | None


class AuditVerified(Answer):
    """Whether the chain is whole.

    first_bad: the first row that is wrong, or should be there. head: the last row. note: what an auditor
    should know though it is whole.
    """

    ok: bool
    rows: Count
    first_bad: int | None
    why: str | None
    head: Count
    hash: str = Field(pattern=_HASH)
    note: str | None
