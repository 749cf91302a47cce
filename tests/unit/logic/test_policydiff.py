# SPDX-License-Identifier: Apache-2.0
import random
from typing import Any

import pytest
import yaml

from neurowall.logic.policydiff import difference_of
from neurowall.model.policy import Policy, load_policy

BASE: dict[str, Any] = {
    "interfaces": [
        {"name": "wan0", "zone": "external"},
        {"name": "lan0", "zone": "internal", "networks": ["192.0.2.0/24"]},
    ],
    "sets": [{"name": "partners", "entries": ["198.51.100.1", "198.51.100.2"]}],
    "failsafe": [{"interface": "lan0", "source": "192.0.2.0/24", "port": 22, "address": "192.0.2.1"}],
    "lists": [
        {"name": "first", "verdict": "block", "entries": ["203.0.113.1"]},
        {"name": "second", "verdict": "block", "entries": ["203.0.113.2"]},
    ],
    "rules": [
        {
            "name": "web",
            "from": "external",
            "to": "internal",
            "protocol": "tcp",
            "ports": 80,
            "action": "accept",
        },
        {
            "name": "dns",
            "from": "internal",
            "to": "gateway",
            "protocol": "udp",
            "ports": 53,
            "action": "accept",
        },
        {"name": "out", "from": "internal", "to": "external", "action": "accept"},
    ],
    "nat": {"masquerade": [{"from": "internal", "to": "external"}]},
}

Line = tuple[str, str, str, str]


def policy(**changes: Any) -> Policy:
    """BASE with other top-level parts; None takes one out."""
    parts = {key: value for key, value in (BASE | changes).items() if value is not None}
    return load_policy(yaml.safe_dump(parts), "policy.yaml")


def differences(new: Policy, old: Policy | None = None) -> list[Line]:
    """Every line as a tuple."""
    found = difference_of(old or policy(), new)
    return [(each.sign, each.part, each.name, each.text) for each in found]


def changed(part: str, index: int, **fields: Any) -> dict[str, Any]:
    """BASE's *part* with one item changed."""
    items = [dict(item) for item in BASE[part]]
    items[index] |= fields
    return {part: items}


def test_equal_policies_differ_in_nothing() -> None:
    """Whatever they hold."""
    assert differences(policy()) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"rules": BASE["rules"][1:]},
            ("-", "rules", "web", "accept tcp 80 from external to internal"),
        ),
        (
            {"rules": [*BASE["rules"], {"name": "ping", "from": "any", "to": "gateway", "protocol": "icmp",
                       "icmp_types": "echo-request", "rate": {"at_most": "5/second"}, "log": True,
                       "action": "accept"}]},
            ("+", "rules", "ping",
             "accept icmp echo-request from any to gateway, rate {at_most 5/second}, log"),
        ),
        (
            {"rules": [BASE["rules"][0], {"name": "no", "from": "any", "to": "any", "action": "drop"},
                       *BASE["rules"][1:]]},
            ("+", "rules", "no", "drop from any to any, before dns"),
        ),
        (
            changed("rules", 0, ports=[80, 443], source="@partners"),
            ("~", "rules", "web", "source: none -> [@partners]; ports: [80] -> [80, 443]"),
        ),
        (changed("rules", 0, **{"from": "any"}), ("~", "rules", "web", "from: [external] -> [any]")),
        (changed("rules", 2, enabled=False), ("~", "rules", "out", "enabled: true -> false")),
        (
            {"rules": [BASE["rules"][2], *BASE["rules"][:2]]},
            ("~", "rules", "out", "moved to place 1, the first"),
        ),
        (
            {"rules": [*BASE["rules"][1:], BASE["rules"][0]]},
            ("~", "rules", "web", "moved to place 3, after out"),
        ),
        (changed("interfaces", 0, xdp="off"), ("~", "interfaces", "wan0", "xdp: auto -> off")),
        (
            {"zones": [{"name": "dmz", "kind": "internal"}]},
            ("+", "zones", "dmz", "kind internal"),
        ),
        (
            changed("sets", 0, entries=["198.51.100.1", "198.51.100.3"]),
            ("~", "sets", "partners",
             "entries: [198.51.100.1, 198.51.100.2] -> [198.51.100.1, 198.51.100.3]"),
        ),
        (
            changed("sets", 0, entries=[f"198.51.100.{last}" for last in range(1, 12)]),
            ("~", "sets", "partners",
             f"entries: +[{', '.join(f'198.51.100.{last}' for last in range(3, 9))}, and 3 more]"),
        ),
        (
            {"failsafe": []},
            ("-", "failsafe", "", "interface lan0, source 192.0.2.0/24, port 22, address 192.0.2.1"),
        ),
        ({"lists": BASE["lists"][::-1]}, ("~", "lists", "first", "moved to place 2, after second")),
        (changed("lists", 0, monitor=True), ("~", "lists", "first", "monitor: false -> true")),
        (
            {"nat": {"masquerade": BASE["nat"]["masquerade"], "port_forwards": [
                {"name": "mail", "from": "external", "protocol": "tcp", "ports": 25, "to": "192.0.2.9"}]}},
            ("+", "nat.port_forwards", "mail",
             "from [external], protocol [tcp], ports 25, to 192.0.2.9"),
        ),
        ({"nat": None}, ("-", "nat.masquerade", "", "from [internal], to [external]")),
        ({"defaults": {"forward": "reject"}}, ("~", "defaults", "forward", "drop -> reject")),
        ({"capacity": {"hosts4": 5000}}, ("~", "capacity", "hosts4", "1000000 -> 5000")),
        ({"bans": {"max_ttl": "30d"}}, ("~", "bans", "max_ttl", "7d -> 30d")),
        ({"fallback": {"max_entries": 5}}, ("~", "fallback", "max_entries", "100000 -> 5")),
        ({"engine": "classic"}, ("~", "engine", "", "buckets -> classic")),
        ({"forwarding": ["ipv4"]}, ("~", "forwarding", "", "none -> [ipv4]")),
    ],
)  # fmt: skip
def test_one_change_is_one_line(changes: dict[str, Any], expected: Line) -> None:
    """With the part, the name, and what it is now and was before."""
    assert differences(policy(**changes)) == [expected]


