# SPDX-License-Identifier: Apache-2.0
"""What the kernel tells of: enum nw_event_kind and struct nw_event of bpf/neurowall.h."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from neurowall.model.reasons import Reason

PER_SECOND = 100  # events of each reason and kind that each CPU tells of, unless the policy says otherwise


class EventKind(IntEnum):
    """What an event tells of; the values of enum nw_event_kind."""

    DROP = 0
    BAN = 1
    FLOW_OPEN = 2
    FLOW_CLOSE = 3
    LIMIT_OVER = 4
    GUARD = 5

    @property
    def label(self) -> str:
        """The word in answers and metrics: "drop", "flow-open" ..."""
        return self.name.lower().replace("_", "-")


@dataclass(frozen=True)
class Event:
    """One event.

    time: nanoseconds of CLOCK_MONOTONIC. reason: why the packet got its verdict. number and extra: what they
    mean depends on the kind; of a drop, number is the class of the list entry. Addresses are "" where the
    packet has none. ethertype: of a drop; 0 of other kinds.
    """

    time: int
    kind: EventKind
    reason: Reason
    ifindex: int
    source: str
    destination: str
    protocol: int
    source_port: int
    destination_port: int
    bytes: int
    number: int = 0
    extra: int = 0
    tcp_flags: int = 0
    ethertype: int = 0


@dataclass(frozen=True)
class Told:
    """An event with its names. time: Unix time; name: of the list or limit that it is about, "" if none."""

    event: Event
    time: float
    interface: str
    name: str


@dataclass(frozen=True)
class Tally:
    """How many events of one kind were told, were over the budget, and found no room in the ring."""

    sent: int = 0
    suppressed: int = 0
    lost: int = 0


@dataclass(frozen=True)
class Filter:
    """Which events somebody wants: those of the reason, of the kind, from or to the address; "": any."""

    reason: str = ""
    kind: str = ""
    address: str = ""

    def wants(self, event: Event) -> bool:
        """Whether the event is one of these."""
        return (
            (not self.reason or event.reason.label == self.reason)
            and (not self.kind or event.kind.label == self.kind)
            and (not self.address or self.address in (event.source, event.destination))
        )


@dataclass(frozen=True)
class Names:
    """What numbers in events stand for, at one moment."""

    interfaces: Mapping[int, str] = field(default_factory=dict)
    lists: Mapping[int, str] = field(default_factory=dict)
    limits: Mapping[int, str] = field(default_factory=dict)

    def tell(self, events: Iterable[Event], ahead: float) -> list[Told]:
        """Events with their names. ahead: how far Unix time is ahead of CLOCK_MONOTONIC, in seconds."""
        return [
            Told(
                event,
                event.time / 1e9 + ahead,
                self.interfaces.get(event.ifindex, f"#{event.ifindex}" if event.ifindex else ""),
                self._name(event),
            )
            for event in events
        ]

    def _name(self, event: Event) -> str:
        if event.reason in (Reason.BLOCK_LIST, Reason.DESTINATION_BLOCK_LIST):
            return self.lists.get(event.number, "")
        if event.kind in (EventKind.BAN, EventKind.LIMIT_OVER):
            return self.limits.get(event.number, f"#{event.number}")
        return ""
