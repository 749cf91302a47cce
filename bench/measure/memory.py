# SPDX-License-Identifier: Apache-2.0
"""Memory of a process tree: proportional set size, with BPF map mappings apart.

A map that a process has mmapped counts in its RSS and PSS although it is kernel memory of the map, so it is
taken out here and belongs to the figure of the maps. Source: proc(5), Documentation/filesystems/proc.rst
(smaps).
"""

import re
from dataclasses import dataclass
from pathlib import Path

MAP_MAPPING = "anon_inode:bpf-map"
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
