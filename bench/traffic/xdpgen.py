# SPDX-License-Identifier: Apache-2.0
"""The harness's own generator: BPF_PROG_RUN with live frames, from one thread pinned to one CPU.

The gateway's receive work runs in the softirq that follows each batch, on the same CPU and in the client's
time: nothing overtakes, nothing overflows, and packets a second are those that generator and gateway manage
together. So this CPU is the gateway's core, and it is busy all the time when the generator runs flat out.
"""

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Self

from bench.traffic import pacing
from bench.traffic.base import Flow, Offered, TrafficError
from bench.traffic.blend import Blend, layout
from bench.traffic.frame import template
from bench.traffic.pacing import Bounds
from bench.traffic.program import Program, bytes_of

if TYPE_CHECKING:
    from bench.testbed.base import Chain


class XdpGen:
    """A generator for any number of chains, one run at a time. Close it, or use it as a context manager.

    cpu: where it runs, by default the last one this process may use.
    """

    name = "xdpgen"

    def __init__(self, cpu: int | None = None) -> None:
        self.cpu = max(os.sched_getaffinity(0)) if cpu is None else cpu
        self._program: Program | None = None
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
            self._worker.submit(self._prepare, 64).result()
        except (OSError, TrafficError) as error:
            return f"xdpgen cannot be loaded: {error}; it needs Linux 5.18 and 'make objects'"
        return None

    def run(
        self,
        chain: "Chain",
        flow: Flow | Blend,
        *,
        seconds: float | None = None,
        packets: int | None = None,
        pps: float | None = None,
    ) -> Offered:
        """Send *flow* from the chain's client, from the first source on, with ids counted from 0.

        Until *seconds* are over or *packets* are sent, whichever is first; at *pps*, else flat out. A paced
        run that falls behind does not run longer: what was not sent is missing in Offered.sent. Its packets
        come in slices of a millisecond or more with sleep in between, those of a stamped flow each when it is
        due. Raises ValueError without a bound, TrafficError if the kernel refuses or a stamped flow is to be
        slower than SLOWEST_TIMED.
        """
        if seconds is None and packets is None:
            raise ValueError("run: give seconds or packets")
        self._stop.clear()
        future = self._worker.submit(self._send, chain, flow, Bounds(seconds, packets, pps))
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

    def _prepare(self, size: int) -> Program:
        """The program, with room for *size* bytes of sources."""
        if self._program is None or self._program.room < size:
            self._unload()
            self._program = Program(size)
        return self._program

    def _unload(self) -> None:
        if self._program is not None:
            self._program.close()
            self._program = None

    def _send(self, chain: "Chain", flow: Flow | Blend, bounds: Bounds) -> Offered:
        program = self._prepare(bytes_of(flow))
        ends = chain.client_if.mac, chain.gateway_in.mac
        if isinstance(flow, Blend):
            layouts = [layout(flow, part, *ends) for part in flow.parts]
            program.aim_blend(flow, layouts, chain.client_if.index)
        else:
            templates = {family: template(flow, family, *ends) for family in flow.parts}
            program.aim(flow, templates, chain.client_if.index)
        timed = flow.stamp and bounds.pps is not None
        if timed and (bounds.pps or 0) < pacing.SLOWEST_TIMED:
            slowest = f"{pacing.SLOWEST_TIMED:,} a second"
            raise TrafficError(f"xdpgen times packets at {slowest} or more, not at {bounds.pps:,.0f}")
        with chain.client.enter():
            began = time.monotonic()
            if bounds.pps is None:
                elapsed = pacing.flat_out(program, bounds, self._stop)
            else:
                with pacing.ahead_of_others():
                    elapsed = (pacing.timed if timed else pacing.paced)(program, bounds, self._stop)
        spent = None if timed else program.cpu_seconds
        offered = program.offered()
        return Offered(offered, elapsed, bounds.pps, program.errors, spent, program.by_kind(), began)
