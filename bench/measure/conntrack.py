# SPDX-License-Identifier: Apache-2.0
"""Connection tracking of one namespace: how full it is, what it refused, and emptying it.

A full table drops packets or evicts connections, and figures then say more about it than about rules. Its
limit is the machine's (a namespace cannot raise it), the entries that count against it the namespace's own.
"""

import os
import socket
import struct
from dataclasses import dataclass
from pathlib import Path

from bench.measure.counters import conntrack_entries
from bench.testbed.base import Namespace

_LIMIT = Path("/proc/sys/net/netfilter/nf_conntrack_max")
_STATISTICS = Path("/proc/thread-self/net/stat/nf_conntrack")
_REFUSALS = ("drop", "early_drop", "insert_failed")
_NETLINK_NETFILTER = 12
_DELETE = 1 << 8 | 2  # NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_DELETE; without a tuple: all
_REQUEST_ACK = 0x1 | 0x4
_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port


@dataclass(frozen=True)
class Table:
    """Entries now, their limit (0: none), and packets refused or connections evicted since it began."""

    entries: int
    limit: int
    refused: int


def read(namespace: Namespace) -> Table:
    """The namespace's table; all zero where the kernel has no connection tracking."""
    with namespace.enter():
        limit = int(_LIMIT.read_text(encoding="ascii")) if _LIMIT.exists() else 0
        return Table(conntrack_entries(), limit, _refused())


def flush(namespace: Namespace) -> None:
    """Forget every connection of the namespace. OSError where the kernel refuses or has no ctnetlink."""
    body = struct.pack("=BBH", socket.AF_UNSPEC, 0, 0)
    with (
        namespace.enter(),
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER) as link,
    ):
        link.settimeout(10)
        link.sendall(_HEADER.pack(_HEADER.size + len(body), _DELETE, _REQUEST_ACK, 1, 0) + body)
        code = -struct.unpack_from("=i", link.recv(4096), _HEADER.size)[0]
    if code:
        raise OSError(code, f"connection tracking could not be emptied: {os.strerror(code)}")


def _refused() -> int:
    """Sum over CPUs of packets dropped, entries evicted and not inserted."""
    if not _STATISTICS.exists():
        return 0
    names, *rows = (line.split() for line in _STATISTICS.read_text(encoding="ascii").splitlines())
    columns = [names.index(name) for name in _REFUSALS if name in names]
    return sum(int(row[column], 16) for row in rows for column in columns)
