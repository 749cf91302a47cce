# SPDX-License-Identifier: Apache-2.0
"""Memory of a process tree: proportional set size, with BPF map mappings apart; and of BPF maps.

A map that a process has mmapped counts in its RSS and PSS although it is kernel memory of the map, so it is
taken out here and belongs to the figure of the maps. Source: proc(5), Documentation/filesystems/proc.rst
(smaps). What a map takes in the kernel is `memlock` in the fdinfo of its descriptor, which since Linux 6.4
counts what it really holds (bpf_map_memory_usage).
"""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from neurowall.kernel import libbpf

MAP_MAPPING = "anon_inode:bpf-map"
_MAP = re.compile(r"^(memlock|map_id):\s*(\d+)$", re.MULTILINE)
_HEADER = re.compile(r"^[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ \d+ *(.*)$")


@dataclass(frozen=True)
class Memory:
    """Proportional set size in KiB; `maps_kib` is the part that is mappings of BPF maps."""

    pss_kib: int = 0
    maps_kib: int = 0

    @property
    def own_kib(self) -> int:
        """What the processes themselves take."""
        return self.pss_kib - self.maps_kib

    def __add__(self, other: "Memory") -> "Memory":
        return Memory(self.pss_kib + other.pss_kib, self.maps_kib + other.maps_kib)


def of_tree(pid: int) -> Memory:
    """Memory of a process and all its descendants; those that end meanwhile count nothing."""
    total = Memory()
    for member in tree(pid):
        total += of_process(member)
    return total


def of_process(pid: int) -> Memory:
    """Memory of one process; zero when it is gone."""
    try:
        text = Path(f"/proc/{pid}/smaps").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return Memory()
    pss = maps = 0
    inside = False
    for line in text.splitlines():
        if line.startswith("Pss:"):
            size = int(line.split()[1])
            pss += size
            maps += size if inside else 0
        elif match := _HEADER.match(line):
            inside = match[1].strip() == MAP_MAPPING
    return Memory(pss, maps)


def tree(pid: int) -> list[int]:
    """A process and its living descendants, parents first."""
    found = [pid]
    for parent in found:  # grows while it is walked
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                found += [int(child) for child in task.read_text(encoding="ascii").split()]
            except (FileNotFoundError, ProcessLookupError):
                continue
    return found


def kernel_maps(pid: int, pins: Path) -> dict[int, int]:
    """Bytes of kernel memory of every BPF map, by id.

    Of the maps that a process or a descendant has open, and of those pinned below a directory.
    """
    found: dict[int, int] = {}
    for member in tree(pid):
        found |= _maps_of(Path(f"/proc/{member}/fdinfo").glob("*"))
    for path in pins.rglob("*"):
        if path.parent.name.startswith("maps-") and path.is_file():
            descriptor = libbpf.get_pinned(path)
            try:
                found |= _maps_of([Path(f"/proc/self/fdinfo/{descriptor}")])
            finally:
                os.close(descriptor)
    return found


def _maps_of(files: Iterable[Path]) -> dict[int, int]:
    found = {}
    for file in files:
        try:
            fields = dict(_MAP.findall(file.read_text(encoding="ascii")))
        except (FileNotFoundError, ProcessLookupError):
            continue
        if "map_id" in fields:
            found[int(fields["map_id"])] = int(fields["memlock"])
    return found
