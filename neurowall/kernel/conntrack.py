# SPDX-License-Identifier: Apache-2.0
"""What conntrack knows of connections, in the network namespace of the calling thread.

Source: linux/netfilter/nfnetlink_conntrack.h.
"""

import socket
from collections.abc import Iterator
from typing import Any, NamedTuple

from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.nfnetlink.nfctsocket import NFCTSocket

from neurowall.model.errors import KernelError

_ESTABLISHED = 3  # TCP_CONNTRACK_ESTABLISHED


End = tuple[str, int]
"""Address and port."""


class Connection(NamedTuple):
    """An established TCP connection: source and destination of its first packet, and of the answers."""

    original: tuple[End, End]
    reply: tuple[End, End]


def established() -> Iterator[Connection]:
    """Every TCP connection that is established. KernelError if the kernel does not say."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            with NFCTSocket(nfgen_family=family) as conntrack:
                yield from (found for each in conntrack.dump() if (found := _connection(each)))
        except (NetlinkError, OSError) as error:
            raise KernelError(f"conntrack cannot be read: {error}") from error


def _connection(message: Any) -> Connection | None:
    info = message.get_attr("CTA_PROTOINFO")
    tcp = info.get_attr("CTA_PROTOINFO_TCP") if info else None
    if not tcp or tcp.get_attr("CTA_PROTOINFO_TCP_STATE") != _ESTABLISHED:
        return None
    return Connection(_tuple(message.get_attr("CTA_TUPLE_ORIG")), _tuple(message.get_attr("CTA_TUPLE_REPLY")))


def _tuple(attributes: Any) -> tuple[End, End]:
    ip, ports = attributes.get_attr("CTA_TUPLE_IP"), attributes.get_attr("CTA_TUPLE_PROTO")
    source = ip.get_attr("CTA_IP_V4_SRC") or ip.get_attr("CTA_IP_V6_SRC")
    destination = ip.get_attr("CTA_IP_V4_DST") or ip.get_attr("CTA_IP_V6_DST")
    return (
        (source, int(ports.get_attr("CTA_PROTO_SRC_PORT"))),
        (destination, int(ports.get_attr("CTA_PROTO_DST_PORT"))),
    )
