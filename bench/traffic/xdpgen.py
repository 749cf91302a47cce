# SPDX-License-Identifier: Apache-2.0
"""The harness's own generator: BPF_PROG_RUN with live frames, from one thread pinned to one CPU.

The gateway's receive work runs in the softirq that follows each batch, on the same CPU and in the client's
time: nothing overtakes, nothing overflows, and packets a second are those that generator and gateway manage
together. So this CPU is the gateway's core, and it is busy all the time when the generator runs flat out.

Two facts of the kernel shape this file. bpf_redirect looks its interface up in the caller's network
namespace. And each PROG_RUN of a program that is attached nowhere rewrites the XDP dispatcher twice and waits
for RCU each time (20 ms measured, where a call otherwise costs 0.1 ms): so the program is also attached to
the loopback of a namespace of its own, which nothing ever uses.
"""

import math
import mmap
import os
import signal
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from bench.testbed.syscalls import setns_network, unshare_network
from bench.traffic import percpu
from bench.traffic.base import Flow, Offered, TrafficError
from bench.traffic.frame import Template, template
from neurowall.kernel import libbpf, objects

if TYPE_CHECKING:
    from bench.testbed.base import Chain

BATCH = 64
"""Frames the kernel makes before it sends them: NAPI's budget. Fastest of 16..256 measured, and never
overflows the peer's ring of 256."""
SLICE_SECONDS = 0.010
"""Longest time in the kernel without looking at the clock and the stop flag."""

_LINE = 64
_LOOPBACK = 1  # its ifindex in every namespace
_STATE = np.dtype([("offered", "u8"), ("cursor", "u4"), ("id", "u4")])
_FLOW = struct.Struct("=80sIIII")  # struct xdpgen_flow
_CONTEXT = struct.Struct("=6I")  # struct xdp_md

Array = npt.NDArray[Any]


class XdpGen:
    """A generator for any number of chains, one run at a time. Close it, or use it as a context manager.

    cpu: where it runs, by default the last one this process may use.
    """

    name = "xdpgen"

    def __init__(self, cpu: int | None = None) -> None:
        self.cpu = max(os.sched_getaffinity(0)) if cpu is None else cpu
        self._program: _Program | None = None
        self._stop = threading.Event()
        self._worker = ThreadPoolExecutor(1, "xdpgen", self._settle_in)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def available(self) -> str | None:
        """Why it cannot run here, with the next step; None if it can."""
        if os.geteuid() != 0:
            return "xdpgen needs root: run with sudo"
        try:
            self._worker.submit(self._prepare, 16 * 4).result()
        except (OSError, TrafficError) as error:
            return f"xdpgen cannot be loaded: {error}; it needs Linux 5.18 and 'make objects'"
        return None

    def run(
        self,
        chain: "Chain",
        flow: Flow,
        *,
        seconds: float | None = None,
        packets: int | None = None,
        pps: float | None = None,
    ) -> Offered:
        """Send *flow* from the chain's client, from the first source on, with ids counted from 0.

        Until *seconds* are over or *packets* are sent, whichever is first; at *pps*, else flat out. A paced
        run that falls behind does not run longer: what was not sent is missing in Offered.sent. Raises
        ValueError without a bound, TrafficError if the kernel refuses.
        """
        if seconds is None and packets is None:
            raise ValueError("run: give seconds or packets")
        self._stop.clear()
        bounds = (seconds, packets, pps)
        future = self._worker.submit(self._send, chain, flow, *bounds)
        try:
            return future.result()
        except BaseException:
            self._stop.set()  # a signal came: the slice under way is the last
            future.exception()
            raise

    def close(self) -> None:
        """End the thread and unload the program."""
        self._worker.submit(self._unload).result()
        self._worker.shutdown()

    def _settle_in(self) -> None:
        """Pin the worker and leave signals to the other threads: one here would only cut slices short."""
        os.sched_setaffinity(0, {self.cpu})
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())

    def _prepare(self, size: int) -> "_Program":
        """The program, with room for *size* bytes of sources."""
        if self._program is None or self._program.room < size:
            self._unload()
            self._program = _Program(size)
        return self._program

    def _unload(self) -> None:
        if self._program is not None:
            self._program.close()
            self._program = None

    def _send(
        self, chain: "Chain", flow: Flow, seconds: float | None, packets: int | None, pps: float | None
    ) -> Offered:
        program = self._prepare(flow.sources.nbytes)
        layout = template(flow, chain.client_if.mac, chain.gateway_in.mac)
        program.aim(flow, layout, chain.client_if.index)
        with chain.client.enter():
            if pps is None:
                elapsed = _flat_out(program, seconds, packets, self._stop)
            else:
                elapsed = _paced(program, seconds, packets, pps, self._stop)
        return Offered(program.offered(), elapsed, pps, program.errors)


