# SPDX-License-Identifier: Apache-2.0
"""What `neurowall trace` counts: places in the kernel where packets of an address were seen."""

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What happened to a packet there; in the order of enum kind in bpf/trace.bcc.c."""

    DIED = "died"
    RECEIVED = "received"  # by the stack, behind XDP
    SENT = "sent"  # by a device
    DELIVERED = "delivered"  # read by a program
    CONSUMED = "consumed"  # freed without fault: it was sent, answered or delivered
    EXCEPTION = "exception"  # of an XDP program


@dataclass(frozen=True)
class Place:
    """Where, and why.

    device: empty if the kernel does not say. reason: the kernel's own name for it, in lower case. path: the
    functions that led there, inner first. to_it: the address is the destination, else the source. known: it
    is in the watched namespace, else nothing says in which.
    """

    kind: Kind
    device: str
    reason: str
    path: tuple[str, ...]
    to_it: bool
    known: bool = True


@dataclass(frozen=True)
class Tally:
    """Packets, and the bytes that the kernel counts for them (without link header, mostly)."""

    packets: int
    bytes: int

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(self.packets + other.packets, self.bytes + other.bytes)
