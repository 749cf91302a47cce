# SPDX-License-Identifier: Apache-2.0
"""The data plane of one instance: its maps, its programs, its interfaces. Implements logic.DataPlane.

Life: `open()` adopts the pinned maps, or makes new ones beside those of another layout; the engine
then brings them to the intended state; `attach()` puts the programs on the interfaces, by link update
where a link is pinned, and only then drops maps of another layout. So a program never meets a map
that is not filled, and a restart or an upgrade leaks nothing. `close()` leaves everything in force,
`detach()` takes all of it away.
"""

import ctypes as c
import hashlib
import os
import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path

from neurowall.kernel import attachment, failsafe, filters, layout, libbpf, netlink, objects, pins
from neurowall.kernel.buckets import Seeds, lines_for
from neurowall.kernel.lists import ListMaps
from neurowall.kernel.maps import Map
from neurowall.model.counters import Counter
from neurowall.model.entries import Entries
from neurowall.model.errors import KernelError
from neurowall.model.image import ClassDef, Contents, Table
from neurowall.model.interfaces import InterfaceStatus
from neurowall.model.policy import Interface, Policy
from neurowall.model.reasons import Reason, Verdict

PROGRAM = "nw_ingress"
_BUCKETS_ONLY = ("lines", "filter4", "bitmap", "nets4", "long4", "registry4", "filter6")
_CONFIG = "config"  # the pinned .rodata: what the programs in force were loaded with


