# SPDX-License-Identifier: Apache-2.0
"""The ETag of answers about what is in force: the generation, which If-Match of a change then names."""

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from neurowall.logic.engine import Engine

ABOUT = frozenset({"status", "lists", "bans", "policy", "rules", "nat", "limits"})


class Tags:
    """ASGI middleware: questions about what is in force are tagged.

    The generation is read before the answer is made: one that changes meanwhile makes a tag that is too old,
    whose change is refused, never one that is too new.
    """

    def __init__(self, app: ASGIApp, *, engine: Engine) -> None:
        self._app, self._engine = app, engine

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection event."""
        if scope["type"] != "http" or scope["method"] != "GET" or scope["path"].split("/")[1] not in ABOUT:
            await self._app(scope, receive, send)
            return
        tag = f'"{self._engine.generation_now}"'

        async def tagged(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 200:
                MutableHeaders(scope=message).setdefault("etag", tag)
            await send(message)

        await self._app(scope, receive, tagged)
