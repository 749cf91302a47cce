# SPDX-License-Identifier: Apache-2.0
"""The data plane of one instance: its maps, its programs, its interfaces. Implements logic.DataPlane.

Life: `open()` adopts the pinned maps, or makes new ones beside those of another layout; the engine
then brings them to the intended state; `configure()` puts the programs on the interfaces, by link update
where a link is pinned, and only then drops maps of another layout. So a program never meets a map
that is not filled, and a restart or an upgrade leaks nothing. `grow()` does the same to larger maps while
everything runs. `close()` leaves everything in force, `detach()` takes all of it away.
"""

import logging
import os
import threading
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

from neurowall.kernel import (
    agreement,
    attachment,
    egress,
    failsafe,
    flows,
    libbpf,
    netlink,
    objects,
    origins,
    pins,
)
from neurowall.kernel.dryrun import DryPrograms
from neurowall.kernel.events import EventSource
from neurowall.kernel.flowplane import FlowPlane
from neurowall.kernel.guards import Role, networks_of, prune_networks, put_networks
from neurowall.kernel.limitplane import LimitPlane
from neurowall.kernel.lists import ListMaps
from neurowall.kernel.mapset import MapSet
from neurowall.kernel.routes import KernelRoutes
from neurowall.model.counters import Counter
from neurowall.model.dryrun import DryRun
from neurowall.model.entries import Entries
from neurowall.model.errors import KernelError
from neurowall.model.events import Event, EventKind, Tally
from neurowall.model.guards import Guard, Guards
from neurowall.model.image import ClassDef, Contents, Expiries, Table
from neurowall.model.interfaces import InterfaceStatus
from neurowall.model.policy import Capacity, Policy
from neurowall.model.reasons import Reason

log = logging.getLogger(__name__)

NFTABLES = "nftables"  # the mode of an interface without a program


