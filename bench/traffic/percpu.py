# SPDX-License-Identifier: Apache-2.0
"""Per-CPU array maps, read and written as numpy rows, one a possible CPU."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from neurowall.kernel import libbpf

Array = npt.NDArray[Any]


@cache
def possible_cpus() -> int:
    """How many values the kernel keeps of each per-CPU element."""
    last = Path("/sys/devices/system/cpu/possible").read_text(encoding="ascii").strip().split(",")[-1]
    return int(last.rpartition("-")[2]) + 1


def read(fd: int, index: int, dtype: npt.DTypeLike) -> Array:
    """Element *index* on each CPU; *dtype* is the value's, a multiple of 8 bytes long."""
    size = np.dtype(dtype).itemsize * possible_cpus()
    value = libbpf.map_lookup(fd, index.to_bytes(4, "little"), size)
    if value is None:
        raise KeyError(f"no element {index} in the per-CPU array")
    return np.frombuffer(value, dtype)


def write(fd: int, index: int, values: Array) -> None:
    """Set element *index* on each CPU, one row of *values* a CPU."""
    libbpf.map_update(fd, index.to_bytes(4, "little"), values.tobytes())
