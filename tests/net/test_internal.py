# SPDX-License-Identifier: Apache-2.0
"""The data plane on real interfaces without a daemon: roles, networks, destinations, no XDP."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from pyroute2 import IPRoute
from pyroute2.netlink.rtnl import ndmsg
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

from bench.testbed.chain import Chain
from bench.testbed.run import Run
from neurowall.kernel import libbpf, netlink, objects
from neurowall.kernel.dataplane import DataPlane
from neurowall.kernel.maps import Map
from neurowall.logic.compile import NamedList, compile_image
from neurowall.logic.difference import difference
from neurowall.logic.guards import between
from neurowall.model.guards import Guard, Guards
from neurowall.model.image import Image, Table
from neurowall.model.listfile import parse_list
from neurowall.model.policy import Capacity, Failsafe, Interface, Policy
from neurowall.model.reasons import Reason
from tests.net.conftest import prober
from tests.net.probes import PORT, Probes

pytestmark = pytest.mark.root

CAPACITY = Capacity(hosts4=1000, prefixes4=1000, hosts6=1000, prefixes6=1000, classes=64)
G0 = Guard("g0", "native", external=False, unparsed="pass", networks=None, checks_destination=True)
G1 = replace(G0, name="g1", external=True, unparsed="drop", checks_destination=False)
HOME4, HOME6 = "198.18.0.0/24", "2001:2:0:1::/64"
AT_HOME = ("198.18.0.77", "2001:2:0:1::77")
AWAY = ("203.0.113.7", "2001:db8:bad::7")
LISTED, FREE = ("198.19.0.7", "2001:2:0:2::7"), ("198.19.0.8", "2001:2:0:2::8")


@pytest.fixture(scope="module")
def chain(run: Run) -> Iterator[Chain]:
    """One whose server has more addresses."""
    with Chain(run, "internal").build() as chain:
        with chain.server.enter(), IPRoute() as route:
            index = route.link_lookup(ifname=chain.server_if.name)[0]
            for address in (*LISTED, *FREE):
                length = 64 if ":" in address else 24
                route.addr("add", index=index, address=address, prefixlen=length)
        with chain.gateway.enter(), IPRoute() as route:
            index = route.link_lookup(ifname=chain.gateway_out.name)[0]
            for address in (*LISTED, *FREE):  # else the first packets wait for their neighbour
                mac = chain.server_if.mac
                route.neigh("add", dst=address, lladdr=mac, ifindex=index, state=ndmsg.states["permanent"])
        yield chain


class Gateway:
    """A data plane of the gateway with two lists; its calls are made inside the namespace."""

    def __init__(self, folder: Path, probes: Probes, chain: Chain) -> None:
        self.folder, self.probes, self.chain = folder, probes, chain
        self.policy = Policy(interfaces=(Interface(name="g0", zone="internal"),), capacity=CAPACITY)
        self.plane = DataPlane.open(self.policy, folder)

    def restart(self) -> None:
        """As a daemon that died and came back: pins and programs stay."""
        self.plane.close()
        self.plane = DataPlane.open(self.policy, self.folder)
        assert self.plane.adopted

    def block(self, *entries: str) -> None:
        """Put entries into a block list."""
        found = parse_list("\n".join(entries))
        assert found.problems == ()
        image = compile_image([NamedList("blocked", "block", found.entries)], {}, CAPACITY)
        steps = difference(Image(Table.empty(4), Table.empty(6), {}), image)
        self.plane.set_classes(steps.classes_added)
        for tables in steps.put_rounds:
            for table in tables:
                self.plane.put(table)

    def configure(self, *interfaces: Guard, failsafe: Sequence[Failsafe] = ()) -> None:
        """Guard these."""
        self.plane.configure(Guards(interfaces, tuple(failsafe)))

    def state(self, name: str = "g0") -> tuple[str, bool, str | None]:
        """Mode, attached, problem."""
        (found,) = (each for each in self.plane.interfaces() if each.name == name)
        return found.mode, found.attached, found.problem

    def link(self, name: str = "g0") -> tuple[int, int] | None:
        """Ids of the pinned link and of its program."""
        pin = self.folder / "bpf/links" / name
        if not pin.exists():
            return None
        info = libbpf.link_info(libbpf.get_pinned(pin))
        return int(info.id), int(info.prog_id)

    def networks(self) -> int:
        """How many networks the kernel's map holds."""
        return len(self.plane._maps.by_name["networks"].all_keys())

    def reached(self, *destinations: str) -> set[str]:
        """Those of the server's addresses at which a packet of the client arrives."""
        found: set[str] = set()
        self.probes._round += 1
        client = self.chain.client_if
        for index, destination in enumerate(destinations):
            layer, source = (IPv6, client.v6) if ":" in destination else (IP, client.v4)
            data = self.probes.frame(source, index)[-16:]  # the payload of a probe of this round
            head = Ether(src=client.mac, dst=self.chain.gateway_in.mac) / layer(src=source, dst=destination)
            self.probes._wire.send(bytes(head / UDP(sport=PORT, dport=PORT) / data))
        for family in (4, 6):
            self.probes._wire.send(self.probes.frame(self.probes._fence_source(family), 0xFFFFFFFF))
            found |= {destinations[index] for index in self.probes._until_fence(family)}
        return found

    def counted(self, reason: Reason) -> int:
        """Packets of a reason."""
        return self.plane.reason_counters()[reason].packets


