# SPDX-License-Identifier: Apache-2.0
"""Routes of the audit: who did what, and whether the record of it is whole."""

import json
from dataclasses import asdict
from typing import Annotated, Any, Protocol

from fastapi import FastAPI, Query
from pydantic import Field
from starlette.responses import JSONResponse, Response

from neurowall.management.api.auth import needs
from neurowall.management.api.problems import ApiProblem
from neurowall.management.api.requests import PLAIN, Strict
from neurowall.management.times import moment
from neurowall.model.audit import AuditFilter, AuditPage, AuditRow, Ending, Verification

Json = dict[str, Any]

MOST = 2**53 - 1  # what JSON's readers keep whole
READ = needs("audit:read")


class Kept(Protocol):
    """Where it is kept: neurowall.data.store.audit.Audit. Raises StorageUnavailable."""

    def page(self, limit: int, after: int | None = None, which: AuditFilter | None = None) -> AuditPage:
        """Rows, newest first."""

    def verify(self) -> Verification:
        """Check the whole chain."""


class AuditQuery(Strict):
    """Which rows. after: older ones than this id."""

    limit: int = Field(default=100, ge=1, le=1000)
    after: int | None = Field(default=None, ge=1, le=MOST)
    actor: str | None = Field(default=None, max_length=120)
    action: str | None = Field(default=None, max_length=64)
    result: Ending | None = None


def add_audit(app: FastAPI, audit: Kept | None) -> None:
    """Serve them."""

    @app.get("/audit", dependencies=[READ])
    def rows(query: Annotated[AuditQuery, Query()]) -> Response:
        """Rows, newest first: a change has one where it begins and one where it ended."""
        which = AuditFilter(query.actor, query.action, query.result)
        page = _kept(audit).page(query.limit, query.after, which)
        return JSONResponse({"audit": [_row(each) for each in page.rows], "next": page.next})

    @app.get("/audit/verify", dependencies=[READ, *PLAIN])
    def verify() -> Response:
        """Whether no row was changed, removed, moved or put in; the first that is wrong otherwise."""
        found = _kept(audit).verify()
        return JSONResponse(
            {
                "ok": found.ok,
                "rows": found.rows,
                "first_bad": found.first_bad,
                "why": found.why or None,
                "head": found.head.id,
                "hash": found.head.hash,
                "note": found.note or None,
            }
        )


def _kept(audit: Kept | None) -> Kept:
    if audit is None:
        raise ApiProblem(503, "storage-unavailable", "this daemon has no database: there is no audit")
    return audit


def _row(row: AuditRow) -> Json:
    """A row with everything that its hash is of; `detail` is as it was hashed, `details` the same as JSON."""
    shown = asdict(row)
    return shown | {"when": moment(row.when), "when_seconds": row.when, "details": json.loads(row.detail)}
