# SPDX-License-Identifier: Apache-2.0
"""Routes of tokens: which there are, a new one, and one that is revoked."""

import time
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, Protocol

from fastapi import FastAPI, Query
from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema
from starlette.responses import JSONResponse, Response

from neurowall.management.api import auth, problems
from neurowall.management.api.asked import Actor, actor
from neurowall.management.api.auth import needs
from neurowall.management.api.changes import Change
from neurowall.management.api.problems import ApiProblem
from neurowall.management.api.requests import Answered, ChangeQuery, How, Strict
from neurowall.management.times import moment
from neurowall.model.duration import parse_duration
from neurowall.model.tokens import MAX_NAME, SCOPES, TokenRecord, descendants, digest_of, new_text, split_text

Json = dict[str, Any]

LONGEST = 10 * 366 * 86_400.0  # seconds
WRITE = [needs("tokens:write")]
_DURATION = {"type": "string", "pattern": "^[0-9]{1,6}[smhd]$", "description": "How long: 12h, 90d."}


class Kept(auth.Tokens, Protocol):
    """Where tokens are kept: neurowall.data.store.tokens.Tokens. Raises StorageUnavailable."""

    def create(self, record: TokenRecord) -> None:
        """Keep a new one."""

    def all(self) -> Sequence[TokenRecord]:
        """Every one, newest first."""

    def revoke(self, identifier: str) -> Sequence[str]:
        """Revoke one and those that it made: which were revoked now."""


def _name(text: str) -> str:
    if text != text.strip() or not text.isprintable():
        raise ValueError("expected printable text without spaces at its ends")
    return text


def _scope(text: str) -> str:
    if text not in SCOPES:
        raise ValueError(f"no such scope; there are {', '.join(SCOPES)}")
    return text


def _expires(given: object) -> float | None:
    """Seconds from `"90d"`. Raises ValueError."""
    if given is None:
        return None
    if not isinstance(given, str):
        raise ValueError('expected a duration such as "90d"')  # noqa: TRY004 - pydantic's kind
    seconds = parse_duration(given)
    if not 0 < seconds <= LONGEST:
        raise ValueError("expected more than 0 and at most ten years")
    return seconds


Scope = Annotated[str, AfterValidator(_scope), WithJsonSchema({"type": "string", "enum": list(SCOPES)})]
Duration = Annotated[float | None, BeforeValidator(_expires), WithJsonSchema(_DURATION)]


class NewToken(Strict):
    """A token to be made. expires: after how long it ends; absent: never, or with the token that makes it."""

    name: Annotated[str, Field(min_length=1, max_length=MAX_NAME), AfterValidator(_name)]
    scopes: list[Scope] = Field(default=["read"], min_length=1, max_length=len(SCOPES))
    expires: Duration = None


class TokensQuery(Strict):
    """Which tokens. after: the id of the last one of the page before."""

    limit: int = Field(default=100, ge=1, le=1000)
    after: str | None = Field(default=None, pattern="^[a-z0-9]{12}$")


def add_tokens(app: FastAPI, tokens: Kept | None, answered: Answered) -> None:
    """Serve them; *answered* makes changes."""

    @app.get("/tokens", dependencies=WRITE)
    def list_tokens(query: Annotated[TokensQuery, Query()]) -> Response:
        """Every token without its secret, newest first; revoked and expired ones too."""
        return JSONResponse(_page(_kept(tokens).all(), query))

    @app.post("/tokens", dependencies=WRITE)
    async def create_token(body: NewToken, query: How) -> Response:
        """Make a token: its text is in this answer and nowhere else.

        None has more scopes than its maker. One that a token makes ends with that at the latest.
        """
        change = Change(
            "token-create",
            body.name,
            query.dry_run,
            {"scopes": sorted(set(body.scopes)), "expires_seconds": body.expires},
            kept=_without_text,
            of_generation=False,
        )
        response = await answered(change, _create, _kept(tokens), _maker(body), body, query)
        response.headers["cache-control"] = "no-store"
        return response

    @app.delete("/tokens/{identifier}", dependencies=WRITE)
    async def revoke_token(identifier: str, query: How) -> Response:
        """Revoke a token and all that it made: whoever has one is refused, and streams that it opened end."""
        change = Change("token-revoke", identifier[:MAX_NAME], query.dry_run, of_generation=False)
        return await answered(change, partial(_revoke, _kept(tokens), identifier, query))


