# SPDX-License-Identifier: Apache-2.0
"""The bans that limits put into the kernel, see bpf/bans.h. The kernel adds, userspace takes out."""

import time
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import numpy as np

from neurowall.kernel.layout import Constant
from neurowall.kernel.layout_limits import Ban, BanKey, NeverBan
from neurowall.kernel.maps import Map

NAMES = ("bans", "ban_state", "never_ban")
_WORD = np.dtype("<u8")
_PUT, _TAKEN, _PER_SECOND = range(3)  # struct nw_ban_state
_PRESENT = bytes(4)


def _key(address: IPv4Address | IPv6Address) -> bytes:
    key = BanKey(family=address.version)
    key.address[:] = list(address.packed.rjust(16, b"\0"))
    return bytes(key)


def _address(key: bytes) -> str:
    held = BanKey.from_buffer_copy(key)
    return str(ip_address(bytes(held.address)[12 if held.family == 4 else 0 :]))


def _prefix(text: str) -> bytes:
    network = ip_network(text)
    key = NeverBan(length=Constant.NEVER_BAN_BITS + network.prefixlen, family=network.version)
    key.address[:] = list(network.network_address.packed.ljust(16, b"\0"))
    return bytes(key)


class BanMaps:
    """One writer beside the kernel; ends are Unix time here."""

    def __init__(self, maps: Mapping[str, Map]) -> None:
        self._bans, self._never = maps["bans"], maps["never_ban"]
        self._state = maps["ban_state"].mapped(_WORD)

    def configure(self, never: Iterable[str], per_second: int) -> None:
        """Say who is never banned, and how many each CPU may ban in a second."""
        self._state[_PER_SECOND] = per_second
        wanted = {_prefix(text) for text in never}
        held = set(self._never.all_keys())
        for key in wanted - held:
            self._never.update(key, _PRESENT)
        for key in held - wanted:
            self._never.delete(key)
        for address in self._banned_for_nothing(never):
            self.lift(address)

    def _banned_for_nothing(self, never: Iterable[str]) -> list[str]:
        """Who was banned before it was said that it never is."""
        if not len(self):
            return []
        networks = [ip_network(text) for text in never]
        return [address for address in self.all() if any(ip_address(address) in each for each in networks)]

    def __len__(self) -> int:
        """How many are in the kernel; those that are over count until they are taken out."""
        return int(self._state[_PUT] - self._state[_TAKEN])

    def find(self, address: str) -> tuple[float, int] | None:
        """Until when, and the identity of the limit that banned it; None if it is not banned now."""
        if not len(self):
            return None
        raw = self._bans.lookup(_key(ip_address(address)))
        return _terms(raw) if raw and Ban.from_buffer_copy(raw).until > time.monotonic_ns() else None

    def all(self) -> dict[str, tuple[float, int]]:
        """Everybody who is banned now."""
        found = {_address(key): self.find(_address(key)) for key in self._keys()}
        return {address: terms for address, terms in found.items() if terms}

    def lift(self, address: str) -> bool:
        """End a ban; whether there was one."""
        was_banned = self.find(address) is not None
        self._take(_key(ip_address(address)))
        return was_banned

    def expire(self) -> int:
        """Take out those that are over; how many."""
        now, ended, put = time.monotonic_ns(), 0, self._state[_PUT]
        keys = self._keys()
        if not keys:
            # A daemon may have died between taking one out and counting it. What is put now is counted after.
            self._state[_TAKEN] = put
        for key in keys:
            raw = self._bans.lookup(key)
            if raw and Ban.from_buffer_copy(raw).until <= now:
                ended += self._take(key)
        return ended

    def _keys(self) -> list[bytes]:
        return self._bans.all_keys() if len(self) else []

    def _take(self, key: bytes) -> bool:
        if not self._bans.delete(key):
            return False
        self._state[_TAKEN] += np.uint64(1)
        return True


def _terms(raw: bytes) -> tuple[float, int]:
    ban = Ban.from_buffer_copy(raw)
    return time.time() + (ban.until - time.monotonic_ns()) / 1e9, ban.limit
