# SPDX-License-Identifier: Apache-2.0
"""Interfaces that come, go and change their names while a policy with rules is in force."""

from collections.abc import Iterator
from typing import Any

import pytest
from pyroute2 import IPRoute

from bench.testbed.chain import Chain
from bench.testbed.run import Run
from neurowall.kernel import netlink
from tests.net.conftest import MakeDaemon, prober
from tests.net.daemon import Daemon, until
from tests.net.probes import Probes
from tests.net.test_interfaces import add_pair, remake_client_side, remove
from tests.net.twopolicies import FENCES

pytestmark = [pytest.mark.root, pytest.mark.tool("nft")]

LISTED, ACCEPTED, OTHER = "203.0.113.2", "203.0.113.1", "203.0.113.20"
LISTED6, ACCEPTED6, OTHER6 = "2001:db8:1::2", "2001:db8:1::1", "2001:db8:2::1"
SOURCES = (LISTED, ACCEPTED, OTHER, LISTED6, ACCEPTED6, OTHER6)
RULES = f"""\
forwarding: [ipv4, ipv6]
lists:
  - {{name: feed, verdict: block, entries: ["{LISTED}", "{LISTED6}"]}}
rules:
  - {{name: fences, from: external, to: internal, source: ["{FENCES[0]}", "{FENCES[1]}"], action: accept}}
  - {{name: one, from: external, to: internal, source: [203.0.113.0/29, "2001:db8:1::/48"], action: accept}}
"""
TWO = """\
interfaces:
  - {name: g0, zone: external}
  - {name: g1, zone: internal}
"""
THREE = TWO + "  - {name: g2, zone: internal}\n"
BYPASS = "flowtable: true\n"


@pytest.fixture
def chain(run: Run) -> Iterator[Chain]:
    """One for each test, since they change it; new interfaces do not forward by themselves."""
    with Chain(run, "policyinterfaces").build() as chain:
        script = "echo 0 > /proc/sys/net/ipv4/conf/default/forwarding"
        chain.gateway.exec(["sh", "-c", script]).check()
        yield chain


@pytest.fixture
def probes(chain: Chain) -> Iterator[Probes]:
    """Packets from any source through the gateway."""
    with prober(chain) as probes:
        yield probes


def rename(chain: Chain, before: str, after: str) -> None:
    """Give an interface of the gateway another name, as udev does: while it is down."""
    with chain.gateway.enter(), IPRoute() as route:
        index = route.link_lookup(ifname=before)[0]
        route.link("set", index=index, state="down")
        route.link("set", index=index, ifname=after)
        route.link("set", index=index, state="up")


def row(daemon: Daemon, name: str) -> dict[str, Any]:
    """What status says of an interface."""
    rows: list[dict[str, Any]] = daemon.get("/status")["interfaces"]
    return next(row for row in rows if row["name"] == name)


def forwards(chain: Chain, name: str) -> bool:
    """Whether the kernel forwards IPv4 packets that come in there."""
    file = f"/proc/sys/net/ipv4/conf/{name}/forwarding"
    return chain.gateway.exec(["cat", file]).check().stdout.strip() == "1"


def has_program(chain: Chain, name: str) -> bool:
    """Whether the kernel runs an XDP program there."""
    with chain.gateway.enter():
        return netlink.xdp_mode(name) != "none"


def enforced(daemon: Daemon, probes: Probes) -> bool:
    """Whether rules and lists hold between client and server, and nothing was taken for drift."""
    assert probes.arrived(*SOURCES) == {ACCEPTED, ACCEPTED6}
    return bool(daemon.get("/status")["stateful"]["drift_repairs"] == 0)


def guarded(daemon: Daemon, chain: Chain, name: str) -> None:
    """Wait until the interface is guarded, by every account, and forwards."""
    until(lambda: row(daemon, name)["problem"] is None and row(daemon, name)["attached"])
    with chain.gateway.enter():
        assert row(daemon, name)["ifindex"] == netlink.interface_index(name)
    assert has_program(chain, name)
    until(lambda: forwards(chain, name), 3)
    assert daemon.ask("GET", "/readiness").status_code == 200


def gone(daemon: Daemon, name: str) -> None:
    """Wait until status says that it is not there."""
    until(lambda: "does not exist" in (row(daemon, name)["problem"] or ""))
    assert daemon.ask("GET", "/readiness").status_code == 503


@pytest.mark.parametrize(
    "more", [pytest.param("", marks=pytest.mark.soak), BYPASS], ids=["plain", "flowtable"]
)
def test_one_that_appears_after_the_start(
    make_daemon: MakeDaemon, chain: Chain, probes: Probes, more: str
) -> None:
    """The others are guarded by the whole policy meanwhile, and so is it as soon as it is there."""
    daemon = make_daemon(THREE + RULES + more)
    daemon.start("--allow-missing-interfaces", ready=False)
    gone(daemon, "g2")
    assert enforced(daemon, probes)
    add_pair(chain, "g2")
    guarded(daemon, chain, "g2")
    assert enforced(daemon, probes)