@pytest.fixture
def gateway(chain: Chain, tmp_path: Path) -> Iterator[Gateway]:
    """In the namespace of the chain's gateway; nothing is attached yet."""
    with prober(chain) as probes, chain.gateway.enter():
        made = Gateway(tmp_path / "run", probes, chain)
        try:
            yield made
        finally:
            made.plane.detach()


def test_a_listed_destination_is_not_reached_from_inside(gateway: Gateway) -> None:
    """Both families; the program of an external interface lets it through; counted under its own reason."""
    gateway.block(LISTED[0], "2001:2:0:2::6/127")
    gateway.configure(replace(G0, checks_destination=False))
    assert gateway.reached(*LISTED, *FREE) == {*LISTED, *FREE}
    gateway.configure(G0)
    assert gateway.reached(*LISTED, *FREE) == {*FREE}
    assert gateway.counted(Reason.DESTINATION_BLOCK_LIST) == 2


def test_only_addresses_of_the_networks_may_send(gateway: Gateway) -> None:
    """Both families; without networks everybody may."""
    gateway.configure(G0)
    assert gateway.probes.arrived(*AT_HOME, *AWAY) == {*AT_HOME, *AWAY}
    gateway.configure(replace(G0, networks=(HOME4, HOME6)))
    assert gateway.probes.arrived(*AT_HOME, *AWAY) == {*AT_HOME}
    assert gateway.counted(Reason.SPOOFED) == 2
    gateway.configure(G0)
    assert gateway.probes.arrived(*AT_HOME, *AWAY) == {*AT_HOME, *AWAY}
    assert gateway.networks() == 0


def test_a_role_changes_by_link_update(gateway: Gateway) -> None:
    """The link stays, the program is another; the same role keeps its program."""
    gateway.configure(replace(G0, checks_destination=False), G1)
    link, program = gateway.link() or (0, 0)
    gateway.configure(replace(G0, networks=(HOME4, HOME6)), G1)
    link_after, program_after = gateway.link() or (0, 0)
    assert (link_after, program_after != program) == (link, True)
    gateway.configure(replace(G0, networks=(HOME4, HOME6, "192.0.2.0/24")), G1)
    assert gateway.link() == (link, program_after)
    assert gateway.networks() == 3


