# SPDX-License-Identifier: Apache-2.0
"""The maps of limits, see bpf/limits.h: one writer, word by word, while the kernel reads."""

import secrets
from collections.abc import Callable, Mapping, Sequence
from ctypes import c_ubyte, sizeof
from hashlib import blake2b
from math import ceil
from time import monotonic_ns

import numpy as np

from neurowall.kernel.layout import Constant
from neurowall.kernel.layout_limits import Limit, LimitAction, LimitCounter, LimitKey, LimitSite
from neurowall.kernel.maps import Array, Map, possible_cpus
from neurowall.model.counters import Counter
from neurowall.model.errors import KernelError
from neurowall.model.limits import LimitCounters, LimitGuard

NAMES = ("limits", "limit_sites", "limit_ports", "limit_lines", "limit_counters")
COARSE_SECONDS = 0.08
"""A burst of less than this, which is 20 ticks of the coarse clock at 250 Hz, needs the exact clock."""
_WORD = np.dtype("<u8")
_UNIT = 1 << Constant.LIMIT_UNIT_SHIFT
_TIME = (1 << Constant.LIMIT_TIME_BITS) - 1
_TRANSPORT = (Constant.LIMIT_TCP_SYN, Constant.LIMIT_TCP, Constant.LIMIT_UDP)
_KINDS = {
    "all": (*_TRANSPORT, Constant.LIMIT_ICMP, Constant.LIMIT_OTHER),
    "tcp-syn": (Constant.LIMIT_TCP_SYN,),
    "udp": (Constant.LIMIT_UDP,),
    "icmp": (Constant.LIMIT_ICMP,),
    "fragment": (Constant.LIMIT_FRAGMENT,),
}
_KEYS = {
    "source": LimitKey.BY_SOURCE,
    "source-prefix": LimitKey.BY_SOURCE,
    "destination-port": LimitKey.BY_PORT,
    "global": LimitKey.IN_ALL,
}


def identity_of(guard: LimitGuard) -> int:
    """What the kernel calls a limit of this shape."""
    return int.from_bytes(blake2b(repr(guard.shape).encode(), digest_size=8).digest(), "little")


def _kinds(guard: LimitGuard) -> tuple[int, ...]:
    limit = guard.limit
    if limit.match == "all" and (limit.ports or limit.key == "destination-port"):
        return _TRANSPORT
    return _KINDS[limit.match]


