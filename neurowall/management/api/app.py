# SPDX-License-Identifier: Apache-2.0
"""The HTTP API: a thin skin over the engine. The loop keeps answering.

Everything that may wait or take long runs in threads, the making of JSON included. Changes wait for each
other, so no more than CHANGES_AT_ONCE of them may hold threads: the rest of the pool is for questions.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import Depends, FastAPI, Query, Request
from fastapi.concurrency import run_in_threadpool
from prometheus_client.registry import CollectorRegistry
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool
from starlette.responses import JSONResponse, Response

from neurowall.logic.engine import Engine
from neurowall.logic.results import ListInfo, Result
from neurowall.management.api import answers, answers_flows, answers_limits, answers_policy, problems
from neurowall.management.api.answers import About, Json
from neurowall.management.api.bodylimit import BodyLimit
from neurowall.management.api.events import add_events
from neurowall.management.api.metrics import exposition, registry_of
from neurowall.management.api.policies import Policies
from neurowall.management.api.policy import add_policies
from neurowall.model.duration import MAX_TTL, format_duration, parse_duration
from neurowall.model.errors import ListConflict, ListInvalid

MAX_LIST = 64 << 20  # bytes; a list of a million entries has about 15 MB
MAX_BODY = 8 << 20  # bytes of any other body; MAX_ADDRESSES fit whatever their form
MAX_ADDRESSES = 100_000
PAGE = 10_000
CHANGES_AT_ONCE = 16  # of the pool's 40 threads
_LOGGED = ("generation", "added", "removed", "seconds")

log = logging.getLogger(__name__)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Addresses(_Strict):
    """The body of unblock and unallow."""

    # The first wrong one is enough: a hundred thousand errors would hold the loop up.
    addresses: list[str] = Field(min_length=1, max_length=MAX_ADDRESSES, fail_fast=True)


def _read_ttl(given: object) -> float | None:
    """Seconds from `"1h"` or a number. Raises ValueError."""
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, int | float | str):
        raise ValueError('expected a duration such as "1h", or seconds')  # noqa: TRY004 - pydantic's kind
    seconds = parse_duration(given) if isinstance(given, str) else given
    if not 0 < seconds <= MAX_TTL:  # false for NaN too
        raise ValueError(f"expected more than 0 and at most {format_duration(MAX_TTL)}")
    return float(seconds)


class TimedAddresses(Addresses):
    """The body of block and allow. ttl: how long, as "90s", "15m", "12h", "7d" or seconds; absent: no end."""

    ttl: Annotated[float | None, BeforeValidator(_read_ttl)] = None


class ListChange(_Strict):
    """What may be changed of a list without its entries."""

    monitor: StrictBool


class PutQuery(_Strict):
    """How to put a list. create: true = only if it is new, false = only if it exists, absent = either.

    monitor: its entries are counted and decide nothing.
    """

    verdict: Literal["block", "allow"] | None = None
    monitor: bool | None = None
    skip_invalid: bool = False
    create: bool | None = None


class PageQuery(_Strict):
    """Which entries of a list to show."""

    limit: int = Field(default=100, ge=1, le=PAGE)
    after: str | None = None


class _NoQuery(_Strict):
    pass


async def _no_query(_query: Annotated[_NoQuery, Query()]) -> None:
    """Refuse every query parameter: a misspelt or future one must not be ignored.

    Async, though it waits for nothing: anything else would take a thread, and /liveness must not need one.
    """


PLAIN = [Depends(_no_query)]


def create_app(engine: Engine, about: About, policies: Policies | None = None) -> FastAPI:
    """The whole API over *engine*. Whoever reaches the socket may use all of it.

    policies: what answers for policies instead of the engine.
    """
    app, answered = _bare_app(about), _taking_turns()
    asked: Policies = policies or engine
    _add_health(app, engine, about)
    _add_questions(app, engine, about, asked)
    _add_changes(app, engine, about, answered)
    add_policies(app, asked, answered)
    add_events(app, engine)
    add_metrics(app, registry_of(engine, about, asked))
    return app


def create_metrics_app(engine: Engine, about: About, policies: Policies | None = None) -> FastAPI:
    """Only /metrics, for the listener that anybody on this machine can reach."""
    app = _bare_app(about)
    add_metrics(app, registry_of(engine, about, policies))
    return app


def _taking_turns() -> Callable[..., Awaitable[Response]]:
    """Runs changes in threads, CHANGES_AT_ONCE of them, and answers with what they return."""
    turns = asyncio.Semaphore(CHANGES_AT_ONCE)

    async def answered(work: Callable[..., Json], *arguments: Any) -> Response:
        async with turns:
            return await run_in_threadpool(lambda: JSONResponse(work(*arguments)))

    return answered


def _bare_app(about: About) -> FastAPI:
    # The documentation pages of FastAPI load their scripts from elsewhere; /openapi.json stays.
    app = FastAPI(
        title="Neurowall", version=about.version, docs_url=None, redoc_url=None, redirect_slashes=False
    )
    problems.install(app)
    app.add_middleware(BodyLimit, lists=MAX_LIST, limit=MAX_BODY)
    return app


def _add_health(app: FastAPI, engine: Engine, about: About) -> None:
    @app.get("/liveness", dependencies=PLAIN)
    async def liveness() -> Response:
        """The process answers."""
        return JSONResponse({"alive": True})

    @app.get("/health", dependencies=PLAIN)
    def health() -> Response:
        """`ok`, or `degraded` with what is wrong; always 200."""
        now = engine.status()
        state, wrong = answers.state(about, now), about.problems(now)
        return JSONResponse({"state": state, "instance": about.instance, "problems": wrong})

    @app.get("/readiness", dependencies=PLAIN)
    def readiness() -> Response:
        """200 if every packet is filtered as intended, else a 503 that says what is wrong."""
        now = engine.status()
        if now.problems:
            wrong = [{"why": problem} for problem in now.problems]
            raise problems.ApiProblem(503, "degraded", "; ".join(now.problems), wrong)
        return JSONResponse({"ready": True, "generation": now.generation})


def _add_questions(app: FastAPI, engine: Engine, about: About, policies: Policies) -> None:
    @app.get("/status", dependencies=PLAIN)
    def status() -> Response:
        """Everything at one glance."""
        now, counters = engine.status(), engine.counters()
        answer = answers.status(about.of(policies.policy), now, counters, engine.next_expiry())
        answer["warnings"] += answers_limits.unguarded(engine.limits())
        answer["flows"] = answers_flows.counts(engine.flow_counts())
        return JSONResponse(answer | answers_policy.status(policies, answer["warnings"]))

    @app.get("/lists", dependencies=PLAIN)
    def lists() -> Response:
        """All lists with their counters."""
        return JSONResponse({"lists": answers.lists(engine.lists(), engine.counters())})

    @app.get("/lists/{name}")
    def show_list(name: str, query: Annotated[PageQuery, Query()]) -> Response:
        """A page of one list's entries; `next` is the `after` of the following page."""
        return JSONResponse(answers.page(engine.show_list(name, query.limit, query.after)))

    @app.get("/limits", dependencies=PLAIN)
    def limits() -> Response:
        """All limits with what they counted, and whom they banned."""
        return JSONResponse(answers_limits.limits(engine.limits(), engine.limit_bans()))

    @app.get("/flows")
    def flows(query: Annotated[answers_flows.FlowsQuery, Query()]) -> Response:
        """Flows that the kernel knows, those that were seen last in front."""
        return JSONResponse(answers_flows.flows(engine, query))

    @app.get("/explain/{address:path}", dependencies=PLAIN)
    def explain(address: str) -> Response:
        """Why packets from an address get their verdict."""
        return JSONResponse(answers.explanation(engine.explain(address)))


