# SPDX-License-Identifier: Apache-2.0
"""A gateway with five interfaces, and random policies and packets for it."""

import ipaddress
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from neurowall.kernel.routes import Route
from neurowall.logic.packettext import Packet, PacketInvalid, state_alone
from neurowall.model.errors import PolicyError
from neurowall.model.policy import Policy, load_policy

Json = dict[str, Any]

# Interface: zone, the gateway's own addresses, networks behind it. oth0 is one that no policy declares.
ZONES = {"wan0": "external", "lan0": "internal", "lan1": "internal", "dmz0": "dmz"}
OWN = {
    "wan0": ("192.0.2.1", "2001:db8:0:1::1"),
    "lan0": ("198.18.0.1", "2001:db8:0:2::1"),
    "lan1": ("198.18.1.1", "2001:db8:0:3::1"),
    "dmz0": ("198.51.100.1", "2001:db8:0:4::1"),
    "oth0": ("198.18.9.1", "2001:db8:0:9::1"),
}
LENGTHS = {4: 24, 6: 64}
# Hosts that live on each link, and for wan0 some that are further away.
HOSTS = {
    "wan0": ("192.0.2.10", "203.0.113.7", "203.0.113.8", "2001:db8:0:1::10", "2001:db8:ffff::7"),
    "lan0": ("198.18.0.10", "198.18.0.11", "2001:db8:0:2::10", "2001:db8:0:2::11"),
    "lan1": ("198.18.1.10", "198.18.1.11", "2001:db8:0:3::10"),
    "dmz0": ("198.51.100.10", "198.51.100.11", "2001:db8:0:4::10", "2001:db8:0:4::11"),
    "oth0": ("198.18.9.10", "2001:db8:0:9::10"),
}
EXTRA = "192.0.2.200"  # an address for 1:1 translation that the gateway does not hold
PORTS = (22, 53, 80, 443, 8000, 8003, 8010)
TYPES = ("echo-request", "echo-reply", "destination-unreachable", "time-exceeded")


@dataclass(frozen=True)
class World:
    """Routes of the gateway as plain tables: the longest prefix wins, wan0 has the default route."""

    def interfaces(self) -> Sequence[str]:
        """All of them."""
        return ("lo", *OWN)

    def addresses(self) -> Mapping[str, frozenset[str]]:
        """The gateway's own addresses."""
        return {name: frozenset(addresses) for name, addresses in OWN.items()}

    def route(self, destination: str, source: str | None = None, arriving: str | None = None) -> Route:
        """As the kernel would answer."""
        address = ipaddress.ip_address(destination)
        if any(destination in addresses for addresses in OWN.values()) or address.is_multicast:
            return Route("local")
        for name, addresses in OWN.items():
            for own in addresses:
                network = ipaddress.ip_network(f"{own}/{LENGTHS[4 if '.' in own else 6]}", strict=False)
                if address in network:
                    return Route("unicast", name, own)
        return Route("unicast", "wan0", OWN["wan0"][address.version == 6])


def load(policy: Json) -> Policy:
    """The policy as it would be read from a file."""
    return load_policy(yaml.safe_dump(policy), "policy.yaml")


def interfaces() -> list[Json]:
    """The interfaces that policies declare."""
    return [{"name": name, "zone": zone} for name, zone in ZONES.items()]


def random_policy(rng: random.Random, rules: int = 12) -> Json:
    """A valid policy with rules and NAT. Parts that the loader refuses are drawn again."""
    policy: Json = {
        "interfaces": interfaces(),
        "zones": [{"name": "dmz", "kind": "internal"}],
        "sets": [
            {"name": "staff", "entries": rng.sample(_all_hosts(), 4)},
            {"name": "servers", "entries": ["198.51.100.0/28", "2001:db8:0:4::/64"]},
        ],
        "rules": [],
        "defaults": {
            hook: rng.choice(("accept", "drop", "reject")) for hook in ("input", "forward", "output")
        },
        "nat": {},
    }
    while len(policy["rules"]) < rules:
        _try_part(policy, policy["rules"], random_rule(rng, f"r{len(policy['rules'])}"))
    for part, make in (("port_forwards", _forward), ("one_to_one", _one_to_one), ("source", _source_nat)):
        entries: list[Json] = policy["nat"].setdefault(part, [])
        for number in range(rng.randint(0, 3 if part == "port_forwards" else 1)):
            _try_part(policy, entries, make(rng, f"{part[0]}{number}"))
    if rng.random() < 0.6:
        _try_part(policy, policy["nat"].setdefault("masquerade", []), _masquerade(rng))
    return policy


def _try_part(policy: Json, parts: list[Json], part: Json) -> None:
    parts.append(part)
    try:
        load(policy)
    except PolicyError:
        parts.pop()


def _all_hosts() -> list[str]:
    return [host for hosts in HOSTS.values() for host in hosts]


def random_rule(rng: random.Random, name: str) -> Json:
    """One rule, mostly with few fields so that it matches something."""
    ends = ["external", "internal", "dmz", "any"]
    source: Any = rng.choice([*ends, ["internal", "dmz"], "gateway"])
    target: Any = rng.choice([*ends, ["external", "dmz"]] + ([] if source == "gateway" else ["gateway"] * 3))
    rule: Json = {
        "name": name,
        "from": source,
        "to": target,
        "action": rng.choice(("accept", "drop", "reject")),
    }
    if rng.random() < 0.2:
        rule["source"] = _addresses(rng)
    if rng.random() < 0.2:
        rule["destination"] = _addresses(rng)
    rule |= _protocol(rng)
    if rng.random() < 0.1:
        rule["state"] = rng.choice((["established"], ["invalid"], ["new", "invalid"], ["untracked", "new"]))
    if rng.random() < 0.2:
        rule["monitor"] = True
    if rng.random() < 0.1:
        rule["enabled"] = False
    return rule