def _mask(length: int, width: int) -> list[int | c_ubyte]:
    return list(((1 << length) - 1 << width - length).to_bytes(width // 8, "big"))


def _value(guard: LimitGuard, held: Limit) -> Limit:
    """What is to be in a slot that holds *held*; a limit of the same shape keeps what its keys have used."""
    limit, identity = guard.limit, identity_of(guard)
    units = 1_000_000_000 / _UNIT / limit.rate
    tolerance = ceil(limit.burst_size * 1_000_000_000 / (_UNIT * limit.rate))
    is_same = held.is_used and held.identity == identity
    value = Limit(
        interval=round(units * (1 << Constant.LIMIT_FRACTION)),
        tolerance=tolerance,
        ban_ns=int(limit.ban_seconds * 1e9),
        key=_KEYS[limit.key],
        action=LimitAction[limit.action.upper()],
        counts_bytes=limit.counts_bytes,
        is_used=1,
        identity=identity,
        peak=max(tolerance, held.peak) if is_same else tolerance,
    )
    for index in range(len(value.secrets)):
        value.secrets[index] = held.secrets[index] if is_same else secrets.randbits(64) | 1
    value.mask4[:], value.mask6[:] = _mask(limit.lengths[0], 32), _mask(limit.lengths[1], 128)
    return value


class LimitMaps:
    """The limits that the kernel asks. Raises KernelError."""

    def __init__(self, maps: Mapping[str, Map], grace: Callable[[], None]) -> None:
        self._counters = maps["limit_counters"]
        self._lines = maps["limit_lines"]
        self._limits = maps["limits"].mapped(_WORD).reshape(Constant.LIMITS, -1)
        self._sites = maps["limit_sites"].mapped(_WORD).reshape(Constant.LIMIT_SITES, -1)
        self._ports = maps["limit_ports"].mapped(np.dtype("<u4"))
        self._grace = grace

    def put(self, guards: Sequence[LimitGuard], numbers: Mapping[str, int]) -> None:
        """Have these asked and no others. *numbers*: the interfaces that are there, by name.

        What a packet meets meanwhile is the old limits, the new ones or both of them. No program is loaded.
        """
        slots = self._assign(guards)
        for slot, guard in slots.items():
            self._write_ports(slot, guard)
        self._write_sites(_sites(slots, numbers))
        unused = [i for i in range(Constant.LIMITS) if i not in slots and self._held(i).is_used]
        if unused:
            self._grace()
            for slot in unused:
                self._ports &= np.uint32(~(1 << slot) & 0xFFFFFFFF)
                _store(self._limits[slot], bytes(sizeof(Limit)))

    def _held(self, slot: int) -> Limit:
        return Limit.from_buffer_copy(self._limits[slot].tobytes())

    def identity_in(self, slot: int) -> int:
        """The identity of the limit in a slot, 0 if there is none."""
        return self._held(slot).identity

    def _assign(self, guards: Sequence[LimitGuard]) -> dict[int, LimitGuard]:
        """Write each limit into the slot of its shape, or into a free one."""
        held = [self._held(slot) for slot in range(Constant.LIMITS)]
        known = {each.identity: slot for slot, each in enumerate(held) if each.is_used}
        free = [slot for slot, each in enumerate(held) if not each.is_used]
        slots: dict[int, LimitGuard] = {}
        for guard in guards:
            slot = known.get(identity_of(guard))
            if slot is None:
                if not free:
                    raise KernelError(f"the kernel takes {Constant.LIMITS} limits, those that change twice")
                slot = free.pop(0)
                self._counters.update(
                    slot.to_bytes(4, "little"), bytes(sizeof(LimitCounter) * possible_cpus())
                )
            slots[slot] = guard
        values = {slot: _value(guard, held[slot]) for slot, guard in slots.items()}
        peaks = [each.peak for slot, each in enumerate(held) if each.is_used and slot not in slots]
        horizon = max([*peaks, *(value.peak for value in values.values())], default=0)
        for slot, value in values.items():
            value.horizon = horizon
            _store(self._limits[slot], bytes(value))
        return slots

    def _write_ports(self, slot: int, guard: LimitGuard) -> None:
        wanted = np.zeros(1 << 16, bool)
        for low, high in guard.limit.port_ranges:
            wanted[low : high + 1] = True
        bit = np.uint32(1 << slot)
        differs = np.flatnonzero(((self._ports & bit) != 0) != wanted)
        self._ports[differs] ^= bit

    def _write_sites(self, wanted: Sequence[LimitSite]) -> None:
        placed: dict[int, LimitSite] = {}
        for site in wanted:
            places = [(site.ifindex + probe) % Constant.LIMIT_SITES for probe in range(Constant.LIMIT_PROBES)]
            # Where it is already, if it is there: it must not be without limits on its way.
            there = [place for place in places if self._sites[place][0] & 0xFFFFFFFF == site.ifindex]
            free = [place for place in (*there, *places) if place not in placed]
            if not free:
                raise KernelError(f"no room for the limits of interface number {site.ifindex}")
            placed[free[0]] = site
        for place in range(Constant.LIMIT_SITES):
            if place in placed or self._sites[place].any():
                _store(self._sites[place], bytes(placed.get(place, LimitSite())))

    def counters(self) -> dict[int, LimitCounters]:
        """What each limit counted, by its identity."""
        sums = self._counters.per_cpu_sums(sizeof(LimitCounter) // 8)
        found = {}
        for slot in range(Constant.LIMITS):
            held = self._held(slot)
            if held.is_used:
                row = [int(number) for number in sums[slot]]
                passed, dropped, would = (Counter(*row[i : i + 2]) for i in (0, 2, 4))
                found[held.identity] = LimitCounters(passed, dropped, would, row[6], row[7])
        return found

    def identities(self) -> dict[int, int]:
        """What the limit in each slot is called in the kernel."""
        held = {slot: self._held(slot) for slot in range(Constant.LIMITS)}
        return {slot: int(each.identity) for slot, each in held.items() if each.is_used}

    def sweep(self) -> int:
        """Empty the slots of keys that were not seen for more than half of what a time can say; how many.

        Times come round after five hours, and what is that old would look as if it were ahead. A key that
        comes back at this very moment may lose what it has used by then.
        """
        lines = self._lines.mapped(_WORD)
        now = np.uint64(monotonic_ns() // _UNIT)
        age = (now - lines) & np.uint64(_TIME)
        old = np.flatnonzero((lines != 0) & (age > np.uint64(_TIME // 4)) & (age < np.uint64(_TIME // 4 * 3)))
        lines[old] = 0
        return len(old)


def _sites(slots: Mapping[int, LimitGuard], numbers: Mapping[str, int]) -> list[LimitSite]:
    """Of each interface that a limit is about."""
    sites: dict[int, LimitSite] = {}
    for slot, guard in slots.items():
        bit = 1 << slot
        for number in (numbers[name] for name in guard.interfaces if name in numbers):
            site = sites.setdefault(number, LimitSite(ifindex=number))
            for kind in _kinds(guard):
                site.masks[kind] |= bit
            site.with_ports |= bit if guard.limit.ports else 0
            site.new_only |= bit if guard.limit.new_only else 0
            site.exact |= bit if guard.limit.burst_size < guard.limit.rate * COARSE_SECONDS else 0
    return list(sites.values())


def _store(row: Array, value: bytes) -> None:
    """Write what differs, each word at once."""
    words = np.frombuffer(value, _WORD)
    for index in np.flatnonzero(row != words):
        row[index] = words[index]
