# SPDX-License-Identifier: Apache-2.0
"""Writes the maps of limits and bans as bpf/neurowall.h says, not with the code of neurowall.kernel.limits.

The program is built with a clock that a test sets. The hash of the table is computed here too, so that keys
can be chosen that meet in one line.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from ipaddress import ip_address
from math import ceil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from neurowall.kernel import libbpf
from tests.bpf.harness import LOOPBACK, Firewall

KINDS = ("tcp-syn", "tcp", "udp", "icmp", "other", "fragment")
UNIT_NS = 16
SECOND = 1_000_000_000
START = 1_000 * SECOND
WRAP = 1 << 40  # units of time in a slot
_ACTIONS = {"drop": 0, "monitor": 1, "ban": 2}
_KEYS = {"source": 0, "port": 1, "all": 2}
SECRETS = (0x9D3F_6A2B_11C7_5E81, 0x3C91_44D0_8BAF_27E5, 0xB5D2_0E93_7F16_C48B, 0x61E8_C07D_52B9_A3F7)
COUNTERS = (
    *("passed_packets", "passed_bytes", "dropped_packets", "dropped_bytes"),
    *("would_packets", "would_bytes", "bans", "bans_refused"),
)


@dataclass(frozen=True)
class Spec:
    """One limit. rate: packets (or bytes) a second; burst: as many at once. kinds: of KINDS."""

    rate: int
    burst: int
    kinds: tuple[str, ...] = ("tcp-syn", "tcp", "udp", "icmp", "other")
    key: str = "source"
    prefix4: int = 32
    prefix6: int = 128
    ports: tuple[int, ...] = ()
    counts_bytes: bool = False
    new_only: bool = False
    action: str = "drop"
    ban_ns: int = 60 * SECOND

    @property
    def interval(self) -> Fraction:
        """Units of time between two packets or bytes."""
        return Fraction(SECOND, UNIT_NS * self.rate)

    @property
    def tolerance(self) -> int:
        """How far a key's time may be ahead of the clock, in units."""
        return ceil(self.burst * self.interval)


def _secrets(slot: int) -> tuple[int, ...]:
    """Of the hash of one slot."""
    return tuple((secret * (2 * slot + 1)) % (1 << 64) for secret in SECRETS)


