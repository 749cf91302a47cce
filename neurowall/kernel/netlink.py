# SPDX-License-Identifier: Apache-2.0
"""Interfaces, their offloads and their events; entering a network namespace.

Everything acts on the network namespace of the calling thread.
"""

import ctypes as c
import os
import select
import socket
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from pyroute2 import IPRoute
from pyroute2.ethtool import Ethtool

from neurowall.model.errors import KernelError, Unsupported

_CLONE_NEWNET = 0x40000000
_RTMGRP_LINK, _RTMGRP_IPV4_IFADDR, _RTMGRP_IPV6_IFADDR = 0x1, 0x10, 0x100  # linux/rtnetlink.h
_NAMESPACES = Path("/run/netns")


def enter_namespace(name: str) -> None:
    """Move the calling thread, and threads it starts later, into the named network namespace.

    Only the network one: a private mount namespace, as `ip netns exec` makes, would take the pins
    with it when the process dies. Unsupported if there is no such namespace.
    """
    try:
        # The name may come from a file that another user's daemon wrote: nothing else is opened.
        fd = os.open(_NAMESPACES / name.replace("/", "?"), os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        known = sorted(path.name for path in _NAMESPACES.iterdir()) if _NAMESPACES.is_dir() else []
        raise Unsupported(
            f"no network namespace '{name}'; there are: {', '.join(known) or 'none'}"
        ) from error
    try:
        libc = c.CDLL(None, use_errno=True)
        if libc.setns(fd, _CLONE_NEWNET):
            code = c.get_errno()
            raise KernelError(f"enter network namespace '{name}': {os.strerror(code)}")
    finally:
        os.close(fd)


def interface_index(name: str) -> int | None:
    """The ifindex of an interface, None if there is none of that name."""
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return None


def xdp_mode(interface: str) -> str:
    """In which mode an XDP program is attached now: 'native', 'generic', 'offload' or 'none'.

    Source: IFLA_XDP_ATTACHED of rtnetlink, linux/if_link.h.
    """
    with IPRoute() as rtnetlink:
        (link,) = rtnetlink.link("get", ifname=interface)
    xdp = link.get_attr("IFLA_XDP")
    attached = str(xdp.get_attr("IFLA_XDP_ATTACHED")) if xdp else ""
    return {"xdp": "native", "xdpgeneric": "generic", "xdpoffload": "offload"}.get(attached, "none")


def interface_names() -> list[str]:
    """All interfaces, sorted by name."""
    return sorted(name for _, name in socket.if_nameindex())


def watch_links(callback: Callable[[], None], stop: threading.Event) -> None:
    """Call *callback* after every burst of events of links and addresses until *stop* is set. Blocks.

    Says only that something changed: an overrun of the socket, which loses messages, is one more
    event, so the reader must look at the present state anyhow. Source: rtnetlink(7).
    """
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0) as events:
        events.bind((0, _RTMGRP_LINK | _RTMGRP_IPV4_IFADDR | _RTMGRP_IPV6_IFADDR))
        events.setblocking(False)
        while not stop.is_set():
            if not select.select([events], [], [], 0.2)[0]:
                continue
            _drain(events)
            callback()


def _drain(events: socket.socket) -> None:
    while True:
        try:
            events.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:  # ENOBUFS: messages were lost, there may be more
            continue


def features(interface: str) -> Mapping[str, bool]:
    """The interface's offloads by their ethtool names and whether each is on."""
    found = Ethtool().get_features(interface).features
    return {name: bool(feature.enable) for name, feature in found.items()}


def set_features(interface: str, wanted: Mapping[str, bool]) -> None:
    """Switch offloads on or off; KernelError if one did not follow."""
    tool = Ethtool()
    try:
        current = tool.get_features(interface)
        for name, enable in wanted.items():
            current.features[name].enable = enable
        tool.set_features(interface, current)
    except Exception as error:
        # pyroute2 raises its own NotSupportedError beside OSError, and KeyError for unknown names.
        raise KernelError(f"{interface}: set offloads {dict(wanted)}: {error!r}") from error
    after = features(interface)
    refused = [name for name, enable in wanted.items() if after.get(name) != enable]
    if refused:
        raise KernelError(f"{interface}: the driver does not let go of {', '.join(refused)}")
