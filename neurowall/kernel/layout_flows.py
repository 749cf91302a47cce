# SPDX-License-Identifier: Apache-2.0
"""The part of layout.py that flows use."""

import ctypes as c
from enum import IntEnum

from neurowall.kernel.mirror import Mirror
from neurowall.model.flows import FlowState


class FlowMode(IntEnum):
    """enum nw_flow_mode."""

    OFF = 0
    LOOSE = 1
    STRICT = 2


class FlowKey(Mirror):
    """Key of flows and half_flows: addresses (IPv4 in the last word) and ports on the wire."""

    C_NAME = "nw_flow_key"
    BIG_ENDIAN = frozenset({"outside", "inside", "outside_port", "inside_port"})
    outside: c.Array[c.c_uint32]
    inside: c.Array[c.c_uint32]
    outside_port: int
    inside_port: int
    protocol: int
    family: int
    pad: int
    zone: int
    _fields_ = (
        ("outside", c.c_uint32 * 4),
        ("inside", c.c_uint32 * 4),
        ("outside_port", c.c_uint16),
        ("inside_port", c.c_uint16),
        ("protocol", c.c_uint8),
        ("family", c.c_uint8),
        ("pad", c.c_uint16),
        ("zone", c.c_uint32),
    )


class Flow(Mirror):
    """Value of flows and half_flows; see the header for who writes what."""

    C_NAME = "nw_flow"
    seen: int
    state: int
    was_reset: int
    began: int
    _fields_ = (
        ("seen", c.c_uint64),
        ("inside_next", c.c_uint64),
        ("inside_first", c.c_uint32),
        ("inside_window", c.c_uint32),
        ("outside_next", c.c_uint32),
        ("outside_acked", c.c_uint32),
        ("outside_limit", c.c_uint32),
        ("outside_window", c.c_uint32),
        ("state", c.c_uint32),
        ("ifindex", c.c_uint32),
        ("inside_scale", c.c_uint8),
        ("outside_scale", c.c_uint8),
        ("inside_closed", c.c_uint8),
        ("outside_closed", c.c_uint8),
        ("was_reset", c.c_uint8),
        ("is_numbered", c.c_uint8),
        ("replaces", c.c_uint8),
        ("rest", c.c_uint8),
        ("began", c.c_uint64),
        ("packets_out", c.c_uint64),
        ("bytes_out", c.c_uint64),
        ("packets_in", c.c_uint64),
        ("bytes_in", c.c_uint64),
    )


class FlowControl(Mirror):
    """Value of flow_control: ends in nanoseconds of CLOCK_MONOTONIC, timeouts by model.flows.FlowState."""

    C_NAME = "nw_flow_control"
    adopt_until: int
    guarded_until: int
    timeouts: c.Array[c.c_uint64]
    new_per_second: int
    pad: int
    _fields_ = (
        ("adopt_until", c.c_uint64),
        ("guarded_until", c.c_uint64),
        ("timeouts", c.c_uint64 * len(FlowState)),
        ("new_per_second", c.c_uint32),
        ("pad", c.c_uint32),
    )


class FlowGuard(Mirror):
    """Value of flow_guard: the second of one CPU."""

    C_NAME = "nw_flow_guard"
    window_start: int
    inserted: int
    _fields_ = (("window_start", c.c_uint64), ("inserted", c.c_uint64))


STRUCTS: tuple[type[Mirror], ...] = (FlowKey, Flow, FlowControl, FlowGuard)
