# SPDX-License-Identifier: Apache-2.0
"""Random policies that are full of overlaps, and packets at the edges of what they name. Seeded."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

from tests.net.rule_oracle import NUMBERS, TYPES, Packet

SOURCES4 = ("198.51.100.0/24", "203.0.113.0/24")
SOURCES6 = ("2001:db8:5::/112",)
_SIDES = {"source": (SOURCES4, SOURCES6), "destination": (("198.19.0.0/26",), ("2001:2:0:2::/120",))}
_PROTOCOLS = ("tcp", "udp", "sctp", "icmp", "icmpv6", "gre", "esp")
_PORTS = (22, 53, 80, 443, 8080)


def random_policy(
    seed: int, rules: int, zones: Mapping[str, str], *, monitors: float = 0.1, states: bool = False
) -> dict[str, Any]:
    """A policy of so many rules. zones: the zone of each interface."""
    rng = random.Random(seed)
    names = sorted({*zones.values(), "any"})
    return {
        "interfaces": [{"name": name, "zone": zone, "xdp": "off"} for name, zone in zones.items()],
        "zones": [
            {"name": zone, "kind": "internal"}
            for zone in sorted(set(zones.values()) - {"external", "internal"})
        ],
        "sets": [
            {"name": f"set-{number}", "entries": _entries(rng, side, rng.choice((2, 5, 40)))}
            for number, side in enumerate(("source", "source", "destination", "destination"))
        ],
        "rules": _narrow_first(rng, [_rule(rng, n, names, monitors, states=states) for n in range(rules)]),
        "defaults": {
            "input": rng.choice(("drop", "reject")),
            "forward": rng.choice(("drop", "reject", "accept")),
            "output": "accept",
        },
    }


def _narrow_first(rng: random.Random, rules: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rules that ask little mostly at the end, where they leave something to the others."""

    def rank(rule: Mapping[str, Any]) -> float:
        asked = sum(field in rule for field in ("source", "destination", "ports", "icmp_types"))
        return rng.random() + (3 - asked) * 0.6

    return sorted(rules, key=rank)


def _rule(
    rng: random.Random, number: int, zones: Sequence[str], monitors: float, *, states: bool
) -> dict[str, Any]:
    from_, to = rng.choice(
        (
            (rng.choice(zones), rng.choice(zones)),
            (rng.sample([zone for zone in zones if zone != "any"], 2), rng.choice(zones)),
            (rng.choice(zones), "gateway"),
            ("any", "any"),
        )
    )
    rule: dict[str, Any] = {
        "name": f"r{number}",
        "from": from_,
        "to": to,
        "action": rng.choice(("accept", "accept", "drop", "reject")),
    }
    families = rng.choice(((0,), (0,), (1,), (0, 1)))
    for side in _SIDES:
        if rng.random() < 0.65:
            rule[side] = _addresses(rng, side, families)
    rule |= _protocol(rng, families if _SIDES.keys() & rule.keys() else (0, 1))
    if rng.random() < monitors:
        rule["monitor"] = True
    if rng.random() < 0.05:
        rule["enabled"] = False
    if states and rng.random() < 0.3:
        rule["state"] = rng.sample(("new", "established", "related", "invalid", "untracked"), 2)
        if "invalid" in rule["state"] and rule["action"] == "reject":
            rule["action"] = "drop"  # an answer to a packet of no connection is of none itself, and dropped
    return rule


def _addresses(rng: random.Random, side: str, families: Sequence[int]) -> Any:
    if rng.random() < 0.2:
        return f"@set-{rng.choice((0, 1) if side == 'source' else (2, 3))}"
    entries = _entries(rng, side, rng.choice((1, 1, 1, 3)), families)
    return entries[0] if len(entries) == 1 else entries


def _entries(rng: random.Random, side: str, count: int, families: Sequence[int] = (0, 0, 1)) -> list[str]:
    """Addresses and prefixes that do not overlap, some of each family."""
    found: dict[str, None] = {}
    taken: list[Any] = []
    for position in range(max(count, len(families))):
        family = families[position % len(families)]
        network = ip_network(rng.choice(_SIDES[side][family]))
        length = min(network.max_prefixlen, network.prefixlen + rng.choice((0, 2, 3, 4, 5, 8, 8, 16)))
        value = int(network.network_address) + rng.randrange(network.num_addresses)
        entry = ip_network((value, length), strict=False)
        if any(entry.version == other.version and entry.overlaps(other) for other in taken):
            continue
        taken.append(entry)
        shown = str(entry) if length < entry.max_prefixlen else str(entry.network_address)
        found[shown] = None
    return list(found)


