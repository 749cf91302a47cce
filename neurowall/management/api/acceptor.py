# SPDX-License-Identifier: Apache-2.0
"""Takes connections of one listener, as many as there may be.

Those count that have not finished their TLS handshake, too.
"""

import asyncio
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from errno import EMFILE, ENFILE, ENOBUFS, ENOMEM

from neurowall.management.api.asked import network_of, plain_address

HANDSHAKE_SECONDS = 5.0
CLOSE_SECONDS = 30.0  # to take the rest of an answer before the connection is closed, and for TLS's farewell
_SHORT = (EMFILE, ENFILE, ENOBUFS, ENOMEM)  # this process, or the machine, has no more
_PAUSE = 0.5  # seconds until there may be
_TOLD_EVERY = 60.0  # seconds

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Bounds:
    """How many connections at once, in all and from one source (an IPv4 address, an IPv6 /64)."""

    connections: int
    of_source: int


class Acceptor:
    """Accepts for as long as `run` does.

    make: the protocol of a connection, told what to call when that is lost. context: with what a new
    connection is encrypted, if it is.
    """

    def __init__(
        self,
        listener: socket.socket,
        make: Callable[[Callable[[], None]], asyncio.Protocol],
        bounds: Bounds,
        context: Callable[[], ssl.SSLContext | None],
    ) -> None:
        self._listener, self._make, self._bounds, self._context = listener, make, bounds, context
        self._open: Counter[str] = Counter()
        self._begun: set[asyncio.Task[None]] = set()
        self._refused = 0
        self._told = float("-inf")

    async def run(self) -> None:
        """Accept until cancelled."""
        loop = asyncio.get_running_loop()
        self._listener.setblocking(False)
        try:
            while True:
                # One a round of the loop: a flood of connections waits for everybody else.
                await asyncio.sleep(0)
                try:
                    connection, address = await loop.sock_accept(self._listener)
                except OSError as error:
                    if error.errno in _SHORT:
                        log.warning("no connection can be taken now: %s", error)
                        await asyncio.sleep(_PAUSE)
                    continue
                self._take(connection, _source(address))
        finally:
            for task in self._begun:
                task.cancel()

    def _take(self, connection: socket.socket, source: str) -> None:
        bounds = self._bounds
        if self._open.total() >= bounds.connections or self._open[source] >= bounds.of_source:
            connection.close()
            self._tell(source)
            return
        self._open[source] += 1
        task = asyncio.get_running_loop().create_task(self._begin(connection, source))
        self._begun.add(task)
        task.add_done_callback(self._begun.discard)

    async def _begin(self, connection: socket.socket, source: str) -> None:
        """Have a protocol of its own talk to it. Its place is given back once, whoever ends it."""
        is_held = True

        def give_back() -> None:
            nonlocal is_held
            if is_held:
                is_held = False
                self._open[source] -= 1
                if self._open[source] <= 0:
                    del self._open[source]

        context = self._context()
        tls = {"ssl_handshake_timeout": HANDSHAKE_SECONDS, "ssl_shutdown_timeout": CLOSE_SECONDS}
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: self._make(give_back), connection, ssl=context, **(tls if context else {})
            )
        except (
            OSError,
            asyncio.CancelledError,
        ):  # a handshake that failed, took too long, or was no handshake
            give_back()
            with suppress(OSError):
                connection.close()

    def _tell(self, source: str) -> None:
        """Say now and then that connections are refused."""
        self._refused += 1
        now = asyncio.get_running_loop().time()
        if now - self._told >= _TOLD_EVERY:
            log.warning(
                "%d connections refused, the last from %s: %d are open",
                self._refused,
                source,
                self._open.total(),
            )
            self._refused, self._told = 0, now


def _source(address: object) -> str:
    """Whose a connection is, as far as bounds are concerned."""
    return network_of(plain_address(str(address[0]))) if isinstance(address, tuple) else ""
