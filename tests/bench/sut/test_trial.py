# SPDX-License-Identifier: Apache-2.0
import subprocess
from collections.abc import Callable

import numpy as np
import pytest

from bench.measure.cpu import CpuTimes
from bench.sut.base import Rules
from bench.sut.registry import SYSTEMS, create
from bench.sut.xdp import NoSystem, XdpNull
from bench.testbed.base import Chain
from bench.traffic.base import Flow, Kind, Offered
from bench.traffic.trial import Trial, trial
from tests.bench.sut.conftest import UNLISTED
from tests.sampling import some

Make = Callable[[Rules, int], Flow]
NOTHING = CpuTimes(*[0.0] * 8)


@pytest.fixture
def half_listed(chain: Chain) -> Make:
    """Traffic whose sources are listed, every other one, and near misses."""

    def make(rules: Rules, family: int) -> Flow:
        entries = rules.entries.family(family)
        hosts = entries.address[-100:]
        clean = (
            np.array([0x08090000], np.uint32) if family == 4 else np.array([b"\x26\x00\xff".ljust(16, b"\1")])
        )
        sources = np.stack([hosts, np.repeat(clean, len(hosts))], axis=1).reshape(-1)
        server = chain.server_if.v4 if family == 4 else chain.server_if.v6
        return Flow(family, sources.astype(entries.address.dtype), server, kind=Kind.CLEAN)

    return make


@pytest.mark.root
@pytest.mark.parametrize("family", some([4, 6], every=2))
@pytest.mark.parametrize("name", sorted(set(SYSTEMS) - UNLISTED))
def test_every_packet_is_accounted_for(
    chain: Chain, rules: Rules, half_listed: Make, name: str, family: int
) -> None:
    """Flat out, half of it listed: sent is dropped, delivered, and lost at a place that is named."""
    system = create(name)
    if why := system.available(rules):
        pytest.skip(why)
    try:
        system.configure(chain, rules)
        measured = trial(chain, system, half_listed(rules, family), 0.1)
    finally:
        system.close()
    assert measured.closed, measured
    lost = sum(measured.elsewhere.values())
    half = measured.sent / 2
    assert measured.dropped == pytest.approx(
        {"pass": 0, "drop": measured.sent}.get(system.gate, half), abs=lost + 1
    )
    assert measured.delivered == pytest.approx(measured.sent - measured.dropped, abs=lost + 1)


@pytest.mark.root
def test_loss_on_the_way_is_located(chain: Chain, rules: Rules, half_listed: Make) -> None:
    """An interface whose queue nobody empties in time loses packets there, and the ledger says where."""
    script = f"echo 1 > /sys/class/net/{chain.gateway_in.name}/threaded"
    # Its sysfs shows this namespace only: the queue is then emptied by a kernel thread, too late for most.
    subprocess.run(["ip", "netns", "exec", chain.gateway.name, "sh", "-c", script], check=True)
    measured = trial(chain, NoSystem(), half_listed(rules, 4), 0.2)
    assert measured.closed, measured
    assert measured.elsewhere["client link: receive ring full"] > 0


@pytest.mark.root
def test_packets_that_vanish_leave_the_ledger_open(chain: Chain, rules: Rules, half_listed: Make) -> None:
    """Nobody counts a frame sent to an interface without a queue: such a run says nothing."""
    chain.gateway.exec(["ethtool", "-K", chain.gateway_in.name, "gro", "off"]).check()
    measured = trial(chain, NoSystem(), half_listed(rules, 4), 0.05)
    assert (measured.closed, measured.residual) == (False, measured.sent)


@pytest.mark.root
def test_paced_trial_takes_the_core_only_in_part(chain: Chain, rules: Rules, half_listed: Make) -> None:
    """At a low rate all is sent, and the gateway's core is idle for most of the time."""
    system = XdpNull("pass")
    system.configure(chain, rules)
    measured = trial(chain, system, half_listed(rules, 4), 0.5, pps=10_000)
    system.close()
    assert (measured.sent, measured.unsent, measured.delivered) == (5000, 0, 5000)
    assert not measured.generator_limited


def made(sent: int, dropped: int = 0, delivered: int = 0, lost: int = 0, unsent: int = 0) -> Trial:
    """A trial with these figures."""
    offered, elsewhere = Offered(sent, 1.0, None), {"somewhere": lost}
    return Trial(offered, dropped, delivered, elsewhere, NOTHING, NOTHING, unsent)


def test_ledger_closes_within_a_thousandth_either_way() -> None:
    """Too few and too many counted are both open."""
    assert made(10_000, dropped=5_000, delivered=4_000, lost=990).closed
    assert not made(10_000, dropped=5_000, delivered=4_000, lost=989).closed
    assert made(10_000, dropped=10_010).closed
    assert not made(10_000, dropped=10_011).closed


def test_run_that_could_not_keep_its_pace_is_generator_limited() -> None:
    """Less than 99 % of what was asked."""
    assert not made(990, unsent=10).generator_limited
    assert made(989, unsent=11).generator_limited
