# SPDX-License-Identifier: Apache-2.0
"""Named counters of nftables, read by netlink: one with one message, or all of a table.

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
_NLM_F_REQUEST, _NLM_F_DUMP = 0x1, 0x300
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_MESSAGES = 1 << 16
_GETOBJ = 10 << 8 | 19  # NFNL_SUBSYS_NFTABLES, NFT_MSG_GETOBJ
_OBJECT_COUNTER = 1
_OBJ_TABLE, _OBJ_NAME, _OBJ_TYPE, _OBJ_DATA = 1, 2, 3, 4
_COUNTER_PACKETS = 2
_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
_TYPE_MASK = 0x3FFF  # without NLA_F_NESTED and NLA_F_NET_BYTEORDER

NFPROTO_INET, NFPROTO_NETDEV = 1, 5


def packets(table: str, name: str, family: int = NFPROTO_NETDEV) -> int:
    """Packets of a named counter in the calling thread's network namespace.

    OSError ENOENT if there is none.
    """
    body = struct.pack("=BBH", family, 0, 0)
    body += _attribute(_OBJ_TABLE, table.encode() + b"\0") + _attribute(_OBJ_NAME, name.encode() + b"\0")
    body += _attribute(_OBJ_TYPE, struct.pack("!I", _OBJECT_COUNTER))
    with _link() as link:
        link.sendall(_HEADER.pack(_HEADER.size + len(body), _GETOBJ, _NLM_F_REQUEST, 1, 0) + body)
        for _, answer in _messages(link.recv(_MESSAGES), f"counter {name} of table {table}"):
            return _counted(answer)[1]
    raise OSError(errno.EPROTO, f"counter {name} of table {table}: no answer")


def all_packets(table: str, family: int = NFPROTO_INET) -> dict[str, int]:
    """Packets of every named counter of a table; {} without such a table. Namespace as in `packets`."""
    body = struct.pack("=BBH", family, 0, 0) + _attribute(_OBJ_TABLE, table.encode() + b"\0")
    body += _attribute(_OBJ_TYPE, struct.pack("!I", _OBJECT_COUNTER))
    found: dict[str, int] = {}
    with _link() as link:
        flags = _NLM_F_REQUEST | _NLM_F_DUMP
        link.sendall(_HEADER.pack(_HEADER.size + len(body), _GETOBJ, flags, 1, 0) + body)
        while True:
            for kind, answer in _messages(link.recv(_MESSAGES), f"counters of table {table}"):
                if kind == _NLMSG_DONE:
                    return found
                name, count = _counted(answer)
                found[name] = count


def _link() -> socket.socket:
    link = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
    link.settimeout(5)
    return link


def _messages(data: bytes, what: str) -> Iterator[tuple[int, bytes]]:
    """Type and body of each message. OSError for one that reports an error."""
    while len(data) >= _HEADER.size:
        length, kind, _, _, _ = _HEADER.unpack_from(data)
        if kind == _NLMSG_ERROR:
            code = -struct.unpack_from("=i", data, _HEADER.size)[0]
            raise OSError(code or errno.EPROTO, f"{what}: {os.strerror(code)}")
        yield kind, data[_HEADER.size : length]
        data = data[(length + 3) & ~3 :]


def _counted(body: bytes) -> tuple[str, int]:
    """Name and packets of a counter, from the body of its message."""
    found = dict(_attributes(body[4:]))
    name = found[_OBJ_NAME].rstrip(b"\0").decode()
    return name, int.from_bytes(dict(_attributes(found[_OBJ_DATA]))[_COUNTER_PACKETS], "big")


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
