# SPDX-License-Identifier: Apache-2.0
"""Messages of nf_tables built by hand from linux/netfilter/nf_tables.h."""

import os
import struct
import threading

import pytest

from neurowall.kernel.nftwatch import Transactions, _thread_of_ours

OWN, OTHER = 1234, 77
INET, IPV4 = 1, 2
NEW_TABLE, DELETE_TABLE, NEW_RULE, NEW_ELEMENT, NEW_GENERATION = 0, 2, 6, 12, 15


def attribute(kind: int, data: bytes) -> bytes:
    """One netlink attribute with its padding."""
    return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


def message(kind: int, *attributes: bytes, family: int = INET, subsystem: int = 10) -> bytes:
    """One message of nf_tables."""
    body = struct.pack("=BBH", family, 0, 0) + b"".join(attributes)
    return struct.pack("=IHHII", 16 + len(body), subsystem << 8 | kind, 0, 0, 0) + body


def names(kind: int, table: str = "neurowall", *, family: int = INET) -> bytes:
    """Something about a table."""
    return message(kind, attribute(1, table.encode() + b"\0"), attribute(3, b"more\0"), family=family)


def end(process: int) -> bytes:
    """The end of a transaction."""
    number = attribute(1, struct.pack(">I", 5))
    return message(NEW_GENERATION, number, attribute(2, struct.pack(">I", process)), attribute(3, b"nft\0"))


def is_event(*datagrams: bytes) -> bool:
    """Whether the last one ends a transaction of interest."""
    transactions = Transactions(lambda thread: thread == OWN)
    return [transactions.feed(each) for each in datagrams][-1]


@pytest.mark.parametrize("kind", [NEW_TABLE, DELETE_TABLE, NEW_RULE, NEW_ELEMENT])
def test_another_process_on_our_table(kind: int) -> None:
    """Anything that names the table is an event once the transaction ends, in one datagram or several."""
    assert is_event(names(kind) + end(OTHER))
    assert is_event(names(kind), names(kind, "else"), end(OTHER))
    assert not is_event(names(kind))


def test_our_own_transactions() -> None:
    """They are none, and the next one of another is judged by itself."""
    assert not is_event(names(NEW_RULE) + end(OWN))
    assert not is_event(names(NEW_RULE), end(OWN), end(OTHER))
    assert is_event(names(NEW_RULE), end(OWN), names(NEW_RULE) + end(OTHER))
    assert is_event(names(NEW_RULE) + end(OTHER) + names(NEW_RULE) + end(OWN))


@pytest.mark.parametrize(
    "foreign", [names(NEW_RULE, "neurowall2"), names(NEW_RULE, "neuro"), names(NEW_RULE, family=IPV4)]
)
def test_tables_of_others(foreign: bytes) -> None:
    """Another name or another family is not our table."""
    assert not is_event(foreign + end(OTHER))


def test_other_subsystems_and_broken_messages() -> None:
    """What is no message of nf_tables, or is cut off, is passed over."""
    conntrack = message(NEW_RULE, attribute(1, b"neurowall\0"), subsystem=1)
    assert not is_event(conntrack + end(OTHER))
    whole = names(NEW_RULE)
    for length in range(len(whole)):
        assert not is_event(whole[:length], end(OTHER))
    assert not is_event(struct.pack("=IHHII", 0, 0, 0, 0, 0) * 4)
    assert not is_event(message(NEW_RULE, struct.pack("=HH", 0, 1)), end(OTHER))
    assert is_event(message(NEW_GENERATION), names(NEW_RULE) + message(NEW_GENERATION))


def test_messages_that_were_not_read() -> None:
    """What they were about is unknown: the transaction that ends next counts as one on our table."""
    transactions = Transactions(lambda thread: thread == OWN)
    transactions.skip()
    assert transactions.feed(names(NEW_RULE, "other") + end(OTHER))
    assert not transactions.feed(names(NEW_RULE, "other") + end(OTHER))


def test_threads_of_this_process() -> None:
    """Every thread of ours is known by its number; another process's is not."""
    found: list[bool] = []
    thread = threading.Thread(target=lambda: found.append(_thread_of_ours(threading.get_native_id())))
    thread.start()
    thread.join()
    assert found == [_thread_of_ours(os.getpid())]
    assert not _thread_of_ours(os.getppid())
    assert not _thread_of_ours(0)