def test_a_policy_that_begins_to_filter_says_so() -> None:
    """Even an empty list of rules makes unmatched connections meet the defaults."""
    before, after = policy(rules=None), policy(rules=[])
    assert differences(after, before) == [
        (
            "+",
            "defaults",
            "",
            "connections that no rule accepts meet these: input drop, forward drop, output accept, log false",
        )
    ]
    assert [line[:2] for line in differences(before, after)] == [("-", "defaults")]


def test_a_policy_that_fills_its_defaults_in_differs_in_nothing() -> None:
    """What would be so by itself may be written out."""
    assert differences(policy(defaults={"input": "drop"}), policy()) == []


def test_a_rule_that_moved_and_changed_is_one_line() -> None:
    """Both are said."""
    web, dns, out = BASE["rules"]
    moved = policy(rules=[dns, out, web | {"action": "drop"}])
    assert differences(moved) == [
        ("~", "rules", "web", "action: accept -> drop; moved to place 3, after out")
    ]


def test_the_fewest_rules_are_said_to_have_moved() -> None:
    """Against a search of all subsets: the rest must stand in the same order in both."""
    shuffled = random.Random(4)
    for _ in range(60):
        names = [f"r{number}" for number in range(6)]
        order = names.copy()
        shuffled.shuffle(order)
        rules = [{"name": name, "from": "any", "to": "any", "action": "drop"} for name in names]
        after = [rules[names.index(name)] for name in order]
        moved = {line[2] for line in differences(policy(rules=after), policy(rules=rules))}
        assert [name for name in names if name not in moved] == [name for name in order if name not in moved]
        assert len(moved) == _fewest(names, order)


def test_a_new_rule_stands_before_one_that_was_there() -> None:
    """Of several new ones in a row each names the same; at the end there is nothing to name."""
    rules = [{"name": name, "from": "any", "to": "any", "action": "drop"} for name in ("a", "b", "c")]
    new = policy(rules=[*rules[:2], *BASE["rules"], rules[2]])
    assert [line[3] for line in differences(new)] == [
        "drop from any to any, before web",
        "drop from any to any, before web",
        "drop from any to any",
    ]


def _fewest(names: list[str], order: list[str]) -> int:
    best = len(names)
    for chosen in range(1 << len(names)):
        moved = {name for bit, name in enumerate(names) if chosen >> bit & 1}
        if [n for n in names if n not in moved] == [n for n in order if n not in moved]:
            best = min(best, len(moved))
    return best


def test_applying_what_is_said_gives_the_other_policy() -> None:
    """Nothing is left out: whatever differs in a random change of every part is named."""
    chosen = random.Random(7)
    for _ in range(40):
        rules = [rule for rule in BASE["rules"] if chosen.random() < 0.7]
        added = [
            {"name": f"n{chosen.randrange(99)}", "from": "any", "to": "gateway", "action": "drop"}
            for _ in range(chosen.random() < 0.5)
        ]
        new = policy(rules=[*added, *rules])
        lines = differences(new)
        gone = {line[2] for line in lines if line[0] == "-"}
        come = {line[2] for line in lines if line[0] == "+"}
        assert gone == {rule["name"] for rule in BASE["rules"]} - {rule["name"] for rule in rules}
        assert come == {rule["name"] for rule in added}
