# SPDX-License-Identifier: Apache-2.0
"""The chains that do for an interface what XDP would: each rule stands where bpf/decide.h has its branch."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from json import loads
from typing import Any

from neurowall.logic.stateful.listelements import ListSet, outermost, texts
from neurowall.model import origins
from neurowall.model.entries import EntrySet
from neurowall.model.policy import Failsafe
from neurowall.model.reasons import Reason
from neurowall.model.ruleset import Chain, Hook, text_of

PREFIX = "fallback"
PRIORITY = -310
"""Before connections are tracked, and before any chain at the priority `raw`."""

INTERFACES = f"{PREFIX}-interfaces"
CHECKED = f"{PREFIX}-checked"
INTERNAL = f"{PREFIX}-internal"
SPOOFING = f"{PREFIX}-spoofing"
BOGONS = f"{PREFIX}-bogons"

COUNTED = (
    Reason.MALFORMED_TCP,
    Reason.MALFORMED_UDP,
    Reason.NEIGHBOUR_DISCOVERY,
    Reason.MULTICAST_LISTENER,
    Reason.DHCP,
    Reason.SPOOFED,
    Reason.MARTIAN,
    Reason.BOGON,
    Reason.FAILSAFE,
    Reason.ALLOW_LIST,
    Reason.BLOCK_LIST,
    Reason.DESTINATION_ALLOW_LIST,
    Reason.DESTINATION_BLOCK_LIST,
    Reason.TUNNEL,
    Reason.ICMP_ERROR,
    Reason.DEFAULT,
)
"""The reasons that are told apart here. Each packet is counted under one."""

_TCP, _UDP, _ICMPV6 = 6, 17, 58
_TUNNELS = (4, 41, 47)  # IP-in-IP, 6in4, GRE
_ICMP_ERRORS = (3, 4, 5, 11, 12)
_LINK_LOCAL = {4: ("169.254.0.0", 16), 6: ("fe80::", 10)}
_LINK_MULTICAST = ("ff02::", 16)
_NOT_LISTED = {4: (("224.0.0.0", 4), _LINK_LOCAL[4], "255.255.255.255"), 6: (("ff00::", 8), _LINK_LOCAL[6])}
"""Destinations that no list can mean: groups, the link's own addresses, limited broadcast."""

Json = dict[str, Any]


def counter_name(reason: Reason) -> str:
    """The named counter of a reason."""
    return f"{PREFIX}-{reason.label}"


def networks_name(family: int) -> str:
    """The set of what lives behind the interfaces whose sources are checked."""
    return f"{PREFIX}-networks{family}"


def foreign_name(family: int) -> str:
    """The set of what lives behind other zones than the interface's."""
    return f"{PREFIX}-foreign{family}"


@dataclass(frozen=True)
class Asked:
    """What is asked of at least one interface: see Guard."""

    networks: bool = False
    destinations: bool = False
    spoofing: bool = False
    bogons: bool = False


def chains_of(lists: Sequence[ListSet], failsafe: Sequence[Failsafe], asked: Asked) -> Iterator[Chain]:
    """The chains, given the sets of lists that are there, and the failsafe entries of these interfaces."""
    enter = _rule(_is(_meta("iifname"), f"@{INTERFACES}"), _to("goto", "packet"))
    yield Chain(PREFIX, (enter,), Hook("filter", "prerouting", PRIORITY, "accept"))
    yield _chain("packet", _packet(asked, failsafe=bool(failsafe)))
    yield _chain("tcp", [_verdict(Reason.MALFORMED_TCP, _is(_field("tcp", "doff"), 5, "<"))])
    yield _chain("udp", _udp())
    yield _chain("icmpv6", _icmpv6())
    if asked.networks:
        yield _chain("spoofed", _spoofed())
    if asked.spoofing:
        yield _chain("origin", _origin())
    if asked.bogons:
        yield _chain("bogon", _within(Reason.BOGON, origins.BOGONS))
    if failsafe:
        yield _chain("failsafe", map(_failsafe, _by_service(failsafe)))
    for family, protocol in ((4, "ip"), (6, "ip6")):
        held = [each for each in lists if each.family == family]
        destinations = bool(asked.destinations and held)
        yield _chain(f"ipv{family}", _by_source(family, protocol, held, destinations=destinations))
        if destinations:
            yield _chain(f"destination{family}", _by_destination(family, protocol, held))


