# SPDX-License-Identifier: Apache-2.0
"""What every request passes first: it gets an id, and whoever nobody knows goes no further.

Before any route, and before any body is read: a stranger costs the daemon his headers.
"""

import hashlib
import re
import secrets
from collections.abc import Callable
from http import HTTPStatus
from urllib.parse import quote

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from neurowall.management.api import asked, problems
from neurowall.management.api.asked import UNIX, Actor, Asked, plain_address
from neurowall.management.api.auth import Authenticator, not_known
from neurowall.management.api.browsers import HEADERS
from neurowall.model.shown import shown

# Probes of load balancers, and the console's files, which know nothing until a token is typed.
OPEN = frozenset({"/liveness", "/health", "/readiness", "/", "/console"})
OPEN_BELOW = "/console/"
_MEANT = ("if-match", "x-policy-file", "x-session")  # headers that say what is asked for
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Gate:
    """Lets requests through to an application. forbidden: told of who asked for what he may not."""

    def __init__(self, authenticator: Authenticator, forbidden: Callable[[Actor, str], None]) -> None:
        self._authenticator = authenticator
        self._forbidden = forbidden

    async def pass_on(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or have *app* answer."""
        scope.setdefault("state", {})
        headers = Headers(scope=scope)
        now = Asked(request_id(headers), source_of(scope), headers=headers, hashed=_hashed(scope, headers))
        token = asked.enter(now)

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["x-request-id"] = now.id
                if message["status"] == HTTPStatus.FORBIDDEN and now.actor:
                    self._forbidden(now.actor, f"{scope['method']} {_quoted_path(scope)}")
            await send(message)

        try:
            try:
                now.actor = self._authenticator.actor(scope, now.source)
                if now.actor is None and not is_open(scope):
                    raise not_known()
            except problems.ApiProblem as problem:
                await _outside(problem)(scope, receive, named)
            else:
                await app(scope, receive, named)
        finally:
            asked.leave(token)


def is_open(scope: Scope) -> bool:
    """Whether anybody may ask this."""
    path = scope["path"]
    return scope["method"] in ("GET", "HEAD") and (path in OPEN or path.startswith(OPEN_BELOW))


def source_of(scope: Scope) -> str:
    """Where a request comes from: an address as people write it, or `unix`."""
    client = scope.get("client")
    return plain_address(client[0]) if client else UNIX


def _quoted_path(scope: Scope) -> str:
    """The path as it was sent, percent-encoded: for the log and the audit."""
    raw: bytes = scope.get("raw_path") or quote(scope["path"]).encode()
    return shown(raw.partition(b"?")[0].decode("ascii", "backslashreplace"))


def _outside(problem: problems.ApiProblem) -> Response:
    """An answer that no middleware completes."""
    response = problems.answer_to(problem)
    response.headers.update({**HEADERS, "cache-control": "no-store"})
    return response


def request_id(headers: Headers) -> str:
    """The one that the client gave, if it is harmless in a log, or a new one."""
    given = headers.get("x-request-id", "")
    return given if _ID.fullmatch(given) else secrets.token_hex(8)


def _hashed(scope: Scope, headers: Headers) -> "hashlib._Hash | None":
    """The hash of a request so far, if it may come twice."""
    if "idempotency-key" not in headers:
        return None
    line = (scope["method"], scope["path"], scope["query_string"].decode("latin-1"))
    meant = [headers.get(name, "") for name in _MEANT]
    return hashlib.sha256("\n".join((*line, *meant)).encode() + b"\n")
