# SPDX-License-Identifier: Apache-2.0
"""What stands close to an error and is none, and policies that are broken at random."""

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from neurowall.model.errors import PolicyError
from neurowall.model.policy import Interface, Policy, load_policy
from neurowall.model.rules import Rule
from neurowall.model.yamltext import read_yaml

EXAMPLES = sorted((Path(__file__).parents[3] / "neurowall/management/examples").glob("*.yaml"))
HEAD = """\
interfaces:
  - {name: wan0, zone: external}
  - {name: lan0, zone: internal, networks: [192.0.2.0/24]}
  - {name: dmz0, zone: dmz}
zones: [{name: dmz, kind: internal}]
sets: [{name: both, entries: [198.51.100.10, "2001:db8::10"]}, {name: empty}]
"""
LAN_FAILSAFE = "failsafe: [{interface: lan0, source: 192.0.2.9, port: 22, address: 192.0.2.1}]\n"
ONE_TO_ONE = """\
nat:
  one_to_one:
    - {name: a, zone: external, outside: 203.0.113.1, inside: 192.0.2.1}
    - {name: b, zone: dmz, outside: 203.0.113.1, inside: 192.0.2.1}
"""
JUNK: list[Any] = [
    None,
    True,
    0,
    -1,
    1e9,
    "",
    "any",
    "gateway",
    "@both",
    "::/0",
    "80-70",
    [],
    [[]],
    {},
    {"a": 1},
]


def rule(rest: str) -> str:
    """A policy of one rule."""
    return f"rules: [{{name: a, from: external, to: dmz, action: accept, {rest}}}]\n"


def forwards(*items: str) -> str:
    """A policy of port forwards to one host."""
    lines = [f"    - {{name: f{number}, to: 198.51.100.10, {item}}}\n" for number, item in enumerate(items)]
    return "nat:\n  port_forwards:\n" + "".join(lines)


@pytest.mark.parametrize(
    "text",
    [
        # Families: one side of two is enough, and an empty set says nothing.
        rule('source: "@both", destination: 2001:db8::1'),
        rule('source: "@both", protocol: icmp'),
        rule('source: "@empty", destination: 192.0.2.1'),
        rule("source: 2001:db8::1, protocol: [icmp, icmpv6]"),
        rule("source: 2001:db8::1, protocol: [icmp, tcp]"),
        rule("protocol: [icmp, icmpv6], icmp_types: [packet-too-big, redirect, '255']"),
        # Ports side by side.
        rule("protocol: tcp, ports: [80, 81-90, 1-79]"),
        rule("protocol: [tcp, udp, sctp], source_ports: [53], ports: 65535"),
        rule("state: [new], connection_limit: {at_most: 1}"),
        # Port forwards: the first may be an exception to the second.
        forwards("from: external, protocol: tcp, ports: 80", "from: external, protocol: udp, ports: 80"),
        forwards("from: external, protocol: tcp, ports: 80", "from: external, protocol: tcp, ports: 81"),
        forwards("from: external, protocol: tcp, ports: 80", "from: dmz, protocol: tcp, ports: 80"),
        forwards(
            "from: external, protocol: tcp, ports: 80, source: 203.0.113.0/24",
            "from: external, protocol: tcp, ports: 80",
        ),
        forwards(
            "from: external, protocol: tcp, ports: 80, address: 203.0.113.2",
            "from: external, protocol: tcp, ports: 80",
        ),
        forwards(
            "from: external, protocol: tcp, ports: 80, address: 203.0.113.2",
            "from: external, protocol: tcp, ports: 80, address: 203.0.113.3",
        ),
        # The failsafe keeps its port where the forward is not in force for it.
        LAN_FAILSAFE + forwards("from: external, protocol: tcp, ports: 22"),
        LAN_FAILSAFE + forwards("from: external, protocol: tcp, ports: 22, hairpin: true"),
        LAN_FAILSAFE + forwards("from: any, protocol: udp, ports: 22"),
        LAN_FAILSAFE + forwards("from: any, protocol: tcp, ports: 23-30"),
        LAN_FAILSAFE + forwards("from: any, protocol: tcp, ports: 22, address: 203.0.113.2"),
        LAN_FAILSAFE + forwards("from: any, protocol: tcp, ports: 22, source: 203.0.113.0/24"),
        # On the link itself nothing is spoofed.
        'failsafe: [{interface: lan0, source: "fe80::/64", port: 22, address: "fe80::1"}]\n',
        # The same inside address in two zones, the same outside address in two zones.
        ONE_TO_ONE,
        # Flowtables need something that is forwarded; NAT alone is enough.
        "flowtable: true\nnat: {masquerade: [{from: internal, to: external}]}\n",
        "flowtable: true\ndefaults: {forward: accept}\n",
        "flowtable: true\n" + rule(""),
        "limits: []\nsignatures: []\nha: {}\n",
    ],
)
def test_is_valid(text: str) -> None:
    """Not everything that looks alike is a mistake."""
    assert load_policy(HEAD + text, "policy.yaml")


