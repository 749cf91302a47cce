# SPDX-License-Identifier: Apache-2.0
"""Tell the service manager how the daemon is: sd_notify(3), without its library."""

import os
import socket
from contextlib import suppress

VARIABLE = "NOTIFY_SOCKET"


def notify(state: str) -> None:
    """Send such as `READY=1` to the manager that started this process; nothing without one.

    One that does not listen is no reason to stop enforcing.
    """
    address = os.environ.get(VARIABLE, "")
    if not address.startswith(("/", "@")):
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as manager:
        manager.sendto(state.encode(), "\0" + address[1:] if address[0] == "@" else address)
