# SPDX-License-Identifier: Apache-2.0
"""What an interface's guard does to one packet: XDP, or nftables sets where no program attaches.

The order is that of the kernel program: essential, the source's origin, failsafe, lists by source, lists by
destination.
Malformed packets cannot be written as text, and are left out.
"""

from collections.abc import Callable, Collection, Mapping

from neurowall.logic.packettext import MLD_TYPES, ND_TYPES, Packet
from neurowall.logic.packetverdict import End, Listed, Stage, Step
from neurowall.logic.rulematch import within
from neurowall.model import origins
from neurowall.model.guards import Guard, Guards
from neurowall.model.policy import Failsafe

Lookup = Callable[[str], Listed]
Own = Mapping[str, Collection[str]]
"""The machine's own addresses by interface."""

_LINK_LOCAL = origins.LINK_LOCAL
_MULTICAST = {4: "224.0.0.0/4", 6: "ff00::/8"}
_LINK_MULTICAST = "ff02::/16"
_BROADCAST = "255.255.255.255"


def check_guard(guards: Guards, packet: Packet, lookup: Lookup, own: Own, steps: list[Step]) -> End | None:
    """Ask the guard of the interface where the packet arrives; None: it goes on to the stack."""
    guard = guards.find(packet.via or "")
    if guard is None:
        return None
    if reason := essential(packet):
        steps.append(Step("essential", "continue", f"{reason} keeps the link alive: no list is asked"))
        return None
    if end := _check_source(guard, packet, steps) or _check_origin(guard, packet, own, steps):
        return end
    entry = failsafe_of(guards.failsafe, packet)
    if entry:
        limit = f"at most {entry.packets_per_second} packets a second"
        steps.append(Step("failsafe", "continue", f"failsafe from {entry.source}: no list is asked, {limit}"))
        return None
    return _check_lists(guard, packet, lookup, steps)


def essential(packet: Packet) -> str:
    """What essential traffic the packet is, "" if none."""
    if _is_local_dhcp(packet):
        return "DHCP"
    if packet.protocol != "icmpv6":
        return ""
    if packet.icmp_type in ND_TYPES and packet.hop_limit == 255:
        return "neighbour discovery"
    from_link = within(_LINK_LOCAL[6], packet.source) or packet.source == "::"
    if packet.icmp_type in MLD_TYPES and packet.hop_limit == 1 and from_link:
        return "multicast listener discovery"
    return ""


def _is_local_dhcp(packet: Packet) -> bool:
    if packet.protocol != "udp":
        return False
    ports = {packet.source_port, packet.destination_port}
    if packet.family == 4:
        return packet.destination == _BROADCAST and ports <= {67, 68}
    on_link = (_LINK_LOCAL[6], _LINK_MULTICAST)
    return (
        ports <= {546, 547}
        and within(_LINK_LOCAL[6], packet.source)
        and any(within(each, packet.destination) for each in on_link)
    )


def failsafe_of(entries: tuple[Failsafe, ...], packet: Packet) -> Failsafe | None:
    """The failsafe entry that the packet meets, if one does."""
    if packet.protocol != "tcp":
        return None
    return next(
        (
            entry
            for entry in entries
            if entry.interface == packet.via
            and entry.port == packet.destination_port
            and entry.address == packet.destination
            and within(entry.source, packet.source)
        ),
        None,
    )


def _check_source(guard: Guard, packet: Packet, steps: list[Step]) -> End | None:
    """Whether the source may come from there."""
    if guard.networks is None:
        return None
    network = next((each for each in guard.networks if within(each, packet.source)), None)
    if network:
        steps.append(
            Step("spoofing", "continue", f"{packet.source} belongs to {network} behind {guard.name}")
        )
        return None
    if _stays_on_link(packet):
        steps.append(Step("spoofing", "continue", "link-local to link-local: it cannot be routed on"))
        return None
    text = f"no network of {guard.name} holds {packet.source}: spoofed ({', '.join(guard.networks)})"
    steps.append(Step("spoofing", "drop", text, guard.name))
    return End("drop", "spoofing", guard.name)


def _check_origin(guard: Guard, packet: Packet, own: Own, steps: list[Step]) -> End | None:
    """Whether the source can come from there at all."""
    if not guard.spoofing and not guard.bogons:
        return None
    stage, why = _origin(guard, packet, own)
    if stage is None:
        steps.append(Step("spoofing", "continue", f"{packet.source} may come by {guard.name}"))
        return None
    steps.append(Step(stage, "drop", why, guard.name))
    return End("drop", stage, guard.name)


def _origin(guard: Guard, packet: Packet, own: Own) -> tuple[Stage | None, str]:
    source, family = packet.source, packet.family
    if guard.spoofing:
        if net := _holding(origins.MARTIANS[family], source):
            return "martian", f"no host has an address in {net}: martian"
        if net := _holding(guard.foreign, source):
            return "foreign", f"{source} lives in {net} behind another zone: spoofed"
        on_link = within(_LINK_LOCAL[family], source)
        holder = next((name for name, each in own.items() if source in each), None)
        if holder and (not on_link or source in own.get(guard.name, ())):
            return "foreign", f"{source} is an address of the gateway itself: spoofed"
    if guard.bogons and (net := _holding(origins.BOGONS[family], source)):
        return "bogon", f"{net} is not of the internet: bogon"
    return None, ""


def _holding(prefixes: Collection[str], address: str) -> str | None:
    return next((each for each in prefixes if within(each, address)), None)


def _stays_on_link(packet: Packet) -> bool:
    """Link-local traffic, which no router forwards: no network of a policy holds such sources."""
    on_link = (_LINK_LOCAL[6], _LINK_MULTICAST)
    return within(_LINK_LOCAL[6], packet.source) and any(within(each, packet.destination) for each in on_link)


def _check_lists(guard: Guard, packet: Packet, lookup: Lookup, steps: list[Step]) -> End | None:
    source = lookup(packet.source)
    steps.append(_list_step("source-lists", packet.source, source))
    if source.verdict == "block":
        return End("drop", "source-lists", source.list)
    if source.verdict == "allow" or not guard.checks_destination or not _is_checked(packet.destination):
        return None
    destination = lookup(packet.destination)
    steps.append(_list_step("destination-lists", packet.destination, destination))
    if destination.verdict == "block":
        return End("drop", "destination-lists", destination.list)
    return None


def _is_checked(destination: str) -> bool:
    """Multicast, limited broadcast and link-local destinations are nobody's on the internet."""
    family = 6 if ":" in destination else 4
    if destination == _BROADCAST:
        return False
    return not within(_MULTICAST[family], destination) and not within(_LINK_LOCAL[family], destination)


def _list_step(stage: Stage, address: str, found: Listed) -> Step:
    monitored = f"; counted by {', '.join(found.monitored_by)}" if found.monitored_by else ""
    if found.verdict is None:
        return Step(stage, "continue", f"no list decides over {address}{monitored}")
    entry = f" through {found.entry}" if found.entry and found.entry != address else ""
    text = f"{found.verdict} list {found.list} holds {address}{entry}{monitored}"
    return Step(stage, "drop" if found.verdict == "block" else "continue", text, found.list)
