# SPDX-License-Identifier: Apache-2.0
"""Who else changes table `inet neurowall`: the events of nf_tables.

Source: linux/netfilter/nf_tables.h, linux/netfilter/nfnetlink.h, nf_tables_commit in net/netfilter.
"""

import select
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from neurowall.model.ruleset import TABLE

_NETLINK_NETFILTER = 12
_GROUP = 1 << (7 - 1)  # NFNLGRP_NFTABLES
_SUBSYSTEM = 10  # NFNL_SUBSYS_NFTABLES
_NEW_GENERATION = 15  # NFT_MSG_NEWGEN, the last message of a transaction
_GENERATION_PROCESS = 2  # NFTA_GEN_PROC_PID
_TABLE_NAME = 1  # NFTA_TABLE_NAME, NFTA_CHAIN_TABLE, NFTA_RULE_TABLE ...: the same in all
_INET = 1  # NFPROTO_INET
_SO_RCVBUFFORCE = 33  # asm-generic/socket.h; beyond net.core.rmem_max
_RECEIVE_BUFFER = 4 << 20
_DATAGRAM = 1 << 18
_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
_ATTRIBUTE = struct.Struct("=HH")  # nlattr: length, type
_GENERIC = 4  # nfgenmsg: family, version, resource
_TYPE_MASK = 0x3FFF  # NLA_TYPE_MASK
_INITIAL_PROCESSES = 0xEFFFFFFC  # PROC_PID_INIT_INO, the inode of the first process namespace
_SECONDS = 0.2  # how long a stop may wait


def watch_ruleset(callback: Callable[[], None], stop: threading.Event) -> None:
    """Call *callback* after every transaction of another process on our table until *stop* is set. Blocks.

    Also once as soon as it listens, so that nothing is missed before. Says only that something may have
    changed: an overrun of the socket, which loses messages, is one more event; so is a transaction of ours
    that cannot be told from another's. So the reader must compare the table with what it should be.
    """
    with socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER
    ) as events:
        with suppress(PermissionError):  # without it overruns are likelier, which are events too
            events.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
        events.bind((0, _GROUP))
        events.setblocking(False)
        transactions = Transactions(_thread_of_ours)
        callback()
        while not stop.is_set():
            if select.select([events], [], [], _SECONDS)[0] and _drain(events, transactions):
                callback()


def _drain(events: socket.socket, transactions: "Transactions") -> bool:
    """Read all that waits; whether some of it is an event."""
    found = False
    while True:
        try:
            datagram = events.recv(_DATAGRAM)
        except BlockingIOError:
            return found
        except OSError:  # ENOBUFS: messages were lost, there may be more
            found = True
            continue
        if found:  # one event is enough: a flood of messages is thrown away faster than it is read
            transactions.skip()
        else:
            found = transactions.feed(datagram)


def _thread_of_ours(thread: int) -> bool:
    """Whether the kernel's number of a thread is one of this process.

    The kernel counts in the first process namespace, so in another one the answer is never yes.
    """
    try:
        initial = Path("/proc/self/ns/pid").stat().st_ino == _INITIAL_PROCESSES
    except OSError:
        return False
    return initial and Path(f"/proc/self/task/{thread}").exists()


class Transactions:
    """Follows the messages of nf_tables. is_own: whether a thread of that number is one of this process."""

    def __init__(self, is_own: Callable[[int], bool]) -> None:
        self._is_own = is_own
        self._touched = False

    def skip(self) -> None:
        """Messages were not read: the transaction under way may name our table."""
        self._touched = True

    def feed(self, datagram: bytes) -> bool:
        """Whether another's transaction that names our table ended in these messages."""
        found = False
        for kind, family, attributes in _messages(datagram):
            if kind != _NEW_GENERATION:
                name = attributes.get(_TABLE_NAME, b"").rstrip(b"\0")
                self._touched |= family == _INET and name == TABLE.encode()
            else:
                process = int.from_bytes(attributes.get(_GENERATION_PROCESS, b""), "big")
                found |= self._touched and not self._is_own(process)
                self._touched = False
        return found


def _messages(datagram: bytes) -> Iterator[tuple[int, int, dict[int, bytes]]]:
    """(message, family, attributes) of each message of nf_tables; what is cut off is left out."""
    start = 0
    while start + _HEADER.size + _GENERIC <= len(datagram):
        length, kind, *_ = _HEADER.unpack_from(datagram, start)
        end = start + length
        if length < _HEADER.size + _GENERIC or end > len(datagram):
            return
        if kind >> 8 == _SUBSYSTEM:
            body = start + _HEADER.size
            yield kind & 0xFF, datagram[body], dict(_attributes(datagram[body + _GENERIC : end]))
        start += _aligned(length)


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    start = 0
    while start + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, start)
        if length < _ATTRIBUTE.size or start + length > len(data):
            return
        yield kind & _TYPE_MASK, data[start + _ATTRIBUTE.size : start + length]
        start += _aligned(length)


def _aligned(length: int) -> int:
    return (length + 3) & ~3