def _packet(asked: Asked, *, failsafe: bool) -> Iterator[str]:
    """What every packet meets, in this order."""
    protocols = {_TCP: "tcp", _UDP: "udp", _ICMPV6: "icmpv6"}
    parts = [[number, _to("jump", name)] for number, name in protocols.items()]
    yield _rule({"vmap": {"key": _meta("l4proto"), "data": {"set": parts}}})
    if asked.networks:
        yield _rule(_is(_meta("iifname"), f"@{CHECKED}"), _to("jump", "spoofed"))
    if asked.spoofing:
        yield _rule(_is(_meta("iifname"), f"@{SPOOFING}"), _to("jump", "origin"))
    if asked.bogons:
        yield _rule(_is(_meta("iifname"), f"@{BOGONS}"), _to("jump", "bogon"))
    if failsafe:
        yield _rule(_is(_meta("l4proto"), _TCP), _to("jump", "failsafe"))
    families = [[name, _to("goto", name)] for name in ("ipv4", "ipv6")]
    yield _rule({"vmap": {"key": _meta("nfproto"), "data": {"set": families}}})


def _udp() -> Iterator[str]:
    yield _verdict(Reason.MALFORMED_UDP, _is(_field("udp", "length"), 8, "<"))
    source, destination = _field("udp", "sport"), _field("udp", "dport")
    broadcast = _is(_field("ip", "daddr"), "255.255.255.255")
    ports = [_is(each, {"set": [67, 68]}) for each in (source, destination)]
    yield _verdict(Reason.DHCP, broadcast, *ports)
    within_link = [
        _is(_field("ip6", "saddr"), _prefix(*_LINK_LOCAL[6])),
        _is(_field("ip6", "daddr"), _any(_LINK_LOCAL[6], _LINK_MULTICAST)),
    ]
    ports = [_is(each, {"set": [546, 547]}) for each in (source, destination)]
    yield _verdict(Reason.DHCP, *within_link, *ports)


def _icmpv6() -> Iterator[str]:
    kind, hops = _field("icmpv6", "type"), _field("ip6", "hoplimit")
    yield _verdict(Reason.NEIGHBOUR_DISCOVERY, _is(kind, {"range": [133, 137]}), _is(hops, 255))
    source = _is(_field("ip6", "saddr"), _any("::", _LINK_LOCAL[6]))
    yield _verdict(Reason.MULTICAST_LISTENER, _is(kind, {"set": [130, 131, 132, 143]}), _is(hops, 1), source)


def _spoofed() -> Iterator[str]:
    """Of interfaces with networks; what stays within the link is sent from addresses that every host has."""
    yield _rule(
        _is(_field("ip6", "saddr"), _prefix(*_LINK_LOCAL[6])),
        _is(_field("ip6", "daddr"), _any(_LINK_LOCAL[6], _LINK_MULTICAST)),
        {"return": None},
    )
    for family, protocol in ((4, "ip"), (6, "ip6")):
        source = {"concat": [_meta("iifname"), _field(protocol, "saddr")]}
        here = _is(_meta("nfproto"), f"ipv{family}")
        yield _verdict(Reason.SPOOFED, here, _is(source, f"@{networks_name(family)}", "!="))


def _origin() -> Iterator[str]:
    """Martians; what lives behind other zones; our own addresses, link-local ones on their own link only."""
    yield from _within(Reason.MARTIAN, origins.MARTIANS)
    yield _verdict(Reason.MARTIAN, _is(_field("ip6", "saddr"), _prefix(*origins.MAPPED)))
    for family, protocol in ((4, "ip"), (6, "ip6")):
        address = _field(protocol, "saddr")
        source, here = {"concat": [_meta("iifname"), address]}, _is(_meta("nfproto"), f"ipv{family}")
        yield _verdict(Reason.SPOOFED, here, _is(source, f"@{foreign_name(family)}"))
        link = _prefix(*_LINK_LOCAL[family])
        for operation, flags in (("!=", ["saddr"]), ("==", ["saddr", "iif"])):
            local = _is({"fib": {"result": "type", "flags": flags}}, "local")
            yield _verdict(Reason.SPOOFED, _is(address, link, operation), local)


