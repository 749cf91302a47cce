# SPDX-License-Identifier: Apache-2.0
"""The IPv6 structures of the buckets engine written by hand from what bpf/lists6.h and maps.h say."""

import mmap
import struct
from ipaddress import IPv6Network

from neurowall.kernel import libbpf
from tests.bpf.tables import ADDENDS, MULTIPLIERS, OVERFLOW, SPILL

SLOTS = 3
HOSTS6, PREFIXES6, FILTER6_BYTES = 0, 8 << 15, 8 << 16  # planes of the filter by their first byte
LENGTHS6_BYTES = 16 << 15
_LINE = struct.Struct("=6Q3II")
_WORD = 1 << 64


class Tables6:
    """The filter, the lengths and the lines; *lines* is a power of two from 2."""

    def __init__(self, lines_fd: int, lines: int, filter6_fd: int, lengths6_fd: int) -> None:
        self._fd, self.lines = lines_fd, lines
        self._filter = mmap.mmap(filter6_fd, FILTER6_BYTES, mmap.MAP_SHARED)
        self._lengths = mmap.mmap(lengths6_fd, LENGTHS6_BYTES, mmap.MAP_SHARED)

    def close(self) -> None:
        """Unmap."""
        self._filter.close()
        self._lengths.close()

    def clear(self) -> None:
        """Make everything empty."""
        self._filter[:] = bytes(FILTER6_BYTES)
        self._lengths[:] = bytes(LENGTHS6_BYTES)
        for index in range(self.lines):
            self._write(index, [0] * 6, [0] * SLOTS, 0)

    def contents(self) -> dict[str, bytes]:
        """The bytes of what is mapped."""
        return {"filter6": self._filter[:], "lengths6": self._lengths[:]}

    def hash(self, network: IPv6Network, choice: int) -> int:
        """Of an entry, for its first (0) or second (1) line."""
        high, low = divmod(int(network.network_address), _WORD)
        product = MULTIPLIERS[choice] * high + MULTIPLIERS[1 - choice] * low
        return (product + ADDENDS[1 - choice] * network.prefixlen + ADDENDS[choice]) % _WORD

    def line_of(self, network: IPv6Network, choice: int) -> int:
        """The line of an entry."""
        return self.hash(network, choice) >> (64 - self.lines.bit_length() + 1)

    def _read(self, index: int) -> tuple[list[int], list[int], int]:
        raw = libbpf.map_lookup(self._fd, struct.pack("=I", index), 64)
        assert raw is not None
        values = _LINE.unpack(raw)
        return list(values[:6]), list(values[6:9]), values[9]

    def _write(self, index: int, halves: list[int], tags: list[int], metadata: int) -> None:
        raw = _LINE.pack(*halves, *tags, metadata)
        libbpf.map_update(self._fd, struct.pack("=I", index), raw)

    def flags(self, index: int) -> int:
        """The metadata of a line."""
        return self._read(index)[2]

    def set_flags(self, index: int, flags: int) -> None:
        """Make the metadata of a line so."""
        halves, tags, _ = self._read(index)
        self._write(index, halves, tags, flags)

    def insert(self, network: IPv6Network, class_id: int) -> bool:
        """List an entry where it belongs; False if both lines are full and the caller must spill it."""
        self._mark(network)
        first = self.line_of(network, 0)
        for choice in (0, 1):
            index = self.line_of(network, choice)
            halves, tags, flags = self._read(index)
            if 0 in tags:
                slot = tags.index(0)
                halves[2 * slot : 2 * slot + 2] = divmod(int(network.network_address), _WORD)
                tags[slot] = network.prefixlen << 16 | class_id
                self._write(index, halves, tags, flags)
                return True
            self.set_flags(first, self.flags(first) | (OVERFLOW if choice == 0 else SPILL))
        return False

    def _mark(self, network: IPv6Network) -> None:
        """Set the bit of the entry, and for a prefix its length in every /32 that it touches."""
        bit = self.hash(network, 0) >> 43
        plane = HOSTS6 if network.prefixlen == 128 else PREFIXES6
        self._filter[plane + bit // 8] |= 1 << bit % 8
        length = network.prefixlen
        if length == 128:
            return
        upper, lower = (1 << 128 - length, 0) if length > 64 else (0, 1 << 64 - length)
        if length == 0:
            upper, lower = 1, 0
        first, last = int(network[0]) >> 96, int(network[-1]) >> 96
        everywhere = last - first >= 1 << 15
        hashes = (
            (MULTIPLIERS[1] * net + ADDENDS[1] for net in range(first, last + 1)) if not everywhere else ()
        )
        for element in range(1 << 15) if everywhere else {each % _WORD >> 49 for each in hashes}:
            held = struct.unpack_from("=QQ", self._lengths, 16 * element)
            struct.pack_into("=QQ", self._lengths, 16 * element, held[0] | upper, held[1] | lower)
