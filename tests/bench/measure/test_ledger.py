# SPDX-License-Identifier: Apache-2.0
"""The counters against what really happens to millions of live frames."""

from collections.abc import Iterator

import numpy as np
import pytest

from bench.measure import counters, ledger
from bench.testbed.base import Chain
from bench.testbed.chain import SERVER
from bench.testbed.ethtool import Ethtool
from bench.traffic.base import Flow, Kind
from bench.traffic.sink import XdpSink
from bench.traffic.xdpgen import XdpGen

pytestmark = pytest.mark.root

PACKETS = 200_000
FLOW = Flow(4, np.arange(0x01000000, 0x01000100, dtype=np.uint32), SERVER.v4, kind=Kind.CLEAN)


@pytest.fixture(scope="module")
def generator() -> Iterator[XdpGen]:
    """The harness's own generator."""
    with XdpGen() as made:
        if why := made.available():
            pytest.skip(why)
        yield made


@pytest.fixture
def sink(chain: Chain) -> Iterator[XdpSink]:
    """The harness's own receiver, at the server."""
    made = XdpSink(chain)
    yield made
    made.close()


def test_every_live_frame_is_seen_at_every_station(chain: Chain, sink: XdpSink, generator: XdpGen) -> None:
    """Sent, entered, left and delivered agree, and nothing is lost anywhere."""
    before = counters.snapshot(chain)
    sent = generator.run(chain, FLOW, packets=PACKETS).sent
    sink.settle()
    changes = counters.difference(before, counters.snapshot(chain))
    lost = ledger.elsewhere(changes)
    assert sent == PACKETS
    assert sink.packets(4, Kind.CLEAN) + sum(lost.values()) == sent
    assert ledger.entered(changes) + lost.get("client link: receive ring full", 0) == sent
    assert ledger.left(changes) == sink.packets(4, Kind.CLEAN)


def test_what_the_kernel_drops_uncounted_leaves_the_ledger_open(
    chain: Chain, sink: XdpSink, generator: XdpGen
) -> None:
    """A blackhole route counts nothing anywhere: the loss shows as residual, it is never made up."""
    chain.gateway.exec(["ip", "route", "add", "blackhole", f"{SERVER.v4}/32"]).check()
    before = counters.snapshot(chain)
    sent = generator.run(chain, FLOW, packets=PACKETS).sent
    sink.settle()
    changes = counters.difference(before, counters.snapshot(chain))
    assert ledger.entered(changes) == sent == PACKETS
    assert sink.packets(4, Kind.CLEAN) == 0
    assert sum(ledger.elsewhere(changes).values()) < sent // 100


def test_frames_that_vanish_leave_the_ledger_open(chain: Chain, sink: XdpSink, generator: XdpGen) -> None:
    """Without NAPI at the gateway no counter moves at all."""
    with chain.gateway.enter(), Ethtool() as ethtool:
        ethtool.set_features("g0", {"rx-gro": False})
    before = counters.snapshot(chain)
    sent = generator.run(chain, FLOW, packets=PACKETS).sent
    sink.settle()
    changes = counters.difference(before, counters.snapshot(chain))
    assert sent == PACKETS
    assert ledger.entered(changes) == 0
    assert sink.packets(4, Kind.CLEAN) == 0
    assert sum(ledger.elsewhere(changes).values()) < sent // 100
