# SPDX-License-Identifier: Apache-2.0
"""The flows of the maps in force, to be read. Implements logic.FlowPlane."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any

import numpy as np

from neurowall.kernel import layout_flows, libbpf
from neurowall.kernel.flows import PROTOCOLS, TABLES, read_control, zone_number
from neurowall.kernel.maps import Array
from neurowall.kernel.mapset import MapSet
from neurowall.model.flows import SECOND_NS, Flow, FlowCounts, FlowEvent, FlowQuery, FlowState
from neurowall.model.guards import Guards

_KEY, _VALUE = np.dtype(layout_flows.FlowKey), np.dtype(layout_flows.Flow)
_ATTEMPTS = 3  # a table that changes while it is read may have to be read again


class FlowPlane:
    """Of one data plane. *reading*: held while maps are read, so that none is closed meanwhile."""

    def __init__(self, maps: Callable[[], MapSet], reading: AbstractContextManager[object]) -> None:
        self._maps = maps
        self._reading = reading
        self._zones: dict[int, str] = {}
        self._kept = False

    def configure(self, guards: Guards) -> None:
        """Which zones there are, by the numbers that the keys have."""
        self._zones = {zone_number(guard.zone): guard.zone for guard in guards.interfaces}
        self._kept = guards.flows is not None

    def counts(self) -> FlowCounts:
        """How many flows there are in each state, and what happened to the tables."""
        now = time.monotonic_ns()
        states = np.zeros(len(FlowState), np.int64)
        with self._reading:
            maps = self._maps()
            control = read_control(maps)
            for name in TABLES if self._kept else ():
                _, _, found = _live(maps, name, control, now)
                states += np.bincount(found, minlength=len(FlowState))
            events = maps.by_name["flow_events"].per_cpu_sums(1)
            capacity = maps.by_name["flows"].max_entries if self._kept else 0
        return FlowCounts(
            {state: int(states[state]) for state in FlowState},
            {event: int(events[event, 0]) for event in FlowEvent},
            capacity,
            max(0.0, (control.adopt_until - now) / SECOND_NS) if self._kept else 0.0,
            is_guarded=self._kept and control.guarded_until > now,
        )

    def find(self, query: FlowQuery) -> tuple[list[Flow], int]:
        """The flows that match, those that were seen last in front, up to the limit; and how many match."""
        now = time.monotonic_ns()
        found: list[Flow] = []
        total = 0
        with self._reading:
            maps = self._maps()
            control = read_control(maps)
            tables = [_live(maps, name, control, now) for name in (TABLES if self._kept else ())]
        for keys, values, states in tables:
            rows = np.flatnonzero(_matches(keys, states, query))
            total += len(rows)
            rows = rows[np.argsort(values["seen"][rows])[::-1][: query.limit]]
            found += self._flows(keys[rows], values[rows], states[rows], now)
        return sorted(found, key=lambda flow: flow.idle)[: query.limit], total

    def _flows(self, keys: Array, values: Array, states: Array, now: int) -> Iterator[Flow]:
        for key, value, state in zip(keys, values, states, strict=True):
            ports = [int(key[name].byteswap()) for name in ("inside_port", "outside_port")]
            yield Flow(
                protocol=PROTOCOLS.get(int(key["protocol"]), str(key["protocol"])),
                state=FlowState(int(state)),
                inside=_address(key["inside"], int(key["family"])),
                inside_port=ports[0],
                outside=_address(key["outside"], int(key["family"])),
                outside_port=ports[1],
                zone=self._zones.get(int(key["zone"]), ""),
                age=(now - int(value["began"])) / SECOND_NS,
                idle=max(0, now - int(value["seen"])) / SECOND_NS,
                **{each: int(value[each]) for each in ("packets_out", "bytes_out", "packets_in", "bytes_in")},
            )


def _live(maps: MapSet, name: str, control: layout_flows.FlowControl, now: int) -> tuple[Array, Array, Array]:
    """Keys, values and states of the flows of a table whose time is not over."""
    keys, values = _read(maps, name)
    states = np.minimum(values["state"], len(FlowState) - 1).astype(np.int64)
    closed = values["inside_closed"].astype(bool), values["outside_closed"].astype(bool)
    states[closed[0] | closed[1]] = FlowState.HALF_CLOSED
    states[closed[0] & closed[1]] = FlowState.CLOSED
    states[values["was_reset"] != 0] = FlowState.RESET
    idle = np.int64(now) - values["seen"].astype(np.int64)
    rows = idle < np.array(control.timeouts[:], np.int64)[states]
    return keys[rows], values[rows], states[rows]


def _read(maps: MapSet, name: str) -> tuple[Array, Array]:
    for _ in range(_ATTEMPTS - 1):
        try:
            return maps.by_name[name].items(_KEY, _VALUE)
        except libbpf.LibbpfError:
            continue
    return maps.by_name[name].items(_KEY, _VALUE)


def _address(words: Any, family: int) -> IPv4Address | IPv6Address:
    raw = bytes(words)
    return IPv4Address(raw[12:]) if family == 4 else IPv6Address(raw)


def _matches(keys: Array, states: Array, query: FlowQuery) -> Array:
    wanted: Array = np.ones(len(keys), bool)
    if query.protocol:
        numbers = [number for number, name in PROTOCOLS.items() if name == query.protocol]
        wanted &= np.isin(keys["protocol"], numbers)
    if query.state is not None:
        wanted &= states == query.state
    if query.source:
        wanted &= keys["family"] == query.source.version
        wanted &= _within(keys["inside"], query.source) | _within(keys["outside"], query.source)
    return wanted


def _within(words: Array, network: IPv4Network | IPv6Network) -> Array:
    """Whether addresses, IPv4 in the last word, lie in a network."""
    masks = (ends.packed.rjust(16, b"\0") for ends in (network.network_address, network.netmask))
    prefix, mask = (np.frombuffer(raw, words.dtype) for raw in masks)
    inside: Array = ((words & mask) == prefix).all(axis=-1)
    return inside
