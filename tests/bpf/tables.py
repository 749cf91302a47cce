# SPDX-License-Identifier: Apache-2.0
"""The structures of the buckets engine written by hand from what bpf/lists.h and maps.h say."""

import mmap
import struct
from ipaddress import IPv4Network
from typing import NamedTuple

from neurowall.kernel import libbpf

SLOTS = 7
OVERFLOW, SPILL = 1, 2
BITMAP_BYTES = 8 << 16  # a bit for each /22
FILTER4_BITS = 8  # for each line of the host table
LONGER, NETS_BYTES = 0x8000, 8 << 22
# Any odd multipliers do; the tests of overflow look up where addresses land and do not rely on these.
MULTIPLIERS = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F)
ADDENDS = (0x0123456789ABCDEF, 0xFEDCBA9876543210)


class Line(NamedTuple):
    """A line of a bucket table as Python sees it."""

    slots: list[int]
    metadata: int


class BucketTable:
    """A map of 64-byte lines; *number* is what the line is chosen by, an address or the start of a /24."""

    def __init__(self, fd: int, lines: int) -> None:
        self._fd, self.lines = fd, lines

    def line_of(self, number: int, choice: int) -> int:
        """The line by the first (0) or second (1) choice."""
        hashed = (MULTIPLIERS[choice] * number + ADDENDS[choice]) & 0xFFFFFFFFFFFFFFFF
        return hashed >> (64 - self.lines.bit_length() + 1)

    def line(self, index: int) -> Line:
        """Read a line."""
        raw = libbpf.map_lookup(self._fd, struct.pack("=I", index), 64)
        assert raw is not None
        *slots, metadata = struct.unpack("=8Q", raw)
        return Line(slots, metadata)

    def set_line(self, index: int, line: Line) -> None:
        """Write a line."""
        raw = struct.pack("=8Q", *line.slots, line.metadata)
        libbpf.map_update(self._fd, struct.pack("=I", index), raw)

    def set_slot(self, index: int, position: int, slot: int) -> None:
        """Write one slot of a line; no flag is touched."""
        line = self.line(index)
        line.slots[position] = slot
        self.set_line(index, line)

    def mark(self, index: int, flags: int) -> None:
        """Add flags to the metadata of a line."""
        line = self.line(index)
        self.set_line(index, Line(line.slots, line.metadata | flags))

    def insert(self, number: int, slot: int) -> bool:
        """Put a slot where it belongs; False if both lines are full and the caller must spill it."""
        first = self.line_of(number, 0)
        for choice in (0, 1):
            index = self.line_of(number, choice)
            slots = self.line(index).slots
            if 0 in slots:
                self.set_slot(index, slots.index(0), slot)
                return True
            self.mark(first, OVERFLOW if choice == 0 else SPILL)
        return False

    def clear(self) -> None:
        """Make every line empty."""
        for index in range(self.lines):
            self.set_line(index, Line([0] * SLOTS, 0))


class Tables4:
    """The filters, the hosts, the painted /24s and the longer prefixes."""

    def __init__(
        self,
        hosts: BucketTable,
        longer: BucketTable,
        filter4_fd: int,
        bitmap_fd: int,
        nets_fd: int,
    ) -> None:
        self.hosts, self.longer = hosts, longer
        self._filter4 = mmap.mmap(filter4_fd, hosts.lines * FILTER4_BITS // 8, mmap.MAP_SHARED)
        self._bitmap = mmap.mmap(bitmap_fd, BITMAP_BYTES, mmap.MAP_SHARED)
        self._nets = mmap.mmap(nets_fd, NETS_BYTES, mmap.MAP_SHARED)
        self._painted: dict[IPv4Network, int] = {}
        self._flagged: set[int] = set()

    def close(self) -> None:
        """Unmap."""
        self._filter4.close()
        self._bitmap.close()
        self._nets.close()

    def clear(self) -> None:
        """Make everything empty."""
        self._bitmap[:] = bytes(BITMAP_BYTES)
        self._filter4[:] = bytes(len(self._filter4))
        for network in self._painted:
            first, last = _nets_of(network)
            self._nets[2 * first : 2 * last + 2] = bytes(2 * (last - first + 1))
        for net in self._flagged:
            self.set_net(net, 0)
        self._painted.clear()
        self._flagged.clear()
        self.hosts.clear()
        self.longer.clear()

    def contents(self) -> dict[str, bytes]:
        """The bytes of what is mapped."""
        return {"filter4": self._filter4[:], "bitmap": self._bitmap[:], "nets4": self._nets[:]}

    def mark_host(self, number: int) -> None:
        """Set the bit of an address in the filter before the hosts."""
        hashed = (MULTIPLIERS[0] * number + ADDENDS[0]) % (1 << 64)
        bit = hashed >> 64 - (self.hosts.lines * FILTER4_BITS).bit_length() + 1
        self._filter4[bit // 8] |= 1 << bit % 8

    def mark_nets(self, first: int, last: int) -> None:
        """Set the bits of the /22s of the /24s from *first* to *last*: a prefix is there."""
        first, last = first >> 2, last >> 2
        at, size = first // 8, last // 8 - first // 8 + 1
        bits = ((1 << last - first + 1) - 1) << first % 8
        held = int.from_bytes(self._bitmap[at : at + size], "little")
        self._bitmap[at : at + size] = (held | bits).to_bytes(size, "little")

    def set_net(self, net: int, value: int) -> None:
        """Write the 16 bits of a /24."""
        self._nets[2 * net : 2 * net + 2] = struct.pack("=H", value)

    def flag_net(self, net: int) -> None:
        """Say that a /24 has longer prefixes."""
        (held,) = struct.unpack_from("=H", self._nets, 2 * net)
        self.set_net(net, held | LONGER)
        self._flagged.add(net)

    def paint(self, network: IPv4Network, class_id: int) -> None:
        """List a prefix up to /24: the longest one decides the class of each /24."""
        self._painted[network] = class_id
        for each in sorted(self._painted, key=lambda one: one.prefixlen):
            if each.overlaps(network):
                first, last = _nets_of(each if each.prefixlen >= network.prefixlen else network)
                value = struct.pack("=H", self._painted[each])
                self._nets[2 * first : 2 * last + 2] = value * (last - first + 1)
        first, last = _nets_of(network)
        self.mark_nets(first, last)
        for net in self._flagged:
            if first <= net <= last:
                self.flag_net(net)

    def insert_longer(self, network: IPv4Network, class_id: int) -> bool:
        """List a prefix longer than /24; False if it must be spilled."""
        number = int(network.network_address)
        net = number >> 8
        self.mark_nets(net, net)
        self.flag_net(net)
        return self.longer.insert(net << 8, number << 32 | class_id << 16 | network.prefixlen)


def _nets_of(network: IPv4Network) -> tuple[int, int]:
    """The first and last /24 that a prefix touches."""
    return int(network.network_address) >> 8, int(network.broadcast_address) >> 8
