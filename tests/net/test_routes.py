# SPDX-License-Identifier: Apache-2.0
from collections.abc import Iterator

import pytest

from bench.testbed.chain import write_sysctls
from bench.testbed.namespace import Namespace
from bench.testbed.run import Run
from neurowall.kernel.routes import KernelRoutes, Route
from tests.net.crossroads import Crossroads
from tests.unit.logic.packet_world import HOSTS, OWN, World

pytestmark = [pytest.mark.root]


@pytest.fixture(scope="module")
def crossroads(run: Run) -> Iterator[Crossroads]:
    """A gateway with five links; routes are changed in tests."""
    with Crossroads.build(run).opened() as crossroads:
        yield crossroads


def ask(crossroads: Crossroads, *question: str | None) -> Route:
    """The kernel's answer."""
    with crossroads.gateway.enter():
        return KernelRoutes().route(*question)  # type: ignore[arg-type]


def test_the_gateways_own_addresses_are_told_by_interface(crossroads: Crossroads) -> None:
    """Both families, as text in the usual form."""
    with crossroads.gateway.enter():
        found = KernelRoutes().addresses()
    assert {name: found[name] for name in OWN} == {name: frozenset(own) for name, own in OWN.items()}
    assert found["lo"] == {"127.0.0.1", "::1"}


def test_routes_are_those_of_the_kernel(crossroads: Crossroads) -> None:
    """To every host and every own address, as sent and as forwarded; the tests' model of them is right."""
    world = World()
    hosts = [(name, host) for name, each in HOSTS.items() for host in each]
    for _, destination in [*hosts, *((name, own) for name in OWN for own in OWN[name])]:
        assert ask(crossroads, destination) == world.route(destination) or destination in str(OWN)
        assert ask(crossroads, destination).kind == world.route(destination).kind
        for name, source in hosts:
            if (":" in source) == (":" in destination) and source != destination:
                found, wanted = ask(crossroads, destination, source, name), world.route(destination)
                assert (found.kind, found.interface) == (wanted.kind, wanted.interface), (source, destination)


@pytest.fixture
def member(run: Run) -> Iterator[Namespace]:
    """A host that takes part in multicast, as most do."""
    host = Namespace.create(run, run.unique("member", "host"))
    for command in (
        "ip link add m0 type veth peer name m1",
        "ip addr add 192.0.2.1/24 dev m0",
        "ip addr add 2001:db8:0:1::1/64 dev m0 nodad",
        "ip link set m0 up",
        "ip link set m1 up",
    ):
        host.exec(command.split()).check()
    yield host
    host.remove()


def test_broadcast_and_groups_that_the_machine_is_in_are_for_the_machine_itself(member: Namespace) -> None:
    """They reach the chain input; what goes to other groups does not."""
    with member.enter():
        routes = KernelRoutes()
        for destination in ("255.255.255.255", "192.0.2.255", "224.0.0.1"):
            assert routes.route(destination, "192.0.2.10", "m0") == Route("local"), destination
        assert routes.route("ff02::1", "2001:db8:0:1::10", "m0") == Route("local")
        assert routes.route("ff02::1:ff00:1", "2001:db8:0:1::10", "m0") == Route("local")
        stranger = Route("none", why="the machine is no member of that group")
        assert routes.route("224.0.0.251", "192.0.2.10", "m0") == stranger
        assert routes.route("ff02::fb", "2001:db8:0:1::10", "m0") == stranger


@pytest.mark.parametrize("kind", ["blackhole", "unreachable", "prohibit"])
@pytest.mark.parametrize("prefix", ["198.51.100.128/25", "2001:db8:77::/48"])
def test_routes_that_refuse_lead_nowhere_and_say_why(crossroads: Crossroads, kind: str, prefix: str) -> None:
    """For what is sent and for what is forwarded."""
    destination = "198.51.100.200" if "." in prefix else "2001:db8:77::7"
    source = "192.0.2.10" if "." in prefix else "2001:db8:0:1::10"
    crossroads.gateway.exec(["ip", "route", "add", kind, prefix]).check()
    try:
        for question in ((destination,), (destination, source, "wan0")):
            found = ask(crossroads, *question)
            assert found.kind == "none", question
            assert found.why
            assert found.interface is None
    finally:
        crossroads.gateway.exec(["ip", "route", "del", kind, prefix]).check()


def test_a_gateway_that_does_not_forward_has_no_way_for_what_arrives(crossroads: Crossroads) -> None:
    """It still reaches the host itself."""
    question = ("198.18.0.10", "203.0.113.7", "wan0")
    with crossroads.gateway.enter():
        write_sysctls({"net/ipv4/ip_forward": "0"})
    try:
        found = ask(crossroads, *question)
        assert found.kind == "none"
        assert "does not forward" in found.why
        assert ask(crossroads, "198.18.0.10").kind == "unicast"
    finally:
        with crossroads.gateway.enter():
            write_sysctls({"net/ipv4/ip_forward": "1"})
    assert ask(crossroads, *question).kind == "unicast"


def test_the_reverse_path_filter_is_told(crossroads: Crossroads) -> None:
    """A source that the kernel would answer by another interface."""
    with crossroads.gateway.enter():
        write_sysctls({"net/ipv4/conf/lan0/rp_filter": "1"})
    try:
        found = ask(crossroads, "198.51.100.10", "203.0.113.7", "lan0")
        assert found.kind == "none"
        assert found.why.startswith("the kernel's reverse path filter takes the source for spoofed")
        assert ask(crossroads, "198.51.100.10", "198.18.0.10", "lan0").kind == "unicast"
    finally:
        with crossroads.gateway.enter():
            write_sysctls({"net/ipv4/conf/lan0/rp_filter": "0"})


def test_an_interface_that_does_not_exist_leads_nowhere(crossroads: Crossroads) -> None:
    """A policy may name one that comes later."""
    assert ask(crossroads, "198.18.0.10", "203.0.113.7", "ppp0") == Route(
        "none", why="there is no interface 'ppp0'"
    )