def _kept(tokens: Kept | None) -> Kept:
    if tokens is None:
        raise ApiProblem(503, "storage-unavailable", "this daemon has no database: there are no tokens")
    return tokens


def _maker(body: NewToken) -> Actor:
    """Who makes it. Raises ApiProblem if he would give away what he has not."""
    who = actor()
    if who is None:
        raise auth.not_known()
    if lacking := sorted(set(body.scopes) - who.scopes):
        wanted = " ".join(lacking)
        detail = f"{who.name} cannot give the scope {wanted}, which it has not itself"
        raise ApiProblem(403, "insufficient-scope", detail, scope=wanted)
    return who


def _create(tokens: Kept, maker: Actor, body: NewToken, query: ChangeQuery) -> Json:
    text, now = new_text(), time.time()
    parts = split_text(text)
    if parts is None:
        raise RuntimeError("a token that cannot be read")
    expires = _end(tokens, maker, now, body.expires)
    record = TokenRecord(
        parts[0], body.name, digest_of(parts[1]), frozenset(body.scopes), now, maker.name, expires
    )
    if query.dry_run:
        return _shown(record) | {"id": None, "token": None, "dry_run": True}
    tokens.create(record)
    return _shown(record) | {"token": text, "dry_run": False}


def _end(tokens: Kept, maker: Actor, now: float, seconds: float | None) -> float | None:
    """When a new token ends. Raises ApiProblem if that is after the end of the token that makes it."""
    asked_for = None if seconds is None else now + seconds
    if maker.token is None:
        return asked_for
    own = tokens.snapshot().get(maker.token)
    if own is None:
        raise auth.not_known()
    if own.expires is None or asked_for is None:
        return own.expires if asked_for is None else asked_for
    if asked_for > own.expires:
        why = (
            f"{maker.name} itself ends {moment(own.expires)}: ask for less, or leave it out for the same end"
        )
        raise ApiProblem(422, "invalid-request", f"expires: {why}", [{"field": "expires", "why": why}])
    return asked_for


def _without_text(answer: Json) -> Response:
    """What a repeated request gets: the secret is not kept for it."""
    made = answer["id"]
    detail = (
        f"this request made token {made} already, and a token is shown once: if you lost it, revoke it and "
        "make another with a new Idempotency-Key"
    )
    return problems.answer(409, "token-shown", "It was shown once", detail, token_id=made)


def _revoke(tokens: Kept, identifier: str, query: ChangeQuery) -> Json:
    """What is revoked: the token, and the valid ones that come from it."""
    records = {each.id: each for each in tokens.all()}
    held = records.get(identifier)
    if held is None:
        detail = f"there is no token '{identifier[:40]}'; `neurowall token list` shows them"
        raise ApiProblem(404, "no-such-token", detail)
    now = time.time()
    if query.dry_run:
        also = [each.id for each in descendants(records.values(), identifier) if each.is_valid(now)]
        changed = held.revoked is None
    else:
        done = tokens.revoke(identifier)
        also = [each for each in done if each != identifier]
        changed = identifier in done
        records |= tokens.snapshot()  # one that was made meanwhile
    named = [{"id": each, "name": records[each].name if each in records else ""} for each in also]
    return {"id": identifier, "revoked": changed, "also": named, "dry_run": query.dry_run}


def _page(records: Sequence[TokenRecord], query: TokensQuery) -> Json:
    start = 0
    if query.after is not None:
        start = next((at + 1 for at, each in enumerate(records) if each.id == query.after), len(records))
    page = records[start : start + query.limit]
    more = len(records) > start + query.limit
    return {"tokens": [_shown(each) for each in page], "next": page[-1].id if more else None}


def _shown(record: TokenRecord) -> Json:
    """A token without its secret."""
    return {
        "id": record.id,
        "name": record.name,
        "scopes": sorted(record.scopes),
        "created": moment(record.created),
        "created_by": record.created_by,
        "expires": moment(record.expires),
        "last_used": moment(record.last_used),
        "last_source": record.last_source,
        "revoked": moment(record.revoked),
    }
