# SPDX-License-Identifier: Apache-2.0
"""Where the kernel would send a packet, and which addresses are the machine's own.

Everything acts on the network namespace of the calling thread.
"""

import errno
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import Any, Literal

from neurowall.kernel.netlink import interface_index, interface_names
from neurowall.model.errors import KernelError

Kind = Literal["local", "unicast", "none"]

_GROUPS = Path("/proc/thread-self/net/igmp6")
_LOCAL_TYPES = (2, 3, 4, 5)  # RTN_LOCAL, RTN_BROADCAST, RTN_ANYCAST, RTN_MULTICAST
_REFUSING = {6: "a blackhole route", 7: "an unreachable route", 8: "a prohibit route"}
_ANSWERS = {
    errno.ENETUNREACH: "there is no route",
    errno.EHOSTUNREACH: "there is no route, or the kernel does not forward what arrives there",
    errno.EXDEV: "the kernel's reverse path filter takes the source for spoofed",
    # Kernels from 6.14 on say no more than this of everything that they refuse before they look for a route.
    errno.EINVAL: "the kernel's reverse path filter takes the source for spoofed, or one end cannot be there",
    errno.EACCES: _REFUSING[8],
}


@dataclass(frozen=True)
class Route:
    """What the kernel does with a packet.

    local: it is for the machine itself, broadcast and multicast included. unicast: it leaves by *interface*,
    and *source* is the address that the machine itself would take there. none: it goes nowhere; *why*.
    """

    kind: Kind
    interface: str | None = None
    source: str | None = None
    why: str = ""


class KernelRoutes:
    """Asks rtnetlink(7), anew each time. Raises KernelError."""

    def interfaces(self) -> tuple[str, ...]:
        """All interfaces, by name."""
        return tuple(interface_names())

    def addresses(self) -> Mapping[str, frozenset[str]]:
        """The machine's own addresses by interface."""
        found: dict[str, set[str]] = {name: set() for name in self.interfaces()}
        with _netlink() as netlink:
            for message in _asked("list addresses", netlink.get_addr):
                # IFA_LOCAL is the own address on point-to-point links, where IFA_ADDRESS is the peer's.
                address = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
                try:
                    name = socket.if_indextoname(message["index"])
                except OSError:  # gone since
                    continue
                found.setdefault(name, set()).add(address)
        return {name: frozenset(addresses) for name, addresses in found.items()}

    def route(self, destination: str, source: str | None = None, arriving: str | None = None) -> Route:
        """The route of a packet that arrives by *arriving*, or that the machine itself sends."""
        wanted: dict[str, Any] = {"family": socket.AF_INET6 if ":" in destination else socket.AF_INET}
        wanted["dst"] = destination
        if source:
            wanted["src"] = source
        if arriving:
            wanted["iif"] = interface_index(arriving)
            if wanted["iif"] is None:
                return Route("none", why=f"there is no interface '{arriving}'")
            if ":" in destination and ip_address(destination).is_multicast:
                return Route("local") if _is_member(destination, arriving) else _NO_MEMBER
        return _route(wanted)


_NO_MEMBER = Route("none", why="the machine is no member of that group")


def _is_member(group: str, interface: str) -> bool:
    """Whether the machine takes packets to an IPv6 group there; asked for its route the kernel fails.

    Source: net/ipv6/mcast.c, igmp6_mc_seq_show: index, interface, address as 32 hexadecimal digits ...
    """
    wanted = IPv6Address(group).packed.hex()
    try:
        lines = _GROUPS.read_text(encoding="ascii").splitlines()
    except OSError as error:
        raise KernelError(f"read {_GROUPS}: {error}") from error
    return any(line.split()[1:3] == [interface, wanted] for line in lines)


def _route(wanted: Mapping[str, Any]) -> Route:
    from pyroute2.netlink.exceptions import NetlinkError

    try:
        with _netlink() as netlink:
            (message,) = netlink.route("get", **wanted)
    except NetlinkError as error:
        code = abs(error.code or 0)
        if code in (errno.EINVAL, errno.ENETUNREACH) and ip_address(wanted["dst"]).is_multicast:
            return _NO_MEMBER
        return Route("none", why=_ANSWERS.get(code, f"the kernel says: {errno.errorcode.get(code, code)}"))
    except OSError as error:
        raise KernelError(f"look up the route to {wanted['dst']}: {error}") from error
    return _read(message)


def _read(message: Any) -> Route:
    if message["type"] in _REFUSING:
        return Route("none", why=_REFUSING[message["type"]])
    if message["type"] in _LOCAL_TYPES:
        return Route("local")
    index = message.get_attr("RTA_OIF")
    if not index:
        return Route("none", why=_ANSWERS[errno.ENETUNREACH])
    return Route("unicast", socket.if_indextoname(index), message.get_attr("RTA_PREFSRC"))


def _netlink() -> Any:
    from pyroute2 import IPRoute

    return IPRoute()


def _asked(what: str, question: Any) -> list[Any]:
    try:
        return list(question())
    except Exception as error:  # pyroute2 has its own errors beside OSError
        raise KernelError(f"{what}: {error!r}") from error
