# SPDX-License-Identifier: Apache-2.0
"""One set of maps: made for a capacity, pinned together, adopted by the next daemon.

Programs are loaded onto a set. A set never changes its sizes: a larger one is made beside it.
"""

import ctypes as c
import hashlib
import os
from pathlib import Path
from typing import Self

from neurowall.kernel import agreement, bans, buckets6, filters, layout, libbpf, limits, pins, ringbuf, timed
from neurowall.kernel.buckets import Seeds, lines_for
from neurowall.kernel.lists import ListMaps
from neurowall.kernel.maps import Map
from neurowall.model.errors import KernelError
from neurowall.model.policy import Capacity, EngineName, Policy

_ONLY = {  # maps that the other engine does not have
    "buckets": (
        *("lines", "filter4", "bitmap", "nets4", "long4", "registry4"),
        *("lines6", "filter6", "lengths6", "spilled6"),
    ),
    "classic": ("hosts6", "prefixes6", "population"),
}
_PROGRAMS = ("nw_ingress", "nw_internal", "nw_egress")
_CONFIG = "config"  # the pinned .rodata: what the programs on these maps are loaded with
_FIELDS = ("hosts4", "prefixes4", "hosts6", "prefixes6", "classes")
_KEPT = (  # say nothing of lists: a larger set goes on with them
    *("reason_counters", "failsafe", "networks", "origins"),
    *("events", "event_control", "event_budgets"),
    *limits.NAMES,
    *bans.NAMES,
    *("flows", "half_flows", "flow_control", "flow_events"),
)
_RING = "events"  # not made where the kernel has no ring buffers; then nothing may name it