def _mask(length: int, width: int) -> bytes:
    return ((1 << length) - 1 << width - length).to_bytes(width // 8, "big")


class Limits:
    """The limits of one firewall, by slot."""

    def __init__(
        self, firewall: Firewall, *, ifindex: int = LOOPBACK, now: int = START, virtual: bool = True
    ) -> None:
        """*virtual*: the program has a clock that is set here; else *now* means nothing."""
        self._firewall = firewall
        self._virtual = virtual
        self._ifindex = ifindex
        self.specs: dict[int, Spec] = {}
        self.now = now

    @property
    def now(self) -> int:
        """The clock, in nanoseconds."""
        return self._now

    @now.setter
    def now(self, nanoseconds: int) -> None:
        self._now = nanoseconds
        if self._virtual:
            fd = self._firewall.map_fd("virtual_time")
            libbpf.map_update(fd, bytes(4), struct.pack("=Q", nanoseconds))

    def put(self, *specs: Spec, slots: Sequence[int] | None = None) -> None:
        """Have these asked, in these slots (default: from 0)."""
        self.specs = dict(zip(slots or range(len(specs)), specs, strict=True))
        horizon = max((spec.tolerance for spec in specs), default=0)
        for slot, spec in self.specs.items():
            self._put(slot, spec, horizon)
        self._put_ports()
        self._put_site()

    def _put(self, slot: int, spec: Spec, horizon: int) -> None:
        interval = round(spec.interval * (1 << 20))
        value = struct.pack("=3Q", interval, spec.tolerance, horizon)
        value += struct.pack("=4Q", *_secrets(slot)) + _mask(spec.prefix4, 32)
        value += bytes([_KEYS[spec.key], _ACTIONS[spec.action], spec.counts_bytes, 1])
        value += _mask(spec.prefix6, 128) + struct.pack("=3Q24x", spec.ban_ns, 1000 + slot, spec.tolerance)
        libbpf.map_update(self._firewall.map_fd("limits"), struct.pack("=I", slot), value)

    def _put_ports(self) -> None:
        fd = self._firewall.map_fd("limit_ports")
        wanted: dict[int, int] = {}
        for slot, spec in self.specs.items():
            for port in spec.ports:
                wanted[port] = wanted.get(port, 0) | 1 << slot
        for word in {port >> 1 for port in wanted}:
            value = wanted.get(word * 2, 0) | wanted.get(word * 2 + 1, 0) << 32
            libbpf.map_update(fd, struct.pack("=I", word), struct.pack("=Q", value))

    def _put_site(self) -> None:
        masks = [sum(1 << slot for slot, spec in self.specs.items() if kind in spec.kinds) for kind in KINDS]
        with_ports = sum(1 << slot for slot, spec in self.specs.items() if spec.ports)
        new_only = sum(1 << slot for slot, spec in self.specs.items() if spec.new_only)
        exact = sum(1 << slot for slot, spec in self.specs.items() if spec.burst * 12 < spec.rate)  # 80 ms
        value = struct.pack("=I8I3I16x", self._ifindex, *masks, 0, 0, with_ports, new_only, exact)
        key = struct.pack("=I", self._ifindex % 1024)
        libbpf.map_update(self._firewall.map_fd("limit_sites"), key, value)

    def counter(self, slot: int = 0) -> dict[str, int]:
        """What a limit counted, of what is not 0."""
        fd = self._firewall.map_fd("limit_counters")
        raw = libbpf.map_lookup(fd, struct.pack("=I", slot), 64 * cpus())
        numbers = struct.unpack(f"={8 * cpus()}Q", raw or b"")
        sums = {name: sum(numbers[i::8]) for i, name in enumerate(COUNTERS)}
        return {name: number for name, number in sums.items() if number}

    # -- the table

    def place(self, source: str, slot: int = 0, *, proven: bool = False) -> tuple[int, int]:
        """Line and tag of a source; *proven*: of a limit that bans, that of what it sent itself."""
        number = self._hash(source, slot, proven=proven)
        return number >> 48, number >> 24 & 0xFFFFFF or 1

    def home(self, source: str, slot: int = 0) -> int:
        """Where in its line a source is looked for first."""
        return self._hash(source, slot, proven=False) >> 21 & 7

    @staticmethod
    def _hash(source: str, slot: int, *, proven: bool) -> int:
        a, b, c, d = _secrets(slot)
        words = struct.unpack("=4I", ip_address(source).packed.rjust(16, b"\0"))
        third = 0xFFFF if ip_address(source).version == 4 else words[2]
        number: int = ((a + words[0] + (proven << 32)) * (b + words[1]) + (c + third) * (d + words[3])) % (
            1 << 64
        )
        return number

    def lines4(self, addresses: NDArray[np.uint32], slot: int = 0) -> NDArray[np.uint64]:
        """The lines of many IPv4 sources."""
        a, b, c, d = _secrets(slot)
        first, third = np.uint64(a * b % (1 << 64)), np.uint64((c + 0xFFFF) % (1 << 64))
        return (first + third * (np.uint64(d) + addresses.byteswap())) >> np.uint64(48)

    def line(self, index: int) -> list[int]:
        """The slots of a line of the table."""
        raw = libbpf.map_lookup(self._firewall.map_fd("limit_lines"), struct.pack("=I", index), 64)
        return list(struct.unpack("=8Q", raw or b""))

    def put_line(self, index: int, slots: Sequence[int]) -> None:
        """Write a line."""
        value = struct.pack("=8Q", *slots)
        libbpf.map_update(self._firewall.map_fd("limit_lines"), struct.pack("=I", index), value)

    # -- bans

    def put_never_ban(self, address: str) -> None:
        """Have an address never banned."""
        packed = ip_address(address).packed
        key = struct.pack("=II", 32 + len(packed) * 8, ip_address(address).version) + packed.ljust(16, b"\0")
        libbpf.map_update(self._firewall.map_fd("never_ban"), key, bytes(4))

    def put_ban_state(self, put: int = 0, taken: int = 0, per_second: int = 100) -> None:
        """Say how many bans there were, and how many there may be."""
        value = struct.pack("=3Q", put, taken, per_second)
        libbpf.map_update(self._firewall.map_fd("ban_state"), bytes(4), value)

    def ban_state(self) -> tuple[int, int]:
        """How many bans were put and taken."""
        raw = libbpf.map_lookup(self._firewall.map_fd("ban_state"), bytes(4), 24)
        return struct.unpack("=QQ", (raw or b"")[:16])

    def put_ban(self, address: str, until: int) -> None:
        """Ban an address until a moment of the clock; the state is not changed."""
        value = struct.pack("=QQ", until, 1000)
        libbpf.map_update(self._firewall.map_fd("bans"), _ban_key(address), value)

    def ban(self, address: str) -> int | None:
        """Until when an address is banned."""
        raw = libbpf.map_lookup(self._firewall.map_fd("bans"), _ban_key(address), 16)
        return struct.unpack("=QQ", raw)[0] if raw else None


def _ban_key(address: str) -> bytes:
    parsed = ip_address(address)
    return parsed.packed.rjust(16, b"\0") + struct.pack("=I", parsed.version)


def cpus() -> int:
    """How many values a per-CPU element has."""
    text = Path("/sys/devices/system/cpu/possible").read_text(encoding="ascii")
    return int(text.strip().rpartition("-")[2]) + 1
