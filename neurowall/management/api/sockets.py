# SPDX-License-Identifier: Apache-2.0
"""The sockets that the daemon listens on."""

import ipaddress
import os
import socket
from pathlib import Path

from neurowall.management.errors import CommandError, UsageProblem
from neurowall.management.instance import share_with_group

SOCKET_MODE = 0o660
_MAX_PATH = 107  # sizeof(sockaddr_un.sun_path) less the terminating zero
_BACKLOG = 128
_IP_FREEBIND = 15  # linux/in.h; Python has no name for it

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


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
    listener.listen(_BACKLOG)
    return listener


def loopback_socket(address: str) -> socket.socket:
    """A listening TCP socket at `ADDRESS:PORT`, which must be loopback: there is no TLS and no login here.

    Port 0 takes a free one. Raises UsageProblem, or CommandError if the port is taken.
    """
    host, port = _split("--metrics-listen", address, "127.0.0.1:9469")
    if not host.is_loopback:
        raise UsageProblem(
            f"--metrics-listen {address}: {host} is not a loopback address, and this listener has neither "
            "TLS nor authentication; use 127.0.0.1 or [::1]"
        )
    return _listen("--metrics-listen", address, host, port)


def api_socket(address: str, *, encrypted: bool) -> socket.socket:
    """A listening TCP socket for operators at `ADDRESS:PORT`; beyond loopback only if it is *encrypted*.

    `[::]` takes IPv4 too. The address need not be there yet. Raises as loopback_socket.
    """
    host, port = _split("--listen", address, "192.0.2.1:8443")
    if not (encrypted or host.is_loopback):
        raise UsageProblem(
            f"--listen {address}: {host} is not a loopback address, and tokens must not cross a network in "
            "the clear; add --tls-cert and --tls-key, or use 127.0.0.1 and an SSH tunnel"
        )
    return _listen("--listen", address, host, port)


def _split(option: str, address: str, example: str) -> tuple[Address, int]:
    host, _, port = address.rpartition(":")
    try:
        return ipaddress.ip_address(host.removeprefix("[").removesuffix("]")), int(port)
    except ValueError:
        raise UsageProblem(f"{option} {address}: expected ADDRESS:PORT, such as {example}") from None


def _listen(option: str, address: str, host: Address, port: int) -> socket.socket:
    family = socket.AF_INET6 if host.version == 6 else socket.AF_INET
    # Named, or asyncio leaves Nagle on: the body of each answer waited 40 ms for a delayed ACK.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(not host.is_unspecified))
        listener.bind((str(host), port))
        listener.listen(_BACKLOG)
    except (OSError, OverflowError) as error:
        listener.close()
        raise CommandError(f"{option} {address}: {error}; choose another port") from error
    return listener
