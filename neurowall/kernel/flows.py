# SPDX-License-Identifier: Apache-2.0
"""The tables of flows: made for as many as the policy says, set up, read.

The kernel programs insert and write. Userspace says how flows are kept, and seeds the table when it is new.
"""

import ctypes as c
import hashlib
import time

import numpy as np

from neurowall.kernel import layout_flows, libbpf
from neurowall.kernel.maps import Map
from neurowall.kernel.mapset import MapSet
from neurowall.model.flows import SECOND_NS, FlowRules

TABLES = ("flows", "half_flows")
_ZERO = bytes(4)
_KEY = np.dtype((np.void, c.sizeof(layout_flows.FlowKey)))
_VALUE = np.dtype((np.void, c.sizeof(layout_flows.Flow)))
_PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6"}


def zone_number(name: str) -> int:
    """What stands for a zone in keys of flows: the same after a restart, whatever other zones there are."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") or 1


def set_up(maps: MapSet, rules: FlowRules | None) -> bool:
    """Bring the tables to the size that is wanted, and say how flows are kept; whether the tables are others.

    Then programs must be loaded anew, and until they are attached flows may be missing: what is out of state
    passes for the time that the policy says.
    """
    entries = rules.max_entries if rules else 1
    resized = False
    for name in TABLES:
        old = maps.by_name[name]
        if old.max_entries != entries:
            maps.replace(name, _larger(old, entries, keep=rules is not None))
            resized = True
    if rules:
        _control(maps, rules)
        if resized:
            adopt(maps, rules)
    return resized


def _larger(old: Map, entries: int, *, keep: bool) -> Map:
    """A table of another size with the flows of the old one, as far as they are to be kept."""
    new = Map(
        libbpf.map_create(
            libbpf.BPF_MAP_TYPE_LRU_HASH, old.name, old.key_size, old.value_size, max(entries, 1)
        )
    )
    try:
        if keep and old.max_entries > 1:
            new.update_many(*old.items(_KEY, _VALUE))
    except BaseException:
        new.close()
        raise
    return new


def _control(maps: MapSet, rules: FlowRules) -> None:
    control = read_control(maps)
    control.timeouts[:] = [int(seconds * SECOND_NS) for seconds in rules.timeouts]
    control.new_per_second = rules.new_per_second
    maps.by_name["flow_control"].update(_ZERO, bytes(control))


def read_control(maps: MapSet) -> layout_flows.FlowControl:
    """How flows are kept, and until when what is out of state passes."""
    return layout_flows.FlowControl.from_buffer_copy(maps.by_name["flow_control"].lookup(_ZERO) or b"")


def adopt(maps: MapSet, rules: FlowRules) -> None:
    """From now on, for the time that the policy says, what is out of state passes."""
    control = read_control(maps)
    control.adopt_until = time.monotonic_ns() + int(rules.adopt * SECOND_NS)
    maps.by_name["flow_control"].update(_ZERO, bytes(control))