def sizes_of(engine: EngineName, capacity: Capacity) -> dict[str, int]:
    """max_entries of every map whose size is not fixed."""
    sizes = {name: getattr(capacity, name) for name in _FIELDS}
    sizes["class_counters"] = capacity.classes
    sizes |= dict.fromkeys(timed.NAMES, timed.CAPACITY)
    if engine == "buckets":
        sizes["lines"] = lines_for(capacity.hosts4)
        sizes["filter4"] = filters.words_for(sizes["lines"])
        sizes["long4"] = lines_for(capacity.prefixes4)
        sizes["registry4"] = capacity.prefixes4
        sizes["hosts4"] = max(1024, capacity.hosts4 // 16)  # only what finds no slot
        sizes["lines6"] = buckets6.lines_for(capacity.hosts6 + capacity.prefixes6)
        sizes["spilled6"] = max(1024, (capacity.hosts6 + capacity.prefixes6) // 16)
    return sizes


class MapSet:
    """Maps by name as in bpf/maps.h, their pins, and the lists in them. Made by create() or adopt()."""

    def __init__(
        self, source: Path, directories: pins.Pins, engine: EngineName, tag: str, by_name: dict[str, Map]
    ) -> None:
        self._source = source
        self._pins = directories
        self._engine = engine
        self.tag = tag
        self.capacity = _capacity_of(tag)
        self.by_name = by_name
        self.lists = ListMaps(by_name, self._seeds() if engine == "buckets" else None)
        self.limits = limits.LimitMaps(by_name, self.lists.grace)
        self.bans = bans.BanMaps(by_name)

    @classmethod
    def adopt(cls, source: Path, directories: pins.Pins, policy: Policy) -> Self | None:
        """The pinned set of this layout that has room for the policy's capacities, the largest; or None."""
        found = [
            (sum(_values(_capacity_of(tag))), tag)
            for tag in directories.tags(_origin(source, policy.engine))
            if _holds(_capacity_of(tag), policy.capacity)
        ]
        if not found:
            return None
        _, tag = max(found)
        maps = {path.name: Map.pinned(path) for path in directories.complete(tag)}
        return cls(source, directories, policy.engine, tag, maps)

    @classmethod
    def create(
        cls,
        source: Path,
        directories: pins.Pins,
        engine: EngineName,
        capacity: Capacity,
        keep: "MapSet | None" = None,
    ) -> Self:
        """Make and pin empty maps; with *keep*, counters and failsafe are those of that set."""
        tag = "-".join([_origin(source, engine), *map(str, _values(capacity))])
        if keep and keep.tag == tag:
            raise ValueError(f"the maps have the capacity {tag} already")
        by_name = keep.shared_with(capacity) if keep else {}
        try:
            _load(source, engine, "", _first_config(engine, capacity), by_name, sizes_of(engine, capacity))
            directory = directories.begin(tag)
            for name, owned in by_name.items():
                libbpf.pin(owned.fd, directory / name)
            directories.commit(tag)
            return cls(source, directories, engine, tag, by_name)
        except BaseException:
            for owned in by_name.values():
                owned.close()
            raise

    def shared_with(self, capacity: Capacity) -> dict[str, Map]:
        """Own handles of the maps that a set of *capacity* goes on with."""
        kept = (*_KEPT, "class_counters") if capacity.classes == self.capacity.classes else _KEPT
        return {name: Map(os.dup(self.by_name[name].fd)) for name in kept if name in self.by_name}

    def replace(self, name: str, new: Map) -> None:
        """Put another map in the place of one, and its pin in the place of that one's, at one moment."""
        directory = self._pins.maps(self.tag)
        draft = directory / f"{name}:new"
        draft.unlink(missing_ok=True)
        libbpf.pin(new.fd, draft)
        draft.rename(directory / name)
        self.by_name[name].close()
        self.by_name[name] = new

    def load(self, program: str, config: layout.Config, ifindex: int = 0) -> int:
        """Load *program* with *config* onto these maps; answers its fd. KernelError if it is refused."""
        return _load(self._source, self._engine, program, config, self.by_name, {}, ifindex)

    def config(self) -> layout.Config:
        """What the maps were made with: seeds and sizes, no role."""
        raw = self.by_name[_CONFIG].lookup(bytes(4))
        return layout.Config.from_buffer_copy(raw or bytes(c.sizeof(layout.Config)))

    def _seeds(self) -> Seeds:
        config = self.config()
        multiplier, addend = tuple(config.hash_multiplier), tuple(config.hash_addend)
        return Seeds((multiplier[0], multiplier[1]), (addend[0], addend[1]))

    def close(self) -> None:
        """Give the fds back; pins stay."""
        self.lists.close()
        for owned in self.by_name.values():
            owned.close()

    def discard(self) -> None:
        """Unpin and close: the maps end with the last program that uses them."""
        pins.remove_tree(self._pins.maps(self.tag))
        self.close()


def _origin(source: Path, engine: EngineName) -> str:
    return hashlib.sha256(f"{agreement.abi_hash(source)} {engine}".encode()).hexdigest()[:12]


def _holds(larger: Capacity, smaller: Capacity) -> bool:
    return all(a >= b for a, b in zip(_values(larger), _values(smaller), strict=True))


def _values(capacity: Capacity) -> list[int]:
    return [getattr(capacity, name) for name in _FIELDS]


def _capacity_of(tag: str) -> Capacity:
    return Capacity.model_validate(dict(zip(_FIELDS, map(int, tag.split("-")[1:]), strict=True)))


def _first_config(engine: EngineName, capacity: Capacity) -> layout.Config:
    seeds, sizes = Seeds.random(), sizes_of(engine, capacity)
    lines, long_lines, lines6 = (sizes.get(name, 1) for name in ("lines", "long4", "lines6"))
    config = layout.Config(
        abi=layout.Constant.ABI,
        engine=layout.Engine[engine.upper()],
        line_shift=64 - lines.bit_length() + 1,
        line_mask=lines - 1,
        long_shift=64 - long_lines.bit_length() + 1,
        long_mask=long_lines - 1,
        line6_shift=64 - lines6.bit_length() + 1,
        line6_mask=lines6 - 1,
        events=ringbuf.problem() is None,
    )
    config.hash_multiplier[:] = list(seeds.multiplier)
    config.hash_addend[:] = list(seeds.addend)
    return config


def _select(loading: libbpf.Object, program: str) -> None:
    """Load this program alone."""
    for other in _PROGRAMS:
        if other != program:
            loading.skip_program(other)


def _load(
    source: Path,
    engine: EngineName,
    program: str,
    config: layout.Config,
    by_name: dict[str, Map],
    sizes: dict[str, int],
    ifindex: int = 0,
) -> int:
    """Load the object onto the maps of *by_name*, adding to it those that are missing, of *sizes*.

    Answers an fd of *program*, -1 if none is named.
    """
    with libbpf.Object(source) as loading:
        loading.set_constants(bytes(config))
        names = [name for name in loading.map_names() if not name.startswith(".")]
        absent = [
            *_ONLY["classic" if engine == "buckets" else "buckets"],
            *([] if config.events else [_RING]),
        ]
        for name in absent:
            loading.skip_map(name)
        names = [name for name in names if name not in absent]
        for name in names:
            if name in by_name:
                loading.reuse_map(name, by_name[name].fd)
            elif name in sizes:
                loading.set_max_entries(name, sizes[name])
        _select(loading, program or _PROGRAMS[0])
        if ifindex:
            loading.set_ifindex(program, ifindex)
        try:
            loading.load()
        except libbpf.LibbpfError as error:
            raise KernelError(f"{error.strerror}\n{error.log}".rstrip()) from error
        for name in names:
            if name not in by_name:
                by_name[name] = Map.of_object(loading, name)
        by_name.setdefault(_CONFIG, Map.of_object(loading, ".rodata"))
        return os.dup(loading.program_fd(program)) if program else -1
