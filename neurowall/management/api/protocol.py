# SPDX-License-Identifier: Apache-2.0
"""Our side of one HTTP connection: uvicorn's, and who is at the other end of a unix socket."""

import asyncio
import pwd
import socket
import struct
from functools import lru_cache
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from neurowall.management.api.asked import Peer

_UCRED = struct.Struct("3i")  # struct ucred: pid, uid, gid


class Protocol(H11Protocol):
    """Puts the peer of a unix socket into the state of every request, as `peer`."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's
        """Someone is there."""
        super().connection_made(transport)
        peer = _peer(transport.get_extra_info("socket"))
        if peer:
            self.app_state: dict[str, Any] = self.app_state | {"peer": peer}


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
