# SPDX-License-Identifier: Apache-2.0
"""Our side of one HTTP connection: uvicorn's, with an end to patience.

It also puts the peer of a unix socket into the state of every request.
"""

import asyncio
import json
import logging
import pwd
import socket
import struct
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from neurowall.management.api.asked import Peer
from neurowall.management.api.problems import MEDIA_TYPE

HEADER_SECONDS = 10.0  # from the first byte of a request, or from the connection, to the end of its headers
BODY_SECONDS = 30.0  # without a byte of a body that is asked for
REQUEST_SECONDS = 600.0  # from the headers to the end of a body
WRITE_SECONDS = 30.0  # without a byte taken of an answer
LINGER_SECONDS = 10.0  # of body after the answer
HEADER_BYTES = 32 << 10  # of one request
_AT_ONCE = struct.pack("2i", 1, 0)  # struct linger
_UCRED = struct.Struct("3i")  # struct ucred: pid, uid, gid

# Of what strangers send nobody needs a line in the log each.
log = logging.getLogger("neurowall.http")
log.setLevel(logging.ERROR)


class Protocol(H11Protocol):
    """uvicorn's; `tend` is to be called each second. *lost* is called once, when the connection is gone."""

    def __init__(self, config: uvicorn.Config, state: ServerState, lost: Callable[[], None]) -> None:
        super().__init__(config, state, {})
        self.logger = log
        self._lost = lost
        now = self.loop.time()
        self._began = now  # the request that is being read, or the connection
        self._heard = now  # the last byte
        self._unsent, self._moved = 0, now  # bytes that wait to be taken, and when one last was
        self._ended = now  # the last answer

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's
        """Someone is there."""
        super().connection_made(transport)
        self._began = self._heard = self.loop.time()
        peer = _peer(transport.get_extra_info("socket"))
        if peer:
            self.app_state: dict[str, Any] = {"peer": peer}

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody is there any more."""
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        self._lost()

    def data_received(self, data: bytes) -> None:
        """Some bytes of a request."""
        self._heard = self.loop.time()
        if self.timeout_keep_alive_task is not None:
            self._began = self._heard
        super().data_received(data)

    def on_response_complete(self) -> None:
        """An answer is written, or waits in the transport's buffer."""
        self._ended = self.loop.time()
        super().on_response_complete()

    def shutdown(self) -> None:
        """The daemon exits: a connection that is not at anything ends at once, without TLS's farewell."""
        if (
            self.cycle is None or self.cycle.response_complete
        ) and not self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            super().shutdown()

    def tend(self, now: float) -> None:
        """End the connection if it takes too long for what it is at."""
        if self._is_overdue(now):
            # What the kernel still holds for it goes as well: nobody will ever read that.
            connection = self.transport.get_extra_info("socket")
            if connection is not None:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
            self.transport.abort()

    def _is_overdue(self, now: float) -> bool:
        unsent = self.transport.get_write_buffer_size()
        if unsent == 0 or unsent < self._unsent:
            self._moved = now
        self._unsent = unsent
        if now - self._moved > WRITE_SECONDS:
            return True
        if self.conn.their_state is h11.IDLE:  # uvicorn itself ends a connection that is kept and unused
            return self.timeout_keep_alive_task is None and now - self._began > HEADER_SECONDS
        if self.conn.their_state is not h11.SEND_BODY:
            return False
        if self.conn.our_state is h11.DONE:
            return now - self._ended > LINGER_SECONDS
        if self.flow.read_paused:  # it is us who do not read
            self._heard = now
        return now - self._heard > BODY_SECONDS or now - self._began > REQUEST_SECONDS

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP, if that can be said at all, and close."""
        detail = "this is not a request of HTTP/1.1: send one as RFC 9112 has it"
        problem = {"type": "urn:neurowall:problem:bad-request", "title": "Bad Request", "status": 400}
        body = json.dumps(problem | {"detail": detail}).encode()
        headers = [
            ("content-type", MEDIA_TYPE),
            ("content-length", str(len(body))),
            ("connection", "close"),
        ]
        try:
            answer = (h11.Response(status_code=400, headers=headers), h11.Data(data=body), h11.EndOfMessage())
            self.transport.write(b"".join(self.conn.send(each) or b"" for each in answer))
        except h11.LocalProtocolError:  # an answer is under way already
            log.debug("%s", msg)
        self.transport.close()


def _peer(connection: socket.socket | None) -> Peer | None:
    """Who connected to a unix socket, as it was when he did; None for other sockets."""
    if connection is None or connection.family != socket.AF_UNIX:
        return None
    pid, uid, _ = _UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return Peer(uid, pid, _user(uid))


@lru_cache(maxsize=256)
def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""
