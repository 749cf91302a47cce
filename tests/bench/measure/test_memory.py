# SPDX-License-Identifier: Apache-2.0
import mmap
import os
import subprocess
import sys

import pytest

from bench.measure import memory
from neurowall.kernel import libbpf

MIB = 1024
HOLD = "import sys; held = bytearray(b'x') * (32 << 20); print('ready', flush=True); sys.stdin.read()"
CHILD = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {HOLD!r}])"


def test_counts_descendants_and_what_they_hold() -> None:
    """32 MiB held by a grandchild are found in the tree."""
    argv = [sys.executable, "-c", CHILD]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        members = memory.tree(child.pid)
        found = memory.of_tree(child.pid)
        alone = memory.of_process(child.pid)
        child.communicate()
    assert len(members) == 2
    assert found.own_kib - alone.own_kib > 32 * MIB
    assert found.maps_kib == 0


def test_a_process_that_is_gone_counts_nothing() -> None:
    """It may end between being listed and being read."""
    with subprocess.Popen(["true"]) as child:
        pass
    assert memory.of_tree(child.pid) == memory.Memory()


@pytest.mark.root
def test_bpf_map_mappings_are_kept_apart() -> None:
    """A mapped BPF map is kernel memory of the map, not of the process."""
    size = 4 << 20
    array, mappable = 2, 1 << 10  # BPF_MAP_TYPE_ARRAY, BPF_F_MMAPABLE
    descriptor = libbpf.map_create(array, "memory_test", 4, 64, size // 64, map_flags=mappable)
    before = memory.of_process(os.getpid())
    with mmap.mmap(descriptor, size) as mapped:
        for page in range(0, size, mmap.PAGESIZE):
            mapped[page] = 1
        after = memory.of_process(os.getpid())
    os.close(descriptor)
    assert after.maps_kib - before.maps_kib == size // 1024
    assert abs(after.own_kib - before.own_kib) < MIB