@pytest.mark.parametrize(
    "more", ["", pytest.param(BYPASS, marks=pytest.mark.soak)], ids=["plain", "flowtable"]
)
def test_one_that_is_removed_and_made_anew(
    make_daemon: MakeDaemon, chain: Chain, probes: Probes, more: str
) -> None:
    """Twice an idle one, then the one that all packets take: rules and lists hold on it again."""
    add_pair(chain, "g2")
    daemon = make_daemon(THREE + RULES + more)
    daemon.start()
    guarded(daemon, chain, "g2")
    for _ in range(2):
        remove(chain, "g2")
        gone(daemon, "g2")
        assert enforced(daemon, probes)
        add_pair(chain, "g2")
        guarded(daemon, chain, "g2")
    before = row(daemon, "g0")["ifindex"]
    remake_client_side(chain)
    until(lambda: row(daemon, "g0")["ifindex"] not in (before, None))
    guarded(daemon, chain, "g0")
    probes.rewire()
    assert enforced(daemon, probes)
    answer = daemon.ask("POST", "/policy/apply", content=THREE + RULES + more + "defaults: {input: drop}\n")
    assert answer.status_code == 200, answer.text
    assert enforced(daemon, probes)


def test_one_that_gets_another_name_and_back(make_daemon: MakeDaemon, chain: Chain, probes: Probes) -> None:
    """What is declared is the name: the interface under another one is not in the policy any more."""
    add_pair(chain, "g2")
    daemon = make_daemon(THREE + RULES)
    daemon.start()
    rename(chain, "g2", "other2")
    gone(daemon, "g2")
    assert enforced(daemon, probes)
    rename(chain, "other2", "g2")
    guarded(daemon, chain, "g2")
    assert enforced(daemon, probes)


def test_another_one_that_takes_the_name(make_daemon: MakeDaemon, chain: Chain, probes: Probes) -> None:
    """It is guarded in place of the one that had it; that one is let go."""
    add_pair(chain, "g2")
    add_pair(chain, "spare")
    daemon = make_daemon(THREE + RULES)
    daemon.start()
    before = row(daemon, "g2")["ifindex"]
    rename(chain, "g2", "other2")
    gone(daemon, "g2")
    rename(chain, "spare", "g2")
    guarded(daemon, chain, "g2")
    assert row(daemon, "g2")["ifindex"] != before
    assert not has_program(chain, "other2")
    assert enforced(daemon, probes)
    daemon.kill()
    daemon.start()
    assert enforced(daemon, probes)


def test_one_that_an_apply_adds_and_another_takes_away(
    make_daemon: MakeDaemon, chain: Chain, probes: Probes
) -> None:
    """It is guarded when the answer comes, and let go with its forwarding when it is declared no more."""
    add_pair(chain, "g2")
    daemon = make_daemon(TWO + RULES)
    daemon.start()
    assert not forwards(chain, "g2")
    assert daemon.ask("POST", "/policy/apply", content=THREE + RULES).status_code == 200
    assert has_program(chain, "g2")
    guarded(daemon, chain, "g2")
    assert enforced(daemon, probes)
    remove(chain, "g2")
    gone(daemon, "g2")
    assert daemon.ask("POST", "/policy/apply", content=TWO + RULES).status_code == 200
    assert daemon.ask("GET", "/readiness").status_code == 200
    add_pair(chain, "g2")
    assert daemon.ask("POST", "/policy/apply", content=THREE + RULES).status_code == 200
    guarded(daemon, chain, "g2")
    assert daemon.ask("POST", "/policy/apply", content=TWO + RULES).status_code == 200
    assert not has_program(chain, "g2")
    assert not forwards(chain, "g2")
    assert enforced(daemon, probes)


def test_an_apply_that_adds_one_that_is_not_there(
    make_daemon: MakeDaemon, chain: Chain, probes: Probes
) -> None:
    """It is taken, status says what is missing, and the interface is guarded once it comes."""
    daemon = make_daemon(TWO + RULES)
    daemon.start()
    assert daemon.ask("POST", "/policy/apply", content=THREE + RULES).status_code == 200
    gone(daemon, "g2")
    assert enforced(daemon, probes)
    add_pair(chain, "g2")
    guarded(daemon, chain, "g2")
    assert enforced(daemon, probes)


def test_one_without_a_program_that_comes_back(make_daemon: MakeDaemon, chain: Chain, probes: Probes) -> None:
    """Where nftables holds the lists, they hold for the interface of that name, whichever it is."""
    daemon = make_daemon(TWO.replace("external}", "external, xdp: off}") + RULES)
    daemon.start()
    assert row(daemon, "g0")["mode"] == "nftables"
    assert enforced(daemon, probes)
    remake_client_side(chain)
    until(lambda: row(daemon, "g0")["problem"] is None and forwards(chain, "g0"))
    probes.rewire()
    assert enforced(daemon, probes)


def test_forwarding_of_one_family_leaves_the_other_alone(make_daemon: MakeDaemon, chain: Chain) -> None:
    """What is not asked for stays as the kernel had it."""
    script = "echo 0 > /proc/sys/net/ipv6/conf/all/forwarding; echo 0 > /proc/sys/net/ipv4/ip_forward"
    chain.gateway.exec(["sh", "-c", script]).check()
    daemon = make_daemon(TWO + RULES.replace("[ipv4, ipv6]", "[ipv4]"))
    daemon.start()
    assert forwards(chain, "g0")
    six = chain.gateway.exec(["sh", "-c", "cat /proc/sys/net/ipv6/conf/*/forwarding"]).check().stdout
    assert set(six.split()) == {"0"}
