# SPDX-License-Identifier: Apache-2.0
"""What a policy says of a packet: its rules asked one after the other, straight from the text's values.

Shares no code with the compiler: it reads the plain dictionaries of policy.yaml.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any

NUMBERS = {
    "icmp": 1, "ipip": 4, "tcp": 6, "udp": 17, "ipv6": 41, "gre": 47, "esp": 50, "ah": 51, "icmpv6": 58,
    "sctp": 132,
}  # fmt: skip
TYPES = {
    4: {"echo-reply": 0, "destination-unreachable": 3, "echo-request": 8, "time-exceeded": 11},
    6: {"destination-unreachable": 1, "time-exceeded": 3, "echo-request": 128, "echo-reply": 129},
}
_WITH_PORTS = (6, 17, 132)


@dataclass(frozen=True)
class Packet:
    """One packet. iif or oif None: the gateway itself is that end."""

    iif: str | None
    oif: str | None
    source: str
    destination: str
    protocol: int
    source_port: int = 0
    destination_port: int = 0
    icmp_type: int = 0
    state: str = "new"

    @property
    def family(self) -> int:
        """4 or 6."""
        return ip_address(self.source).version

    @property
    def hook(self) -> str:
        """Which way it takes."""
        if self.oif is None:
            return "input"
        return "output" if self.iif is None else "forward"


@dataclass(frozen=True)
class Decision:
    """accept, drop or reject, and every counter that the packet raises, in order."""

    verdict: str
    counters: tuple[str, ...]


def decide(policy: Mapping[str, Any], packet: Packet) -> Decision:
    """The first rule that matches, else what becomes of its state."""
    counters: list[str] = []
    for rule in policy.get("rules") or []:
        if not rule.get("enabled", True) or not _matches(policy, rule, packet):
            continue
        counters.append(f"rule-{rule['name']}")
        if not rule.get("monitor", False):
            return Decision(rule["action"], tuple(counters))
    if packet.state in ("established", "related"):
        return Decision("accept", tuple(counters))
    if packet.state == "invalid":
        return Decision("drop", (*counters, "state-invalid"))
    defaults = {"input": "drop", "forward": "drop", "output": "accept"} | (policy.get("defaults") or {})
    return Decision(defaults[packet.hook], (*counters, f"default-{packet.hook}"))


def _several(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def _matches(policy: Mapping[str, Any], rule: Mapping[str, Any], packet: Packet) -> bool:
    if packet.state not in _several(rule.get("state", "new")):
        return False
    zones = {interface["name"]: interface["zone"] for interface in policy["interfaces"]}
    if not _is_end(rule["from"], packet.iif, zones) or not _is_end(rule["to"], packet.oif, zones):
        return False
    sets = {each["name"]: each["entries"] for each in policy.get("sets") or []}
    for field, address in (("source", packet.source), ("destination", packet.destination)):
        if _several(rule.get(field)) and not _is_in(address, _several(rule[field]), sets):
            return False
    return _protocol_matches(rule, packet)


def _is_end(named: Any, interface: str | None, zones: Mapping[str, str]) -> bool:
    if interface is None:
        return "gateway" in _several(named)
    zone = zones.get(interface)
    return zone is not None and (zone in _several(named) or "any" in _several(named))


def _is_in(address: str, entries: Iterable[str], sets: Mapping[str, Iterable[str]]) -> bool:
    found = ip_address(address)
    for entry in entries:
        members = sets[entry[1:]] if entry.startswith("@") else (entry,)
        for member in members:
            network = ip_network(member)
            if network.version == found.version and found in network:
                return True
    return False


def _protocol_matches(rule: Mapping[str, Any], packet: Packet) -> bool:
    names = _several(rule.get("protocol"))
    if names and packet.protocol not in [NUMBERS[name] for name in names]:
        return False
    if packet.protocol == (58 if packet.family == 4 else 1) and names:
        return False
    for field, port in (("ports", packet.destination_port), ("source_ports", packet.source_port)):
        ports = _several(rule.get(field))
        if ports and (packet.protocol not in _WITH_PORTS or not any(_in_range(port, each) for each in ports)):
            return False
    types = _several(rule.get("icmp_types"))
    if types:
        if packet.protocol != (1 if packet.family == 4 else 58):
            return False
        known = TYPES[packet.family]
        return packet.icmp_type in [int(each) if each.isdigit() else known.get(each) for each in types]
    return True


def _in_range(port: int, ports: Any) -> bool:
    low, _, high = str(ports).partition("-")
    return int(low) <= port <= int(high or low)
