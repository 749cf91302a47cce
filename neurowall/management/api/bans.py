# SPDX-License-Identifier: Apache-2.0
"""Routes that block and allow single addresses."""

from collections.abc import Callable, Sequence
from functools import partial

from fastapi import FastAPI
from starlette.responses import Response

from neurowall.logic.engine import Engine
from neurowall.logic.results import Result
from neurowall.management.api import answers, problems
from neurowall.management.api.answers import Json
from neurowall.management.api.requests import PLAIN, Addresses, Answered, TimedAddresses
from neurowall.model.errors import ListInvalid


def add_bans(app: FastAPI, engine: Engine, answered: Answered) -> None:
    """Serve them; *answered* gives a change its turn and its thread."""

    @app.post("/block", dependencies=PLAIN)
    async def block(body: TimedAddresses) -> Response:
        """Add to operator-block, or with a ttl to operator-block-timed."""
        return await answered(_edit, partial(engine.block, ttl=body.ttl), "block", body, body.ttl)

    @app.post("/allow", dependencies=PLAIN)
    async def allow(body: TimedAddresses) -> Response:
        """Add to operator-allow, or with a ttl to operator-allow-timed."""
        return await answered(_edit, partial(engine.allow, ttl=body.ttl), "allow", body, body.ttl)

    @app.post("/unblock", dependencies=PLAIN)
    async def unblock(body: Addresses) -> Response:
        """Remove from operator-block and operator-block-timed."""
        return await answered(_edit, engine.unblock, "unblock", body)

    @app.post("/unallow", dependencies=PLAIN)
    async def unallow(body: Addresses) -> Response:
        """Remove from operator-allow and operator-allow-timed."""
        return await answered(_edit, engine.unallow, "unallow", body)


def _edit(
    edit: Callable[[Sequence[str]], Result], verb: str, body: Addresses, ttl: float | None = None
) -> Json:
    what = f"{verb} of {len(body.addresses)}"
    try:
        return answers.logged_change(what, lambda: edit(body.addresses), verb, timed=ttl is not None)
    except ListInvalid as error:
        wrong = [
            {"field": f"addresses[{each.line - 1}]", "text": each.text, "why": each.why}
            for each in error.problems
        ]
        raise problems.ApiProblem(422, "invalid-address", str(error), wrong) from error
