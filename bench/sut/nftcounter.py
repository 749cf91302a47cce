# SPDX-License-Identifier: Apache-2.0
"""One named counter of nftables, read with one netlink message.

`nft list counter` answers the same, but nft 1.0.6 first fetches every element of every set in the namespace:
a second with 250,000 of them, and all our caches, before and after each trial. Layout:
linux/netfilter/nf_tables.h.
"""

import errno
import os
import socket
import struct
from collections.abc import Iterator

_NETLINK_NETFILTER = 12
_NLM_F_REQUEST = 1
_NLMSG_ERROR = 2
_GETOBJ = 10 << 8 | 19  # NFNL_SUBSYS_NFTABLES, NFT_MSG_GETOBJ
_OBJECT_COUNTER = 1
_OBJ_TABLE, _OBJ_NAME, _OBJ_TYPE, _OBJ_DATA = 1, 2, 3, 4
_COUNTER_PACKETS = 2
_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
_TYPE_MASK = 0x3FFF  # without NLA_F_NESTED and NLA_F_NET_BYTEORDER

NFPROTO_NETDEV = 5


def packets(table: str, name: str, family: int = NFPROTO_NETDEV) -> int:
    """Packets of a named counter in the calling thread's network namespace.

    OSError ENOENT if there is none.
    """
    body = struct.pack("=BBH", family, 0, 0)
    body += _attribute(_OBJ_TABLE, table.encode() + b"\0") + _attribute(_OBJ_NAME, name.encode() + b"\0")
    body += _attribute(_OBJ_TYPE, struct.pack("!I", _OBJECT_COUNTER))
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER) as link:
        link.settimeout(5)
        link.sendall(_HEADER.pack(_HEADER.size + len(body), _GETOBJ, _NLM_F_REQUEST, 1, 0) + body)
        answer = link.recv(65536)
    _, kind, _, _, _ = _HEADER.unpack_from(answer)
    if kind == _NLMSG_ERROR:
        code = -struct.unpack_from("=i", answer, _HEADER.size)[0]
        raise OSError(code or errno.EPROTO, f"counter {name} of table {table}: {os.strerror(code)}")
    data = dict(_attributes(answer[_HEADER.size + 4 :]))[_OBJ_DATA]
    return int.from_bytes(dict(_attributes(data))[_COUNTER_PACKETS], "big")


def _attribute(kind: int, value: bytes) -> bytes:
    """One struct nlattr and its value, padded to four bytes."""
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        if length < 4:
            return
        yield kind & _TYPE_MASK, data[4:length]
        data = data[(length + 3) & ~3 :]