def _add_changes(
    app: FastAPI, engine: Engine, about: About, answered: Callable[..., Awaitable[Response]]
) -> None:
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

    @app.put("/lists/{name}")
    async def put_list(name: str, query: Annotated[PutQuery, Query()], request: Request) -> Response:
        """Load or replace a list from a text body."""
        return await answered(_put, engine, name, query, await request.body())

    @app.patch("/lists/{name}", dependencies=PLAIN)
    async def change_list(name: str, body: ListChange) -> Response:
        """Make it a monitor list, or enforce it."""
        what = f"list {name} {'only monitors' if body.monitor else 'is enforced'}"
        return await answered(_change, what, partial(engine.set_monitor, name, body.monitor))

    @app.delete("/lists/{name}", dependencies=PLAIN)
    async def remove_list(name: str) -> Response:
        """Remove a list that was loaded at run time."""
        return await answered(_change, f"removal of list {name}", partial(engine.remove_list, name))

    @app.post("/reload", dependencies=PLAIN)
    async def reload() -> Response:
        """Replace the programs in the kernel in place."""
        return await answered(_reload, engine, about)


def _edit(
    edit: Callable[[Sequence[str]], Result], verb: str, body: Addresses, ttl: float | None = None
) -> Json:
    what = f"{verb} of {len(body.addresses)}"
    try:
        return _change(what, lambda: edit(body.addresses), verb, timed=ttl is not None)
    except ListInvalid as error:
        wrong = [
            {"field": f"addresses[{each.line - 1}]", "text": each.text, "why": each.why}
            for each in error.problems
        ]
        raise problems.ApiProblem(422, "invalid-address", str(error), wrong) from error


