# SPDX-License-Identifier: Apache-2.0
import errno
import struct
from ipaddress import ip_address

import pytest

from neurowall.kernel.events import decode
from neurowall.kernel.ringbuf import problem_of
from neurowall.model.events import Event, EventKind
from neurowall.model.reasons import Reason

LISTED = Reason.BLOCK_LIST


def record(source: str, destination: str, family: int) -> bytes:
    """A record as bpf/neurowall.h says, packed by hand."""
    ends = [ip_address(each).packed.rjust(16, b"\0") if each else bytes(16) for each in (source, destination)]
    head = struct.pack("=QQ16s16sIIII", 1_000_000_007, 9, *ends, 3, 60, 5, EventKind.DROP)
    return head + struct.pack("!HHH5B5x", 40000, 53, 0x0800, LISTED, 1, family, 17, 2)


@pytest.mark.parametrize(
    ("family", "source", "destination"),
    [(4, "203.0.113.7", "192.0.2.1"), (6, "2001:db8::7", "2001:db8:1::1"), (0, "", "")],
)
def test_a_record_is_read_whole(family: int, source: str, destination: str) -> None:
    """Every field where the header has it; without a family there are no addresses."""
    assert decode(record(source, destination, family)) == Event(
        time=1_000_000_007,
        kind=EventKind.DROP,
        reason=LISTED,
        ifindex=3,
        source=source,
        destination=destination,
        protocol=17,
        source_port=40000,
        destination_port=53,
        bytes=60,
        number=5,
        extra=9,
        tcp_flags=2,
        ethertype=0x0800,
    )


def test_a_kernel_without_rings_is_told_from_one_that_does_not_say() -> None:
    """1 is yes; both others leave the map out, each with its reason."""
    assert problem_of(1) is None
    assert "Linux 5.8" in str(problem_of(0))
    assert "not permitted" in str(problem_of(-errno.EPERM))
