# SPDX-License-Identifier: Apache-2.0
"""Routes of lists: which there are, their entries, and whole lists put, changed and removed."""

from functools import partial
from typing import Annotated

from fastapi import FastAPI, Query, Request
from starlette.responses import JSONResponse, Response

from neurowall.logic.engine import Engine
from neurowall.logic.results import ListInfo
from neurowall.management.api import answers
from neurowall.management.api.answers import Json
from neurowall.management.api.auth import READ, RULES
from neurowall.management.api.changes import Change
from neurowall.management.api.requests import PLAIN, Answered, How, ListChange, PageQuery, PutQuery
from neurowall.model.errors import ListConflict


def add_lists(app: FastAPI, engine: Engine, answered: Answered) -> None:
    """Serve them; *answered* gives a change its turn and its thread."""
    _add_questions(app, engine)
    _add_changes(app, engine, answered)


def _add_questions(app: FastAPI, engine: Engine) -> None:
    @app.get("/lists", dependencies=[READ, *PLAIN])
    def lists() -> Response:
        """All lists with their counters."""
        return JSONResponse({"lists": answers.lists(engine.lists(), engine.counters())})

    @app.get("/lists/{name}", dependencies=[READ])
    def show_list(name: str, query: Annotated[PageQuery, Query()]) -> Response:
        """A page of one list's entries; `next` is the `after` of the following page."""
        return JSONResponse(answers.page(engine.show_list(name, query.limit, query.after)))


def _add_changes(app: FastAPI, engine: Engine, answered: Answered) -> None:
    @app.put("/lists/{name}", dependencies=[RULES])
    async def put_list(name: str, query: Annotated[PutQuery, Query()], request: Request) -> Response:
        """Load or replace a list from a text body."""
        text = await request.body()
        detail = query.model_dump(exclude={"dry_run"}, exclude_none=True)
        change = Change("list-put", name, query.dry_run, {"bytes": len(text), **detail})
        return await answered(change, _put, engine, name, query, text)

    @app.patch("/lists/{name}", dependencies=[RULES])
    async def change_list(name: str, body: ListChange, query: How) -> Response:
        """Make it a monitor list, or enforce it."""
        what = f"list {name} {'only monitors' if body.monitor else 'is enforced'}"
        work = partial(engine.set_monitor, name, body.monitor, dry_run=query.dry_run)
        change = Change("list-change", name, query.dry_run, {"monitor": body.monitor})
        return await answered(change, answers.logged_change, what, work)

    @app.delete("/lists/{name}", dependencies=[RULES])
    async def remove_list(name: str, query: How) -> Response:
        """Remove a list that was loaded at run time."""
        work = partial(engine.remove_list, name, dry_run=query.dry_run)
        change = Change("list-remove", name, query.dry_run)
        return await answered(change, answers.logged_change, f"removal of list {name}", work)


def _put(engine: Engine, name: str, query: PutQuery, text: bytes) -> Json:
    how = {"skip_invalid": query.skip_invalid, "dry_run": query.dry_run}
    held = next((info for info in engine.lists() if info.name == name), None)
    if query.create or (query.create is None and held is None):
        verdict, monitor = query.verdict or "block", bool(query.monitor)
        load = partial(engine.load_list, name, verdict, text, monitor=monitor, **how)
        return answers.logged_change(f"load of {'monitor, ' if monitor else ''}{verdict} list {name}", load)
    if held:
        _check_kept(held, query)
    replace = partial(engine.replace_list, name, text, **how)
    return answers.logged_change(f"replacement of list {name}", replace)


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
