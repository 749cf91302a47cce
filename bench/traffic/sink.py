# SPDX-License-Identifier: Apache-2.0
"""The receiver: an XDP program on the server's interface that counts what arrives and drops it."""

import mmap
import os
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bench.traffic import latency, percpu
from bench.traffic.base import Kind, TrafficError
from neurowall.kernel import libbpf, objects

if TYPE_CHECKING:
    from bench.testbed.base import Chain

KINDS = 8
"""BENCHMARK_KINDS of bpf/benchmark.h."""

_COUNT = np.dtype([("packets", "u8"), ("bytes", "u8")])
_LATENCY = np.dtype([("packets", "u8", (latency.BUCKETS,))])
_FOREIGN = 2 * KINDS

Array = npt.NDArray[Any]


class XdpSink:
    """bpf/xdpsink.bpf.c on the server's interface of one chain.

    Detached when closed, or when this process dies.
    """

    def __init__(self, chain: "Chain") -> None:
        """Attach. TrafficError says why the kernel refused."""
        self._object = libbpf.Object(objects.path("xdpsink"))
        try:
            self._object.load()
            with chain.server.enter():
                program, ifindex = self._object.program_fd("xdpsink"), chain.server_if.index
                self._link = libbpf.link_create_xdp(program, ifindex, libbpf.XDP_FLAGS_DRV_MODE)
        except OSError as error:
            self._object.close()
            raise TrafficError(f"no receiver on the server of {chain.name}: {error}") from error
        self._counts = self._object.map_fd("counts")
        fd = self._object.map_fd("seen")
        self._entries = int(libbpf.map_info(fd).max_entries)
        self._seen = mmap.mmap(fd, -(-8 * self._entries // mmap.PAGESIZE) * mmap.PAGESIZE)

    def close(self) -> None:
        """Detach and unload."""
        self._seen.close()
        os.close(self._link)
        self._object.close()

    def packets(self, family: int, kind: Kind) -> int:
        """The generator's packets of one kind that arrived so far."""
        return self._count((KINDS if family == 6 else 0) + kind)

    def latencies(self) -> Array:
        """Stamped packets that arrived so far, by how long they took: see `bench.traffic.latency`."""
        rows = percpu.read(self._object.map_fd("latency"), 0, _LATENCY)["packets"]
        return np.asarray(rows.sum(axis=0))

    def foreign(self) -> int:
        """Packets that arrived so far and are not the generator's."""
        return self._count(_FOREIGN)

    def _count(self, index: int) -> int:
        return int(percpu.read(self._counts, index, _COUNT)["packets"].sum())

    @property
    def probes(self) -> int:
        """How many probes can be told apart: ids 0 to probes - 1."""
        return self._entries

    def clear(self, probes: int) -> None:
        """Forget the arrivals of the first *probes* ids."""
        self._seen[: 8 * probes] = bytes(8 * probes)

    def arrivals(self, probes: int) -> Array:
        """How often each of the first *probes* ids arrived since clear(); uint64, shape (probes,)."""
        return np.frombuffer(self._seen[: 8 * probes], np.uint64)

    def settle(self, seconds: float = 0.5, quiet: float = 0.001) -> None:
        """Wait until nothing more arrives: two equal readings *quiet* seconds apart; at most *seconds*."""
        deadline, before = time.monotonic() + seconds, -1
        while (now := self._total()) != before and time.monotonic() < deadline:
            before = now
            time.sleep(quiet)

    def _total(self) -> int:
        return sum(self._count(index) for index in range(_FOREIGN))
