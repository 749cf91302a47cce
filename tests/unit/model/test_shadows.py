# SPDX-License-Identifier: Apache-2.0
"""Rules that never decide, against packets: an oracle that knows rules only as they are written."""

import ipaddress
import random
from typing import Any

from neurowall.model.matches import match_of
from neurowall.model.policy import Policy
from neurowall.model.shadows import shadowed

ZONES = ["external", "internal", "dmz"]
PREFIXES = ["192.0.2.0/24", "192.0.2.0/28", "192.0.2.4", "2001:db8::/32", "2001:db8::/64", "2001:db8::1"]
PORTS: list[Any] = [80, 81, "80-81", "79-90"]
TYPES = ["echo-request", "8", "128", "redirect"]
NUMBERS = {("icmp", "echo-request"): 8, ("icmpv6", "echo-request"): 128, ("icmp", "redirect"): 5}

Packet = tuple[str, str, str, str, str, int]
"""From, to, source, destination, protocol; port or ICMP type."""


def packets() -> list[Packet]:
    """Some of every kind."""
    found: list[Packet] = []
    for one in ZONES:
        for other in [*ZONES, "gateway"]:
            for hosts, icmp in (
                (["192.0.2.4", "192.0.2.9", "192.0.2.200", "198.51.100.1"], "icmp"),
                (["2001:db8::1", "2001:db8::2", "2001:db8:1::1", "2001:2::1"], "icmpv6"),
            ):
                for source in hosts:
                    for target in hosts[:2]:
                        found += [(one, other, source, target, "tcp", port) for port in (79, 80, 81, 99)]
                        found += [
                            (one, other, source, target, "udp", 80),
                            (one, other, source, target, "gre", 0),
                        ]
                        found += [(one, other, source, target, icmp, number) for number in (5, 8, 128)]
    return found


def matches(rule: dict[str, Any], packet: Packet) -> bool:
    """Whether a rule, as written, matches a packet."""
    one, other, source, target, protocol, detail = packet
    for key, zone in (("from", one), ("to", other)):
        if not (zone in rule[key] or (rule[key] == ["any"] and zone != "gateway")):
            return False
    for key, address in (("source", source), ("destination", target)):
        if rule.get(key) and not any(
            ipaddress.ip_address(address) in ipaddress.ip_network(prefix) for prefix in rule[key]
        ):
            return False
    if rule.get("protocol") and protocol not in rule["protocol"]:
        return False
    if rule.get("ports"):
        return any(_in(port, detail) for port in rule["ports"])
    if rule.get("icmp_types"):
        return (
            detail in [NUMBERS.get((protocol, text), text) for text in rule["icmp_types"]]
            or str(detail) in rule["icmp_types"]
        )
    return True


def _in(port: int | str, number: int) -> bool:
    low, _, high = str(port).partition("-")
    return int(low) <= number <= int(high or low)


def random_rule(generator: random.Random, name: str) -> dict[str, Any]:
    """A rule that may be valid."""
    rule: dict[str, Any] = {
        "name": name,
        "from": generator.choice([["any"], generator.sample(ZONES, generator.randrange(1, 3))]),
        "to": generator.choice([["gateway"], ["any"], generator.sample(ZONES, generator.randrange(1, 3))]),
        "action": generator.choice(["accept", "drop"]),
    }
    for key in ("source", "destination"):
        if generator.random() < 0.4:
            rule[key] = generator.sample(PREFIXES, generator.randrange(1, 3))
    kind = generator.random()
    if kind < 0.4:
        rule["protocol"] = generator.choice([["tcp"], ["tcp", "udp"]])
        if kind < 0.3:
            rule["ports"] = [generator.choice(PORTS)]
    elif kind < 0.6:
        rule["protocol"] = generator.choice([["icmp"], ["icmpv6"], ["icmp", "icmpv6"]])
        if kind < 0.55:
            rule["icmp_types"] = generator.sample(TYPES, generator.randrange(1, 3))
    if generator.random() < 0.1:
        rule["monitor"] = True
    if generator.random() < 0.1:
        rule["rate"] = {"at_most": "1/second"}
    if generator.random() < 0.1:
        rule["enabled"] = False
    return rule


def policy_of(rules: list[dict[str, Any]]) -> Policy | None:
    """The policy of these rules, if it is one."""
    interfaces = [{"name": f"{zone}0", "zone": zone} for zone in ZONES]
    zones = [{"name": "dmz", "kind": "internal"}]
    try:
        return Policy.model_validate({"interfaces": interfaces, "zones": zones, "rules": rules})
    except ValueError:
        return None


def random_rules(generator: random.Random, number: int) -> tuple[Policy, list[dict[str, Any]]]:
    """As many valid rules."""
    rules: list[dict[str, Any]] = []
    while len(rules) < number:
        rule = random_rule(generator, f"rule-{len(rules)}")
        if policy_of([rule]):
            rules.append(rule)
    policy = policy_of(rules)
    assert policy is not None
    return policy, rules


def test_against_packets() -> None:
    """What is said never to decide matches no packet that the rule blamed for it does not match before."""
    generator, every = random.Random(3), packets()
    found = 0
    for _ in range(40):
        policy, rules = random_rules(generator, 14)
        for later, first in shadowed([match_of(policy, rule) for rule in policy.rules or ()]).items():
            found += 1
            assert first < later
            assert not rules[first].keys() & {"rate", "monitor"}
            assert rules[first].get("enabled", True)
            taken = [packet for packet in every if matches(rules[first], packet)]
            assert {packet for packet in every if matches(rules[later], packet)} <= set(taken)
    assert found >= 40


def test_finds_all_that_one_rule_covers() -> None:
    """The index of candidates loses nothing: comparing each rule with each finds the same."""
    generator = random.Random(4)
    found = 0
    for _ in range(60):
        policy, _ = random_rules(generator, 25)
        each = [match_of(policy, rule) for rule in policy.rules or ()]
        linear: dict[int, int] = {}
        for later, match in enumerate(each):
            if not match.rule.enabled:
                continue
            for first in range(later):
                other = each[first]
                if other.decides and not other.limited and first not in linear and other.covers(match):
                    linear[later] = first
                    break
        assert shadowed(each) == linear
        found += len(linear)
    assert found >= 100
