# SPDX-License-Identifier: Apache-2.0
"""One measurement: send a flow through a configured gateway, and account for every packet.

Nothing is computed by subtraction: what was sent is the generator's own count, what was delivered the sink's,
what was dropped the system's, and what was lost elsewhere the interfaces' and the stack's. They must add up.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.measure import counters, cpu, ledger
from bench.sut.base import System
from bench.traffic.base import Flow, Offered, TrafficError
from bench.traffic.wire import wire

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
    """

    offered: Offered
    dropped: int
    delivered: int
    elsewhere: dict[str, int]
    core: cpu.CpuTimes
    other: cpu.CpuTimes
    unsent: int = 0
    drop_source: str = ""

    @property
    def sent(self) -> int:
        """Packets handed to the client's interface."""
        return self.offered.sent

    @property
    def seconds(self) -> float:
        """From the first packet to the last."""
        return self.offered.seconds

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


def trial(chain: "Chain", system: System, flow: Flow, seconds: float, *, pps: float | None = None) -> Trial:
    """Send *flow* for some seconds, at *pps* or flat out, and read every counter before and after.

    TrafficError if it could not be sent, SutError if the system's counters could not be read.
    """
    ends = wire(chain)
    own, arrived, places = (
        system.counters(),
        ends.sink.packets(flow.family, flow.kind),
        counters.snapshot(chain),
    )
    with cpu.window() as seen:
        offered = ends.generator.run(chain, flow, seconds=seconds, pps=pps)
    ends.sink.settle()
    changes = counters.difference(places, counters.snapshot(chain))
    delivered = ends.sink.packets(flow.family, flow.kind) - arrived
    counted = system.counters()
    if own.dropped is None or counted.dropped is None:
        raise TrafficError(f"{system.name} counts no drops, so no ledger can be kept")
    core = seen.cpus[ends.generator.cpu]
    return Trial(
        offered=offered,
        dropped=counted.dropped - own.dropped,
        delivered=delivered,
        elsewhere=ledger.elsewhere(changes),
        core=core,
        other=seen.sum() - core,
        unsent=max(0, round(pps * seconds) - offered.sent) if pps else 0,
        drop_source=counted.source,
    )
