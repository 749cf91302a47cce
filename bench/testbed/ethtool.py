# SPDX-License-Identifier: Apache-2.0
"""Features, channels and statistics of a network device through the ethtool ioctl.

It acts in the network namespace of the calling thread.

Layouts from linux/ethtool.h: every command is a u32 followed by its own header, in host byte order. The ioctl
and not netlink: it is older than any kernel we run on, and one statistics read costs two calls without a
parser.
"""

import array
import fcntl
import socket
import struct
from collections.abc import Mapping
from typing import Self

_SIOCETHTOOL = 0x8946
_GSTRINGS, _GSTATS, _GSSET_INFO, _GFEATURES, _SFEATURES, _GCHANNELS = 0x1B, 0x1D, 0x37, 0x3A, 0x3B, 0x3C
_SET_STATISTICS, _SET_FEATURES = 1, 4
_STRING = 32  # ETH_GSTRING_LEN
_BLOCK = struct.Struct("=IIII")  # ethtool_get_features_block: available, requested, active, never changed


class Ethtool:
    """An open control socket; it stays in the network namespace it was opened in. Use as a context manager.

    Errors are OSError: ENODEV when the device is gone, EOPNOTSUPP when its driver lacks the command.
    """

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._names: dict[tuple[str, int], list[str]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the control socket."""
        self._socket.close()

    def features(self, device: str) -> dict[str, bool]:
        """State of every feature the kernel names, also those the device cannot change."""
        return {name: active for name, (_, active) in self._features(device).items()}

    def changeable(self, device: str) -> set[str]:
        """Features that can be switched on this device."""
        return {name for name, (available, _) in self._features(device).items() if available}

    def set_features(self, device: str, wanted: Mapping[str, bool]) -> None:
        """Request features by name; those unknown or fixed are left alone. Read back what was granted."""
        names = self._strings(device, _SET_FEATURES)
        available = self.changeable(device)
        blocks = [[0, 0] for _ in range((len(names) + 31) // 32)]
        for position, name in enumerate(names):
            if name in wanted and name in available:
                blocks[position // 32][0] |= 1 << position % 32
                blocks[position // 32][1] |= wanted[name] << position % 32
        body = b"".join(struct.pack("=II", *block) for block in blocks)
        self._call(device, struct.pack("=II", _SFEATURES, len(blocks)) + body)

    def channels(self, device: str) -> dict[str, int]:
        """Queues in use: rx, tx, other, combined."""
        answer = self._call(device, struct.pack("=9I", _GCHANNELS, *[0] * 8))
        return dict(zip(("rx", "tx", "other", "combined"), struct.unpack("=9I", answer)[5:], strict=True))

    def statistics(self, device: str) -> dict[str, int]:
        """The driver's own counters, as `ethtool -S` shows them."""
        names = self._strings(device, _SET_STATISTICS)
        answer = self._call(device, struct.pack("=II", _GSTATS, len(names)) + bytes(8 * len(names)))
        return dict(zip(names, struct.unpack_from(f"={len(names)}Q", answer, 8), strict=True))

    def _features(self, device: str) -> dict[str, tuple[bool, bool]]:
        names = self._strings(device, _SET_FEATURES)
        count = (len(names) + 31) // 32
        answer = self._call(device, struct.pack("=II", _GFEATURES, count) + bytes(_BLOCK.size * count))
        found = {}
        for position, name in enumerate(names):
            available, _, active, fixed = _BLOCK.unpack_from(answer, 8 + _BLOCK.size * (position // 32))
            bit = 1 << position % 32
            if name:
                found[name] = (bool(available & bit and not fixed & bit), bool(active & bit))
        return found

    def _strings(self, device: str, string_set: int) -> list[str]:
        if (device, string_set) not in self._names:
            self._names[device, string_set] = self._read_strings(device, string_set)
        return self._names[device, string_set]

    def _read_strings(self, device: str, string_set: int) -> list[str]:
        answer = self._call(device, struct.pack("=IIQI", _GSSET_INFO, 0, 1 << string_set, 0))
        (present, count) = struct.unpack_from("=QI", answer, 8)
        if not present:
            return []
        answer = self._call(
            device, struct.pack("=III", _GSTRINGS, string_set, count) + bytes(_STRING * count)
        )
        table = answer[12:]
        return [
            table[at : at + _STRING].split(b"\0")[0].decode() for at in range(0, _STRING * count, _STRING)
        ]

    def _call(self, device: str, command: bytes) -> bytes:
        """One ioctl: struct ifreq {char name[16]; void *data}; returns the buffer as the kernel left it."""
        buffer = array.array("B", command)
        address, _ = buffer.buffer_info()
        request = struct.pack("@16sP16x", device.encode(), address)
        try:
            fcntl.ioctl(self._socket, _SIOCETHTOOL, request)
        except OSError as error:
            raise OSError(
                error.errno, f"ethtool command {command[0]:#x}: {error.strerror}", device
            ) from error
        return buffer.tobytes()
