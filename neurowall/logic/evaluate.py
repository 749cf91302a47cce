# SPDX-License-Identifier: Apache-2.0
"""What becomes of one packet under a policy, with every step: a linear walk over the policy as it is written.

It knows nothing of the compiled ruleset, so that the two can be compared.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from neurowall.logic.filtercheck import check_filter, ends_of
from neurowall.logic.guardcheck import Lookup, check_guard
from neurowall.logic.packettext import Packet, PacketInvalid, read_packet
from neurowall.logic.packetverdict import (
    End,
    Hook,
    Listed,
    Outcome,
    RouteAnswer,
    Routes,
    Stage,
    Step,
    Verdict,
    listed_of,
)
from neurowall.logic.rulematch import Path
from neurowall.logic.translate import translate_destination, translate_source
from neurowall.model.guards import guards_of
from neurowall.model.policy import Policy
from neurowall.model.rules import Nat

__all__ = [
    "Hook",
    "Listed",
    "Lookup",
    "Outcome",
    "Packet",
    "PacketInvalid",
    "RouteAnswer",
    "Routes",
    "Stage",
    "Step",
    "Verdict",
    "evaluate",
    "listed_of",
    "read_packet",
]


def evaluate(policy: Policy, packet: Packet, lookup: Lookup, routes: Routes) -> Verdict:
    """Walk *packet* through everything that the policy puts in its way.

    *lookup* says what the lists hold of an address now. Limits of rules count as not reached; what holds
    beyond them is in the step. Raises PacketInvalid for interfaces that do not exist, KernelError from
    *routes*.
    """
    walk = _Walk(policy, packet, routes, routes.addresses())
    walk.arrive()
    via = walk.packet.via
    end = check_guard(guards_of(policy), walk.packet, lookup, walk.own, walk.steps)
    end = end or walk.find_way()
    if end is None:
        end = check_filter(policy, walk.packet, walk.path, walk.forward, walk.steps)
        if end.verdict == "accept":
            walk.leave()
    return Verdict(
        packet=packet,
        verdict=end.verdict,
        decided_by=end.stage,
        name=end.name,
        hook=walk.hook,
        arrives=walk.path.arrives,
        leaves=walk.path.leaves,
        sent=walk.packet if end.verdict == "accept" else None,
        limits=end.limits,
        steps=tuple(walk.steps),
        arrived_by=via,
    )


@dataclass
class _Walk:
    """One packet on its way. packet changes as addresses are translated."""

    policy: Policy
    packet: Packet
    routes: Routes
    own: Mapping[str, frozenset[str]]
    steps: list[Step] = field(default_factory=list)
    hook: Hook | None = None
    forward: str | None = None  # the port forward that took the packet

    @property
    def path(self) -> Path:
        """Zones at both ends."""
        arrives, leaves = self._zone(self.packet.via), self._zone(self.packet.to)
        return Path(self.hook or "forward", arrives, leaves)

    def _zone(self, name: str | None) -> str | None:
        interface = self.policy.interface(name or "")
        return interface.zone if interface else None

    def _say(self, stage: Stage, text: str) -> None:
        self.steps.append(Step(stage, "continue", text))

    def arrive(self) -> None:
        """Find out where the packet comes from."""
        for name in (self.packet.via, self.packet.to):
            self._check_interface(name)
        if self.packet.via is None and not self._is_own(self.packet.source):
            back = self.routes.route(self.packet.source)
            if back.kind != "unicast":
                why = back.why or "it is an address of the gateway"
                raise PacketInvalid(f"where does {self.packet.source} arrive? {why}: add `via INTERFACE`")
            self.packet = replace(self.packet, via=back.interface)
        name = self.packet.via
        if name is None:
            self.hook = "output"
            self._say("arrival", "the gateway itself sends it")
        elif self.path.arrives:
            self._say("arrival", f"arrives by {name}, zone {self.path.arrives}")
        else:
            self._say("arrival", f"arrives by {name}, which the policy does not declare: no list is asked")

    def _check_interface(self, name: str | None) -> None:
        if name is None or self.policy.interface(name):
            return
        known = [*self.routes.interfaces(), *(each.name for each in self.policy.interfaces)]
        if name in known:
            return
        members = [each.name for each in self.policy.interfaces_of(name)]
        if members:
            raise PacketInvalid(f"'{name}' is a zone: write one of its interfaces, {', '.join(members)}")
        close = difflib.get_close_matches(name, known, 1)
        fix = f"did you mean '{close[0]}'?" if close else f"there are {', '.join(dict.fromkeys(known))}"
        raise PacketInvalid(f"no interface '{name}': {fix}")

    def _is_own(self, address: str) -> bool:
        return any(address in held for held in self.own.values())

    def find_way(self) -> End | None:
        """Translate the destination, then find the chain and the interface that the packet leaves by."""
        if self.hook is None and self.packet.state not in ("invalid", "untracked"):
            self._translate_destination()
        way = self._route()
        if way.kind == "none":
            self.steps.append(Step("route", "drop", f"{self.packet.destination}: {way.why}"))
            return End("drop", "route")
        if way.kind == "local":
            self._receive()
            return None
        self.hook = self.hook or "forward"
        self.packet = replace(self.packet, to=way.interface)
        zone = self.path.leaves
        where = f"zone {zone}" if zone else "which the policy does not declare"
        verb = "forwarded" if self.hook == "forward" else "sent"
        self._say("route", f"{verb} by {way.interface}, {where}: {ends_of(self.path)}")
        return None

    def _receive(self) -> None:
        """The packet is for the gateway itself."""
        if self.hook == "output":
            self.packet = replace(self.packet, to="lo")
            self._say("route", "for the gateway itself: it stays on lo")
            return
        self.hook = "input"
        self._say("route", f"for the gateway itself: {ends_of(self.path)}")

    def _translate_destination(self) -> None:
        if self.packet.state in ("established", "related") and self.policy.nat != Nat():
            text = "its connection was translated as its first packet was: taken as if this were that one"
            self._say("destination-nat", text)
        found = translate_destination(self.policy, self.packet, self.own)
        if found is None:
            return
        if found.what == "port_forwards":
            self.forward = found.name
            text = f"port forward {found.name} takes it: {found.packet.ends}"
        else:
            text = f"1:1 translation {found.name}: {found.packet.ends}"
        self.steps.append(Step("destination-nat", "translate", text, found.name))
        self.packet = found.packet

    def _route(self) -> RouteAnswer:
        wanted = self.packet
        if wanted.to is None:
            return self.routes.route(wanted.destination, wanted.source, wanted.via)
        return _Given(wanted.to)

    def _own_address(self) -> str | None:
        """What the gateway itself would send from by the same way: the address that masquerading takes."""
        own = self.routes.route(self.packet.destination)
        return own.source if own.interface == self.packet.to else None

    def leave(self) -> None:
        """Translate the source of a packet that goes on."""
        if self.hook == "input" or self.packet.to == "lo" or self.packet.state in ("invalid", "untracked"):
            return
        own = self._own_address()
        found = translate_source(self.policy, self.packet, self.path, self.forward, own)
        if found is None:
            return
        named = f" {found.name}" if found.name else ""
        known = own is not None or found.packet.source != self.packet.source
        address = found.packet.source if known else f"the address of {self.packet.to}"
        text = f"{_SOURCE_NAT[found.what]}{named}: its source becomes {address}"
        self.steps.append(Step("source-nat", "translate", text, found.name or found.what))
        self.packet = found.packet


_SOURCE_NAT = {
    "one_to_one": "1:1 translation",
    "port_forwards": "hairpin of port forward",
    "source": "source NAT",
    "masquerade": "masquerade",
}


@dataclass(frozen=True)
class _Given:
    """The way that the operator gave with `to`."""

    interface: str | None
    source: None = None
    kind: Literal["unicast"] = "unicast"
    why: str = ""
