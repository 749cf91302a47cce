# SPDX-License-Identifier: Apache-2.0
"""The gateway chain: client - gateway - server, quiet and the same in every arm.

Three namespaces and two veth pairs:

    client                gateway                     server
    c0 198.18.0.2/24 ---- g0 198.18.0.1 (client side)
       2001:2:0:1::2/64      2001:2:0:1::1
                          g1 198.19.0.1 (server side) ---- s0 198.19.0.2/24
                             2001:2:0:2::1                    2001:2:0:2::2/64

Neighbours are permanent and MAC addresses fixed, so packet bytes are the same in every chain. The gateway's
default route leads to the client, so any source address is accepted there and answered. Links are made inside
the namespaces: the host never sees one.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pyroute2 import IPRoute

from bench.testbed.errors import TestbedError
from bench.testbed.ethtool import Ethtool
from bench.testbed.namespace import Namespace
from bench.testbed.run import Run

MTU = 1500
OPERATION_SECONDS = 5.0
_NEAR_INDEX = 11  # c0 and g1; their peers get the first free one, which is 2 or 3
_PERMANENT = 0x80  # NUD_PERMANENT
_NO_LINK_LOCAL = 1  # IN6_ADDR_GEN_MODE_NONE
_UP, _NOARP, _MULTICAST = 0x1, 0x80, 0x1000  # IFF_UP, IFF_NOARP, IFF_MULTICAST

SYSCTLS: Mapping[str, str] = {
    "net/ipv4/ip_forward": "0",
    "net/ipv4/igmp_link_local_mcast_reports": "0",
    "net/ipv6/conf/all/forwarding": "0",
    **{
        f"net/ipv4/conf/{scope}/{name}": "0"
        for scope in ("all", "default")
        for name in ("rp_filter", "send_redirects", "accept_redirects", "log_martians")
    },
    **{
        f"net/ipv6/conf/{scope}/{name}": "0"
        for scope in ("all", "default")
        for name in (
            "disable_ipv6",
            "accept_ra",
            "accept_dad",
            "dad_transmits",
            "router_solicitations",
            "accept_redirects",
        )
    },
    "net/ipv6/conf/default/addr_gen_mode": str(_NO_LINK_LOCAL),
}
"""Written in every namespace before its links exist; a new one starts from the host's values."""

FORWARDING: Mapping[str, str] = {"net/ipv4/ip_forward": "1", "net/ipv6/conf/all/forwarding": "1"}
"""Written last in the gateway: the kernel resets other values when forwarding changes."""

OFFLOADS_KEPT = frozenset({"highdma", "tx-nocache-copy"})
"""Memory handling that changes no packet."""

OFFLOADS_ON = frozenset({"rx-gro"})
"""GRO gives a veth end its NAPI queue.

Without it, or an XDP program there, every frame that XDP redirects or a live-frames generator sends to it
vanishes uncounted (veth_xdp_xmit, linux/drivers/net/veth.c). It is on at every end, so that an arm with an
XDP program and one without take the same receive path. It merges TCP only: merging forwarded UDP
(rx-udp-gro-forwarding, rx-gro-list) is off.
"""


@dataclass(frozen=True)
class End:
    """Blueprint of one veth end."""

    name: str
    mac: str
    v4: str
    v6: str
    peer_v4: str
    peer_v6: str


CLIENT = End("c0", "02:00:00:00:01:02", "198.18.0.2", "2001:2:0:1::2", "198.18.0.1", "2001:2:0:1::1")
GATEWAY_IN = End("g0", "02:00:00:00:01:01", "198.18.0.1", "2001:2:0:1::1", "198.18.0.2", "2001:2:0:1::2")
GATEWAY_OUT = End("g1", "02:00:00:00:02:01", "198.19.0.1", "2001:2:0:2::1", "198.19.0.2", "2001:2:0:2::2")
SERVER = End("s0", "02:00:00:00:02:02", "198.19.0.2", "2001:2:0:2::2", "198.19.0.1", "2001:2:0:2::1")
_ROLE = {"c0": "client_if", "g0": "gateway_in", "g1": "gateway_out", "s0": "server_if"}
_PEER_MAC = {"c0": GATEWAY_IN.mac, "g0": CLIENT.mac, "g1": SERVER.mac, "s0": GATEWAY_OUT.mac}


