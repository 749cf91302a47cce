# SPDX-License-Identifier: Apache-2.0
"""Reading a BPF ring buffer: records as bytes. Its position is part of the map: the next reader goes on."""

import ctypes as c
import os

from neurowall.kernel import libbpf


def problem() -> str | None:
    """Why this kernel has no ring buffers, None if it has."""
    return problem_of(libbpf.probe_map_type(libbpf.BPF_MAP_TYPE_RINGBUF))


def problem_of(answer: int) -> str | None:
    """What libbpf_probe_bpf_map_type() said: 1 for yes, 0 for no, else -errno."""
    if answer == 1:
        return None
    if answer == 0:
        return "the kernel has no BPF ring buffers: they came with Linux 5.8"
    return f"whether the kernel has BPF ring buffers is not told: {os.strerror(-answer)}"


class Ring:
    """One reader. There must be no other at the same time. One thread uses it."""

    def __init__(self, fd: int) -> None:
        """Read the ring of a map's fd, of which this keeps a copy."""
        self._fd = os.dup(fd)
        self._records: list[bytes] = []
        self._callback = libbpf.RECORD(self._take)
        try:
            self._handle: int | None = libbpf.ring_new(self._fd, self._callback)
        except BaseException:
            os.close(self._fd)
            raise

    def _take(self, _context: int, address: int, size: int) -> int:
        self._records.append(c.string_at(address, size))
        return 0

    def read(self, seconds: float) -> list[bytes]:
        """Every record that is there, waiting for the first one so long at most. LibbpfError."""
        if self._handle is None:
            return []
        libbpf.ring_poll(self._handle, round(seconds * 1000))
        records, self._records = self._records, []
        return records

    def close(self) -> None:
        """Give everything back; what was not read stays in the ring."""
        if self._handle is not None:
            libbpf.ring_free(self._handle)
            os.close(self._fd)
            self._handle = None
