# SPDX-License-Identifier: Apache-2.0
"""What is known of the request under way: its id and who asks, for answers, logs and audit.

It is found through a context variable, which follows the request into the threads that work for it.
"""

import hashlib
from contextvars import ContextVar
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address, ip_network

from starlette.datastructures import Headers

UNIX = "unix"  # the source of whoever comes through the unix socket


@dataclass(frozen=True)
class Peer:
    """Who is at the other end of the unix socket, as the kernel tells. name: that of the user, or empty."""

    uid: int
    pid: int
    name: str

    def __str__(self) -> str:
        return f"uid:{self.uid} {self.name}".rstrip()


@dataclass(frozen=True)
class Actor:
    """Who asks, and what he may. name: `uid:0 root` or `token:<id> <name>`; token: its id, if it is one.

    is_root: root of this machine, on the unix socket and without a token.
    """

    name: str
    source: str
    scopes: frozenset[str]
    token: str | None = None
    is_root: bool = False


@dataclass
class Asked:
    """One request. source: an address, or `unix`; actor: None as long as nobody proved who he is.

    hashed: of all that makes it what it is, its body as far as that was read; only where that is needed.
    """

    id: str
    source: str = UNIX
    actor: Actor | None = None
    headers: Headers = field(default_factory=Headers)
    hashed: "hashlib._Hash | None" = None

    def digest(self) -> str:
        """What tells this request from others, in hex."""
        return self.hashed.hexdigest() if self.hashed else ""


_current: ContextVar[Asked | None] = ContextVar("asked", default=None)

enter = _current.set
leave = _current.reset


def asked() -> Asked | None:
    """The request that is under way here, if there is one."""
    return _current.get()


def actor() -> Actor | None:
    """Who asks, if that is proven."""
    now = _current.get()
    return now.actor if now else None


def plain_address(text: str) -> str:
    """An address as people write it: IPv4 that came through a socket of both families is IPv4."""
    try:
        address = ip_address(text)
    except ValueError:
        return text
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)


def network_of(source: str) -> str:
    """What one holder surely has: an IPv4 address, or the /64 of an IPv6 one."""
    address = source.partition("%")[0]  # link-local ones name their interface
    try:
        return str(ip_network((address, 64), strict=False)) if ":" in address else source
    except ValueError:
        return source
