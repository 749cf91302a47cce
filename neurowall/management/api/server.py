# SPDX-License-Identifier: Apache-2.0
"""Sockets and uvicorn servers of the daemon: the unix socket, and metrics on loopback."""

import asyncio
import ipaddress
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn

from neurowall.management.api.protocol import Protocol
from neurowall.management.errors import CommandError, UsageProblem
from neurowall.management.instance import share_with_group

if TYPE_CHECKING:
    from fastapi import FastAPI

SOCKET_MODE = 0o660
_DRAIN_SECONDS = 10  # what requests under way get when the daemon is told to exit
_MAX_PATH = 107  # sizeof(sockaddr_un.sun_path) less the terminating zero


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the daemon has its own."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def unix_socket(path: Path) -> socket.socket:
    """A listening socket at *path* that only root and group `neurowall` may use.

    The name of a daemon that died is taken over; call this with the instance's lock held.
    """
    if len(os.fsencode(path)) > _MAX_PATH:
        raise UsageProblem(
            f"{path} is longer than a unix socket's name may be ({_MAX_PATH} bytes): use a shorter --run-dir"
        )
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # Nobody may connect between bind and chmod.
    mask = os.umask(0o777)
    try:
        listener.bind(str(path))
    finally:
        os.umask(mask)
    share_with_group(path)
    path.chmod(SOCKET_MODE)
    listener.listen(128)
    return listener


def loopback_socket(address: str) -> socket.socket:
    """A listening TCP socket at `ADDRESS:PORT`, which must be loopback: there is no TLS and no login here.

    Port 0 takes a free one. Raises UsageProblem, or CommandError if the port is taken.
    """
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    try:
        loopback = ipaddress.ip_address(host).is_loopback
        number = int(port)
    except ValueError:
        raise UsageProblem(
            f"--metrics-listen {address}: expected ADDRESS:PORT, such as 127.0.0.1:9469"
        ) from None
    if not loopback:
        raise UsageProblem(
            f"--metrics-listen {address}: {host} is not a loopback address, and this listener has neither "
            "TLS nor authentication; use 127.0.0.1 or [::1]"
        )
    try:
        return socket.create_server(
            (host, number), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=128
        )
    except (OSError, OverflowError) as error:
        raise CommandError(f"--metrics-listen {address}: {error}; choose another port") from error


async def run(
    servers: Sequence[tuple["FastAPI", socket.socket]], stop: asyncio.Event, *, verbose: bool
) -> None:
    """Serve until *stop* is set, then let requests under way finish.

    Raises CommandError if a server ends before it was told to.
    """
    running = [_Server(_config(app, verbose=verbose)) for app, _ in servers]
    tasks = [
        asyncio.create_task(server.serve(sockets=[listener]))
        for server, (_, listener) in zip(running, servers, strict=True)
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


def _config(app: "FastAPI", *, verbose: bool) -> uvicorn.Config:
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
        timeout_keep_alive=75,
        timeout_graceful_shutdown=_DRAIN_SECONDS,
    )
