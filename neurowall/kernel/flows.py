# SPDX-License-Identifier: Apache-2.0
"""The tables of flows: made for as many as the policy says, set up, read.

The kernel programs insert and write. Userspace says how flows are kept, and seeds the table when it is new.
"""

import ctypes as c
import errno
import hashlib
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from functools import cache
from ipaddress import ip_address

import numpy as np

from neurowall.kernel import conntrack, layout_flows, libbpf
from neurowall.kernel.maps import Map
from neurowall.kernel.mapset import MapSet
from neurowall.kernel.routes import KernelRoutes
from neurowall.model.flows import SECOND_NS, FlowRules, FlowState

TABLES = ("flows", "half_flows")
_COPIED_SECONDS = 1.0
_ZERO = bytes(4)
_KEY = np.dtype((np.void, c.sizeof(layout_flows.FlowKey)))
_VALUE = np.dtype((np.void, c.sizeof(layout_flows.Flow)))
PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6"}


def zone_number(name: str) -> int:
    """What stands for a zone in keys of flows: the same after a restart, whatever other zones there are."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") or 1


def set_up(maps: MapSet, rules: FlowRules | None) -> bool:
    """Bring the tables to the size that is wanted, and say how flows are kept; whether the tables are others.

    Then programs must be loaded anew, and until they are attached flows may be missing: what is out of state
    passes for the time that the policy says.
    """
    most = rules.max_entries if rules else 1
    resized = is_in_use = False
    # Half as many that are half open: both as large would take the maps of all beyond 100 MiB.
    for name, entries in zip(TABLES, (most, -(-most // 2)), strict=True):
        old = maps.by_name[name]
        if old.max_entries != entries:
            is_in_use = is_in_use or old.max_entries > 1
            maps.replace(name, _larger(old, entries, keep=rules is not None))
            resized = True
    if rules:
        _control(maps, rules)
        if resized:
            # What begins while a table in use is copied is in the old one only.
            adopt(maps, max(rules.adopt, _COPIED_SECONDS) if is_in_use else rules.adopt)
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


def adopt(maps: MapSet, seconds: float) -> None:
    """From now on, for so long, what is out of state passes."""
    control = read_control(maps)
    control.adopt_until = time.monotonic_ns() + int(seconds * SECOND_NS)
    maps.by_name["flow_control"].update(_ZERO, bytes(control))


def seed(maps: MapSet, zones: Mapping[str, str], limit: int) -> int:
    """Know the TCP connections that conntrack has, on the interfaces of *zones* (by name); answers how many.

    A connection has two tuples that may be seen outside: that of its answers turned round, which is behind
    source NAT, and, of one that was begun outside, its own. Which of them it is the peer's route says.
    Numbers are learnt from the next packet of our end. KernelError if conntrack cannot be read.
    """
    routes = KernelRoutes()

    @cache
    def zone_of(peer: str) -> str | None:
        return zones.get(routes.route(peer).interface or "")

    now, known = time.monotonic_ns(), 0
    value = bytes(layout_flows.Flow(state=FlowState.ADOPTED, seen=now, began=now))
    for peer, ours in _tuples():
        if zone := zone_of(peer[0]):
            known += _insert(maps.by_name["flows"], _key(peer, ours, zone_number(zone)), value)
        if known >= limit:
            break
    return known


_End = tuple[str, int]


def _tuples() -> Iterator[tuple[_End, _End]]:
    """(peer, our end) as either may be seen outside, of every connection."""
    for each in conntrack.established():
        yield each.reply
        yield each.original


def _insert(table: Map, key: bytes, value: bytes) -> bool:
    """Whether it was not there."""
    try:
        libbpf.map_update(table.fd, key, value, libbpf.BPF_NOEXIST)
    except libbpf.LibbpfError as error:
        if error.errno != errno.EEXIST:
            raise
        return False
    return True


def _key(peer: _End, ours: _End, zone: int) -> bytes:
    """Of a TCP flow."""
    addresses = ip_address(peer[0]), ip_address(ours[0])
    ends = b"".join(each.packed.rjust(16, b"\0") for each in addresses)
    ports = peer[1].to_bytes(2, "big") + ours[1].to_bytes(2, "big")
    family = addresses[0].version
    return ends + ports + bytes([socket.IPPROTO_TCP, family, 0, 0]) + zone.to_bytes(4, sys.byteorder)
