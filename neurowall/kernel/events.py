# SPDX-License-Identifier: Apache-2.0
"""The events of the kernel programs: read, decoded, counted, and how many there may be. See bpf/events.h."""

import os
import socket
import threading
import time
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address

from neurowall.kernel import layout
from neurowall.kernel.maps import Map
from neurowall.kernel.ringbuf import Ring
from neurowall.model.events import Event, EventKind, Tally
from neurowall.model.reasons import Reason

WINDOW_SECONDS = 1.0
_SUPPRESSED, _SENT, _LOST = 2, 3, 4  # fields of struct nw_event_budget


class EventSource:
    """The events of one set of maps. limit() may be called by any thread, read() by one."""

    def __init__(self, maps: Mapping[str, Map]) -> None:
        """Use own handles of the maps: those of lists may come and go."""
        self._control, self._budgets = (
            Map(os.dup(maps[name].fd)) for name in ("event_control", "event_budgets")
        )
        self._lock = threading.Lock()
        self._ring = Ring(maps["events"].fd)
        known = layout.EventControl.from_buffer_copy(self._control.lookup(bytes(4)) or bytes(16))
        self._window, self._per_window = int(known.window), int(known.per_window)
        self._begun = 0.0

    def limit(self, per_second: int) -> None:
        """How many events of each reason and kind each CPU tells of in a second; 0: none is even counted."""
        with self._lock:
            if per_second != self._per_window or not self._begun:
                self._per_window = per_second
                self._begin()

    def _begin(self) -> None:
        self._window += 1
        self._begun = time.monotonic()
        window = self._window if self._per_window else 0
        control = layout.EventControl(window=window, per_window=self._per_window)
        self._control.update(bytes(4), bytes(control))

    def _renew(self) -> float:
        """Begin a window if the last one is over, never early; how long until the next, in seconds."""
        with self._lock:
            if self._per_window and time.monotonic() - self._begun >= WINDOW_SECONDS:
                self._begin()
            return max(0.0, self._begun + WINDOW_SECONDS - time.monotonic()) or WINDOW_SECONDS

    def read(self, seconds: float) -> list[Event]:
        """What happened, waiting so long at most for the first. If nobody asks, nothing more is told."""
        left = self._renew()
        return [decode(record) for record in self._ring.read(min(seconds, left))]

    def tallies(self) -> dict[EventKind, Tally]:
        """What was told, suppressed and lost since the maps were made."""
        sums = self._budgets.per_cpu_sums(len(layout.EventBudget._fields_))
        first = len(Reason)
        found = {}
        for kind in EventKind:
            rows = sums[:first] if kind is EventKind.DROP else sums[first + kind : first + kind + 1]
            suppressed, sent, lost = (int(rows[:, field].sum()) for field in (_SUPPRESSED, _SENT, _LOST))
            found[kind] = Tally(sent, suppressed, lost)
        return found

    def close(self) -> None:
        """Give the handles back. What was not read stays for the next daemon."""
        self._ring.close()
        self._control.close()
        self._budgets.close()


def decode(record: bytes) -> Event:
    """A record of the ring."""
    raw = layout.Event.from_buffer_copy(record)
    return Event(
        time=raw.time,
        kind=EventKind(raw.kind),
        reason=Reason(raw.reason),
        ifindex=raw.ifindex,
        source=_address(raw.family, bytes(raw.source)),
        destination=_address(raw.family, bytes(raw.destination)),
        protocol=raw.protocol,
        source_port=socket.ntohs(raw.source_port),
        destination_port=socket.ntohs(raw.destination_port),
        bytes=raw.bytes,
        number=raw.number,
        extra=raw.extra,
        tcp_flags=raw.tcp_flags,
        ethertype=socket.ntohs(raw.ethertype),
    )


def _address(family: int, packed: bytes) -> str:
    if family == 4:
        return str(IPv4Address(packed[12:]))
    return str(IPv6Address(packed)) if family == 6 else ""
