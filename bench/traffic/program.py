# SPDX-License-Identifier: Apache-2.0
"""bpf/xdpgen.bpf.c in the kernel: loaded, aimed at a flow, told to send.

Two facts of the kernel shape this file. bpf_redirect looks its interface up in the caller's network
namespace. And each PROG_RUN of a program that is attached nowhere rewrites the XDP dispatcher twice and waits
for RCU each time (20 ms measured, where a call otherwise costs 0.1 ms): so each program is also attached to
the loopback of a namespace of its own, which nothing ever uses.
"""

import mmap
import os
import struct
import time
from collections.abc import Mapping, Sequence

import numpy as np

from bench.testbed.syscalls import setns_network, unshare_network
from bench.traffic import percpu
from bench.traffic.base import Array, Flow, Kind, TrafficError
from bench.traffic.blend import Blend
from bench.traffic.frame import TEMPLATE_BYTES, Template
from bench.traffic.pacing import BATCH
from neurowall.kernel import libbpf, objects
from neurowall.model.entries import DTYPE

_LINE = 64
_LOOPBACK = 1  # its ifindex in every namespace
_COUNTERS = ("cursor4", "cursor6", "id", "turn", "left", "rest")
_STATE = np.dtype([("offered", "u8"), ("due", "u8"), *((name, "u4") for name in _COUNTERS)])
_PART = struct.Struct(f"={TEMPLATE_BYTES}sIIII")  # struct xdpgen_part
_REST = struct.Struct("=QIIII")  # struct xdpgen_flow behind its parts
_CONTEXT = struct.Struct("=6I")  # struct xdp_md
_CLASSES, _TURNS = 8, 4096
_CLASS = struct.Struct(f"={TEMPLATE_BYTES}sIIIIII")  # struct xdpgen_class
_PROGRESS = np.dtype(
    [("sent", "u8", (_CLASSES,)), ("cursor", "u4", (_CLASSES,)), ("turn", "u4"), ("rest", "u4")]
)