def _within(reason: Reason, prefixes: Mapping[int, Sequence[str]]) -> Iterator[str]:
    """Sources in one of these prefixes of either family."""
    for family, protocol in ((4, "ip"), (6, "ip6")):
        nets = [text.split("/") for text in prefixes[family]]
        held = _any(*((address, int(length)) for address, length in nets))
        yield _verdict(reason, _is(_field(protocol, "saddr"), held))


def _by_service(failsafe: Iterable[Failsafe]) -> list[list[Failsafe]]:
    """Entries of one interface, address and port: they share one limit."""
    groups: dict[tuple[str, str, int], list[Failsafe]] = {}
    for entry in failsafe:
        groups.setdefault((entry.interface, entry.address, entry.port), []).append(entry)
    return list(groups.values())


def _failsafe(entries: Sequence[Failsafe]) -> str:
    """TCP to one of the gateway's own services, without options or extensions, which may route it on."""
    first = entries[0]
    sources = EntrySet.from_strings(entry.source for entry in entries)
    rate = max(entry.packets_per_second for entry in entries)
    if len(sources.v4):
        family, protocol, plain = 4, "ip", _is(_field("ip", "hdrlength"), 5)
    else:
        family, protocol, plain = 6, "ip6", _is(_field("ip6", "nexthdr"), _TCP)
    allowed = [loads(text) for text in texts(outermost(sources.family(family)))]
    return _verdict(
        Reason.FAILSAFE,
        _is(_meta("iifname"), first.interface),
        _is(_field(protocol, "daddr"), first.address),
        plain,
        _is(_field("tcp", "dport"), first.port),
        _is(_field(protocol, "saddr"), {"set": allowed}),
        {"limit": {"rate": rate, "per": "second", "burst": rate}},
    )


def _by_source(family: int, protocol: str, lists: Iterable[ListSet], *, destinations: bool) -> Iterator[str]:
    """Allow lists before block lists; then, inside, by destination; then why nothing was decided."""
    reasons = {"allow": Reason.ALLOW_LIST, "block": Reason.BLOCK_LIST}
    for each in lists:
        yield _verdict(reasons[each.verdict], _is(_field(protocol, "saddr"), f"@{each.set.name}"))
    if destinations:
        yield _rule(_is(_meta("iifname"), f"@{INTERNAL}"), _to("jump", f"destination{family}"))
    yield _verdict(Reason.TUNNEL, _is(_meta("l4proto"), {"set": list(_TUNNELS)}))
    kind = _field("icmp", "type") if family == 4 else _field("icmpv6", "type")
    error = _is(kind, {"set": list(_ICMP_ERRORS)}) if family == 4 else _is(kind, 128, "<")
    yield _verdict(Reason.ICMP_ERROR, error)
    yield _verdict(Reason.DEFAULT)


def _by_destination(family: int, protocol: str, lists: Iterable[ListSet]) -> Iterator[str]:
    destination = _field(protocol, "daddr")
    yield _rule(_is(destination, _any(*_NOT_LISTED[family])), {"return": None})
    reasons = {"allow": Reason.DESTINATION_ALLOW_LIST, "block": Reason.DESTINATION_BLOCK_LIST}
    for each in lists:
        yield _verdict(reasons[each.verdict], _is(destination, f"@{each.set.name}"))


# -- the words of libnftables-json(5)


def _chain(name: str, rules: Iterable[str]) -> Chain:
    return Chain(f"{PREFIX}-{name}", tuple(rules))


def _rule(*expressions: Json) -> str:
    return text_of(list(expressions))


def _verdict(reason: Reason, *matches: Json) -> str:
    """A rule that counts and decides as the reason says."""
    verdict = "drop" if reason.verdict.label == "drop" else "accept"
    return _rule(*matches, {"counter": counter_name(reason)}, {verdict: None})


def _is(left: Json, right: Any, operation: str = "==") -> Json:
    return {"match": {"op": operation, "left": left, "right": right}}


def _meta(key: str) -> Json:
    return {"meta": {"key": key}}


def _field(protocol: str, field: str) -> Json:
    return {"payload": {"protocol": protocol, "field": field}}


def _prefix(address: str, length: int) -> Json:
    return {"prefix": {"addr": address, "len": length}}


def _any(*members: str | tuple[str, int]) -> Json:
    """A set of addresses and prefixes."""
    return {"set": [each if isinstance(each, str) else _prefix(*each) for each in members]}


def _to(kind: str, name: str) -> Json:
    """A jump or a goto."""
    return {kind: {"target": f"{PREFIX}-{name}"}}