def _protocol(rng: random.Random, families: Sequence[int]) -> dict[str, Any]:
    form = rng.random()
    if form < 0.15:
        return {}
    if form < 0.25:
        other = None if len(families) == 2 else ("icmpv6", "icmp")[families[0]]
        names = [name for name in _PROTOCOLS if name != other]
        return {"protocol": rng.sample(names, rng.choice((1, 2)))}
    if form < 0.4:
        chosen: list[str] = rng.sample(sorted(TYPES[4]), rng.choice((1, 2)))
        return {"protocol": [("icmp", "icmpv6")[family] for family in families], "icmp_types": chosen}
    rule: dict[str, Any] = {"protocol": rng.sample(("tcp", "udp", "sctp"), rng.choice((1, 1, 2)))}
    if rng.random() < 0.85:
        rule["ports"] = _apart([_ports(rng) for _ in range(rng.choice((1, 1, 1, 2, 4)))])
    if rng.random() < 0.15:
        rule["source_ports"] = _ports(rng)
    return rule


def _ports(rng: random.Random) -> int | str:
    port = rng.choice(_PORTS) if rng.random() < 0.6 else rng.randrange(1, 9000)
    return port if rng.random() < 0.6 else f"{port}-{port + rng.choice((1, 10, 1000))}"


def _apart(ports: Sequence[int | str]) -> list[int | str]:
    """Those that overlap none before them."""
    found: list[int | str] = []
    taken: set[int] = set()
    for each in ports:
        low, _, high = str(each).partition("-")
        span = set(range(int(low), int(high or low) + 1))
        if not span & taken:
            found.append(each)
            taken |= span
    return found


def packets_for(policy: Mapping[str, Any], seed: int, count: int, ends: Sequence[Any]) -> list[Packet]:
    """Packets at the edges of what the rules name, most near one rule; *ends* are pairs of interfaces."""
    rng = random.Random(seed)
    everywhere = _edges(policy, policy["rules"])
    near = [(_edges(policy, [rule]), rule.get("protocol", ())) for rule in policy["rules"]]
    found: list[Packet] = []
    while len(found) < count:
        edges, protocols = rng.choice(near) if rng.random() < 0.8 else (everywhere, ())
        family = rng.choice((4, 4, 6))
        iif, oif = rng.choice(ends)
        names = [name for name in _PROTOCOLS if name != ("icmpv6" if family == 4 else "icmp")]
        own = [name for name in protocols if name in names]
        protocol = NUMBERS[rng.choice(own if own and rng.random() < 0.9 else (*names, "tcp", "udp"))]
        packet = Packet(
            iif,
            oif,
            rng.choice(edges["source", family]),
            rng.choice(edges["destination", family]),
            protocol,
            icmp_type=rng.choice([*TYPES[family].values()]) if protocol in (1, 58) else 0,
        )
        if protocol in (6, 17, 132):
            packet = replace(
                packet,
                source_port=rng.choice((*edges["source_ports", 0], 40000)),
                destination_port=rng.choice(edges["ports", 0]),
            )
        found.append(packet)
    return found


def _edges(policy: Mapping[str, Any], rules: Sequence[Mapping[str, Any]]) -> dict[tuple[str, int], list[Any]]:
    """First and last of everything that rules name, and what lies just beside."""
    found: dict[tuple[str, int], set[Any]] = {("ports", 0): {80, 443}, ("source_ports", 0): {1024}}
    sets = {f"@{each['name']}": each["entries"] for each in policy["sets"]}
    for side, (own4, own6) in _SIDES.items():
        for family, own in ((4, own4), (6, own6)):
            found[side, family] = {str(ip_network(own[0])[7]), str(ip_network(own[0])[-2])}
    for rule in rules:
        for side, pools in _SIDES.items():
            named = rule.get(side, [])
            for text in named if isinstance(named, list) else [named]:
                for entry in sets.get(text, [text]):
                    _add_edges(found, side, entry, [*pools[0], *pools[1]])
        for field in ("ports", "source_ports"):
            named = rule.get(field, [])
            for ports in named if isinstance(named, list) else [named]:
                low, _, high = str(ports).partition("-")
                near = {int(low) - 1, int(low), int(high or low), int(high or low) + 1}
                found[field, 0] |= {port for port in near if 0 < port < 65536}
    return {key: sorted(values) for key, values in found.items()}


def _add_edges(found: dict[tuple[str, int], set[Any]], side: str, entry: str, pools: Sequence[str]) -> None:
    network = ip_network(entry)
    first, last = int(network[0]), int(network[-1])
    for value in (first - 1, first, last, last + 1):
        if value < 0:
            continue
        address = type(network[0])(value)
        for pool in pools:
            around = ip_network(pool)
            # Not the ends of the subnet, which are for broadcast, nor the gateway's own addresses.
            inner = range(int(around[0]) + 4, int(around[-1]))
            if address.version == around.version and int(address) in inner:
                found[side, network.version].add(str(address))
