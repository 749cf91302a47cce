# SPDX-License-Identifier: Apache-2.0
"""What may be in force while guards change: nothing that either side would drop."""

from ipaddress import IPv4Network, IPv6Network, ip_network
from itertools import product

from neurowall.logic.limits import limits_between
from neurowall.model.guards import Guard, Guards
from neurowall.model.parts import FlowModeName
from neurowall.model.policy import Failsafe

_FLOWS: tuple[FlowModeName, ...] = ("off", "loose", "strict")
MAX_SOURCES = 4  # of one failsafe service: NW_FAILSAFE_PREFIXES of the kernel

_Network = IPv4Network | IPv6Network


def between(old: Guards, new: Guards) -> Guards:
    """The strictest of both: a packet passes only where it passes under *old* and under *new*.

    Interfaces of both, those of *new* first; in force while one gives way to the other, so that no packet
    meets less than one of them. The XDP mode is the old one where there is one: changing it opens a gap.
    """
    gone = [guard for guard in old.interfaces if not new.find(guard.name)]
    return Guards(
        (*(_strictest(old.find(guard.name), guard) for guard in new.interfaces), *gone),
        _failsafe(old.failsafe, new.failsafe),
        new.events,
        limits_between(old.limits, new.limits),
        max(old.bans_per_second, new.bans_per_second),
        new.flows or old.flows,
    )


def _strictest(old: Guard | None, new: Guard) -> Guard:
    if old is None:
        return new
    return Guard(
        name=new.name,
        mode=new.mode if old.mode == "off" else old.mode,
        external=old.external or new.external,
        unparsed="drop" if "drop" in (old.unparsed, new.unparsed) else "pass",
        networks=_in_both(old.networks, new.networks),
        checks_destination=old.checks_destination or new.checks_destination,
        spoofing=old.spoofing or new.spoofing,
        foreign=tuple(dict.fromkeys((*new.foreign, *old.foreign))),
        bogons=old.bogons or new.bogons,
        zone=new.zone,
        flows=max(old.flows, new.flows, key=_FLOWS.index),
    )


def _in_both(old: tuple[str, ...] | None, new: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """Prefixes of the addresses that both hold; None holds all of them."""
    if old is None or new is None or old == new:
        return new if old is None else old
    shared = {_narrower(ip_network(a), ip_network(b)) for a, b in product(old, new)} - {None}
    return tuple(sorted(map(str, shared)))


def _narrower(a: _Network, b: _Network) -> _Network | None:
    """What two prefixes share: one of them, or nothing."""
    if a.version != b.version or not a.overlaps(b):
        return None
    return a if a.prefixlen >= b.prefixlen else b


def _failsafe(old: tuple[Failsafe, ...], new: tuple[Failsafe, ...]) -> tuple[Failsafe, ...]:
    """Ways in that both give, each as narrow as the narrower of the two."""
    if old == new:
        return new
    found: dict[tuple[str, str, int], dict[str, Failsafe]] = {}
    for a, b in product(old, new):
        service = (a.interface, a.address, a.port)
        source = _narrower(ip_network(a.source), ip_network(b.source))
        if service != (b.interface, b.address, b.port) or source is None:
            continue
        rate = min(a.packets_per_second, b.packets_per_second)
        narrow = a.model_copy(update={"source": str(source), "packets_per_second": rate})
        found.setdefault(service, {}).setdefault(narrow.source, narrow)
    return tuple(entry for sources in found.values() for entry in list(sources.values())[:MAX_SOURCES])