def _put(engine: Engine, name: str, query: PutQuery, text: bytes) -> Json:
    held = next((info for info in engine.lists() if info.name == name), None)
    if query.create or (query.create is None and held is None):
        verdict, monitor = query.verdict or "block", bool(query.monitor)
        load = partial(
            engine.load_list, name, verdict, text, skip_invalid=query.skip_invalid, monitor=monitor
        )
        return _change(f"load of {'monitor, ' if monitor else ''}{verdict} list {name}", load)
    if held:
        _check_kept(held, query)
    replace = partial(engine.replace_list, name, text, skip_invalid=query.skip_invalid)
    return _change(f"replacement of list {name}", replace)


def _reload(engine: Engine, about: About) -> Json:
    engine.reload_program()
    log.info("the program was replaced")
    return {"interfaces": [answers.interface(each, about.zones) for each in engine.status().interfaces]}


def _check_kept(held: ListInfo, query: PutQuery) -> None:
    """Refuse a replacement that asks for what only other requests change."""
    if query.verdict not in (None, held.verdict):
        problem = f"list '{held.name}' is of verdict {held.verdict}, which replacing does not change"
        raise ListConflict(f"{problem}: remove it and load it")
    if query.monitor not in (None, held.monitor):
        present = "only monitors" if held.monitor else "is enforced"
        wanted = "--monitor" if query.monitor else "--enforce"
        problem = f"list '{held.name}' {present}, which replacing does not change"
        raise ListConflict(f"{problem}: use `neurowall lists set {held.name} {wanted}` (PATCH)")


def _change(what: str, apply: Callable[[], Result], verb: str = "", *, timed: bool = False) -> Json:
    answer = answers.change(apply, verb, timed=timed)
    log.info("%s: generation %d, %d added, %d removed, %.3f s", what, *map(answer.get, _LOGGED))
    return answer


def add_metrics(app: FastAPI, registry: CollectorRegistry) -> None:
    """Serve *registry* at /metrics."""

    @app.get("/metrics", dependencies=PLAIN)
    def metrics(request: Request) -> Response:
        """Prometheus exposition."""
        body, content_type = exposition(registry, request.headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type})
