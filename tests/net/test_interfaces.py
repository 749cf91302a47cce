# SPDX-License-Identifier: Apache-2.0
"""Interfaces that are missing, leave, return, or belong to somebody else."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from pyroute2 import IPRoute

from bench.testbed.chain import Chain
from bench.testbed.run import Run
from neurowall.kernel import libbpf, objects
from tests.net.conftest import MakeDaemon, prober
from tests.net.daemon import POLICY, Daemon, until
from tests.net.probes import Probes

pytestmark = pytest.mark.root

THIRD = f"{POLICY}  - {{name: g2, zone: internal}}\n"


@pytest.fixture
def chain(run: Run) -> Iterator[Chain]:
    """One for each test, since they change it."""
    with Chain(run, "interfaces").build() as chain:
        yield chain


@pytest.fixture
def probes(chain: Chain) -> Iterator[Probes]:
    """Packets from any source through the gateway."""
    with prober(chain) as probes:
        yield probes


def add_pair(chain: Chain, name: str) -> None:
    """A veth pair of the gateway whose other end nobody uses."""
    with chain.gateway.enter(), IPRoute() as route:
        route.link("add", ifname=name, kind="veth", peer={"ifname": f"{name}-peer"})
        for each in (name, f"{name}-peer"):
            route.link("set", index=route.link_lookup(ifname=each)[0], state="up")


def remove(chain: Chain, name: str) -> None:
    """Delete an interface of the gateway."""
    with chain.gateway.enter(), IPRoute() as route:
        route.link("del", index=route.link_lookup(ifname=name)[0])


def problem_of(daemon: Daemon, name: str) -> str | None:
    """What status says is wrong with an interface."""
    rows = daemon.get("/status")["interfaces"]
    found: str | None = next(row["problem"] for row in rows if row["name"] == name)
    return found


def test_a_missing_interface_stops_the_start(make_daemon: MakeDaemon, probes: Probes) -> None:
    """Exit 1 naming it and those that exist; the interface that exists is left alone."""
    daemon = make_daemon(THIRD)
    done = daemon.fails()
    assert done.returncode == 1
    assert "no interface g2 here; there are: g0, g1, lo" in done.stderr
    assert "--allow-missing-interfaces" in done.stderr
    assert not daemon.bpffs.exists()
    assert probes.arrived("203.0.113.7")


def test_a_start_with_a_missing_interface_on_purpose(
    make_daemon: MakeDaemon, chain: Chain, probes: Probes
) -> None:
    """Degraded but enforcing on the others; guarded as soon as it appears."""
    daemon = make_daemon(THIRD)
    daemon.start("--allow-missing-interfaces", ready=False)
    daemon.post("block", "203.0.113.7")
    assert probes.blocked("203.0.113.7", "203.0.113.8") == {"203.0.113.7"}
    assert daemon.ask("GET", "/readiness").status_code == 503
    assert "does not exist" in (problem_of(daemon, "g2") or "")
    add_pair(chain, "g2")
    until(lambda: daemon.ask("GET", "/readiness").status_code == 200)
    assert (daemon.bpffs / "links/g2").exists()


def test_an_interface_that_leaves_and_returns(make_daemon: MakeDaemon, chain: Chain, probes: Probes) -> None:
    """The daemon stays up, says so in status, readiness, metrics and log, and re-attaches by itself."""
    add_pair(chain, "g2")
    daemon = make_daemon(THIRD)
    daemon.start()
    daemon.post("block", "203.0.113.7")
    for _ in range(2):
        remove(chain, "g2")
        until(lambda: problem_of(daemon, "g2") is not None)
        assert daemon.ask("GET", "/readiness").status_code == 503
        assert daemon.get("/health")["state"] == "degraded"
        assert 'neurowall_interface_up{interface="g2",mode="none"} 0.0' in daemon.ask("GET", "/metrics").text
        assert probes.blocked("203.0.113.7", "203.0.113.8") == {"203.0.113.7"}
        daemon.post("block", "203.0.113.9")  # changes go on meanwhile
        add_pair(chain, "g2")
        until(lambda: daemon.ask("GET", "/readiness").status_code == 200)
    daemon.wait_for("interface g2 is guarded again")
    assert "interface g2 is not guarded" in daemon.log()


def test_a_guarded_interface_that_returns_filters_again(
    make_daemon: MakeDaemon, chain: Chain, probes: Probes
) -> None:
    """Not only the link: packets of a listed source are dropped on the new interface."""
    daemon = make_daemon()
    daemon.start()
    daemon.post("block", "203.0.113.7")
    remake_client_side(chain)
    until(lambda: daemon.ask("GET", "/readiness").status_code == 200 and problem_of(daemon, "g0") is None)
    probes.rewire()
    assert probes.blocked("203.0.113.7", "203.0.113.8") == {"203.0.113.7"}


def remake_client_side(chain: Chain) -> None:
    """Delete g0, and c0 with it, and make both anew as they were."""
    inside, outside = chain.gateway_in, chain.client_if
    remove(chain, "g0")
    with chain.gateway.enter(), IPRoute() as route:
        peer = {"ifname": outside.name, "address": outside.mac, "net_ns_fd": chain.client.descriptor}
        route.link("add", ifname=inside.name, kind="veth", address=inside.mac, peer=peer)
    for near, far in ((inside, outside), (outside, inside)):
        with near.namespace.enter(), IPRoute() as route:
            index = route.link_lookup(ifname=near.name)[0]
            route.link("set", index=index, state="up")
            route.addr("add", index=index, address=near.v4, prefixlen=24)
            route.addr("add", index=index, address=near.v6, prefixlen=64, flags=0x02)  # IFA_F_NODAD
            for address in (far.v4, far.v6):
                route.neigh("add", dst=address, lladdr=far.mac, ifindex=index, state=0x80)  # permanent
            route.route("add", dst="0.0.0.0/0", gateway=far.v4)
            route.route("add", dst="::/0", gateway=far.v6)


@contextmanager
def anothers_program(chain: Chain) -> Iterator[int]:
    """Somebody else's XDP program on g1; its link."""
    with libbpf.Object(objects.path("xdpnull")) as foreign:
        foreign.load()
        with chain.gateway.enter():
            index = chain.gateway_out.index
            link = libbpf.link_create_xdp(foreign.program_fd("xdpnull"), index, libbpf.XDP_FLAGS_DRV_MODE)
    try:
        yield link
    finally:
        os.close(link)


def test_anothers_program_is_left_alone(make_daemon: MakeDaemon, chain: Chain) -> None:
    """A first start that cannot guard every interface as it must guards none, and says which and why."""
    daemon = make_daemon(POLICY.replace("}", ", xdp: native}"))
    with anothers_program(chain) as link:
        done = daemon.fails()
        assert done.returncode == 1
        assert "  g1: " in done.stderr
        assert "another XDP program" in done.stderr
        assert "g0: " not in done.stderr
        assert not daemon.bpffs.exists()
        assert libbpf.link_info(link).ifindex == chain.gateway_out.index
    daemon.start()  # nothing of the failed start is in the way
    assert daemon.get("/readiness")


def test_beside_anothers_program_nftables_guards(make_daemon: MakeDaemon, chain: Chain) -> None:
    """Where the mode is free, an interface that takes no program is no problem: it is said, and why."""
    daemon = make_daemon()
    with anothers_program(chain) as link:
        daemon.start()
        (row,) = (each for each in daemon.get("/status")["interfaces"] if each["name"] == "g1")
        assert (row["mode"], row["attached"], row["problem"]) == ("nftables", True, None)
        assert "another XDP program is attached" in row["why"]
        assert libbpf.link_info(link).ifindex == chain.gateway_out.index
