# SPDX-License-Identifier: Apache-2.0
"""What makes the program of one interface differ from another's: its role, and the networks behind it."""

import errno
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Self

from neurowall.kernel import layout, layout_flows
from neurowall.kernel.flows import zone_number
from neurowall.kernel.libbpf import LibbpfError
from neurowall.kernel.maps import Map
from neurowall.kernel.origins import Own, foreign_networks
from neurowall.model.errors import KernelError
from neurowall.model.guards import Guard, Guards
from neurowall.model.reasons import Verdict

_FULL = (errno.E2BIG, errno.ENOSPC)
_PRESENT = bytes(4)  # the value of a network, which means nothing


@dataclass(frozen=True)
class Role:
    """The switches of a program: interfaces of one role share one. See struct nw_config."""

    unparsed: Verdict
    failsafe: bool = False
    networks: bool = False
    destinations: bool = False
    limits: bool = False
    bans: bool = False
    spoofing: bool = False
    bogons: bool = False
    flows: layout_flows.FlowMode = layout_flows.FlowMode.OFF
    zone: int = 0
    is_egress: bool = False

    @classmethod
    def of(cls, guard: Guard, guards: Guards) -> Self:
        """The role of one of these interfaces."""
        return cls(
            unparsed=Verdict[guard.unparsed.upper()],
            failsafe=any(entry.interface == guard.name for entry in guards.failsafe),
            networks=guard.networks is not None,
            destinations=guard.checks_destination,
            limits=any(guard.name in each.interfaces for each in guards.limits),
            bans=any(each.limit.action == "ban" for each in guards.limits),
            spoofing=guard.spoofing,
            bogons=guard.bogons,
            flows=layout_flows.FlowMode[guard.flows.upper()],
            zone=zone_number(guard.zone) if guard.flows != "off" else 0,
        )

    @property
    def at_egress(self) -> Self:
        """The role of the program that records what leaves by the interfaces of this one."""
        return type(self)(Verdict.PASS, flows=self.flows, zone=self.zone, is_egress=True)

    @property
    def program(self) -> str:
        """Which program of the object has what this role needs, and least beyond it."""
        if self.is_egress:
            return "nw_egress"
        return "nw_internal" if self.networks or self.destinations else "nw_ingress"

    def switch(self, config: layout.Config) -> layout.Config:
        """Set the switches in *config*, and answer it."""
        config.unparsed_verdict = self.unparsed
        config.failsafe, config.networks, config.destinations = (
            self.failsafe,
            self.networks,
            self.destinations,
        )
        config.limits, config.bans = self.limits, self.bans
        config.role = self.unparsed | self.failsafe << 1 | self.networks << 2 | self.destinations << 3
        config.role |= self.limits << 4 | self.bans << 5
        config.spoofing, config.bogons = self.spoofing, self.bogons
        config.role |= self.spoofing << 6 | self.bogons << 7 | self.flows << 8
        config.flows, config.zone = self.flows, self.zone
        return config


def _key(ifindex: int, network: IPv4Network | IPv6Network, flag: int = 0) -> bytes:
    key = layout.Network(
        length=layout.Constant.NETWORK_BITS + network.prefixlen,
        ifindex=ifindex,
        family=network.version | flag,
    )
    key.address[:] = list(network.network_address.packed.ljust(16, b"\0"))
    return bytes(key)


def networks_of(ifindex: int, guard: Guard, own: Own) -> dict[bytes, bytes]:
    """What the map of networks holds for an interface of a machine with these addresses."""
    here = {_key(ifindex, ip_network(text)): _PRESENT for text in guard.networks or ()}
    foreign = foreign_networks(guard, own)
    return here | {
        _key(ifindex, network, layout.Constant.FOREIGN): reason.to_bytes(4, sys.byteorder)
        for network, reason in foreign.items()
    }


def put_networks(networks: Map, elements: Mapping[bytes, bytes]) -> None:
    """Add networks; those that are there stay. KernelError if there is no room."""
    for key in sorted(elements):
        try:
            networks.update(key, elements[key])
        except LibbpfError as error:
            if error.errno in _FULL:
                raise KernelError(
                    f"the interfaces have more than {networks.max_entries:,} networks in all: merge some"
                ) from error
            raise


def prune_networks(networks: Map, wanted: Collection[bytes], spared: Collection[int]) -> None:
    """Take out every network that is not wanted, except those of the *spared* interfaces (by ifindex)."""
    for key in networks.all_keys():
        if key not in wanted and layout.Network.from_buffer_copy(key).ifindex not in spared:
            networks.delete(key)
