# SPDX-License-Identifier: Apache-2.0
"""The named counters of our table, asked of the kernel itself.

libnftables answers the same, but its version 1.0.6 first fetches every element of every set in the namespace,
which takes a second where nftables holds the lists, and its context is one that changes wait for.
Source: linux/netfilter/nf_tables.h, nf_tables_getobj in net/netfilter/nf_tables_api.c.
"""

import errno
import os
import socket
import struct
from collections.abc import Iterator

from neurowall.model.counters import Counter
from neurowall.model.ruleset import TABLE

_NETLINK_NETFILTER = 12
_NLM_F_REQUEST, _NLM_F_DUMP_INTR, _NLM_F_DUMP = 0x1, 0x10, 0x300
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_GETOBJ = 10 << 8 | 19  # NFNL_SUBSYS_NFTABLES, NFT_MSG_GETOBJ
_INET = 1  # NFPROTO_INET
_OBJ_TABLE, _OBJ_NAME, _OBJ_TYPE, _OBJ_DATA = 1, 2, 3, 4  # NFTA_OBJ_*
_COUNTER = 1  # NFT_OBJECT_COUNTER
_BYTES, _PACKETS = 1, 2  # NFTA_COUNTER_*
_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
_ATTRIBUTE = struct.Struct("=HH")  # nlattr: length, type
_TYPE_MASK = 0x3FFF  # NLA_TYPE_MASK
_GENERIC = struct.Struct("=BBH")  # nfgenmsg: family, version, resource
_DATAGRAM = 1 << 18
_SECONDS = 5.0
_ATTEMPTS = 5  # a dump that met a transaction may have left some out


class Link:
    """A way to ask, of the network namespace in which it was made. One thread at a time may."""

    def __init__(self) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER
        )
        self._socket.settimeout(_SECONDS)

    def counters(self) -> dict[str, Counter]:
        """By name; none without the table. Raises OSError, after which it must not be asked again."""
        for left in reversed(range(_ATTEMPTS)):
            found, whole = self._dump()
            if whole or not left:
                return found
        raise AssertionError

    def close(self) -> None:
        """Give it up."""
        self._socket.close()

    def _dump(self) -> tuple[dict[str, Counter], bool]:
        """What one dump said, and whether nothing came between."""
        body = _GENERIC.pack(_INET, 0, 0) + _packed(_OBJ_TABLE, TABLE.encode() + b"\0")
        body += _packed(_OBJ_TYPE, struct.pack("!I", _COUNTER))
        head = _HEADER.pack(_HEADER.size + len(body), _GETOBJ, _NLM_F_REQUEST | _NLM_F_DUMP, 1, 0)
        self._socket.sendall(head + body)
        found: dict[str, Counter] = {}
        whole = True
        while True:
            for kind, flags, message in _messages(self._socket.recv(_DATAGRAM)):
                whole = whole and not flags & _NLM_F_DUMP_INTR
                if kind == _NLMSG_DONE:
                    return found, whole
                if kind == _NLMSG_ERROR:
                    (code,) = struct.unpack_from("=i", message)
                    raise OSError(-code or errno.EPROTO, os.strerror(-code or errno.EPROTO))
                name, counter = _counter(message)
                found[name] = counter


def _messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Type, flags and body of each message of a datagram."""
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, flags, _, _ = _HEADER.unpack_from(data, at)
        if length < _HEADER.size:
            raise OSError(errno.EPROTO, "a message shorter than its header")
        yield kind, flags, data[at + _HEADER.size : at + length]
        at += (length + 3) & ~3


def _counter(message: bytes) -> tuple[str, Counter]:
    attributes = _attributes(message[_GENERIC.size :])
    values = _attributes(attributes[_OBJ_DATA])
    name = attributes[_OBJ_NAME].rstrip(b"\0").decode()
    return name, Counter(int.from_bytes(values[_PACKETS], "big"), int.from_bytes(values[_BYTES], "big"))


def _packed(kind: int, value: bytes) -> bytes:
    """One attribute, padded to four bytes."""
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)


def _attributes(data: bytes) -> dict[int, bytes]:
    """Attributes by type."""
    found: dict[int, bytes] = {}
    at = 0
    while at + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if length < _ATTRIBUTE.size:
            break
        found[kind & _TYPE_MASK] = data[at + _ATTRIBUTE.size : at + length]
        at += (length + 3) & ~3
    return found
