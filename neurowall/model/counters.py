# SPDX-License-Identifier: Apache-2.0
"""What the kernel counts."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Counter:
    """Packets and bytes since the maps were created, summed over all CPUs; bytes of frames without FCS."""

    packets: int = 0
    bytes: int = 0

    def __add__(self, other: "Counter") -> "Counter":
        return Counter(self.packets + other.packets, self.bytes + other.bytes)

    def __sub__(self, other: "Counter") -> "Counter":
        return Counter(self.packets - other.packets, self.bytes - other.bytes)