def test_one_zone_may_have_a_network_twice() -> None:
    """Two ways to the same network, as long as the zone is one."""
    text = """
interfaces:
  - {name: lan0, zone: internal, networks: 192.0.2.0/24}
  - {name: lan1, zone: internal, networks: [192.0.2.0/24, 198.51.100.0/24]}
"""
    assert len(load_policy(text, "policy.yaml").interfaces) == 2


def test_a_policy_built_in_code_names_the_fields() -> None:
    """Without a file there are no lines, but all problems at once."""
    web = Rule.model_validate(
        {"name": "web", "from": "external", "to": "dmz", "ports": [80], "action": "accept"}
    )
    with pytest.raises(ValidationError) as caught:
        Policy(interfaces=(Interface(name="wan0", zone="external"),), rules=(web, web))
    text = str(caught.value)
    assert "rules[1].name: 'web' is already used in rules[0].name: names are unique" in text
    assert "rules[0].to[0]: 'dmz' is no zone" in text
    assert "rules[0].ports: need a protocol that has ports" in text


def said(text: str) -> tuple[str, ...]:
    """What is wrong with a policy; anything but a PolicyError is a fault of ours."""
    try:
        load_policy(text, "policy.yaml")
    except PolicyError as error:
        return error.lines
    return ()


def break_at_random(generator: random.Random, value: Any) -> Any:
    """The value with one thing replaced by junk, removed, repeated or renamed."""
    if isinstance(value, dict) and value and generator.random() < 0.9:
        key = generator.choice(list(value))
        kind = generator.random()
        if kind < 0.1:
            return {other: item for other, item in value.items() if other != key}
        if kind < 0.2:
            return {(other + "x" if other == key else other): item for other, item in value.items()}
        return value | {key: break_at_random(generator, value[key])}
    if isinstance(value, list) and value and generator.random() < 0.9:
        index = generator.randrange(len(value))
        if generator.random() < 0.2:
            return [*value, value[index]]
        return [*value[:index], break_at_random(generator, value[index]), *value[index + 1 :]]
    return generator.choice(JUNK)


def test_random_breakage_is_refused_in_words() -> None:
    """Whatever is broken, the answer is a policy or sentences that begin with file and line."""
    generator = random.Random(11)
    documents = [read_yaml(path.read_bytes(), path.name).data for path in EXAMPLES]
    refused = 0
    for _ in range(700):
        broken: Any = generator.choice(documents)
        for _ in range(generator.randrange(1, 4)):
            broken = break_at_random(generator, broken)
        if not isinstance(broken, dict):
            continue
        lines = said(json.dumps(broken, indent=1))
        refused += bool(lines)
        assert all(re.match(r"policy\.yaml:\d+: [a-z]", line) for line in lines)
        numbers = [int(line.split(":")[1]) for line in lines]
        assert numbers == sorted(numbers)
    assert refused > 400
