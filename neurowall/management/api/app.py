# SPDX-License-Identifier: Apache-2.0
"""The HTTP API put together: a thin skin over the engine. The loop keeps answering.

Everything that may wait or take long runs in threads, the making of JSON included; changes.py has the way of
changes.
"""

from typing import Any

from fastapi import FastAPI
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from neurowall.data.store.store import Store
from neurowall.logic.engine import Engine
from neurowall.management.api import problems
from neurowall.management.api.answers import About
from neurowall.management.api.audit import add_audit
from neurowall.management.api.auth import READ, Authenticator, Tokens
from neurowall.management.api.banlist import add_ban_list
from neurowall.management.api.bans import add_bans
from neurowall.management.api.bodylimit import BodyLimit
from neurowall.management.api.changes import Changes
from neurowall.management.api.console import add_console
from neurowall.management.api.events import add_events
from neurowall.management.api.gate import Gate
from neurowall.management.api.generations import add_generations
from neurowall.management.api.health import add_health
from neurowall.management.api.lists import add_lists
from neurowall.management.api.metrics import add_metrics, collector_of
from neurowall.management.api.policies import Policies
from neurowall.management.api.policy import add_policies
from neurowall.management.api.refusals import Refusals
from neurowall.management.api.reload import add_reload
from neurowall.management.api.requests import PLAIN
from neurowall.management.api.rules import add_rules
from neurowall.management.api.status import add_status
from neurowall.management.api.tags import Tags
from neurowall.management.api.tokens import add_tokens
from neurowall.management.api.top import add_top
from neurowall.management.api.whoami import add_whoami
from neurowall.model.listfile import MAX_LIST

MAX_BODIES = 128 << 20  # bytes of all that are read at the same time
MAX_BODY = 8 << 20  # bytes of any other body; MAX_ADDRESSES fit whatever their form


class Application(FastAPI):
    """FastAPI behind the gate, if there is one: nothing of it, errors included, answers outside."""

    gate: Gate | None = None

    def openapi(self) -> dict[str, Any]:
        """The description of the API, made when somebody asks for it."""
        if not self.openapi_schema:
            from neurowall.management.api.openapi.document import document

            self.openapi_schema = document(self)
        return self.openapi_schema

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if self.gate and scope["type"] == "http":
            await self.gate.pass_on(super().__call__, scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


def create_app(
    engine: Engine,
    about: About,
    policies: Policies | None = None,
    *,
    store: Store | None = None,
    tokens: Tokens | None = None,
) -> FastAPI:
    """The whole API over *engine*, for peers of the unix socket and who has one of the *tokens*.

    policies: what answers for policies instead of the engine. store: what remembers, and where
    tokens are if none are given.
    """
    app, answered = _bare_app(about), Changes(engine, store)
    kept = tokens or (store.tokens if store else None)
    refusals = Refusals(store.audit if store else None)
    authenticator = Authenticator(kept, refusals.failed)
    app.gate = Gate(authenticator, refusals.forbidden)
    app.add_middleware(Tags, engine=engine)
    asked: Policies = policies or engine
    add_health(app, engine, about)
    add_status(app, engine, about, asked)
    add_bans(app, engine, answered)
    add_ban_list(app, engine, store.bans if store else None)
    add_lists(app, engine, answered)
    add_reload(app, engine, about, answered)
    add_policies(app, asked, answered)
    add_generations(app, asked, store.generations if store else None)
    add_rules(app, asked)
    add_events(app, engine, authenticator.is_valid)
    add_top(app, engine)
    add_whoami(app, kept)
    add_tokens(app, store.tokens if store else None, answered)
    add_audit(app, store.audit if store else None)
    add_description(app)
    add_console(app)
    add_metrics(app, collector_of(engine, about, asked), READ)
    return app


def create_metrics_app(engine: Engine, about: About, policies: Policies | None = None) -> FastAPI:
    """Only /metrics, for the listener that anybody on this machine can reach."""
    app = _bare_app(about)
    add_metrics(app, collector_of(engine, about, policies))
    return app


def add_description(app: FastAPI) -> None:
    """Serve /openapi.json to those who may look at anything."""

    @app.get("/openapi.json", include_in_schema=False, dependencies=[READ, *PLAIN])
    def description() -> Response:
        """What there is. In a thread: to make it takes half a second."""
        return JSONResponse(app.openapi())


def _bare_app(about: About) -> Application:
    # The documentation pages of FastAPI load their scripts from elsewhere; /openapi.json stays.
    app = Application(
        title="Neurowall",
        version=about.version,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    problems.install(app)
    app.add_middleware(BodyLimit, lists=MAX_LIST, limit=MAX_BODY, together=MAX_BODIES)
    return app