@dataclass(frozen=True)
class Sizes:
    """max_entries of every map whose size the policy decides."""

    entries: dict[str, int]

    @classmethod
    def of(cls, policy: Policy) -> "Sizes":
        """From the capacities; in the buckets engine the hash holds only what finds no slot."""
        capacity = policy.capacity
        entries = {
            "hosts4": capacity.hosts4,
            "prefixes4": capacity.prefixes4,
            "hosts6": capacity.hosts6,
            "prefixes6": capacity.prefixes6,
            "classes": capacity.classes,
            "class_counters": capacity.classes,
        }
        if policy.engine == "buckets":
            entries["lines"] = lines_for(capacity.hosts4)
            entries["filter4"] = filters.words_for(entries["lines"])
            entries["long4"] = lines_for(capacity.prefixes4)
            entries["registry4"] = capacity.prefixes4
            entries["hosts4"] = max(1024, capacity.hosts4 // 16)
        return cls(entries)


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
        self._sizes = Sizes.of(policy)
        self._tag = self._layout_tag()
        self._lock = threading.RLock()
        self._programs: dict[Verdict, int] = {}
        self._maps: dict[str, Map] = {}
        self._status: dict[str, InterfaceStatus] = {}
        self.adopted = self._pins.maps(self._tag).is_dir()
        if self.adopted:
            self._adopt_maps()
        else:
            self._create_maps()
        self._lists = ListMaps(self._maps, self._seeds() if policy.engine == "buckets" else None)

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

    def _layout_tag(self) -> str:
        sizes = sorted(self._sizes.entries.items())
        text = f"{layout.abi_hash(self._object)} {self._policy.engine} {sizes}"
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def _adopt_maps(self) -> None:
        directory = self._pins.maps(self._tag)
        self._maps = {path.name: Map.pinned(path) for path in sorted(directory.iterdir())}

    def _create_maps(self) -> None:
        seeds = Seeds.random()
        lines, long_lines = (self._sizes.entries.get(name, 1) for name in ("lines", "long4"))
        config = layout.Config(
            abi=layout.Constant.ABI,
            engine=layout.Engine[self._policy.engine.upper()],
            line_shift=64 - lines.bit_length() + 1,
            line_mask=lines - 1,
            long_shift=64 - long_lines.bit_length() + 1,
            long_mask=long_lines - 1,
        )
        config.hash_multiplier[:] = list(seeds.multiplier)
        config.hash_addend[:] = list(seeds.addend)
        self._load(config)
        directory = self._pins.begin(self._tag)
        for name, owned in self._maps.items():
            libbpf.pin(owned.fd, directory / name)
        self._pins.commit(self._tag)

    def _config(self) -> layout.Config:
        raw = self._maps[_CONFIG].lookup(bytes(4))
        return layout.Config.from_buffer_copy(raw or bytes(c.sizeof(layout.Config)))

    def _seeds(self) -> Seeds:
        config = self._config()
        multiplier, addend = tuple(config.hash_multiplier), tuple(config.hash_addend)
        return Seeds((multiplier[0], multiplier[1]), (addend[0], addend[1]))

    def _load(self, config: layout.Config, ifindex: int = 0) -> int:
        """Load the program with *config*, on the maps we have or on new ones; answers its fd."""
        with libbpf.Object(self._object) as loading:
            loading.set_constants(bytes(config))
            names = [name for name in loading.map_names() if not name.startswith(".")]
            if self._policy.engine == "classic":
                for name in _BUCKETS_ONLY:
                    loading.skip_map(name)
                names = [name for name in names if name not in _BUCKETS_ONLY]
            for name in names:
                if name in self._maps:
                    loading.reuse_map(name, self._maps[name].fd)
                elif name in self._sizes.entries:
                    loading.set_max_entries(name, self._sizes.entries[name])
            if ifindex:
                loading.set_ifindex(PROGRAM, ifindex)
            try:
                loading.load()
            except libbpf.LibbpfError as error:
                raise KernelError(f"{error.strerror}\n{error.log}".rstrip()) from error
            if not self._maps:
                self._maps = {name: Map.of_object(loading, name) for name in names}
                self._maps[_CONFIG] = Map.of_object(loading, ".rodata")
            return os.dup(loading.program_fd(PROGRAM))

    def _role(self, unparsed: Verdict) -> layout.Config:
        config = self._config()
        config.unparsed_verdict = unparsed
        config.failsafe = bool(self._policy.failsafe)
        config.role = unparsed
        return config

    def _program(self, interface: Interface) -> int:
        """The fd of the program of this interface's role, loaded once."""
        role = Verdict[interface.unparsed_verdict.upper()]
        if role not in self._programs:
            self._programs[role] = self._load(self._role(role))
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
            for path in self._pins.others(self._tag):
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
            fresh = {role: self._load(self._role(role)) for role in self._programs}
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
            failsafe.write(self._maps["failsafe"], self._policy.failsafe)
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
                program = self._load(self._role(role), ifindex)
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
            self._lists.close()
            self._drop_programs()
            for owned in self._maps.values():
                owned.close()

    def detach(self) -> None:
        """Take everything away: programs, maps, pins, mount; offloads as they were. Then close()."""
        with self._lock:
            attachment.detach_all(self._root, self._records)
            self._status.clear()
            self.close()
            pins.unmount(self._root)

    # -- lists: see kernel/lists.py

    def put(self, table: Table) -> None:
        """Insert entries or change their class in place."""
        self._lists.put(table)

    def delete(self, entries: Entries) -> None:
        """Take entries out."""
        self._lists.delete(entries)

    def set_classes(self, definitions: Iterable[ClassDef]) -> None:
        """Say what class ids mean, before their first use."""
        self._lists.set_classes(definitions)

    def grace(self) -> None:
        """Return when no running program sees what was taken away."""
        self._lists.grace()

    def contents(self) -> Contents:
        """What the kernel really holds."""
        return self._lists.contents()

    def lookup(self, address: str) -> tuple[int, int] | None:
        """(class id, length) of the longest match in the kernel's maps."""
        parsed = ip_address(address)
        return self._lists.lookup(parsed.version, parsed.packed)

    def class_counters(self) -> dict[int, Counter]:
        """Packets by class id."""
        return self._lists.class_counters()

    def reason_counters(self) -> dict[Reason, Counter]:
        """Packets by reason; the sum is every packet seen."""
        sums = self._maps["reason_counters"].per_cpu_sums(2)
        return {reason: Counter(int(sums[reason, 0]), int(sums[reason, 1])) for reason in Reason}
