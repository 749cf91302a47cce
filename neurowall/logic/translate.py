# SPDX-License-Identifier: Apache-2.0
"""Which entry under `nat` changes the addresses of a packet, and to what."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from neurowall.logic.guardcheck import failsafe_of
from neurowall.logic.packettext import Packet
from neurowall.logic.rulematch import Path, holds, in_zones, sets_of, within
from neurowall.model.address import BITS, format_entry
from neurowall.model.fields import port_range
from neurowall.model.policy import Policy
from neurowall.model.rules import Masquerade, PortForward, SourceNat
from neurowall.model.spans import family_of, span_of

Addresses = Mapping[str, frozenset[str]]
"""The gateway's own, by interface."""


@dataclass(frozen=True)
class Translated:
    """The packet after a translation. what: the field under `nat`; name: of the entry, "" if it has none."""

    packet: Packet
    what: str
    name: str


def translate_destination(policy: Policy, packet: Packet, own: Addresses) -> Translated | None:
    """What prerouting does to a packet that arrives by `packet.via`: port forwards first, then 1:1.

    The failsafe's connections are never translated.
    """
    interface = policy.interface(packet.via or "")
    if interface is None or failsafe_of(policy.failsafe, packet):
        return None
    for forward in policy.nat.port_forwards:
        if _is_forwarded(policy, forward, packet, own):
            return Translated(_forwarded(forward, packet), "port_forwards", forward.name)
    for each in policy.nat.one_to_one:
        if each.zone == interface.zone and within(each.outside, packet.destination):
            address = _moved(packet.destination, each.outside, each.inside)
            return Translated(replace(packet, destination=address), "one_to_one", each.name)
    return None


def _is_forwarded(policy: Policy, forward: PortForward, packet: Packet, own: Addresses) -> bool:
    if packet.protocol not in forward.protocol or packet.family != family_of(forward.to):
        return False
    low, high = port_range(forward.ports)
    if not low <= (packet.destination_port or 0) <= high:
        return False
    return holds(forward.source, packet.source, sets_of(policy)) and _is_addressed(
        policy, forward, packet, own
    )


def _is_addressed(policy: Policy, forward: PortForward, packet: Packet, own: Addresses) -> bool:
    """Whether the packet comes from a zone that may use the forward, and to an address that it is for."""
    arrives = policy.interface(packet.via or "")
    if arrives is None:
        return False
    here = own.get(arrives.name, frozenset())
    if in_zones(forward.from_, arrives.zone) and (
        packet.destination == forward.address if forward.address else packet.destination in here
    ):
        return True
    if not forward.hairpin or policy.is_external(arrives):
        return False
    if forward.address:
        return packet.destination == forward.address
    elsewhere = {address for name, held in own.items() if name != arrives.name for address in held}
    return packet.destination in elsewhere - here


def _forwarded(forward: PortForward, packet: Packet) -> Packet:
    port = packet.destination_port or 0
    if forward.to_ports is not None:
        port += port_range(forward.to_ports)[0] - port_range(forward.ports)[0]
    return replace(packet, destination=forward.to, destination_port=port)


def translate_source(
    policy: Policy, packet: Packet, path: Path, forward: str | None, address: str | None
) -> Translated | None:
    """What postrouting does to a packet that leaves by the zone `path.leaves`.

    forward: the port forward that brought it. address: what masquerading takes there; None: not known.
    """
    nat = policy.nat
    for each in nat.one_to_one:
        if each.zone == path.leaves and within(each.inside, packet.source):
            outside = _moved(packet.source, each.inside, each.outside)
            return Translated(replace(packet, source=outside), "one_to_one", each.name)
    hairpins = {each.name for each in nat.port_forwards if each.hairpin}
    if forward in hairpins and path.arrives is not None and path.arrives == path.leaves:
        return Translated(_masqueraded(packet, address), "port_forwards", forward or "")
    for source_nat in nat.source:
        if _is_meant(policy, source_nat, packet, path) and family_of(source_nat.address) == packet.family:
            return Translated(replace(packet, source=source_nat.address), "source", "")
    for masquerade in nat.masquerade:
        if f"ipv{packet.family}" in masquerade.families and _is_meant(policy, masquerade, packet, path):
            return Translated(_masqueraded(packet, address), "masquerade", "")
    return None


def _is_meant(policy: Policy, entry: Masquerade | SourceNat, packet: Packet, path: Path) -> bool:
    """NAT is between zones: what the gateway itself sends is not meant."""
    zones = in_zones(entry.from_, path.arrives) and in_zones(entry.to, path.leaves)
    return zones and holds(entry.source, packet.source, sets_of(policy))


def _masqueraded(packet: Packet, address: str | None) -> Packet:
    return replace(packet, source=address) if address else packet


def _moved(address: str, old: str, new: str) -> str:
    """The address at the same place in another prefix of the same length."""
    offset = span_of(address)[0] - span_of(old)[0]
    family = family_of(new)
    return format_entry(family, span_of(new)[0] + offset, BITS[family])
