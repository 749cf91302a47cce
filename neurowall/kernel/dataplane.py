# SPDX-License-Identifier: Apache-2.0
"""The data plane of one instance: its maps, its programs, its interfaces. Implements logic.DataPlane.

Life: `open()` adopts the pinned maps, or makes new ones beside those of another layout; the engine
then brings them to the intended state; `attach()` puts the programs on the interfaces, by link update
where a link is pinned, and only then drops maps of another layout. So a program never meets a map
that is not filled, and a restart or an upgrade leaks nothing. `grow()` does the same to larger maps while
everything runs. `close()` leaves everything in force, `detach()` takes all of it away.
"""

import os
import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

from neurowall.kernel import attachment, failsafe, layout, libbpf, netlink, objects, pins
from neurowall.kernel.lists import ListMaps
from neurowall.kernel.mapset import MapSet
from neurowall.model.counters import Counter
from neurowall.model.entries import Entries
from neurowall.model.errors import KernelError
from neurowall.model.image import ClassDef, Contents, Expiries, Table
from neurowall.model.interfaces import InterfaceStatus
from neurowall.model.policy import Capacity, Interface, Policy
from neurowall.model.reasons import Reason, Verdict

PROGRAM = "nw_ingress"


class DataPlane:
    """See the module. Thread-safe for interfaces; list writes need the engine's own lock."""

    def __init__(self, policy: Policy, run_directory: Path) -> None:
        self._policy = policy
        self._object = objects.path("neurowall")
        layout.check(self._object)
        self._root = run_directory / "bpf"
        pins.mount(self._root)
        self._pins = pins.Pins(self._root)
        self._records = attachment.Records(run_directory / "interfaces.json")
        self._lock = threading.RLock()
        self._reading = threading.Lock()  # no map is closed while another thread reads it
        self._programs: dict[Verdict, int] = {}
        self._status: dict[str, InterfaceStatus] = {}
        found = MapSet.adopt(self._object, self._pins, policy)
        self.adopted = found is not None
        self._maps = found or MapSet.create(self._object, self._pins, policy.engine, policy.capacity)
        self._growing: tuple[int, MapSet] | None = None  # the thread that fills new maps, and these

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

    def grow(self, capacity: Capacity, fill: Callable[[], None]) -> None:
        """Make maps of *capacity* beside those in force, let *fill* write them, and switch every program.

        While *fill* runs, this thread's put, delete, contents and so on mean the new maps, everybody else's
        those in force. If anything fails, the old maps are in force as before. A packet sees the old maps or
        the new ones, complete both.
        """
        before = self._maps
        larger = MapSet.create(self._object, self._pins, self._policy.engine, capacity, keep=before)
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
        before, attached = self._maps, [s.name for s in self._status.values() if s.attached]
        self._maps = maps
        self._drop_programs()
        for interface in self._policy.interfaces:
            if interface.name in attached:
                self._guard(interface)
        problems = [f"{n}: {self._status[n].problem}" for n in attached if self._status[n].problem]
        if not problems:
            return
        self._maps = before
        self._drop_programs()
        for interface in self._policy.interfaces:
            if interface.name in attached:
                self._guard(interface)
        raise KernelError(f"not every interface takes the larger maps: {'; '.join(problems)}")

    def _role(self, unparsed: Verdict) -> layout.Config:
        config = self._maps.config()
        config.unparsed_verdict = unparsed
        config.failsafe = bool(self._policy.failsafe)
        config.role = unparsed
        return config

    def _program(self, interface: Interface) -> int:
        """The fd of the program of this interface's role, loaded once."""
        role = Verdict[interface.unparsed_verdict.upper()]
        if role not in self._programs:
            self._programs[role] = self._maps.load(PROGRAM, self._role(role))
        return self._programs[role]

    def _drop_programs(self) -> None:
        for fd in self._programs.values():
            os.close(fd)
        self._programs.clear()

    # -- interfaces

    def attach(self) -> None:
        """Guard every interface of the policy, and no other; then forget maps of another layout."""
        with self._lock:
            wanted = {interface.name for interface in self._policy.interfaces}
            for name in set(self._records.by_name) - wanted:
                self._release(name)
            for interface in self._policy.interfaces:
                self._guard(interface)
            # A role that failed to move keeps the old program, and through it the old maps, alive.
            for path in self._pins.others(self._maps.tag):
                pins.remove_tree(path)

    def reconcile_interfaces(self) -> None:
        """Guard what came back or was renamed, say what is gone. Cheap if nothing changed."""
        with self._lock:
            for interface in self._policy.interfaces:
                status = self._status.get(interface.name)
                ifindex = netlink.interface_index(interface.name)
                settled = status and status.attached and status.ifindex == ifindex
                if not settled or not attachment.holds(ifindex or 0, self._pin(interface.name)):
                    self._guard(interface)

    def reload_program(self) -> None:
        """Load the object afresh and replace every running program by link update."""
        with self._lock:
            layout.check(self._object)
            fresh = {role: self._maps.load(PROGRAM, self._role(role)) for role in self._programs}
            self._drop_programs()
            self._programs = fresh
            for interface in self._policy.interfaces:
                self._guard(interface)

    def _pin(self, interface: str) -> Path:
        return self._pins.links / interface

    def _guard(self, interface: Interface) -> None:
        """Attach or adopt one interface; what goes wrong ends in its status, never in an exception."""
        ifindex = netlink.interface_index(interface.name)
        status = InterfaceStatus(interface.name, ifindex, "none", "", attached=False)
        if ifindex is None:
            problem = "the interface does not exist; it is guarded as soon as it appears"
            self._status[interface.name] = replace(status, problem=problem)
            return
        try:
            record = self._attach_one(interface, ifindex)
            failsafe.write(self._maps.by_name["failsafe"], self._policy.failsafe)
            status = replace(status, mode=record.mode, why=record.why, attached=True)
        except (KernelError, libbpf.LibbpfError) as error:
            status = replace(status, problem=str(error))
        self._status[interface.name] = status

    def _attach_one(self, interface: Interface, ifindex: int) -> attachment.Record:
        program, pin = self._program(interface), self._pin(interface.name)
        record = self._records.by_name.get(interface.name) or self._unrecorded(interface.name, ifindex)
        attachment.quiet_offloads(interface.name, self._records, record)
        same_mode = interface.xdp in ("auto", record.mode)
        if same_mode and attachment.adopt(program, ifindex, pin):
            self._records.by_name[interface.name] = record
            self._records.save()
            return record
        attachment.detach(pin)  # another mode was configured, or a link of unknown origin
        record.mode, record.why = attachment.choose_mode(
            interface.xdp, lambda mode: self._attempt(interface, ifindex, mode)
        )
        self._records.by_name[interface.name] = record
        self._records.save()
        return record

    def _unrecorded(self, interface: str, ifindex: int) -> attachment.Record:
        """What the kernel says of a link whose record a crash lost, so that it is adopted, not detached."""
        if not attachment.holds(ifindex, self._pin(interface)):
            return attachment.Record("none", "")
        return attachment.Record(netlink.xdp_mode(interface), "adopted; why it was chosen was not recorded")

    def _attempt(self, interface: Interface, ifindex: int, mode: str) -> str | None:
        program = self._program(interface)
        if mode == "offload":
            role = Verdict[interface.unparsed_verdict.upper()]
            try:
                program = self._maps.load(PROGRAM, self._role(role), ifindex)
            except KernelError as error:
                return f"the device does not load it ({str(error).splitlines()[0]})"
        return attachment.attach(program, ifindex, mode, self._pin(interface.name))

    def _release(self, name: str) -> None:
        attachment.detach(self._pin(name))
        attachment.restore_offloads(name, self._records.by_name.pop(name))
        self._records.save()
        self._status.pop(name, None)

    def interfaces(self) -> list[InterfaceStatus]:
        """Every interface of the policy, as it is now."""
        with self._lock:
            return [self._status[each.name] for each in self._policy.interfaces if each.name in self._status]

    def close(self) -> None:
        """Give the fds back; links and maps stay pinned, enforcement goes on."""
        with self._lock:
            self._drop_programs()
            self._maps.close()

    def detach(self) -> None:
        """Take everything away: programs, maps, pins, mount; offloads as they were. Then close()."""
        with self._lock:
            attachment.detach_all(self._root, self._records)
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
