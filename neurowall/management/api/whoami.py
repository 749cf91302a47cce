# SPDX-License-Identifier: Apache-2.0
"""`GET /whoami`: who asks, and what he may. For clients that show only what would be allowed."""

from fastapi import FastAPI
from starlette.responses import JSONResponse, Response

from neurowall.management.api import asked
from neurowall.management.api.auth import Tokens, not_known
from neurowall.management.api.requests import PLAIN
from neurowall.management.times import moment


def add_whoami(app: FastAPI, tokens: Tokens | None) -> None:
    """Serve it to everybody whom the gate knows, whatever his scopes."""

    @app.get("/whoami", dependencies=PLAIN)
    async def whoami() -> Response:
        """The actor as the audit names him, his scopes, and when his token ends (null: it does not)."""
        actor = asked.actor()
        if actor is None:
            raise not_known()
        record = tokens.snapshot().get(actor.token) if tokens and actor.token else None
        return JSONResponse(
            {
                "actor": actor.name,
                "source": actor.source,
                "token": actor.token,
                "scopes": sorted(actor.scopes),
                "expires": moment(record.expires) if record else None,
            }
        )
