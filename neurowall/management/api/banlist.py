# SPDX-License-Identifier: Apache-2.0
"""`GET /bans`: whom operators and limits block or allow now, and by whose word."""

from typing import Annotated

from fastapi import FastAPI, Query
from pydantic import AfterValidator, Field
from starlette.responses import JSONResponse, Response

from neurowall.logic.banlist import BanQuery
from neurowall.logic.engine import Engine
from neurowall.logic.results import BanKind
from neurowall.management.api import answers_bans
from neurowall.management.api.requests import PAGE, Strict
from neurowall.model.address import InvalidEntry, parse_entry

MAX_AFTER = 100  # characters; no place in the list is longer


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


def add_ban_list(app: FastAPI, engine: Engine) -> None:
    """Serve it."""

    @app.get("/bans")
    def bans(query: Annotated[BansQuery, Query()]) -> Response:
        """A page of them; `next` is the `after` of the following page."""
        page = engine.bans(BanQuery(query.limit, query.after, query.kind, query.address))
        return JSONResponse(answers_bans.bans(page))