def watched(gateway: Gateway, sides: Sequence[Guards], sources: Sequence[str]) -> list[set[str]]:
    """Go from side to side, by what is between them, under traffic: what arrived of the sources each time."""
    gateway.plane.configure(sides[0])
    done, seen = threading.Event(), []

    def change() -> None:
        with gateway.chain.gateway.enter():
            for i in range(40):
                old, new = sides[i % len(sides)], sides[(i + 1) % len(sides)]
                gateway.plane.configure(between(old, new))
                gateway.plane.configure(new)
        done.set()

    thread = threading.Thread(target=change)
    thread.start()
    while not done.is_set():
        seen.append(gateway.probes.arrived(*sources))
    thread.join()
    assert len(seen) > 40
    return seen


def test_changes_of_guards_under_traffic(gateway: Gateway) -> None:
    """A source that every side lets pass is never lost, one that no side does never arrives."""
    sides = [
        Guards((replace(G0, networks=(HOME4, HOME6, "203.0.113.0/24")), G1), ()),
        Guards((replace(G0, networks=(HOME4, HOME6, "2001:db8:bad::/48"), unparsed="drop"), G1), ()),
        Guards((replace(G0, networks=("198.18.0.0/16", "2001:2::/48"), checks_destination=False),), ()),
    ]
    for seen in watched(gateway, sides, [*AT_HOME, "192.0.2.99", "2001:db9::1"]):
        assert seen == {*AT_HOME}


def test_networks_that_come_and_go_lose_nothing(gateway: Gateway) -> None:
    """They are there before the program asks for them, and go after it does not any more."""
    sides = [Guards((replace(G0, networks=each), G1), ()) for each in (None, (HOME4, HOME6))]
    for seen in watched(gateway, sides, AT_HOME):
        assert seen == {*AT_HOME}


@contextmanager
def stripped_tags() -> Iterator[None]:
    """Receive VLAN offload of g0 on, as network cards have it; the testbed has it off."""
    netlink.set_features("g0", {"rx-vlan-hw-parse": True})
    yield
    netlink.set_features("g0", {"rx-vlan-hw-parse": False})


def test_an_interface_with_xdp_off_is_for_nftables(gateway: Gateway) -> None:
    """No program, no problem, and named for the fallback; offloads are given back; and the way back."""
    gateway.block(AWAY[0])
    with stripped_tags():
        before = netlink.features("g0")
        gateway.configure(G0, G1)
        assert netlink.features("g0") != before
        gateway.configure(replace(G0, mode="off"), G1)
        assert netlink.features("g0") == before
    gateway.configure(G0, G1)
    assert gateway.plane.fallback() == frozenset()
    assert gateway.probes.blocked(*AWAY) == {AWAY[0]}
    gateway.configure(replace(G0, mode="off"), G1)
    assert gateway.state() == ("nftables", True, None)
    assert gateway.plane.fallback() == {"g0"}
    assert gateway.link() is None
    assert gateway.probes.blocked(*AWAY) == set()
    gateway.plane.reconcile_interfaces()
    gateway.plane.reload_program()
    assert (gateway.link(), gateway.state()) == (None, ("nftables", True, None))
    gateway.configure(G0, G1)
    assert gateway.state() == ("native", True, None)
    assert gateway.plane.fallback() == frozenset()
    assert gateway.probes.blocked(*AWAY) == {AWAY[0]}


@contextmanager
def foreign_program() -> Iterator[None]:
    """Somebody else's XDP program on g0."""
    with libbpf.Object(objects.path("xdpnull")) as foreign:
        foreign.load()
        index = netlink.interface_index("g0") or 0
        link = libbpf.link_create_xdp(foreign.program_fd("xdpnull"), index, libbpf.XDP_FLAGS_DRV_MODE)
        try:
            yield
        finally:
            libbpf.link_detach(link)


