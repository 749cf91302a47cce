# SPDX-License-Identifier: Apache-2.0
"""What every request passes first: it gets an id, and whoever nobody knows goes no further.

Before any route, and before any body is read: a stranger costs the daemon his headers.
"""

import re
import secrets

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from neurowall.management.api import asked, problems
from neurowall.management.api.asked import UNIX, Asked, plain_address
from neurowall.management.api.auth import Authenticator, not_known
from neurowall.management.api.browsers import HEADERS

# Probes of load balancers, and the console's files, which know nothing until a token is typed.
OPEN = frozenset({"/liveness", "/health", "/readiness", "/", "/console"})
OPEN_BELOW = "/console/"
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Gate:
    """Lets requests through to an application."""

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator

    async def pass_on(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or have *app* answer."""
        scope.setdefault("state", {})
        now = Asked(_request_id(scope), source_of(scope))
        token = asked.enter(now)

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["x-request-id"] = now.id
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


def _outside(problem: problems.ApiProblem) -> Response:
    """An answer that no middleware completes."""
    response = problems.answer_to(problem)
    response.headers.update({**HEADERS, "cache-control": "no-store"})
    return response


def _request_id(scope: Scope) -> str:
    """The one that the client gave, if it is harmless in a log, or a new one."""
    given = Headers(scope=scope).get("x-request-id", "")
    return given if _ID.fullmatch(given) else secrets.token_hex(8)
