# SPDX-License-Identifier: Apache-2.0
"""What becomes of a packet, told from the raw policy: sets of matching entries, of which the first is taken.

Shares no code with the product: addresses are those of the standard library, ports are sets of numbers.
"""

from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from typing import Any, NamedTuple

from tests.unit.logic.packet_world import LENGTHS, OWN, ZONES

Json = dict[str, Any]

NUMBERS = {
    ("icmp", "echo-request"): 8,
    ("icmp", "echo-reply"): 0,
    ("icmp", "destination-unreachable"): 3,
    ("icmp", "time-exceeded"): 11,
    ("icmpv6", "echo-request"): 128,
    ("icmpv6", "echo-reply"): 129,
    ("icmpv6", "destination-unreachable"): 1,
    ("icmpv6", "time-exceeded"): 3,
}


class Seen(NamedTuple):
    """A packet as the oracle wants it. arrives: the interface, None: the gateway sends it."""

    protocol: str
    source: str
    sport: int | None
    target: str
    dport: int | None
    kind: int | None
    state: str
    arrives: str | None


class Answer(NamedTuple):
    """verdict, what decided (`rule r1`, `default input`, `state invalid`, `forward p0`), and both ends."""

    verdict: str
    decider: str
    source: str
    target: str
    dport: int | None


def ask(policy: Json, packet: Seen) -> Answer:
    """The whole way of a packet that no list and no guard stops."""
    sets = {each["name"]: each["entries"] for each in policy.get("sets", [])}
    nat = policy.get("nat", {})
    origin = packet
    forward = None
    if packet.arrives in ZONES and packet.state not in ("invalid", "untracked"):
        packet, forward = _dnat(nat, packet, sets)
    leaves = _leaves(packet.target)
    hook = "output" if packet.arrives is None else "forward" if leaves else "input"
    if packet.arrives is None and leaves is None:
        return Answer("accept", "built-in", packet.source, packet.target, packet.dport)
    one = ZONES.get(packet.arrives or "", "nowhere") if hook != "output" else "gateway"
    other = ZONES.get(leaves or "", "nowhere") if hook != "input" else "gateway"
    verdict, decider = _filter(policy, packet, hook, (one, other), sets, forward)
    source = packet.source
    if verdict == "accept" and hook != "input" and packet.state not in ("invalid", "untracked"):
        source = _snat(nat, origin, packet, (one, other), forward, leaves, sets)
    return Answer(verdict, decider, source, packet.target, packet.dport)


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [] if value is None else [value]


def _inside(address: str, entries: Any, sets: Mapping[str, list[str]]) -> bool:
    networks = []
    for entry in _list(entries):
        networks += [ip_network(each) for each in (sets[entry[1:]] if entry[0] == "@" else [entry])]
    wanted = ip_address(address)
    return any(wanted in network for network in networks if network.version == wanted.version)


def _numbers(value: Any) -> set[int]:
    found: set[int] = set()
    for each in _list(value):
        low, _, high = str(each).partition("-")
        found |= set(range(int(low), int(high or low) + 1))
    return found


def _zone_fits(wanted: Any, zone: str) -> bool:
    names = set(_list(wanted))
    return zone in names or ("any" in names and zone not in ("gateway", "nowhere"))


def _matches(rule: Json, packet: Seen, sets: Mapping[str, list[str]]) -> bool:
    types = {NUMBERS.get((packet.protocol, each)) for each in _list(rule.get("icmp_types"))}
    return all(
        (
            "source" not in rule or _inside(packet.source, rule["source"], sets),
            "destination" not in rule or _inside(packet.target, rule["destination"], sets),
            not rule.get("protocol") or packet.protocol in _list(rule["protocol"]),
            not rule.get("ports") or packet.dport in _numbers(rule["ports"]),
            not rule.get("source_ports") or packet.sport in _numbers(rule["source_ports"]),
            not rule.get("icmp_types") or packet.kind in types - {None},
        )
    )


def _filter(
    policy: Json,
    packet: Seen,
    hook: str,
    ends: tuple[str, str],
    sets: Mapping[str, list[str]],
    forward: Json | None,
) -> tuple[str, str]:
    if hook == "forward" and forward and packet.state == "new":
        return "accept", f"forward {forward['name']}"
    deciding = [
        rule
        for rule in policy["rules"]
        if rule.get("enabled", True)
        and not rule.get("monitor", False)
        and packet.state in _list(rule.get("state", "new"))
        and _zone_fits(rule["from"], ends[0])
        and _zone_fits(rule["to"], ends[1])
        and _matches(rule, packet, sets)
    ]
    if deciding:
        return deciding[0]["action"], f"rule {deciding[0]['name']}"
    by_state = {"established": "accept", "related": "accept", "invalid": "drop"}
    if packet.state in by_state:
        return by_state[packet.state], f"state {packet.state}"
    return policy["defaults"][hook], f"default {hook}"


def _leaves(target: str) -> str | None:
    """The interface that leads there; None: the gateway itself."""
    if any(target in own for own in OWN.values()):
        return None
    links = {
        ip_network(f"{own}/{LENGTHS[ip_address(own).version]}", strict=False): name
        for name, addresses in OWN.items()
        for own in addresses
    }
    near = [name for network, name in links.items() if ip_address(target) in network]
    return near[0] if near else "wan0"


def _dnat(nat: Json, packet: Seen, sets: Mapping[str, list[str]]) -> tuple[Seen, Json | None]:
    arrives = packet.arrives or ""
    zone, here = ZONES[arrives], OWN[arrives]
    for each in nat.get("port_forwards", []):
        wanted = {each["address"]} if "address" in each else None
        elsewhere = {own for name in OWN if name != arrives for own in OWN[name]}
        usual = _zone_fits(each["from"], zone) and packet.target in (wanted or here)
        around = each["hairpin"] and zone != "external" and packet.target in (wanted or elsewhere)
        fits = packet.protocol in each["protocol"] and packet.dport in _numbers(each["ports"])
        allowed = "source" not in each or _inside(packet.source, each["source"], sets)
        if (usual or around) and fits and allowed and (":" in each["to"]) == (":" in packet.target):
            ports = sorted(_numbers(each["ports"]))
            translated = sorted(_numbers(each.get("to_ports", each["ports"])))
            port = translated[ports.index(packet.dport or 0)]
            return packet._replace(target=each["to"], dport=port), each
    for each in nat.get("one_to_one", []):
        if each["zone"] == zone and packet.target == each["outside"]:
            return packet._replace(target=each["inside"]), None
    return packet, None


def _snat(
    nat: Json,
    origin: Seen,
    packet: Seen,
    ends: tuple[str, str],
    forward: Json | None,
    leaves: str | None,
    sets: Mapping[str, list[str]],
) -> str:
    for each in nat.get("one_to_one", []):
        if each["zone"] == ends[1] and origin.source == each["inside"]:
            return str(each["outside"])
    version = ip_address(packet.source).version
    own = OWN.get(leaves or "", ("", ""))[version == 6]
    if forward and forward["hairpin"] and ends[0] == ends[1] != "nowhere":
        return own
    for each in nat.get("source", []):
        same = ip_address(each["address"]).version == version
        if same and _zone_fits(each["from"], ends[0]) and _zone_fits(each["to"], ends[1]):
            return str(each["address"])
    for each in nat.get("masquerade", []):
        wanted = f"ipv{version}" in each.get("families", ["ipv4"])
        if wanted and _zone_fits(each["from"], ends[0]) and _zone_fits(each["to"], ends[1]):
            return own
    return packet.source