class _Program:
    """bpf/xdpgen.bpf.c in the kernel. Made, used and closed by the worker thread only."""

    def __init__(self, size: int) -> None:
        lines = 1 << max(0, (size - 1) // _LINE).bit_length()
        self.room = lines * _LINE
        self.errors = 0
        self._start = 0
        self._data = self._context = b""
        self._uploaded: Array | None = None
        self._object = libbpf.Object(objects.path("xdpgen"))
        self._object.set_max_entries("sources", lines)
        self._object.load()
        self._fd = self._object.program_fd("xdpgen")
        self._home = _HomeNamespace(self._fd)
        pages = -(-self.room // mmap.PAGESIZE)
        self._sources = mmap.mmap(self._object.map_fd("sources"), pages * mmap.PAGESIZE)

    def close(self) -> None:
        self._sources.close()
        self._home.close()
        self._object.close()

    def aim(self, flow: Flow, layout: Template, ifindex: int) -> None:
        """Take the next run's packets from *flow*, out of the interface *ifindex*."""
        if self._uploaded is not flow.sources:
            wire = flow.sources.astype(">u4") if flow.family == 4 else np.ascontiguousarray(flow.sources)
            self._sources[: wire.nbytes] = wire.tobytes()
            self._uploaded = flow.sources
        value = _FLOW.pack(layout.words, layout.sum, len(flow.sources), ifindex, flow.family)
        libbpf.map_update(self._object.map_fd(".data.flow"), bytes(4), value)
        percpu.write(self._object.map_fd("state"), 0, np.zeros(percpu.possible_cpus(), _STATE))
        self._data = bytes(flow.frame_bytes)
        self._context = _CONTEXT.pack(0, len(self._data), 0, 0, 0, 0)
        self.errors = 0

    def offered(self) -> int:
        """Packets handed to the interface since aim()."""
        return int(percpu.read(self._object.map_fd("state"), 0, _STATE)["offered"].sum())

    def send(self, count: int) -> None:
        """Send *count* packets. A signal may end the call early: then the rest is sent by another."""
        goal = self.offered() + count
        while (rest := goal - self.offered()) > 0:
            try:
                libbpf.program_send(self._fd, self._data, self._context, rest, min(BATCH, rest))
            except InterruptedError:
                self.errors += 1
            except OSError as error:
                raise TrafficError(f"xdpgen could not send {rest} packets: {error}") from error
            else:
                break
        if (rest := goal - self.offered()) > 0:
            raise TrafficError(f"the kernel program of xdpgen refused {rest} of {count} packets")


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


def _flat_out(program: _Program, seconds: float | None, packets: int | None, stop: threading.Event) -> float:
    """Send as fast as it goes, in slices of SLICE_SECONDS; answers the seconds it took."""
    left = packets if packets is not None else 1 << 62
    count, start = min(left, BATCH), time.monotonic()
    now, end = start, start + (seconds if seconds is not None else float("inf"))
    while count > 0 and not stop.is_set():
        program.send(count)
        left -= count
        before, now = now, time.monotonic()
        wanted = min(SLICE_SECONDS, end - now) * count / (now - before)
        # Whole batches; at most doubled, since the first slices tell little about the rate.
        count = 0 if now >= end else min(left, 2 * count, max(1, round(wanted / BATCH)) * BATCH)
    return now - start


def _paced(
    program: _Program, seconds: float | None, packets: int | None, pps: float, stop: threading.Event
) -> float:
    """Send at *pps* in slices of 1 to 10 ms with absolute deadlines; answers the seconds it took."""
    period = min(SLICE_SECONDS, max(0.001, BATCH / pps))
    total = round(pps * seconds) if seconds is not None else packets or 0
    total = total if packets is None else min(total, packets)
    duration, sent, start = total / pps, 0, time.monotonic()
    while sent < total and not stop.is_set() and (now := time.monotonic() - start) < duration + period:
        due = min(total, math.ceil(pps * (now + period)))  # at least sent + 1: it slept until sent / pps
        count = min(due - sent, math.ceil(pps * SLICE_SECONDS))
        program.send(count)
        sent += count
        _sleep_until(start + sent / pps)
    return time.monotonic() - start


def _sleep_until(deadline: float) -> None:
    if (rest := deadline - time.monotonic()) > 0:
        time.sleep(rest)