def bytes_of(flow: Flow | Blend) -> int:
    """Room that the sources of a flow need, each column beginning with a line of its own."""
    return sum(-(-sources.nbytes // _LINE) * _LINE for sources in flow.columns)


class Program:
    """Made, used and closed by one thread. `room` is how many bytes of sources fit.

    errors and cpu_seconds are as in Offered, since aim().
    """

    def __init__(self, size: int) -> None:
        lines = 1 << max(0, (size - 1) // _LINE).bit_length()
        self.room = lines * _LINE
        self.errors = 0
        self.cpu_seconds = 0.0
        self._fd = -1
        self._parts = self._data = self._context = b""
        self._target = (0, 0)  # ifindex, every
        self._uploaded: tuple[Array, ...] = ()
        self._blend: Blend | None = None
        self._homes: dict[str, _HomeNamespace] = {}
        self._object = libbpf.Object(objects.path("xdpgen"))
        self._object.set_max_entries("sources", lines)
        self._object.load()
        pages = -(-self.room // mmap.PAGESIZE)
        self._sources = mmap.mmap(self._object.map_fd("sources"), pages * mmap.PAGESIZE)
        self._use("xdpgen")

    def close(self) -> None:
        """Detach and unload."""
        self._sources.close()
        for home in self._homes.values():
            home.close()
        self._object.close()

    def aim(self, flow: Flow, layouts: Mapping[int, Template], ifindex: int) -> None:
        """Take the next run's packets from *flow*, out of the interface *ifindex*."""
        mixed = len(flow.parts) > 1
        self._use("xdpgen_stamped" if flow.stamp else "xdpgen_mixed" if mixed else "xdpgen")
        self._blend = None
        first = dict(zip(flow.parts, self._upload(flow.columns), strict=True))
        self._parts = b"".join(_part(flow, family, layouts.get(family), first) for family in (4, 6))
        self._target = ifindex, flow.ipv6_every if mixed else int(flow.family == 6)
        percpu.write(self._object.map_fd("state"), 0, np.zeros(percpu.possible_cpus(), _STATE))
        self.schedule(0, 1)
        self._begin(flow.frame_bytes)

    def aim_blend(self, blend: Blend, layouts: Sequence[tuple[Template, int]], ifindex: int) -> None:
        """Take the next run's packets from *blend*, whose parts are laid out so, out of *ifindex*."""
        self._use("xdpgen_blend")
        self._blend = blend
        first = self._upload(blend.columns)
        classes = b"".join(
            _CLASS.pack(made.words, made.sum, tcp_sum, len(part.sources), line, part.tcp_flags is not None, 0)
            for part, (made, tcp_sum), line in zip(blend.parts, layouts, first, strict=True)
        )
        value = classes.ljust(_CLASSES * _CLASS.size, b"\0") + struct.pack("=II", ifindex, len(blend.pattern))
        value += blend.pattern.ljust(_TURNS, b"\0")
        libbpf.map_update(self._object.map_fd(".data.blend"), bytes(4), value)
        percpu.write(self._object.map_fd("progress"), 0, np.zeros(percpu.possible_cpus(), _PROGRESS))
        self._begin(blend.frame_bytes)

    def _begin(self, frame_bytes: int) -> None:
        self._data = bytes(frame_bytes)
        self._context = _CONTEXT.pack(0, len(self._data), 0, 0, 0, 0)
        self.errors, self.cpu_seconds = 0, 0.0

    def schedule(self, gap: int, batch: int) -> None:
        """Of a stamped flow: *batch* packets are due at once, *gap* nanoseconds after those before.

        The first are due when they are sent; with a gap of 0 all are.
        """
        value = self._parts + _REST.pack(gap, *self._target, batch, 0)
        libbpf.map_update(self._object.map_fd(".data.flow"), bytes(4), value)
        state = percpu.read(self._object.map_fd("state"), 0, _STATE).copy()
        state["due"] = state["left"] = 0
        percpu.write(self._object.map_fd("state"), 0, state)

    def offered(self) -> int:
        """Packets handed to the interface since aim()."""
        if self._blend is not None:
            return sum(self.by_kind().values())
        return int(percpu.read(self._object.map_fd("state"), 0, _STATE)["offered"].sum())

    def by_kind(self) -> dict[Kind, int]:
        """The same of each part of a blend; {} of a flow."""
        if self._blend is None:
            return {}
        sent = percpu.read(self._object.map_fd("progress"), 0, _PROGRESS)["sent"].sum(axis=0).tolist()
        return {part.kind: int(count) for part, count in zip(self._blend.parts, sent, strict=False)}

    def send(self, count: int, batch: int = BATCH) -> None:
        """Send *count* packets, *batch* at once. A signal may end the call early: another sends the rest."""
        goal = self.offered() + count
        while (rest := goal - self.offered()) > 0:
            began = time.thread_time()
            try:
                libbpf.program_send(self._fd, self._data, self._context, rest, min(batch, rest))
            except InterruptedError:
                self.errors += 1
            except OSError as error:
                raise TrafficError(f"xdpgen could not send {rest} packets: {error}") from error
            else:
                break
            finally:
                self.cpu_seconds += time.thread_time() - began
        if (rest := goal - self.offered()) > 0:
            raise TrafficError(f"the kernel program of xdpgen refused {rest} of {count} packets")

    def _use(self, name: str) -> None:
        """Send with this program of the object from now on."""
        self._fd = self._object.program_fd(name)
        if name not in self._homes:
            self._homes[name] = _HomeNamespace(self._fd)

    def _upload(self, columns: tuple[Array, ...]) -> list[int]:
        """Bring the sources into the array, unless they are there; answers each column's first line."""
        known = self._uploaded
        unchanged = len(columns) == len(known) and all(a is b for a, b in zip(columns, known, strict=True))
        first, offset = [], 0
        for sources in columns:
            first.append(offset // _LINE)
            if not unchanged:
                wire = sources.astype(">u4") if sources.dtype == DTYPE[4] else np.ascontiguousarray(sources)
                self._sources[offset : offset + wire.nbytes] = wire.tobytes()
            offset += -(-sources.nbytes // _LINE) * _LINE
        self._uploaded = columns
        return first


def _part(flow: Flow, family: int, layout: Template | None, first: Mapping[int, int]) -> bytes:
    """The struct xdpgen_part of a family; zeros for one that the flow does not have."""
    if layout is None:
        return bytes(_PART.size)
    return _PART.pack(layout.words, layout.sum, len(flow.parts[family][0]), first[family], 0)


class _HomeNamespace:
    """A network namespace without a name, on whose loopback the program is attached (see the module)."""

    def __init__(self, program: int) -> None:
        own = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        try:
            unshare_network()
            self._namespace = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
            try:
                self._link = libbpf.link_create_xdp(program, _LOOPBACK, libbpf.XDP_FLAGS_SKB_MODE)
            except OSError:
                os.close(self._namespace)
                raise
        finally:
            setns_network(own)
            os.close(own)

    def close(self) -> None:
        os.close(self._link)
        os.close(self._namespace)