class DataPlane:
    """See the module. Thread-safe for interfaces; list writes need the engine's own lock."""

    def __init__(self, policy: Policy, run_directory: Path) -> None:
        self._engine = policy.engine
        self._object = objects.path("neurowall")
        agreement.check(self._object)
        self._root = run_directory / "bpf"
        pins.mount(self._root)
        self._pins = pins.Pins(self._root)
        self._records = attachment.Records(run_directory / "interfaces.json")
        self._lock = threading.RLock()
        self._reading = threading.Lock()  # no map is closed while another thread reads it
        self._guards = Guards((), ())
        self._own: origins.Own = {}  # addresses, as far as a guard asks for them
        self._programs: dict[Role, int] = {}
        self._dry = DryPrograms(lambda: self._maps)
        self._status: dict[str, InterfaceStatus] = {}
        found = MapSet.adopt(self._object, self._pins, policy)
        self.adopted = found is not None
        self._maps = found or MapSet.create(self._object, self._pins, policy.engine, policy.capacity)
        self._limiter = LimitPlane(lambda: self._maps, self._reading)
        self._flows = FlowPlane(lambda: self._maps, self._reading)
        self._growing: tuple[int, MapSet] | None = None  # the thread that fills new maps, and these
        has_ring = "events" in self._maps.by_name
        self._events = EventSource(self._maps.by_name) if has_ring else None

    @classmethod
    def open(cls, policy: Policy, run_directory: Path) -> "DataPlane":
        """Adopt or make the maps of *policy*. Nothing is attached yet.

        Unsupported without bpffs, LayoutError for a stale object, KernelError if the load fails.
        """
        mounted_before = pins.is_mounted(run_directory / "bpf")
        try:
            return cls(policy, run_directory)
        except BaseException:
            if not mounted_before:
                pins.unmount(run_directory / "bpf")
            raise

    # -- maps and programs

    @property
    def capacity(self) -> Capacity:
        """What the maps in force were made for: what the policy says, or more since a list outgrew it."""
        return self._maps.capacity

    @property
    def flows(self) -> FlowPlane:
        """The flows; see logic.FlowPlane."""
        return self._flows

    @property
    def limiter(self) -> LimitPlane:
        """Limits and their bans."""
        return self._limiter

    def grow(self, capacity: Capacity, fill: Callable[[], None]) -> None:
        """Make maps of *capacity* beside those in force, let *fill* write them, and switch every program.

        While *fill* runs, this thread's put, delete, contents and so on mean the new maps, everybody else's
        those in force. If anything fails, the old maps are in force as before. A packet sees the old maps or
        the new ones, complete both.
        """
        before = self._maps
        larger = MapSet.create(self._object, self._pins, self._engine, capacity, keep=before)
        self._growing = threading.get_ident(), larger
        try:
            fill()
            self._growing = None
            with self._lock:
                self._switch(larger)
        except BaseException:
            self._growing = None
            larger.discard()
            raise
        with self._reading:
            before.discard()

    def _switch(self, maps: MapSet) -> None:
        """Give every attached program the other maps; all of them, or none."""
        before, attached = self._maps, [s.name for s in self._status.values() if self._has_program(s.name)]
        self._take(maps, attached)
        problems = [f"{n}: {self._status[n].problem}" for n in attached if self._status[n].problem]
        if problems:
            self._take(before, attached)
            raise KernelError(f"not every interface takes the larger maps: {'; '.join(problems)}")

    def _take(self, maps: MapSet, attached: Collection[str]) -> None:
        self._maps = maps
        self._drop_programs()
        for guard in self._guards.interfaces:
            if guard.name in attached:
                self._guard(guard)

    def _program(self, role: Role) -> int:
        """The fd of the program of this role, loaded once."""
        if role not in self._programs:
            self._programs[role] = self._load(role)
        return self._programs[role]

    def _load(self, role: Role, ifindex: int = 0) -> int:
        return self._maps.load(role.program, role.switch(self._maps.config()), ifindex)

    def _role(self, guard: Guard) -> Role:
        return Role.of(guard, self._guards)

    def dry_run(self, interface: str, frame: bytes) -> DryRun | None:
        """What the program of an interface would do to a frame; None if there is none of ours."""
        with self._lock:
            guard = self._guards.find(interface)
            if guard is None or not self._has_program(interface):
                return None
            ifindex = self._status[interface].ifindex or 0
            reason, class_id, slot = self._dry.run(self._role(guard), ifindex, frame)
        name = "" if slot is None else self._limiter.name_of(slot)
        return DryRun(reason, class_id, name)

    def _drop_programs(self) -> None:
        self._dry.drop()
        for fd in self._programs.values():
            os.close(fd)
        self._programs.clear()

    # -- interfaces

    def configure(self, guards: Guards) -> None:
        """Guard these interfaces as they say, and no others; then forget maps of another layout.

        An interface goes from one role to the other at one moment, with all that the new one needs in the
        maps already. What goes wrong with an interface ends in its status; it keeps the program that it had.
        """
        with self._lock:
            self._guards, self._own = guards, self._addresses(guards)
            if self._events:
                self._events.limit(guards.events)
            self._limiter.configure(guards)
            with self._reading:
                self._flows.configure(guards)
                if flows.set_up(self._maps, guards.flows):
                    self._drop_programs()
            for guard in guards.interfaces:
                self._guard(guard)
            self._prune()
            # A role that failed to move keeps the old program, and through it the old maps, alive.
            for path in self._pins.others(self._maps.tag):
                pins.remove_tree(path)
            for name in self._status.keys() - {guard.name for guard in guards.interfaces}:
                del self._status[name]
            for name in self._records.by_name.keys() - {guard.name for guard in guards.interfaces}:
                self._release(name)

    def reconcile_interfaces(self) -> None:
        """Guard what came back or was renamed, say what is gone; follow our own addresses.

        Cheap if nothing changed.
        """
        with self._lock:
            before, self._own = self._own, self._addresses(self._guards)
            unsettled = [guard for guard in self._guards.interfaces if not self._is_settled(guard.name)]
            if unsettled:
                self._limiter.configure(self._guards)
            for guard in unsettled:
                self._guard(guard)
            if before != self._own:
                for guard in self._guards.interfaces:
                    self._put_networks(guard)
            if unsettled or before != self._own:
                self._prune()

    @staticmethod
    def _addresses(guards: Guards) -> origins.Own:
        """The machine's own, if a guard wants to know them."""
        return KernelRoutes().addresses() if any(each.spoofing for each in guards.interfaces) else {}

    def _is_settled(self, name: str) -> bool:
        """Whether the interface is the one of the last attempt, and its program still there.

        One that takes no program is not asked again before the next configure() or reload: each attempt
        switches offloads, which is a link event, which leads here.
        """
        status, ifindex = self._status.get(name), netlink.interface_index(name)
        if not status or not status.attached or status.ifindex != ifindex:
            return False
        record = self._records.by_name.get(name)
        if record and record.egress and not egress.holds(ifindex or 0, self._egress_pin(name), record):
            return False
        return status.mode == NFTABLES or attachment.holds(ifindex or 0, self._pin(name))

    def fallback(self) -> frozenset[str]:
        """Interfaces without a program, by configuration or because none attaches: nftables is to guard them.

        One that does not exist is among them only by configuration. May change with every call of
        configure(), reconcile_interfaces() and reload_program().
        """
        with self._lock:
            return frozenset(
                guard.name
                for guard in self._guards.interfaces
                if guard.mode == "off" or (self._exists(guard.name) and not self._has_program(guard.name))
            )

    def _exists(self, name: str) -> bool:
        return name in self._status and self._status[name].ifindex is not None

    def _has_program(self, name: str) -> bool:
        """Whether a program of ours is on the interface, even if it is not the one that it should have."""
        return self._exists(name) and attachment.holds(self._status[name].ifindex or 0, self._pin(name))

    def reload_program(self) -> None:
        """Load the object afresh and replace every running program by link update."""
        with self._lock:
            agreement.check(self._object)
            fresh = {role: self._load(role) for role in self._programs}
            self._drop_programs()
            self._programs = fresh
            for guard in self._guards.interfaces:
                self._guard(guard)

    def _pin(self, interface: str) -> Path:
        return self._pins.links / interface

    def _egress_pin(self, interface: str) -> Path:
        return egress.pin_of(self._pins.links, interface)

    def _guard(self, guard: Guard) -> None:
        """Attach or adopt one interface; what goes wrong ends in its status, never in an exception."""
        ifindex = netlink.interface_index(guard.name)
        status = InterfaceStatus(guard.name, ifindex, "none", "", attached=False)
        if ifindex is None:
            problem = "the interface does not exist; it is guarded as soon as it appears"
            self._status[guard.name] = replace(status, problem=problem)
            return
        try:
            self._put_networks(guard, ifindex)
            ways = [entry for entry in self._guards.failsafe if entry.interface == guard.name]
            failsafe.put(self._maps.by_name["failsafe"], ways)
            guard, unkept = self._with_egress(guard, ifindex)
            record = self._attach_one(guard, ifindex)
            self._without_egress(guard, record)
            status = replace(status, mode=record.mode, why=record.why, attached=True, problem=unkept)
        except (KernelError, libbpf.LibbpfError) as error:
            status = replace(status, problem=str(error))
        self._status[guard.name] = status

    def _put_networks(self, guard: Guard, ifindex: int | None = None) -> None:
        """What the program of an interface is to know of sources; by default where it was seen last."""
        if ifindex is None:
            ifindex = self._status[guard.name].ifindex
        if ifindex is not None:
            elements = networks_of(ifindex, guard, self._own)
            origins.mark(self._maps.by_name["origins"], elements)
            put_networks(self._maps.by_name["networks"], elements)

    def _prune(self) -> None:
        """Forget networks and failsafe entries that nothing asks for any more.

        An interface with a problem may still have a program of its former role: its networks stay.
        """
        wanted: set[bytes] = set()
        for guard in self._guards.interfaces:
            wanted |= networks_of(self._status[guard.name].ifindex or 0, guard, self._own).keys()
        spared = {status.ifindex for status in self._status.values() if status.problem and status.ifindex}
        networks = self._maps.by_name["networks"]
        prune_networks(networks, wanted, spared)
        origins.prune_marks(self._maps.by_name["origins"], networks.all_keys())
        failsafe.prune(self._maps.by_name["failsafe"], self._guards.failsafe)

    def _with_egress(self, guard: Guard, ifindex: int) -> tuple[Guard, str | None]:
        """Have what leaves recorded before XDP asks for it. The guard, without flows if that cannot be; why.

        Where nothing was recorded for this zone before, flows are missing: out of state passes for a time.
        """
        if guard.flows == "off" or guard.mode == "off" or not self._guards.flows:
            return guard, None
        pin, role = self._egress_pin(guard.name), self._role(guard)
        record = self._records.by_name.get(guard.name) or self._unrecorded(guard.name, ifindex)
        if record.zone != role.zone or not egress.holds(ifindex, pin, record):
            flows.adopt(self._maps, self._guards.flows.adopt)
            self._seed_flows(self._guards.flows.max_entries)
        try:
            egress.attach(self._program(role.at_egress), ifindex, pin, record)
        except KernelError as error:
            return replace(guard, flows="off"), f"flows are not kept: {error}"
        record.zone = role.zone
        self._records.by_name[guard.name] = record
        self._records.save()
        return guard, None

    def _seed_flows(self, limit: int) -> None:
        """Take what conntrack knows; without it, what is open is known once our end says something."""
        zones = {guard.name: guard.zone for guard in self._guards.interfaces if guard.flows != "off"}
        try:
            known = flows.seed(self._maps, zones, limit)
        except KernelError as error:
            log.warning(
                "flows that are open are known only once the protected side says something: %s", error
            )
        else:
            log.info("%d flows taken from conntrack", known)

    def _without_egress(self, guard: Guard, record: attachment.Record) -> None:
        """Stop recording where XDP does not ask for it any more."""
        pin = self._egress_pin(guard.name)
        if guard.flows != "off" and record.mode != NFTABLES:
            return
        record.zone = 0
        if record.egress or pin.exists():
            egress.detach(guard.name, pin, record)
            self._records.save()

    def _attach_one(self, guard: Guard, ifindex: int) -> attachment.Record:
        pin = self._pin(guard.name)
        if guard.mode == "off":
            return self._without(guard.name, "xdp is off, as configured")
        program = self._program(self._role(guard))
        record = self._records.by_name.get(guard.name) or self._unrecorded(guard.name, ifindex)
        attachment.quiet_offloads(guard.name, self._records, record)
        same_mode = guard.mode in ("auto", record.mode)
        if same_mode and attachment.adopt(program, ifindex, pin):
            self._records.by_name[guard.name] = record
            self._records.save()
            return record
        attachment.detach(pin)  # another mode was configured, or a link of unknown origin
        try:
            record.mode, record.why = attachment.choose_mode(
                guard.mode, lambda mode: self._attempt(guard, ifindex, mode)
            )
        except attachment.Refused as refused:
            return self._without(guard.name, str(refused))
        self._records.by_name[guard.name] = record
        self._records.save()
        return record

    def _without(self, name: str, why: str) -> attachment.Record:
        """Take the programs off, if there are any, and give the offloads back: nftables sees every packet."""
        self._detach(name)
        self._forget(name)
        return attachment.Record(NFTABLES, why)

    def _unrecorded(self, interface: str, ifindex: int) -> attachment.Record:
        """What the kernel says of a link whose record a crash lost, so that it is adopted, not detached."""
        if not attachment.holds(ifindex, self._pin(interface)):
            return attachment.Record("none", "")
        return attachment.Record(netlink.xdp_mode(interface), "adopted; why it was chosen was not recorded")

    def _attempt(self, guard: Guard, ifindex: int, mode: str) -> str | None:
        role = self._role(guard)
        program = self._program(role)
        if mode == "offload":
            try:
                program = self._load(role, ifindex)
            except KernelError as error:
                return f"the device does not load it ({str(error).splitlines()[0]})"
        return attachment.attach(program, ifindex, mode, self._pin(guard.name))

    def _detach(self, name: str) -> None:
        attachment.detach(self._pin(name))
        record = self._records.by_name.get(name) or attachment.Record("none", "")
        egress.detach(name, self._egress_pin(name), record)

    def _release(self, name: str) -> None:
        self._detach(name)
        self._forget(name)

    def _forget(self, name: str) -> None:
        """Give the offloads back as they were, and drop the record."""
        record = self._records.by_name.pop(name, None)
        if record:
            attachment.restore_offloads(name, record)
            self._records.save()

    def interfaces(self) -> list[InterfaceStatus]:
        """Every interface that was configured, as it is now."""
        with self._lock:
            return [self._status[each.name] for each in self._guards.interfaces if each.name in self._status]

    def close(self) -> None:
        """Give the fds back; links and maps stay pinned, enforcement goes on."""
        with self._lock:
            self._drop_programs()
            self._maps.close()
            if self._events:
                self._events.close()

    def detach(self) -> None:
        """Take everything away: programs, maps, pins, mount; offloads as they were. Then close()."""
        with self._lock:
            egress.detach_all(self._root, self._records)
            self._status.clear()
            self.close()
            pins.unmount(self._root)

    # -- lists: see kernel/lists.py

    @property
    def _lists(self) -> ListMaps:
        """Those in force, or for the thread that fills new ones, these."""
        growing = self._growing
        return growing[1].lists if growing and growing[0] == threading.get_ident() else self._maps.lists

    def put(self, table: Table) -> None:
        """Insert entries or change their class in place."""
        self._lists.put(table)

    def delete(self, entries: Entries) -> None:
        """Take entries out."""
        self._lists.delete(entries)

    def set_classes(self, definitions: Iterable[ClassDef]) -> None:
        """Say what class ids mean, before their first use."""
        self._lists.set_classes(definitions)

    def put_expiries(self, expiries: Expiries) -> None:
        """Say until when timed entries hold, before the entries are put; or change it."""
        self._lists.put_expiries(expiries)

    def delete_expiries(self, entries: Entries) -> None:
        """Forget expiries, after the entries and a grace period."""
        self._lists.delete_expiries(entries)

    def expiries(self, family: int) -> Expiries:
        """The expiries that the kernel holds."""
        return self._lists.expiries(family)

    def grace(self) -> None:
        """Return when no running program sees what was taken away."""
        self._lists.grace()

    def contents(self) -> Contents:
        """What the kernel really holds."""
        return self._lists.contents()

    def lookup(self, address: str) -> tuple[int, int] | None:
        """(class id, length) of the longest match in the kernel's maps."""
        parsed = ip_address(address)
        with self._reading:
            return self._lists.lookup(parsed.version, parsed.packed)

    def class_counters(self) -> dict[int, Counter]:
        """Packets by class id."""
        with self._reading:
            return self._lists.class_counters()

    def reason_counters(self) -> dict[Reason, Counter]:
        """Packets by reason; the sum is every packet seen."""
        with self._reading:
            sums = self._maps.by_name["reason_counters"].per_cpu_sums(2)
        return {reason: Counter(int(sums[reason, 0]), int(sums[reason, 1])) for reason in Reason}

    # -- events: see kernel/events.py

    @property
    def tells_events(self) -> bool:
        """Whether this kernel has ring buffers, and so events."""
        return self._events is not None

    def read_events(self, seconds: float) -> list[Event] | None:
        """What happened, waiting so long at most; None if this kernel tells nothing. For one thread."""
        return self._events.read(seconds) if self._events else None

    def event_tallies(self) -> dict[EventKind, Tally]:
        """What was told, suppressed and lost, by kind; empty if this kernel tells nothing."""
        return self._events.tallies() if self._events else {}

    def interface_names(self) -> dict[int, str]:
        """Names of the guarded interfaces by index, as of the last look; waits for nobody."""
        return {each.ifindex: each.name for each in list(self._status.values()) if each.ifindex}
