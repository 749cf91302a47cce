# SPDX-License-Identifier: Apache-2.0
"""uvicorn servers of the daemon, one a listener, each with bounds of its own."""

import asyncio
import logging
import socket
from asyncio.sslproto import SSLProtocol
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import uvicorn

from neurowall.management.api.acceptor import Acceptor, Bounds
from neurowall.management.api.hosts import LocalNames
from neurowall.management.api.protocol import HEADER_BYTES, Protocol
from neurowall.management.api.tls import Certificate
from neurowall.management.errors import CommandError

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.types import ASGIApp

LOCAL = Bounds(connections=128, of_source=128)  # a unix socket, or metrics on loopback
REMOTE = Bounds(connections=256, of_source=64)
TLS_READ_BYTES = 64 << 10  # asyncio sets 256 KiB aside for each connection: 64 MiB for all that there may be
_DRAIN_SECONDS = 10  # what requests under way get when the daemon is told to exit
_KEEP_SECONDS = 75  # that a connection is kept without a request

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Listener:
    """An application on a socket that listens. certificate: of TLS, if connections are encrypted.

    Over TCP without it the application answers for addresses and localhost alone (hosts.py).
    """

    app: "FastAPI"
    socket: socket.socket
    bounds: Bounds = LOCAL
    certificate: Certificate | None = None

    @property
    def guarded(self) -> "ASGIApp":
        """The application as this listener serves it."""
        is_bare = self.certificate is None and self.socket.family != socket.AF_UNIX
        return LocalNames(self.app) if is_bare else self.app


class _Server(uvicorn.Server):
    """uvicorn with our connections, and without its signal handlers: the daemon has its own."""

    def __init__(self, config: uvicorn.Config, listener: Listener) -> None:
        super().__init__(config)
        self._listener = listener
        self._tasks: list[asyncio.Task[None]] = []

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002 - uvicorn's
        """Begin to accept; *sockets* are this listener's."""
        self.servers: list[asyncio.base_events.Server] = []  # uvicorn's own, of which there are none
        certificate = self._listener.certificate
        acceptor = Acceptor(
            self._listener.socket,
            lambda lost: Protocol(self.config, self.server_state, lost),
            self._listener.bounds,
            lambda: certificate.context if certificate else None,
        )
        await self.on_tick(0)  # the first answer has a date too
        self._tasks = [asyncio.create_task(work) for work in (acceptor.run(), self._tend())]
        for task in self._tasks:
            task.add_done_callback(self._ended)
        self.started = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept no more, and let requests under way finish."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await super().shutdown(sockets)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            log.error("a listener failed", exc_info=task.exception())
            self.should_exit = True

    async def _tend(self) -> None:
        """End connections that take too long."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(1.0)
            for connection in tuple(self.server_state.connections):
                if isinstance(connection, Protocol):
                    connection.tend(loop.time())


async def run(listeners: Sequence[Listener], stop: asyncio.Event, *, verbose: bool) -> None:
    """Serve until *stop* is set, then let requests under way finish.

    Raises CommandError if a server ends before it was told to.
    """
    SSLProtocol.max_size = TLS_READ_BYTES
    running = [_Server(_config(each.guarded, verbose=verbose), each) for each in listeners]
    tasks = [
        asyncio.create_task(server.serve(sockets=[each.socket]))
        for server, each in zip(running, listeners, strict=True)
    ]
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait([stopped, *tasks], return_when=asyncio.FIRST_COMPLETED)
    early = not stop.is_set()
    for server in running:
        server.should_exit = True
    await asyncio.gather(*tasks)
    stopped.cancel()
    if early:
        raise CommandError("the API server ended by itself; the log above says why")


def _config(app: "ASGIApp", *, verbose: bool) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        loop="asyncio",
        http=Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=verbose,
        server_header=False,
        proxy_headers=False,  # X-Forwarded-For is what a client says of itself
        h11_max_incomplete_event_size=HEADER_BYTES,
        timeout_keep_alive=_KEEP_SECONDS,
        timeout_graceful_shutdown=_DRAIN_SECONDS,
    )
