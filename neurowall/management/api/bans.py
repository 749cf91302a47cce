# SPDX-License-Identifier: Apache-2.0
"""Routes that block and allow single addresses."""

from collections.abc import Callable
from functools import partial

from fastapi import FastAPI
from starlette.responses import Response

from neurowall.logic.engine import Engine
from neurowall.logic.results import Result
from neurowall.management.api import answers, problems
from neurowall.management.api.answers import Json
from neurowall.management.api.auth import RULES
from neurowall.management.api.banhistory import ban_changes
from neurowall.management.api.changes import Change, named
from neurowall.management.api.requests import Addresses, Answered, ChangeQuery, How, TimedAddresses
from neurowall.model.errors import ListInvalid
from neurowall.model.history import BanKind


def add_bans(app: FastAPI, engine: Engine, answered: Answered) -> None:
    """Serve them; *answered* gives a change its turn and its thread."""

    @app.post("/block", dependencies=[RULES])
    async def block(body: TimedAddresses, query: How) -> Response:
        """Add to operator-block, or with a ttl to operator-block-timed."""
        change, edit = _change("block", body, query), partial(engine.block, ttl=body.ttl)
        return await answered(change, _edit, edit, "block", body, query, body.ttl)

    @app.post("/allow", dependencies=[RULES])
    async def allow(body: TimedAddresses, query: How) -> Response:
        """Add to operator-allow, or with a ttl to operator-allow-timed."""
        change, edit = _change("allow", body, query), partial(engine.allow, ttl=body.ttl)
        return await answered(change, _edit, edit, "allow", body, query, body.ttl)

    @app.post("/unblock", dependencies=[RULES])
    async def unblock(body: Addresses, query: How) -> Response:
        """Remove from operator-block and operator-block-timed."""
        return await answered(_change("unblock", body, query), _edit, engine.unblock, "unblock", body, query)

    @app.post("/unallow", dependencies=[RULES])
    async def unallow(body: Addresses, query: How) -> Response:
        """Remove from operator-allow and operator-allow-timed."""
        return await answered(_change("unallow", body, query), _edit, engine.unallow, "unallow", body, query)


def _change(verb: str, body: Addresses, query: ChangeQuery) -> Change:
    """As the audit and the history of bans know it."""
    detail: Json = {"count": len(body.addresses)}
    if isinstance(body, TimedAddresses):
        detail |= {"ttl_seconds": body.ttl, "reason": body.reason}
    kind: BanKind = "block" if verb in ("block", "unblock") else "allow"
    bans = partial(ban_changes, kind, str(detail.get("reason", "")))
    return Change(verb, named(body.addresses), query.dry_run, detail, bans)


def _edit(
    edit: Callable[..., Result], verb: str, body: Addresses, query: ChangeQuery, ttl: float | None = None
) -> Json:
    what = f"{verb} of {len(body.addresses)}"
    try:
        return answers.logged_change(
            what, partial(edit, body.addresses, dry_run=query.dry_run), verb, timed=ttl is not None
        )
    except ListInvalid as error:
        wrong = [
            {"field": f"addresses[{each.line - 1}]", "text": each.text, "why": each.why}
            for each in error.problems
        ]
        raise problems.ApiProblem(422, "invalid-address", str(error), wrong) from error
