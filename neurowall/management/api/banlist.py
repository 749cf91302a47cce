# SPDX-License-Identifier: Apache-2.0
"""`GET /bans`: whom operators and limits block or allow now, and by whose word; and whom they did before."""

from collections.abc import Collection, Mapping
from typing import Annotated, Protocol

from fastapi import FastAPI, Query
from pydantic import AfterValidator, Field
from starlette.responses import JSONResponse, Response

from neurowall.logic.banlist import BanQuery
from neurowall.logic.engine import Engine
from neurowall.logic.results import Ban, BanKind
from neurowall.management.api import answers_bans
from neurowall.management.api.auth import READ
from neurowall.management.api.problems import ApiProblem
from neurowall.management.api.requests import PAGE, Strict
from neurowall.model.address import InvalidEntry, parse_entry
from neurowall.model.errors import StorageUnavailable
from neurowall.model.history import BanPage, BanRow

MAX_AFTER = 100  # characters; no place in the list is longer
MOST = 2**53 - 1  # what JSON's readers keep whole


class BanHistory(Protocol):
    """What remembers bans: neurowall.data.store.bans.Bans. Raises StorageUnavailable."""

    def page(self, limit: int, after: int | None = None, address: str | None = None) -> BanPage:
        """Bans, newest first."""

    def metadata(self, entries: Collection[str]) -> Mapping[tuple[str, str], BanRow]:
        """Of entries in force, by entry and list."""


def _address(text: str) -> str:
    try:
        return str(parse_entry(text.strip()))
    except InvalidEntry as error:
        raise ValueError(f"'{text[:60]}': {error}") from error


Address = Annotated[str, Field(max_length=64), AfterValidator(_address)]


class BansQuery(Strict):
    """Which bans. address: those that hold this address or prefix, or lie in it."""

    limit: int = Field(default=100, ge=1, le=PAGE)
    after: str | None = Field(default=None, max_length=MAX_AFTER)
    kind: BanKind | None = None
    address: Address | None = None


class HistoryQuery(Strict):
    """Which bans. address: those of this entry, or of a prefix that holds it."""

    limit: int = Field(default=100, ge=1, le=1000)
    after: int | None = Field(default=None, ge=1, le=MOST)
    address: Address | None = None


def add_ban_list(app: FastAPI, engine: Engine, history: BanHistory | None) -> None:
    """Serve it. Without *history*, or while that cannot be asked, bans are told without their past."""

    @app.get("/bans", dependencies=[READ])
    def bans(query: Annotated[BansQuery, Query()]) -> Response:
        """A page of them; `next` is the `after` of the following page."""
        page = engine.bans(BanQuery(query.limit, query.after, query.kind, query.address))
        return JSONResponse(answers_bans.bans(page, _known(history, page.bans)))

    @app.get("/bans/history", dependencies=[READ])
    def ban_history(query: Annotated[HistoryQuery, Query()]) -> Response:
        """Bans that began, newest first, whether they ended or not; `next` is the `after` of older ones."""
        if history is None:
            raise ApiProblem(503, "storage-unavailable", "this daemon has no database: nothing is remembered")
        return JSONResponse(answers_bans.history(history.page(query.limit, query.after, query.address)))


def _known(history: BanHistory | None, bans: tuple[Ban, ...]) -> Mapping[tuple[str, str], BanRow] | None:
    """What is remembered of bans in force; None if that cannot be asked."""
    if history is None:
        return None
    try:
        return history.metadata([ban.entry for ban in bans])
    except StorageUnavailable:
        return None
