# SPDX-License-Identifier: Apache-2.0
"""Frames of any length, from one byte: an AF_XDP socket. Packet sockets refuse what has no whole header.

Copy mode, transmit only. Source: Documentation/networking/af_xdp.rst, include/uapi/linux/if_xdp.h.
"""

import ctypes
import errno
import mmap
import os
import socket
import struct
from typing import Self

AF_XDP, SOL_XDP = 44, 283
XDP_MMAP_OFFSETS, XDP_TX_RING, XDP_UMEM_REG, XDP_UMEM_FILL_RING, XDP_UMEM_COMPLETION_RING = 1, 3, 4, 5, 6
XDP_COPY = 1 << 1
XDP_PGOFF_TX_RING = 0x80000000
FRAME, RING = 4096, 64

_libc = ctypes.CDLL(None, use_errno=True)


class XdpSocket:
    """Sends out of queue 0 of an interface of the namespace that the caller is in. At most RING frames."""

    def __init__(self, ifindex: int) -> None:
        self._socket = socket.socket(AF_XDP, socket.SOCK_RAW, 0)
        self._memory = mmap.mmap(-1, FRAME * RING)
        address = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        umem = struct.pack("=QQIIII", address, FRAME * RING, FRAME, 0, 0, 0)
        self._socket.setsockopt(SOL_XDP, XDP_UMEM_REG, umem)
        for ring in (XDP_UMEM_FILL_RING, XDP_UMEM_COMPLETION_RING, XDP_TX_RING):
            self._socket.setsockopt(SOL_XDP, ring, struct.pack("=I", RING))
        # struct xdp_mmap_offsets: producer, consumer, desc and flags of the rings rx, tx, fill, completion.
        offsets = struct.unpack("=16Q", self._socket.getsockopt(SOL_XDP, XDP_MMAP_OFFSETS, 128))
        self._producer, self._consumer, self._descriptors, _ = offsets[4:8]
        size = self._descriptors + RING * 16
        self._ring = mmap.mmap(self._socket.fileno(), size, mmap.MAP_SHARED, offset=XDP_PGOFF_TX_RING)
        where = struct.pack("=HHIII", AF_XDP, XDP_COPY, ifindex, 0, 0)
        if _libc.bind(self._socket.fileno(), where, len(where)):
            raise OSError(ctypes.get_errno(), "bind an AF_XDP socket")
        self._sent = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ring.close()
        self._socket.close()

    def send(self, frame: bytes) -> bool:
        """Send one frame; False if the interface refused it."""
        at = FRAME * self._sent
        self._memory[at : at + len(frame)] = frame
        entry = self._descriptors + 16 * self._sent
        self._ring[entry : entry + 16] = struct.pack("=QII", at, len(frame), 0)
        self._sent += 1
        self._ring[self._producer : self._producer + 4] = struct.pack("=I", self._sent)
        failed = _libc.sendto(self._socket.fileno(), None, 0, socket.MSG_DONTWAIT, None, 0) < 0
        code = ctypes.get_errno() if failed else 0
        if code not in (0, errno.EBUSY):
            raise OSError(code, f"send {len(frame)} bytes: {os.strerror(code)}")
        (taken,) = struct.unpack("=I", self._ring[self._consumer : self._consumer + 4])
        assert taken == self._sent, "the kernel did not look at the frame"
        return not failed
