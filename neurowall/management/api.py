# SPDX-License-Identifier: Apache-2.0
"""The HTTP API: a thin skin over the engine. What may block runs in threads; the loop keeps answering."""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Literal

from fastapi import Depends, FastAPI, Query, Request
from fastapi.concurrency import run_in_threadpool
from prometheus_client.registry import CollectorRegistry
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from neurowall.logic.engine import Engine
from neurowall.logic.results import Result
from neurowall.management import answers, problems
from neurowall.management.answers import About, Json
from neurowall.management.bodylimit import BodyLimit
from neurowall.management.metrics import exposition, registry_of
from neurowall.model.errors import ListConflict, ListInvalid

MAX_BODY = 64 << 20  # bytes; a list of a million entries has about 15 MB
MAX_ADDRESSES = 100_000
PAGE = 10_000
_LOGGED = ("generation", "added", "removed", "seconds")

log = logging.getLogger(__name__)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Addresses(_Strict):
    """The body of block, allow, unblock and unallow."""

    addresses: list[str] = Field(min_length=1, max_length=MAX_ADDRESSES)


class PutQuery(_Strict):
    """How to put a list. create: true = only if it is new, false = only if it exists, absent = either."""

    verdict: Literal["block", "allow"] | None = None
    skip_invalid: bool = False
    create: bool | None = None


class PageQuery(_Strict):
    """Which entries of a list to show."""

    limit: int = Field(default=100, ge=1, le=PAGE)
    after: str | None = None


class _NoQuery(_Strict):
    pass


def _no_query(_query: Annotated[_NoQuery, Query()]) -> None:
    """Refuse every query parameter: a misspelt or future one must not be ignored."""


PLAIN = [Depends(_no_query)]


def create_app(engine: Engine, about: About) -> FastAPI:
    """The whole API over *engine*. Whoever reaches the socket may use all of it."""
    app = _bare_app(about)
    _add_health(app, engine, about)
    _add_questions(app, engine, about)
    _add_changes(app, engine)
    _add_reload(app, engine, about)
    add_metrics(app, registry_of(engine, about))
    return app


def create_metrics_app(engine: Engine, about: About) -> FastAPI:
    """Only /metrics, for the listener that anybody on this machine can reach."""
    app = _bare_app(about)
    add_metrics(app, registry_of(engine, about))
    return app


def _bare_app(about: About) -> FastAPI:
    # The documentation pages of FastAPI load their scripts from elsewhere; /openapi.json stays.
    app = FastAPI(
        title="Neurowall", version=about.version, docs_url=None, redoc_url=None, redirect_slashes=False
    )
    problems.install(app)
    app.add_middleware(BodyLimit, limit=MAX_BODY)
    return app


def _add_health(app: FastAPI, engine: Engine, about: About) -> None:
    @app.get("/liveness", dependencies=PLAIN)
    async def liveness() -> Json:
        """The process answers."""
        return {"alive": True}

    @app.get("/health", dependencies=PLAIN)
    def health() -> Json:
        """`ok`, or `degraded` with what is wrong; always 200."""
        now = engine.status()
        return {"state": answers.state(now), "instance": about.instance, "problems": list(now.problems)}

    @app.get("/readiness", dependencies=PLAIN)
    def readiness() -> Json:
        """200 if every packet is filtered as intended, else a 503 that says what is wrong."""
        now = engine.status()
        if now.problems:
            wrong = [{"why": problem} for problem in now.problems]
            raise problems.ApiProblem(503, "degraded", "; ".join(now.problems), wrong)
        return {"ready": True, "generation": now.generation}


