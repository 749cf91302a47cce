# SPDX-License-Identifier: Apache-2.0
"""The guarded interface is removed while the daemon runs, and made again under the same name."""

import time
from typing import Any

import pytest
from pyroute2 import IPRoute

from bench.testbed.chain import CLIENT, GATEWAY_IN, MTU, Chain
from tests.net.leak import Scene, account, policy, scene

RETURN_SECONDS = 2.0
"""From the interface's return to its being guarded, at most."""


def remove(chain: Chain) -> None:
    """Delete the pair between client and gateway."""
    with chain.client.enter(), IPRoute() as netlink:
        netlink.link("del", index=chain.client_if.index)


def create(chain: Chain, *, same_index: bool) -> None:
    """Make the pair again, with the same indices or with new ones, and configure it as the chain did."""
    queues = {"num_tx_queues": 1, "num_rx_queues": 1, "mtu": MTU}
    peer: dict[str, Any] = {"ifname": GATEWAY_IN.name, "address": GATEWAY_IN.mac, **queues}
    near: dict[str, Any] = {"ifname": CLIENT.name, "address": CLIENT.mac, **queues}
    if same_index:
        peer["index"], near["index"] = chain.gateway_in.index, chain.client_if.index
    with chain.client.enter(), IPRoute() as netlink:
        netlink.link("add", kind="veth", peer={**peer, "net_ns_fd": chain.gateway.descriptor}, **near)
    chain._configure(chain.client, [CLIENT], GATEWAY_IN)
    chain._configure(chain.gateway, [GATEWAY_IN], CLIENT)


def wait_for(at: Scene, readiness: int) -> float:
    """Seconds until /readiness answers this status; fails after some."""
    begin = time.monotonic()
    while (said := at.daemon.readiness()) != readiness:
        assert at.daemon.process.alive(), at.daemon.process.tail()
        assert time.monotonic() - begin < 10, f"/readiness still says {said}"
        time.sleep(0.005)
    return time.monotonic() - begin


@pytest.mark.root
@pytest.mark.parametrize("same_index", [False, True], ids=["new-index", "same-index"])
def test_an_interface_that_goes_and_returns_is_guarded_again(same_index: bool) -> None:
    """The daemon stays up and says degraded; less than two seconds after its return the interface filters."""
    with scene(policy()) as at:
        flood_for(at, 0.1)
        program, process = at.daemon.link().prog_id, at.daemon.process.pid
        for _ in range(2):
            remove(at.chain)
            wait_for(at, 503)
            must_be_degraded(at)
            at.daemon.post("/block", addresses=["203.0.113.7"])  # it goes on working
            create(at.chain, same_index=same_index)
            assert wait_for(at, 200) < RETURN_SECONDS
            (guarded,) = at.daemon.status()["interfaces"]
            assert (guarded["attached"], guarded["ifindex"]) == (True, at.chain.gateway_in.index)
            at.must_not_pass(at.lists.listed)
            flood_for(at, 0.1)
        assert (at.daemon.link().prog_id, at.daemon.process.pid) == (program, process)


def must_be_degraded(at: Scene) -> None:
    """Status, health and readiness all name the interface."""
    status = at.daemon.status()
    assert status["state"] == "degraded"
    assert any("g0" in problem for problem in status["problems"])
    (interface,) = status["interfaces"]
    assert not interface["attached"]
    assert "does not exist" in interface["problem"]
    assert "g0" in at.daemon.http.get("/readiness").text


def flood_for(at: Scene, seconds: float) -> None:
    """Flood for a while: nothing leaks, everything is accounted for."""
    at.flood(at.lists.listed)
    with at.event() as seen:
        time.sleep(seconds)
    total = at.end_flood()
    assert (seen.leaked, total.leaked) == (0, 0)
    account(total)


@pytest.mark.root
def test_once_ready_again_a_flood_that_never_stopped_does_not_leak() -> None:
    """Listed sources were there first: from the moment /readiness says so, none of them gets through."""
    with scene(policy()) as at:
        at.flood(at.lists.listed)
        remove(at.chain)
        wait_for(at, 503)
        create(at.chain, same_index=True)
        wait_for(at, 200)
        with at.event() as seen:
            time.sleep(0.2)
        assert seen.leaked == 0
