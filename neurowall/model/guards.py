# SPDX-License-Identifier: Apache-2.0
"""What XDP does on each interface besides the lists, as plain values."""

from dataclasses import dataclass

from neurowall.model.duration import parse_duration
from neurowall.model.events import PER_SECOND
from neurowall.model.flows import FlowRules
from neurowall.model.limits import Limit, LimitGuard
from neurowall.model.parts import FlowModeName
from neurowall.model.policy import Failsafe, Interface, PacketVerdict, Policy, XdpMode


@dataclass(frozen=True)
class Guard:
    """One interface.

    external: where the internet is. networks: prefixes as text; a source that none of them holds is dropped
    as spoofed; None: nothing is said of sources. checks_destination: destinations are looked up in the lists
    as well. spoofing: martians, the gateway's own addresses and sources in *foreign*, which is what lives
    behind other zones, are dropped. bogons: sources in special-purpose space are dropped.
    zone: the interface's. flows: what is done with them there.
    """

    name: str
    mode: XdpMode
    external: bool
    unparsed: PacketVerdict
    networks: tuple[str, ...] | None
    checks_destination: bool
    spoofing: bool = False
    foreign: tuple[str, ...] = ()
    bogons: bool = False
    zone: str = ""
    flows: FlowModeName = "off"


@dataclass(frozen=True)
class Guards:
    """All interfaces, in the policy's order, the operator's own ways in, and the limits.

    events: how many of each reason and kind each CPU tells of in a second. bans_per_second: of limits, too.
    flows: how they are kept, None where no interface asks for them.
    """

    interfaces: tuple[Guard, ...]
    failsafe: tuple[Failsafe, ...]
    events: int = PER_SECOND
    limits: tuple[LimitGuard, ...] = ()
    bans_per_second: int = 100
    flows: FlowRules | None = None

    def find(self, name: str) -> Guard | None:
        """The guard of an interface, if it has one."""
        return next((guard for guard in self.interfaces if guard.name == name), None)


def guards_of(policy: Policy) -> Guards:
    """What the policy asks for."""
    return Guards(
        tuple(
            Guard(
                name=interface.name,
                mode=interface.xdp,
                external=policy.is_external(interface),
                unparsed=policy.unparsed_verdict(interface),
                networks=interface.networks or None,
                checks_destination=not policy.is_external(interface),
                spoofing=policy.spoofing_verdict(interface) == "drop",
                foreign=_foreign(policy, interface),
                bogons=interface.bogons == "drop",
                zone=interface.zone,
                flows=policy.flows.mode if policy.is_external(interface) else "off",
            )
            for interface in policy.interfaces
        ),
        policy.failsafe,
        policy.events.per_second,
        tuple(LimitGuard(limit, _limited(policy, limit)) for limit in policy.limits),
        policy.bans.per_second,
        _flow_rules(policy),
    )


def _limited(policy: Policy, limit: Limit) -> tuple[str, ...]:
    return tuple(
        interface.name
        for interface in policy.interfaces
        if (interface.zone in limit.zones if limit.zones else policy.is_external(interface))
    )


def _foreign(policy: Policy, interface: Interface) -> tuple[str, ...]:
    """What lives behind the interfaces of other zones, if that is dropped there."""
    if policy.spoofing_verdict(interface) == "pass":
        return ()
    return tuple(text for each in policy.interfaces if each.zone != interface.zone for text in each.networks)


def _flow_rules(policy: Policy) -> FlowRules | None:
    flows = policy.flows
    if flows.mode == "off":
        return None
    return FlowRules(flows.max, flows.timeouts.seconds, flows.new_per_second, parse_duration(flows.adopt))
