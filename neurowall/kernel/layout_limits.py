# SPDX-License-Identifier: Apache-2.0
"""The part of layout.py that limits and bans use."""

import ctypes as c
from enum import IntEnum

from neurowall.kernel.mirror import Mirror


class LimitKey(IntEnum):
    """enum nw_limit_key: of what each value has a budget of its own."""

    BY_SOURCE = 0
    BY_PORT = 1
    IN_ALL = 2


class LimitAction(IntEnum):
    """enum nw_limit_action."""

    DROP = 0
    MONITOR = 1
    BAN = 2


class Limit(Mirror):
    """Value of limits: times in units of 16 ns, the interval with FRACTION bits below one."""

    C_NAME = "nw_limit"
    interval: int
    tolerance: int
    horizon: int
    secrets: c.Array[c.c_uint64]
    mask4: c.Array[c.c_uint8]
    key: int
    action: int
    counts_bytes: int
    is_used: int
    mask6: c.Array[c.c_uint8]
    ban_ns: int
    identity: int
    peak: int
    rest: c.Array[c.c_uint64]
    _fields_ = (
        ("interval", c.c_uint64),
        ("tolerance", c.c_uint64),
        ("horizon", c.c_uint64),
        ("secrets", c.c_uint64 * 4),
        ("mask4", c.c_uint8 * 4),
        ("key", c.c_uint8),
        ("action", c.c_uint8),
        ("counts_bytes", c.c_uint8),
        ("is_used", c.c_uint8),
        ("mask6", c.c_uint8 * 16),
        ("ban_ns", c.c_uint64),
        ("identity", c.c_uint64),
        ("peak", c.c_uint64),
        ("rest", c.c_uint64 * 3),
    )


class LimitSite(Mirror):
    """Value of limit_sites: bits of the limits that concern an interface, by LimitKind."""

    C_NAME = "nw_limit_site"
    ifindex: int
    masks: c.Array[c.c_uint32]
    with_ports: int
    new_only: int
    exact: int
    rest: c.Array[c.c_uint32]
    _fields_ = (
        ("ifindex", c.c_uint32),
        ("masks", c.c_uint32 * 8),
        ("with_ports", c.c_uint32),
        ("new_only", c.c_uint32),
        ("exact", c.c_uint32),
        ("rest", c.c_uint32 * 4),
    )


class LimitLine(Mirror):
    """Value of limit_lines: tag << TIME_BITS | theoretical arrival time."""

    C_NAME = "nw_limit_line"
    slots: c.Array[c.c_uint64]
    _fields_ = (("slots", c.c_uint64 * 8),)


class LimitCounter(Mirror):
    """Value of limit_counters, one for each possible cpu; bytes of IP packets."""

    C_NAME = "nw_limit_counter"
    passed_packets: int
    passed_bytes: int
    dropped_packets: int
    dropped_bytes: int
    would_packets: int
    would_bytes: int
    bans: int
    bans_refused: int
    _fields_ = (
        ("passed_packets", c.c_uint64),
        ("passed_bytes", c.c_uint64),
        ("dropped_packets", c.c_uint64),
        ("dropped_bytes", c.c_uint64),
        ("would_packets", c.c_uint64),
        ("would_bytes", c.c_uint64),
        ("bans", c.c_uint64),
        ("bans_refused", c.c_uint64),
    )


class BanKey(Mirror):
    """Key of bans: IPv4 in the last four bytes."""

    C_NAME = "nw_ban_key"
    address: c.Array[c.c_uint8]
    family: int
    _fields_ = (("address", c.c_uint8 * 16), ("family", c.c_uint32))


class Ban(Mirror):
    """Value of bans: the end in nanoseconds of CLOCK_MONOTONIC, and which limit it was."""

    C_NAME = "nw_ban"
    until: int
    limit: int
    _fields_ = (("until", c.c_uint64), ("limit", c.c_uint64))


class BanState(Mirror):
    """Value of ban_state: there are put - taken bans."""

    C_NAME = "nw_ban_state"
    put: int
    taken: int
    per_second: int
    _fields_ = (("put", c.c_uint64), ("taken", c.c_uint64), ("per_second", c.c_uint64))


class NeverBan(Mirror):
    """Key of never_ban: length NEVER_BAN_BITS and the prefix's own, IPv4 in the first four bytes."""

    C_NAME = "nw_never_ban"
    length: int
    family: int
    address: c.Array[c.c_uint8]
    _fields_ = (("length", c.c_uint32), ("family", c.c_uint32), ("address", c.c_uint8 * 16))


STRUCTS: tuple[type[Mirror], ...] = (
    Limit, LimitSite, LimitLine, LimitCounter, BanKey, Ban, BanState, NeverBan,
)  # fmt: skip
