# SPDX-License-Identifier: Apache-2.0
from collections.abc import Iterator

import numpy as np
import pytest

from bench.measure.programs import xdp_run_time
from bench.sut.base import Rules, System
from bench.sut.registry import create
from bench.testbed.base import Chain
from bench.traffic.base import Flow, Kind
from bench.traffic.trial import trial
from bench.traffic.wire import generator, release
from neurowall.model.entries import EntrySet

pytestmark = pytest.mark.root


@pytest.fixture
def configured(chain: Chain) -> Iterator[System]:
    """A gateway whose XDP program drops everything."""
    if why := generator().available():
        pytest.skip(why)
    system = create("xdp-null", null_verdict="drop")
    system.configure(chain, Rules(EntrySet.empty()))
    yield system
    system.close()
    release(chain)


def flow(chain: Chain) -> Flow:
    """From a hundred sources."""
    return Flow(4, np.arange(0x08080000, 0x08080064, dtype=np.uint32), chain.server_if.v4, kind=Kind.FLOOD)


def test_the_gateways_program_is_timed_while_packets_go_through(chain: Chain, configured: System) -> None:
    """Its average run is a part of what a packet costs the core altogether."""
    seen = trial(chain, configured, flow(chain), 0.05, count_runs=True)
    assert seen.program_ns is not None
    assert seen.cpu_ns is not None
    assert 0 < seen.program_ns < seen.cpu_ns


def test_nothing_is_known_without_a_program_or_without_packets(chain: Chain, configured: System) -> None:
    """Neither is a time of zero."""
    with xdp_run_time(chain.gateway_in) as idle, xdp_run_time(chain.gateway_out) as none:
        assert idle.ns is None
    assert (idle.ns, none.ns) == (None, None)


def test_cpu_time_is_that_of_the_sending_and_leaves_sleep_out(chain: Chain, configured: System) -> None:
    """Flat out, the core works for packets nearly all the time; at a slow pace, for a small part of it."""
    fast = trial(chain, configured, flow(chain), 0.1)
    slow = trial(chain, configured, flow(chain), 0.1, pps=20_000)
    for seen in (fast, slow):
        assert seen.cpu_seconds is not None
        assert 0 < seen.cpu_seconds <= seen.seconds
    assert slow.cpu_seconds is not None
    assert slow.cpu_seconds < 0.3 * slow.seconds
    assert slow.unsent == 0


def test_a_paced_trial_that_falls_behind_says_what_it_did_not_send(chain: Chain, configured: System) -> None:
    """A hundred million packets a second are beyond any generator."""
    seen = trial(chain, configured, flow(chain), 0.05, pps=1e8)
    assert seen.generator_limited
    assert seen.unsent == round(1e8 * 0.05) - seen.sent
