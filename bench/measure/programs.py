# SPDX-License-Identifier: Apache-2.0
"""What a run of a BPF program takes, by the kernel's own count (BPF_ENABLE_STATS).

The kernel reads the clock before and after each run while it counts, which costs about as much as a small
program itself: count in a trial of its own, never in one whose rate or cost is judged.
"""

import ctypes as c
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pyroute2 import IPRoute

from bench.testbed.base import Interface

_RUN_TIME = 0  # BPF_STATS_RUN_TIME


class _ProgramInfo(c.Structure):
    """The part of struct bpf_prog_info up to the run counts (include/uapi/linux/bpf.h)."""

    _fields_ = (("before", c.c_uint8 * 192), ("run_time_ns", c.c_uint64), ("run_cnt", c.c_uint64))


@dataclass
class ProgramTime:
    """Nanoseconds of an average run; None until it is known, and where no program ran."""

    ns: float | None = None


@contextmanager
def xdp_run_time(interface: Interface) -> Iterator[ProgramTime]:
    """Count the runs of the XDP program on *interface*; what is yielded is complete when the block has ended.

    OSError if the kernel refuses to count (Linux 5.8, root).
    """
    found = ProgramTime()
    identity = _xdp_program(interface)
    if identity is None:
        yield found
        return
    library = c.CDLL("libbpf.so.1", use_errno=True)
    counting = _checked(library.bpf_enable_stats(_RUN_TIME), "count BPF run times")
    try:
        program = _checked(library.bpf_prog_get_fd_by_id(c.c_uint32(identity)), "open the XDP program")
        try:
            before = _runs(library, program)
            yield found
            after = _runs(library, program)
        finally:
            os.close(program)
    finally:
        os.close(counting)
    if after.run_cnt > before.run_cnt:
        found.ns = (after.run_time_ns - before.run_time_ns) / (after.run_cnt - before.run_cnt)


def _xdp_program(interface: Interface) -> int | None:
    """Id of the XDP program on an interface, None if there is none."""
    with interface.namespace.enter(), IPRoute() as netlink:
        (link,) = netlink.get_links(interface.index)
        attached = link.get_attr("IFLA_XDP")
        identity = attached.get_attr("IFLA_XDP_PROG_ID") if attached else None
    return int(identity) if identity else None


def _runs(library: c.CDLL, program: int) -> _ProgramInfo:
    info, size = _ProgramInfo(), c.c_uint32(c.sizeof(_ProgramInfo))
    _checked(library.bpf_obj_get_info_by_fd(program, c.byref(info), c.byref(size)), "read BPF run times")
    return info


def _checked(result: int, what: str) -> int:
    if result < 0:
        code = c.get_errno() if result == -1 else -result
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return result
