# SPDX-License-Identifier: Apache-2.0
"""Who asks, and what he may: peers of the unix socket all of it, tokens what their scopes say.

A route names its scope with `needs`. Who is not known is refused by the gate (gate.py) before any body is
read, except where a route is open.
"""

import time
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Protocol

from fastapi import Security
from fastapi.security import APIKeyHeader, HTTPBearer, SecurityScopes
from starlette.datastructures import Headers
from starlette.types import Scope

from neurowall.management.api import asked
from neurowall.management.api.asked import UNIX, Actor, Peer, network_of
from neurowall.management.api.attempts import Attempts
from neurowall.management.api.problems import ApiProblem
from neurowall.model.tokens import SCOPES, TokenRecord, split_text

ALL_SCOPES = frozenset(SCOPES)
_BEARER = HTTPBearer(
    scheme_name="token",
    bearerFormat="nw_<id>_<secret>",
    description="A token of `neurowall token create`. Not needed on the unix socket.",
    auto_error=False,
)
_KEY = APIKeyHeader(
    name="X-API-Key",
    scheme_name="apiKey",
    description="The same token, for clients that cannot send Authorization.",
    auto_error=False,
)


class Tokens(Protocol):
    """Where tokens are. Neither call waits."""

    def snapshot(self) -> Mapping[str, TokenRecord]:
        """All of them by id, as they are now."""

    def touch(self, token_id: str, when: float, source: str) -> None:
        """Note that it was used."""


Failed = Callable[[str, str], None]
"""Told of a failed attempt: the source and what was wrong."""


def needs(scope: str) -> Any:
    """The dependency of a route that only those may use who have this scope."""
    if scope not in SCOPES:
        raise ValueError(f"there is no scope {scope!r}")
    return Security(_allowed, scopes=[scope])


async def _allowed(
    needed: SecurityScopes,
    _bearer: Annotated[Any, Security(_BEARER)],
    _key: Annotated[Any, Security(_KEY)],
) -> None:
    """Refuse who lacks a scope. The parameters are there for OpenAPI; the gate has read the headers."""
    actor = asked.actor()
    if actor is None:
        raise not_known()
    missing = [scope for scope in needed.scopes if scope not in actor.scopes]
    if missing:
        wanted = " ".join(missing)
        detail = (
            f"this needs the scope {wanted}, which {actor.name} has not; its scopes: {_said(actor.scopes)}"
        )
        challenge = f'Bearer realm="neurowall", error="insufficient_scope", scope="{wanted}"'
        raise ApiProblem(
            403, "insufficient-scope", detail, headers={"www-authenticate": challenge}, scope=wanted
        )


def _said(scopes: frozenset[str]) -> str:
    return ", ".join(sorted(scopes)) or "none"


def not_known(why: str = "no token was given", error: str = "") -> ApiProblem:
    """The 401 of those whom nobody knows."""
    challenge = 'Bearer realm="neurowall"' + (f', error="{error}"' if error else "")
    detail = f"{why}; send `Authorization: Bearer nw_...` with a token of `neurowall token create`"
    return ApiProblem(401, "not-authenticated", detail, headers={"www-authenticate": challenge})


READ, RULES = needs("read"), needs("rules:write")


class Authenticator:
    """Finds out who asks. Reads headers and memory alone: it never waits.

    failed is told of each attempt that is refused here.
    """

    def __init__(self, tokens: Tokens | None, failed: Failed, clock: Callable[[], float] = time.time) -> None:
        self._tokens = tokens
        self._failed = failed
        self._clock = clock
        self._attempts = Attempts()

    def actor(self, scope: Scope, source: str) -> Actor | None:
        """Who sends this request; None if he does not say. Raises ApiProblem 401, or 429 after too many.

        A token that is given decides, on the unix socket too: whoever forwards strangers to that socket
        does not lend them more than what they have.
        """
        text = _given(Headers(scope=scope))
        if text is None:
            peer: Peer | None = scope["state"].get("peer")
            return Actor(str(peer), UNIX, ALL_SCOPES, is_root=peer.uid == 0) if peer else None
        return self._bearer(text, source)

    def is_valid(self, actor: Actor | None) -> bool:
        """Whether an actor that was known is so still: a stream outlives the request that began it."""
        if actor is None or actor.token is None:
            return actor is not None
        record = self._tokens.snapshot().get(actor.token) if self._tokens else None
        return record is not None and record.is_valid(self._clock())

    def _bearer(self, text: str, source: str) -> Actor:
        parts, known = split_text(text), self._tokens.snapshot() if self._tokens else {}
        record = known.get(parts[0]) if parts else None
        owner = record if parts and record and record.owns(parts[1]) else None
        if owner and self._tokens and owner.is_valid(self._clock()):
            self._tokens.touch(owner.id, self._clock(), source)
            return Actor(f"token:{owner.id} {owner.name}", source, owner.scopes, owner.id)
        # Only failures wait: whoever is at the same address, wrong guesses keep no valid token out.
        attempt = (network_of(source), record.id if record else "")
        wait = self._attempts.wait(attempt)
        if wait:
            raise _too_many(wait)
        why = "that is not a valid token"
        if owner:  # only who has the secret hears more
            why = f"the token {owner.id} {'has expired' if owner.revoked is None else 'was revoked'}"
        self._attempts.failed(attempt)
        self._failed(source, why)
        raise not_known(why, "invalid_token")


def _given(headers: Headers) -> str | None:
    """The token's text that a request carries, if it carries any credentials."""
    header = headers.get("authorization")
    if header is None:
        return headers.get("x-api-key")
    scheme, _, text = header.partition(" ")
    return text.strip() if scheme.lower() == "bearer" else ""


def _too_many(wait: float) -> ApiProblem:
    seconds = max(1, round(wait + 0.5))
    detail = f"too many wrong tokens from this source: try again in {seconds} s"
    return ApiProblem(429, "too-many-attempts", detail, headers={"retry-after": str(seconds)})
