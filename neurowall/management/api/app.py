# SPDX-License-Identifier: Apache-2.0
"""The HTTP API put together: a thin skin over the engine. The loop keeps answering.

Everything that may wait or take long runs in threads, the making of JSON included. Changes wait for each
other, so no more than CHANGES_AT_ONCE of them may hold threads: the rest of the pool is for questions.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from fastapi.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from neurowall.data.store.store import Store
from neurowall.logic.engine import Engine
from neurowall.management.api import problems
from neurowall.management.api.answers import About, Json
from neurowall.management.api.auth import Authenticator, Tokens
from neurowall.management.api.banlist import add_ban_list
from neurowall.management.api.bans import add_bans
from neurowall.management.api.bodylimit import BodyLimit
from neurowall.management.api.console import add_console
from neurowall.management.api.events import add_events
from neurowall.management.api.gate import Gate
from neurowall.management.api.generations import add_generations
from neurowall.management.api.health import add_health
from neurowall.management.api.lists import add_lists
from neurowall.management.api.metrics import add_metrics, collector_of
from neurowall.management.api.policies import Policies
from neurowall.management.api.policy import add_policies
from neurowall.management.api.reload import add_reload
from neurowall.management.api.requests import Answered
from neurowall.management.api.rules import add_rules
from neurowall.management.api.status import add_status
from neurowall.management.api.top import add_top
from neurowall.management.api.whoami import add_whoami

MAX_LIST = 64 << 20  # bytes; a list of a million entries has about 15 MB
MAX_BODY = 8 << 20  # bytes of any other body; MAX_ADDRESSES fit whatever their form
CHANGES_AT_ONCE = 16  # of the pool's 40 threads

log = logging.getLogger(__name__)


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
    app, answered = _bare_app(about), _taking_turns()
    tokens = tokens or (store.tokens if store else None)
    app.gate = Gate(Authenticator(tokens, _tell_failure))
    asked: Policies = policies or engine
    add_health(app, engine, about)
    add_status(app, engine, about, asked)
    add_bans(app, engine, answered)
    add_ban_list(app, engine, store.bans if store else None)
    add_lists(app, engine, answered)
    add_reload(app, engine, about, answered)
    add_policies(app, asked, answered)
    add_generations(app, asked)
    add_rules(app, asked)
    add_events(app, engine)
    add_top(app, engine)
    add_whoami(app, tokens)
    add_console(app)
    add_metrics(app, collector_of(engine, about, asked))
    return app


def create_metrics_app(engine: Engine, about: About, policies: Policies | None = None) -> FastAPI:
    """Only /metrics, for the listener that anybody on this machine can reach."""
    app = _bare_app(about)
    add_metrics(app, collector_of(engine, about, policies))
    return app


def _taking_turns() -> Answered:
    """Runs changes in threads, CHANGES_AT_ONCE of them, and answers with what they return."""
    turns = asyncio.Semaphore(CHANGES_AT_ONCE)

    async def answered(work: Callable[..., Json], *arguments: Any) -> Response:
        async with turns:
            return await run_in_threadpool(lambda: JSONResponse(work(*arguments)))

    return answered


def _tell_failure(source: str, why: str) -> None:
    log.warning("authentication of %s failed: %s", source, why)


def _bare_app(about: About) -> Application:
    # The documentation pages of FastAPI load their scripts from elsewhere; /openapi.json stays.
    app = Application(
        title="Neurowall", version=about.version, docs_url=None, redoc_url=None, redirect_slashes=False
    )
    problems.install(app)
    app.add_middleware(BodyLimit, lists=MAX_LIST, limit=MAX_BODY)
    return app
