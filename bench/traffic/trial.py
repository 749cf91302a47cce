# SPDX-License-Identifier: Apache-2.0
"""One measurement: send a flow through a configured gateway, and account for every packet.

Nothing is computed by subtraction: what was sent is the generator's own count, what was delivered the sink's,
what was dropped the system's, and what was lost elsewhere the interfaces' and the stack's. They must add up.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from bench.measure import counters, cpu, ledger
from bench.measure.programs import ProgramTime, xdp_run_time
from bench.sut.base import System
from bench.traffic import latency
from bench.traffic.base import Array, Flow, Offered, TrafficError
from bench.traffic.blend import Blend
from bench.traffic.wire import Wire, second_generator, wire
from bench.traffic.xdpgen import XdpGen

if TYPE_CHECKING:
    from bench.testbed.base import Chain

TOLERANCE = 0.001
"""Share of the packets sent that may be unaccounted for."""
GENERATOR_LIMITED = 0.99
"""A paced trial that offered less than this of what it should says nothing about the system."""


@dataclass(frozen=True)
class Trial:
    """Where the packets of one trial went, in packets; and what the gateway's core did meanwhile.

    seconds is what sending took; the gateway works on the generator's core and in its time, so that is also
    what handling took. elsewhere is by place. unsent is what a paced run should have sent besides: loss, not
    speed. core and other are the times of the gateway's core and of all other cores.

    cpu_seconds is what the gateway's core worked for the packets: the CPU time of the calls that send them,
    and of the kernel's softirq thread there. Because the gateway works inside those calls, making the packets
    is in it too, alike in every arm; the generator's own calculations, its sleep and other programs are not.
    It is None where the calls waited for packets to become due. latency_us are percentiles from due to
    received, {} unless the flow is stamped. program_ns is the average run of the gateway's XDP program, if it
    was counted.
    """

    offered: Offered
    dropped: int
    delivered: int
    elsewhere: dict[str, int]
    core: cpu.CpuTimes
    other: cpu.CpuTimes
    unsent: int = 0
    drop_source: str = ""
    cpu_seconds: float | None = None
    latency_us: Mapping[str, float] = field(default_factory=dict)
    program_ns: float | None = None

    @property
    def sent(self) -> int:
        """Packets handed to the client's interface."""
        return self.offered.sent

    @property
    def seconds(self) -> float:
        """From the first packet to the last."""
        return self.offered.seconds

    @property
    def cpu_ns(self) -> float | None:
        """Nanoseconds of the gateway's core for each packet; None if nothing was sent, or it is not known."""
        return 1e9 * self.cpu_seconds / self.sent if self.sent and self.cpu_seconds is not None else None

    @property
    def residual(self) -> int:
        """Sent less all that is accounted for; negative when more was counted than sent."""
        return self.sent - self.delivered - self.dropped - sum(self.elsewhere.values())

    @property
    def closed(self) -> bool:
        """Whether the ledger adds up within TOLERANCE."""
        return abs(self.residual) <= TOLERANCE * self.sent

    @property
    def generator_limited(self) -> bool:
        """Whether a paced run could not keep its pace."""
        target = self.sent + self.unsent
        return bool(target) and self.sent < GENERATOR_LIMITED * target


def trial(
    chain: "Chain",
    system: System,
    flow: Flow | Blend,
    seconds: float,
    *,
    pps: float | None = None,
    packets: int | None = None,
    count_runs: bool = False,
) -> Trial:
    """Send *flow* for some seconds, at *pps* or flat out, and read every counter before and after.

    With *packets* it ends when so many were sent, if that is earlier. What two generators send comes from two
    CPUs at the same time, from each at half of *pps*.

    With *count_runs* the gateway's XDP program is timed run by run, which slows it down: judge nothing else
    of such a trial. TrafficError if it could not be sent, SutError if the system counters cannot be read.
    """
    ends = wire(chain)
    took = xdp_run_time(chain.gateway_in) if count_runs else nullcontext(ProgramTime())
    with took as program:
        own, arrived, places = system.counters(), _Arrived.read(ends, flow), counters.snapshot(chain)
        deferred = cpu.softirq_thread_seconds(ends.generator.cpu)
        with cpu.window() as seen:
            if isinstance(flow, Blend) and flow.generators == 2:
                offered = _both(chain, ends.generator, flow, seconds, pps)
            else:
                offered = ends.generator.run(chain, flow, seconds=seconds, packets=packets, pps=pps)
        ends.sink.settle()
        deferred = cpu.softirq_thread_seconds(ends.generator.cpu) - deferred
        changes = counters.difference(places, counters.snapshot(chain))
        now, counted = _Arrived.read(ends, flow), system.counters()
    if own.dropped is None or counted.dropped is None:
        raise TrafficError(f"{system.name} counts no drops, so no ledger can be kept")
    core = seen.cpus[ends.generator.cpu]
    apart = 0.0 if cpu.threads_pay_for_softirqs() else core.softirq
    return Trial(
        offered=offered,
        dropped=counted.dropped - own.dropped,
        delivered=now.packets - arrived.packets,
        elsewhere=ledger.elsewhere(changes),
        core=core,
        other=seen.sum() - core,
        unsent=max(0, round(pps * seconds) - offered.sent) if pps else 0,
        drop_source=counted.source,
        cpu_seconds=None if offered.cpu_seconds is None else offered.cpu_seconds + deferred + apart,
        latency_us=latency.percentiles(now.latencies - arrived.latencies) if flow.stamp else {},
        program_ns=program.ns,
    )


def _both(chain: "Chain", first: XdpGen, flow: Flow | Blend, seconds: float, pps: float | None) -> Offered:
    """Two generators at once, on a CPU each, as if they were one."""
    second = second_generator()
    half = None if pps is None else pps / 2
    with ThreadPoolExecutor(1, "second-xdpgen") as pool:
        other = pool.submit(second.run, chain, flow, seconds=seconds, pps=half)
        one = first.run(chain, flow, seconds=seconds, pps=half)
        two = other.result()
    kinds = {kind: count + two.by_kind[kind] for kind, count in one.by_kind.items()}
    began, ended = min(one.began, two.began), max(one.began + one.seconds, two.began + two.seconds)
    errors = one.errors + two.errors
    return Offered(one.sent + two.sent, ended - began, pps, errors, None, kinds, began)


@dataclass(frozen=True, eq=False)
class _Arrived:
    """What has reached the server of a flow's packets so far."""

    packets: int
    latencies: Array

    @classmethod
    def read(cls, ends: Wire, flow: Flow | Blend) -> "_Arrived":
        packets = sum(ends.sink.packets(family, kind) for family, kind in flow.counted)
        return cls(packets, ends.sink.latencies() if flow.stamp else np.empty(0))
