# SPDX-License-Identifier: Apache-2.0
"""Sources to send from, and the frames that arrive."""

import socket
import struct

import numpy as np

from bench.testbed.base import Chain
from bench.traffic.frame import MAGIC

_ETH_P_ALL = 3
_SO_RCVBUFFORCE = 33


def sources(family: int, count: int) -> np.ndarray:
    """Global addresses, all different, in no order."""
    order = np.random.default_rng(1).permutation(count)
    if family == 4:
        return (0x08080000 + order).astype(np.uint32)
    return np.frombuffer(b"".join((0x2600 << 112 | int(n) << 3).to_bytes(16, "big") for n in order), "S16")


def listen(chain: Chain, timeout: float = 0.3) -> socket.socket:
    """A packet socket on what reaches the server."""
    with chain.server.enter():
        opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
    opened.bind((chain.server_if.name, _ETH_P_ALL))
    opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 16 << 20)
    opened.settimeout(timeout)
    return opened


def received(opened: socket.socket, chain: Chain, count: int, magic: int = MAGIC) -> list[bytes]:
    """Frames of the generator, up to *count* or until none comes; not the server's complaints about them."""
    frames: list[bytes] = []
    while len(frames) < count:
        try:
            frame = opened.recv(2048)
        except TimeoutError:
            break
        if frame.startswith(chain.server_if.mac_bytes) and struct.pack("!I", magic) in frame:
            frames.append(frame)
    return frames