def _addresses(rng: random.Random) -> list[str]:
    pool = [*_all_hosts(), "@staff", "@servers", "198.18.0.0/23", "203.0.113.0/24", "2001:db8::/32"]
    return rng.sample(pool, rng.randint(1, 3))


def _protocol(rng: random.Random) -> Json:
    kind = rng.randint(0, 5)
    if kind == 0:
        return {}
    if kind == 1:
        types = rng.sample(TYPES, rng.randint(0, 2))
        return {"protocol": rng.choice(("icmp", "icmpv6", ["icmp", "icmpv6"])), "icmp_types": types}
    if kind == 2:
        return {"protocol": rng.choice(("udp", "gre", ["tcp", "icmp"], ["udp", "icmpv6"]))}
    fields: Json = {"protocol": rng.choice(("tcp", "udp", ["tcp", "udp"]))}
    fields["ports"] = rng.sample((*PORTS, "8000-8009", "20-100"), rng.randint(1, 2))
    if rng.random() < 0.2:
        fields["source_ports"] = ["1024-40000"]
    return fields


def _forward(rng: random.Random, name: str) -> Json:
    low = rng.choice((22, 80, 443, 8000))
    ranged = low == 8000
    forward: Json = {
        "name": name,
        "from": rng.choice(("external", ["external", "dmz"], "any")),
        "protocol": rng.choice((["tcp"], ["tcp", "udp"])),
        "ports": "8000-8009" if ranged else low,
        "to": rng.choice((*HOSTS["lan0"], *HOSTS["dmz0"])),
        "hairpin": rng.random() < 0.5,
    }
    if rng.random() < 0.5:
        forward["to_ports"] = "9000-9009" if ranged else 8443
    if rng.random() < 0.4:
        forward["address"] = OWN["wan0"][":" in forward["to"]]
    if rng.random() < 0.2:
        forward["source"] = rng.sample(_all_hosts(), 4)
    return forward


def _one_to_one(rng: random.Random, name: str) -> Json:
    return {"name": name, "zone": "external", "outside": EXTRA, "inside": rng.choice(HOSTS["dmz0"][:2])}


def _source_nat(rng: random.Random, _name: str) -> Json:
    address = rng.choice((EXTRA, *OWN["wan0"]))
    return {"from": rng.choice(("internal", "any")), "to": "external", "address": address}


def _masquerade(rng: random.Random) -> Json:
    families = rng.choice((["ipv4"], ["ipv6"], ["ipv4", "ipv6"]))
    return {"from": rng.choice(("internal", ["internal", "dmz"])), "to": "external", "families": families}


def random_packet(rng: random.Random, policy: Json | None = None, *, arriving: bool = False) -> Packet:
    """A packet between two ends of the gateway; *arriving*: never one that the gateway sends.

    Of a *policy* some are aimed at what it translates.
    """
    while True:
        via = rng.choice((*OWN, None)) if not arriving else rng.choice(tuple(OWN))
        source = rng.choice(OWN["wan0"] + OWN["lan0"] if via is None else HOSTS[via])
        try:
            if policy and via and rng.random() < 0.3:
                via = rng.choice((via, "wan0"))
                return _aimed(rng, via, rng.choice(HOSTS[via]), policy["nat"])
            return _packet(rng, via, source, rng.choice(_targets(via)))
        except PacketInvalid:  # of two families
            continue


def _targets(via: str | None) -> list[str]:
    """What such a packet may go to."""
    targets = [host for name, hosts in HOSTS.items() if name != via or name == "lan0" for host in hosts]
    own = [address for addresses in OWN.values() for address in addresses]
    return [*targets, EXTRA] if via is None else [*targets, *own, EXTRA]


def _aimed(rng: random.Random, via: str, source: str, nat: Json) -> Packet:
    """At the ports of a port forward, on one of the gateway's addresses; or from or to a translated one."""
    forwards = nat.get("port_forwards", [])
    if not forwards or rng.random() < 0.2:
        return _packet(rng, via, source, rng.choice((EXTRA, *HOSTS["wan0"])))
    forward = rng.choice(forwards)
    low, _, high = str(forward["ports"]).partition("-")
    own = rng.choice((OWN["wan0"], OWN["wan0"], OWN[via], OWN["lan0"]))[":" in source]
    ports = (rng.randint(1024, 60_999), rng.randint(int(low), int(high or low)))
    return Packet(rng.choice(("tcp", "udp")), source, forward.get("address", own), *ports, via=via)


def _packet(rng: random.Random, via: str | None, source: str, destination: str) -> Packet:
    icmp = "icmpv6" if ":" in source else "icmp"
    protocol = rng.choice(("tcp", "tcp", "udp", icmp, "gre"))
    if protocol in ("tcp", "udp"):
        ports = (rng.randint(1024, 60_999), rng.choice(PORTS))
        return Packet(protocol, source, destination, *ports, via=via)
    if protocol == "gre":
        return Packet(protocol, source, destination, via=via)
    kind = rng.choice((8, 0) if icmp == "icmp" else (128, 129))
    state = state_alone(protocol, kind)
    return Packet(protocol, source, destination, icmp_type=kind, via=via, state=state)
