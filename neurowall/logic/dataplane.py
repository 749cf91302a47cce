# SPDX-License-Identifier: Apache-2.0
"""What the engine needs of the kernel. neurowall.kernel.dataplane.DataPlane is the real one."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from neurowall.model.counters import Counter
from neurowall.model.dryrun import DryRun
from neurowall.model.entries import Entries
from neurowall.model.events import Event, EventKind, Tally
from neurowall.model.flows import Flow, FlowCounts, FlowQuery
from neurowall.model.guards import Guards
from neurowall.model.image import ClassDef, Contents, Expiries, Table
from neurowall.model.interfaces import InterfaceStatus
from neurowall.model.limits import LimitBan, LimitCounters
from neurowall.model.policy import Capacity
from neurowall.model.reasons import Reason


class LimitPlane(Protocol):
    """What the kernel holds of limits and their bans. Any thread may ask; it changes at any time."""

    def counters(self) -> Mapping[str, LimitCounters]:
        """What each limit in force counted, by name."""

    def names(self) -> Mapping[int, str]:
        """Of the limit in each slot of the kernel, as events number them."""

    def bans(self) -> Sequence[LimitBan]:
        """Everybody whom a limit banned, those whose ban ends first in front."""

    def ban(self, address: str) -> LimitBan | None:
        """The ban of an address."""

    def ban_count(self) -> int:
        """About how many there are, at no cost."""

    def lift(self, address: str) -> bool:
        """End the ban of an address; whether there was one."""

    def tend(self) -> int:
        """Take out bans that are over; how many. To be called about twice a second."""


class FlowPlane(Protocol):
    """The flows that the kernel knows. Any thread may ask; they change at any time."""

    def counts(self) -> FlowCounts:
        """How many in each state, and what happened to the tables."""

    def find(self, query: FlowQuery) -> tuple[Sequence[Flow], int]:
        """The flows that match, those that were seen last in front, up to the limit; how many match."""


class DataPlane(Protocol):
    """One writer's view of the kernel maps and attached programs.

    Calls that change something are made by one thread at a time; the reading ones come from any thread, also
    while a change is under way. Every method raises KernelError if a system call fails.
    """

    @property
    def flows(self) -> FlowPlane:
        """The flows; `configure` says how they are kept."""

    @property
    def limiter(self) -> LimitPlane:
        """The limits; `configure` says which."""

    @property
    def capacity(self) -> Capacity:
        """What the maps in force were made for. Its `grow` says nothing."""

    def grow(self, capacity: Capacity, fill: Callable[[], None]) -> None:
        """Replace the maps in force by larger ones that *fill* writes.

        While *fill* runs, all methods mean the new maps, which are empty, for its own thread. Then every
        attached program is switched to them, each at one moment. If anything fails the maps are in force as
        before, and the error passes on.
        """

    def put(self, table: Table) -> None:
        """Insert the entries, or replace their class in place. All are of one length. Raises MapFull."""

    def delete(self, entries: Entries) -> None:
        """Remove the entries; those that are not there are no error. All are of one length."""

    def set_classes(self, defs: Iterable[ClassDef]) -> None:
        """Tell the kernel what the ids mean; called before the first entry that uses them is put."""

    def put_expiries(self, expiries: Expiries) -> None:
        """Say until when timed entries hold, or change it. Raises MapFull."""

    def delete_expiries(self, entries: Entries) -> None:
        """Forget until when these entries hold; those that are not there are no error."""

    def expiries(self, family: int) -> Expiries:
        """All expiries of one family, read back from the kernel; ends are right within 0.1 s."""

    def grace(self) -> None:
        """Return when no running program can still see what was there before the last change."""

    def contents(self) -> Contents:
        """Everything that the maps hold, read back from the kernel."""

    def lookup(self, address: str) -> tuple[int, int] | None:
        """(class id, length) of the longest entry covering *address*, read from the kernel; None if none.

        Kernel tries do not tell which node matched: of nested entries of one class any length may be
        answered.
        """

    def class_counters(self) -> Mapping[int, Counter]:
        """What each class id matched; ids that never matched may be missing."""

    def reason_counters(self) -> Mapping[Reason, Counter]:
        """What was counted under each reason."""

    @property
    def tells_events(self) -> bool:
        """Whether this kernel has ring buffers, and so events."""

    def read_events(self, seconds: float) -> list[Event] | None:
        """What happened, waiting so long at most; None if this kernel tells nothing. For one thread."""

    def event_tallies(self) -> Mapping[EventKind, Tally]:
        """What was told, suppressed and lost, by kind; empty if this kernel tells nothing."""

    def dry_run(self, interface: str, frame: bytes) -> DryRun | None:
        """What the program of an interface would do to a frame now; None if it has none. Changes nothing."""

    def interface_names(self) -> Mapping[int, str]:
        """Names of the guarded interfaces by index, as of the last look; waits for nobody."""

    def configure(self, guards: Guards) -> None:
        """Guard these interfaces as they say, and no others, each going over at one moment.

        What goes wrong with one ends in its status. May come from any thread.
        """

    def fallback(self) -> frozenset[str]:
        """The interfaces that have no program: nftables is to do for them what XDP would have done."""

    def interfaces(self) -> list[InterfaceStatus]:
        """The interfaces that were configured, in that order."""

    def reload_program(self) -> None:
        """Replace the attached programs in place, never detaching."""

    def close(self) -> None:
        """Give up the file descriptors; pins stay and enforcement goes on."""

    def detach(self) -> None:
        """Detach the programs and remove the pins: enforcement ends."""