@dataclass(frozen=True)
class Interface:
    """One veth end of a built chain; `index` counts in its own namespace."""

    name: str
    index: int
    mac: str
    v4: str
    v6: str
    namespace: Namespace

    @property
    def mac_bytes(self) -> bytes:
        """The MAC address as 6 bytes in wire order."""
        return bytes.fromhex(self.mac.replace(":", ""))


class Chain:
    """One gateway chain of a run. `build` makes it, `close` (or leaving `with`) removes it."""

    def __init__(self, run: Run, name: str = "chain", queues: int = 1) -> None:
        """queues: how many CPUs the gateway can receive on at once; veth chooses by the sender's CPU."""
        self.run = run
        self._queues = queues
        self.name = run.unique("chain", name)
        self._interfaces: dict[str, Interface] = {}
        self._namespaces: list[Namespace] = []

    def build(self) -> "Chain":
        """Make namespaces, links, addresses, neighbours and routes, and check that the offloads took.

        Raises TestbedError when the kernel refuses something; what exists by then is removed.
        """
        try:
            labels = [f"{self.name}-{role}" for role in ("client", "gateway", "server")]
            self._namespaces = Namespace.create_all(self.run, labels)
            for namespace in self._namespaces:
                with namespace.enter():
                    write_sysctls(SYSCTLS)
            with self.client.enter():
                _pair(CLIENT, GATEWAY_IN, self.gateway, self._queues)
            with self.gateway.enter():
                _pair(GATEWAY_OUT, SERVER, self.server, self._queues)
            for namespace, ends, _ in self._parts():
                with namespace.enter(), Ethtool() as ethtool:
                    for end in ends:
                        set_offloads(ethtool, end.name)
            # Only now any link goes up: an end learns that its peer takes redirected frames when it opens.
            for namespace, ends, gateway in self._parts():
                self._configure(namespace, ends, gateway)
            for interface in self._interfaces.values():
                _await_operation(interface)
        except Exception as error:
            self.close()
            if isinstance(error, TestbedError):
                raise
            raise TestbedError(f"chain {self.name}: {type(error).__name__}: {error}") from error
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the processes of the chain and remove its namespaces; safe to call twice."""
        # The gateway first: it has an end of both links, and deletes them in one go.
        for namespace in sorted(self._namespaces, key=lambda one: not one.name.endswith("-gateway")):
            namespace.remove()
        self._namespaces.clear()
        self._interfaces.clear()

    @property
    def client(self) -> Namespace:
        """Where traffic comes from."""
        return self._namespace(0)

    @property
    def gateway(self) -> Namespace:
        """Where the system under test runs."""
        return self._namespace(1)

    @property
    def server(self) -> Namespace:
        """Where traffic goes to."""
        return self._namespace(2)

    @property
    def client_if(self) -> Interface:
        """c0, in the client."""
        return self.interfaces["client_if"]

    @property
    def gateway_in(self) -> Interface:
        """g0, the gateway's interface to the client: the one a firewall guards."""
        return self.interfaces["gateway_in"]

    @property
    def gateway_out(self) -> Interface:
        """g1, the gateway's interface to the server."""
        return self.interfaces["gateway_out"]

    @property
    def server_if(self) -> Interface:
        """s0, in the server."""
        return self.interfaces["server_if"]

    @property
    def interfaces(self) -> Mapping[str, Interface]:
        """The four ends by role: client_if, gateway_in, gateway_out, server_if."""
        self._namespace(0)
        return self._interfaces

    def _namespace(self, position: int) -> Namespace:
        if len(self._namespaces) != 3:
            raise TestbedError(f"chain {self.name} is not built (or closed); call build() first")
        return self._namespaces[position]

    def _parts(self) -> list[tuple[Namespace, list[End], End]]:
        """Each namespace with its ends and whom its default route leads to."""
        return [
            (self.client, [CLIENT], GATEWAY_IN),
            (self.gateway, [GATEWAY_IN, GATEWAY_OUT], CLIENT),
            (self.server, [SERVER], GATEWAY_OUT),
        ]

    def _configure(self, namespace: Namespace, ends: list[End], gateway: End) -> None:
        with namespace.enter(), IPRoute() as netlink:
            netlink.link("set", index=1, state="up")  # a daemon's metrics listen on loopback
            index = {end.name: netlink.link_lookup(ifname=end.name)[0] for end in ends}
            for end in ends:
                _address(netlink, index[end.name], end)
                role = _ROLE[end.name]
                self._interfaces[role] = Interface(
                    end.name, index[end.name], end.mac, end.v4, end.v6, namespace
                )
            netlink.route("add", dst="0.0.0.0/0", gateway=gateway.v4)
            netlink.route("add", dst="::/0", gateway=gateway.v6)
            if len(ends) == 2:
                write_sysctls(FORWARDING)


