# SPDX-License-Identifier: Apache-2.0
"""Bounds what a request may make the daemon hold in memory; and hashes it where that is asked for."""

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from neurowall.logic.memory import give_back_soon
from neurowall.management.api.asked import asked

_LARGE = 1 << 20  # bytes of a body whose memory is given back to the system


class BodyLimit:
    """ASGI middleware: a body that is too large, declared or arriving, ends in 413.

    A list, which is PUT, may have *lists* bytes, and any other body *limit*: that is JSON, and nobody else is
    answered while it is parsed. All that are read at the same time may have *together* bytes; whoever sends
    more is told to come again.
    """

    def __init__(self, app: ASGIApp, *, lists: int, limit: int, together: int) -> None:
        self._app = app
        self._lists, self._limit, self._together = lists, limit, together
        self._held = 0  # bytes of bodies whose requests are not answered yet

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection event."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "0")
        limit = self._lists if scope["method"] == "PUT" else self._limit
        received = 0

        async def limited() -> Message:
            nonlocal received
            if declared.isdigit() and int(declared) > limit:
                raise _too_large(limit)
            message = await receive()
            body = message.get("body", b"")
            received += len(body)
            self._held += len(body)
            if received > limit:
                raise _too_large(limit)
            if self._held > self._together:
                raise _too_many()
            if (now := asked()) and now.hashed:
                now.hashed.update(body)
            return message

        try:
            await self._app(scope, limited, send)
        finally:
            self._held -= received
            if received > _LARGE:
                give_back_soon()


def _too_large(limit: int) -> HTTPException:
    return HTTPException(413, f"the body is larger than {limit >> 20} MiB: split it into several requests")


def _too_many() -> HTTPException:
    detail = "other requests send so much at this moment that there is no room for more: try again soon"
    return HTTPException(503, detail, headers={"retry-after": "1"})