def _add_questions(app: FastAPI, engine: Engine, about: About) -> None:
    @app.get("/status", dependencies=PLAIN)
    def status() -> Json:
        """Everything at one glance."""
        return answers.status(about, engine.status(), engine.counters())

    @app.get("/lists", dependencies=PLAIN)
    def lists() -> Json:
        """All lists with their counters."""
        return {"lists": answers.lists(engine.lists(), engine.counters())}

    @app.get("/lists/{name}")
    def show_list(name: str, query: Annotated[PageQuery, Query()]) -> Json:
        """A page of one list's entries; `next` is the `after` of the following page."""
        return answers.page(engine.show_list(name, query.limit, query.after))

    @app.get("/explain/{address:path}", dependencies=PLAIN)
    def explain(address: str) -> Json:
        """Why packets from an address get their verdict."""
        return answers.explanation(engine.explain(address))


def _add_changes(app: FastAPI, engine: Engine) -> None:
    @app.post("/block", dependencies=PLAIN)
    def block(body: Addresses) -> Json:
        """Add to operator-block."""
        return _edit(engine.block, body)

    @app.post("/allow", dependencies=PLAIN)
    def allow(body: Addresses) -> Json:
        """Add to operator-allow."""
        return _edit(engine.allow, body)

    @app.post("/unblock", dependencies=PLAIN)
    def unblock(body: Addresses) -> Json:
        """Remove from operator-block."""
        return _edit(engine.unblock, body)

    @app.post("/unallow", dependencies=PLAIN)
    def unallow(body: Addresses) -> Json:
        """Remove from operator-allow."""
        return _edit(engine.unallow, body)

    @app.put("/lists/{name}")
    async def put_list(name: str, query: Annotated[PutQuery, Query()], request: Request) -> Json:
        """Load or replace a list from a text body."""
        text = await request.body()
        return await run_in_threadpool(_put, engine, name, query, text)

    @app.delete("/lists/{name}", dependencies=PLAIN)
    def remove_list(name: str) -> Json:
        """Remove a list that was loaded at run time."""
        return _change(f"removal of list {name}", lambda: engine.remove_list(name))


def _add_reload(app: FastAPI, engine: Engine, about: About) -> None:
    @app.post("/reload", dependencies=PLAIN)
    def reload() -> Json:
        """Replace the programs in the kernel in place."""
        engine.reload_program()
        log.info("the program was replaced")
        return {"interfaces": [answers.interface(each, about.zones) for each in engine.status().interfaces]}


def _edit(edit: Callable[[Sequence[str]], Result], body: Addresses) -> Json:
    try:
        return _change(f"{edit.__name__} of {len(body.addresses)}", lambda: edit(body.addresses))
    except ListInvalid as error:
        wrong = [
            {"field": f"addresses[{each.line - 1}]", "text": each.text, "why": each.why}
            for each in error.problems
        ]
        raise problems.ApiProblem(422, "invalid-address", str(error), wrong) from error


def _put(engine: Engine, name: str, query: PutQuery, text: bytes) -> Json:
    held = next((info for info in engine.lists() if info.name == name), None)
    if query.create or (query.create is None and held is None):
        verdict = query.verdict or "block"
        load = partial(engine.load_list, name, verdict, text, skip_invalid=query.skip_invalid)
        return _change(f"load of {verdict} list {name}", load)
    if held and query.verdict and query.verdict != held.verdict:
        problem = f"list '{name}' is of verdict {held.verdict}, which replacing does not change"
        raise ListConflict(f"{problem}: remove it and load it")
    replace = partial(engine.replace_list, name, text, skip_invalid=query.skip_invalid)
    return _change(f"replacement of list {name}", replace)


def _change(what: str, apply: Callable[[], Result]) -> Json:
    answer = answers.change(apply)
    log.info("%s: generation %d, %d added, %d removed, %.3f s", what, *map(answer.get, _LOGGED))
    return answer


def add_metrics(app: FastAPI, registry: CollectorRegistry) -> None:
    """Serve *registry* at /metrics."""

    @app.get("/metrics", dependencies=PLAIN)
    def metrics(request: Request) -> Response:
        """Prometheus exposition."""
        body, content_type = exposition(registry, request.headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type})