def test_an_interface_that_takes_no_program_is_for_nftables(gateway: Gateway) -> None:
    """By itself where every mode is tried; a mode that was asked for is a problem, and both are named."""
    auto = replace(G0, mode="auto")
    with foreign_program():
        gateway.configure(auto, G1)
        assert gateway.state() == ("nftables", True, None)
        (state,) = (each for each in gateway.plane.interfaces() if each.name == "g0")
        assert state.why.count("another XDP program is attached") == 2
        assert gateway.plane.fallback() == {"g0"}
        gateway.configure(G0, G1)
        assert gateway.state()[:2] == ("none", False)
        assert "another XDP program is attached" in (gateway.state()[2] or "")
        assert gateway.plane.fallback() == {"g0"}
        gateway.configure(auto, G1)
    gateway.plane.reconcile_interfaces()
    assert gateway.plane.fallback() == {"g0"}
    gateway.plane.reload_program()
    assert (gateway.plane.fallback(), gateway.state()) == (frozenset(), ("native", True, None))


def test_a_missing_interface_is_for_nobody(gateway: Gateway) -> None:
    """It is a problem, and for nftables only if it is to have no program."""
    missing = replace(G0, name="g9")
    gateway.configure(G0, missing)
    assert "does not exist" in (gateway.state("g9")[2] or "")
    assert gateway.plane.fallback() == frozenset()
    gateway.configure(G0, replace(missing, mode="off"))
    assert gateway.plane.fallback() == {"g9"}


def test_interfaces_come_and_go(gateway: Gateway) -> None:
    """One that is not named any more loses its program and is not in the status; a new one gets it."""
    gateway.configure(G0)
    assert gateway.link("g1") is None
    gateway.configure(G1)
    assert (gateway.link(), [each.name for each in gateway.plane.interfaces()]) == (None, ["g1"])
    gateway.configure(G1, G0)
    assert gateway.link()
    assert [each.name for each in gateway.plane.interfaces()] == ["g1", "g0"]


def test_networks_outlive_the_daemon_and_larger_maps(gateway: Gateway) -> None:
    """The next one adopts link, program and networks; maps that grow keep them."""
    gateway.configure(replace(G0, networks=(HOME4, HOME6)), G1)
    before = gateway.link()
    gateway.restart()
    assert gateway.probes.arrived(*AT_HOME, *AWAY) == {*AT_HOME}
    gateway.configure(replace(G0, networks=(HOME4, HOME6)), G1)
    assert (gateway.link() or (0,))[0] == (before or (1,))[0]
    gateway.plane.grow(CAPACITY.model_copy(update={"hosts4": 5000}), lambda: None)
    assert gateway.probes.arrived(*AT_HOME, *AWAY) == {*AT_HOME}
    assert gateway.networks() == 2


def test_networks_that_do_not_fit_leave_the_interface_as_it_was(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The problem is named, and the program of before goes on; the others are guarded."""
    gateway.configure(replace(G0, networks=(HOME4, HOME6)))
    before = gateway.link()
    full = libbpf.LibbpfError(28, "update")

    with monkeypatch.context() as patch:
        patch.setattr(Map, "update", refuse_network(full))
        gateway.configure(replace(G0, networks=("192.0.2.0/24",)), G1)
    assert "networks in all: merge some" in (gateway.state()[2] or "")
    assert gateway.state("g1") == ("native", True, None)
    assert (gateway.link(), gateway.plane.fallback()) == (before, frozenset())
    assert gateway.probes.arrived(*AT_HOME, *AWAY) == {*AT_HOME}


def refuse_network(error: libbpf.LibbpfError) -> object:
    """Map.update that takes no networks."""
    update = Map.update

    def refusing(self: Map, key: bytes, value: bytes) -> None:
        if self.name == "networks":
            raise error
        update(self, key, value)

    return refusing


def test_failsafe_belongs_to_interfaces_that_have_it(gateway: Gateway) -> None:
    """An interface's program asks for a way in only if it has one; ways that are gone are forgotten."""
    way = Failsafe(interface="g0", source=HOME4, port=22, address="198.18.0.1")
    gateway.configure(G0, G1, failsafe=[way])
    held = gateway.plane._maps.by_name["failsafe"]
    roles = {role.failsafe for role in gateway.plane._programs}
    assert (len(held.all_keys()), roles) == (1, {True, False})
    gateway.configure(G0, G1)
    assert held.all_keys() == []