def _pair(near: End, far: End, far_namespace: Namespace, count: int) -> None:
    """A veth pair with so many queues each way, the far end born in its own namespace."""
    queues = {"num_tx_queues": count, "num_rx_queues": count, "mtu": MTU}
    peer: dict[str, Any] = {
        "ifname": far.name,
        "address": far.mac,
        "net_ns_fd": far_namespace.descriptor,
        **queues,
    }
    with IPRoute() as netlink:
        netlink.link(
            "add", ifname=near.name, kind="veth", index=_NEAR_INDEX, address=near.mac, peer=peer, **queues
        )


def _address(netlink: Any, index: int, end: End) -> None:
    """Give one end its addresses and bring it up, with neither ARP (nor ND) nor multicast.

    Nothing needs them, since neighbours are permanent; with them the kernel joins the solicited-node groups
    of the addresses and, in the gateway, all-routers, and sends MLD reports for seconds, in the middle of a
    measurement.
    """
    netlink.link("set", index=index, flags=_NOARP | _UP, change=_NOARP | _MULTICAST | _UP)
    netlink.addr("add", index=index, address=end.v4, prefixlen=24)
    netlink.addr("add", index=index, address=end.v6, prefixlen=64, flags=0x02)  # IFA_F_NODAD
    for address in (end.peer_v4, end.peer_v6):
        netlink.neigh("add", dst=address, lladdr=_PEER_MAC[end.name], ifindex=index, state=_PERMANENT)


def _await_operation(interface: Interface) -> None:
    """Wait until the kernel has noticed the carrier; until then it drops what its stack sends there.

    For links whose index differs from their peer's (see _NEAR_INDEX) it looks at once, else within a second.
    """
    deadline = time.monotonic() + OPERATION_SECONDS
    with interface.namespace.enter(), IPRoute() as netlink:
        while netlink.get_links(interface.index)[0].get("operstate") != "UP":
            if time.monotonic() > deadline:
                raise TestbedError(f"{interface.name} is up but not operational after {OPERATION_SECONDS} s")
            time.sleep(0.001)


def set_offloads(ethtool: Ethtool, device: str) -> None:
    """Switch every offload of a device off except those that live frames need.

    Raises TestbedError when the kernel keeps one.
    Checksums too: with transmit checksumming on, veth hands over packets whose checksum was never computed,
    and a program that parses, rewrites or redirects them sees what no wire carries.
    """
    wanted = {name: name in OFFLOADS_ON for name in ethtool.changeable(device) - OFFLOADS_KEPT}
    ethtool.set_features(device, wanted)
    actual = ethtool.features(device)
    wrong = {name: actual[name] for name in wanted if actual[name] != wanted[name]}
    if wrong or not actual.get("rx-gro", False):
        raise TestbedError(
            f"{device}: the kernel did not take these offload settings: {wrong or 'rx-gro on'}"
        )


def write_sysctls(values: Mapping[str, str]) -> None:
    """Write sysctls of the calling thread's network namespace, in order.

    Raises TestbedError naming the one that the kernel does not have.
    """
    for name, value in values.items():
        try:
            Path("/proc/sys", name).write_text(value, encoding="ascii")
        except FileNotFoundError as error:
            hint = " (booted with ipv6.disable=1?)" if "ipv6" in name else ""
            raise TestbedError(f"the kernel has no {name}{hint}; the chain needs IPv4 and IPv6") from error
