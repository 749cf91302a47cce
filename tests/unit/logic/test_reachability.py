# SPDX-License-Identifier: Apache-2.0
"""Who may talk to whom, against a scan of the rules as they are written."""

import random
from typing import Any

from neurowall.logic.reachability import Cell, Matrix, Service, markdown, matrix
from neurowall.model.policy import load_policy
from tests.unit.model.test_shadows import Packet, matches, packets, random_rules

HEAD = """\
interfaces:
  - {name: wan0, zone: external}
  - {name: lan0, zone: internal, networks: [192.0.2.0/24]}
  - {name: dmz0, zone: dmz, networks: [198.51.100.0/24]}
zones: [{name: dmz, kind: internal}, {name: unused, kind: internal}]
"""


def of(text: str) -> Matrix:
    """The matrix of some more of a policy."""
    return matrix(load_policy(HEAD + text, "policy.yaml"))


def texts(cell: Cell) -> list[str]:
    """What a cell says, refusals marked."""
    return [("" if each.action == "accept" else "not ") + each.text for each in cell.services]


def accepted(rules: list[dict[str, Any]], packet: Packet) -> bool:
    """Whether the first rule that decides about a packet accepts it, where rules are unlimited."""
    for rule in rules:
        if rule.get("enabled", True) and not rule.get("monitor") and matches(rule, packet):
            return bool(rule["action"] == "accept")
    return False


def test_against_packets() -> None:
    """Asked cell by cell, the services say of every packet what all rules say."""
    generator, every = random.Random(5), packets()
    for _ in range(25):
        policy, rules = random_rules(generator, 12)
        by_name = {rule["name"]: rule for rule in rules}
        reach = matrix(policy)
        for packet in every:
            cell = reach.cells[packet[0], packet[1]]
            shown = [by_name[service.rule] for service in cell.services]
            rest = {"from": [packet[0]], "to": [packet[1]], "action": cell.rest}
            assert accepted([*shown, rest], packet) == accepted(rules, packet)


def test_what_a_service_says() -> None:
    """Protocols, ports, types, addresses and limits, in the order of the rules."""
    rules = """
sets: [{name: operators, entries: [192.0.2.9]}]
rules:
  - {name: a, from: internal, to: dmz, protocol: [tcp, udp], ports: [53, 8000-8010], action: accept}
  - {name: b, from: internal, to: dmz, protocol: icmp, icmp_types: [echo-request, "13"], action: accept}
  - {name: c, from: internal, to: dmz, source: "@operators", destination: 198.51.100.9, action: accept}
  - {name: d, from: internal, to: dmz, protocol: gre, rate: {at_most: 5/second, per: source}, action: accept}
  - {name: e, from: internal, to: dmz, connection_limit: {at_most: 7, per: rule}, action: accept}
  - {name: f, from: internal, to: dmz, protocol: udp, source_ports: 123, action: accept}
  - {name: covered, from: internal, to: dmz, protocol: tcp, ports: 53, action: accept}
  - {name: useless, from: internal, to: dmz, protocol: tcp, ports: 99, action: drop}
"""
    assert texts(of(rules).cells["internal", "dmz"]) == [
        "tcp/udp 53, 8000-8010",
        "icmp echo-request, 13",
        "everything from @operators to 198.51.100.9",
        "gre up to 5/second per source",
        "everything up to 7 connections",
        "udp from ports 123",
    ]


def test_defaults_and_rules_for_everything_are_the_rest() -> None:
    """What no service names is decided by the first rule for all of it, else by the defaults."""
    text = """
defaults: {forward: reject}
rules:
  - {name: mail, from: internal, to: external, protocol: tcp, ports: 25, action: drop}
  - {name: out, from: internal, to: any, action: accept}
  - {name: never, from: internal, to: external, protocol: udp, action: drop}
"""
    cells = of(text).cells
    out = cells["internal", "external"]
    assert (texts(out), out.rest) == (["not tcp 25"], "accept")
    assert cells["internal", "dmz"] == Cell((), "accept")
    assert cells["dmz", "external"] == Cell((), "reject")
    assert cells["dmz", "gateway"] == Cell((), "drop")
    assert cells["gateway", "dmz"] == Cell((), "accept")
    assert ("gateway", "gateway") not in cells


def test_without_rules_everything_passes() -> None:
    """A policy that only has lists filters no connection; zones without interfaces are not shown."""
    reach = of("")
    assert reach.ends == ("external", "internal", "dmz", "gateway")
    assert set(reach.cells.values()) == {Cell((), "accept")}
    assert reach.notes == ()


def test_port_forwards_are_where_their_host_lives() -> None:
    """By the networks of the interfaces; clients inside have them with a hairpin only; NAT is noted."""
    text = """
rules: [{name: bad, from: external, to: any, state: [invalid, untracked], action: reject}]
nat:
  port_forwards:
    - {name: web, from: external, protocol: tcp, ports: 443, to: 198.51.100.9, to_ports: 8443, hairpin: true}
    - {name: ssh, from: any, protocol: tcp, ports: 22, to: 192.0.2.9, source: 203.0.113.0/24}
  one_to_one: [{name: mail, zone: external, outside: 203.0.113.25, inside: 198.51.100.25}]
  source: [{from: dmz, to: external, address: 203.0.113.3}]
  masquerade: [{from: internal, to: [external, dmz], families: [ipv4, ipv6]}]
"""
    reach = of(text)
    web = Service("accept", "tcp 8443 to 198.51.100.9 (forwarded)", "web")
    ssh = Service("accept", "tcp 22 from 203.0.113.0/24 to 192.0.2.9 (forwarded)", "ssh")
    assert reach.cells["external", "dmz"].services == (web,)
    assert reach.cells["internal", "dmz"].services == (web,)
    assert reach.cells["dmz", "internal"].services == (ssh,)
    assert reach.notes == (
        (
            "Port forward `web`: tcp 443 of the gateway's address goes to 198.51.100.9 port 8443, for "
            "clients in external, internal and dmz."
        ),
        (
            "Port forward `ssh`: tcp 22 of the gateway's address goes to 192.0.2.9 port 22, for clients in "
            "external, internal and dmz."
        ),
        "One to one `mail`: 203.0.113.25 in external is 198.51.100.25 inside.",
        "From dmz to external, the source becomes 203.0.113.3.",
        "From internal to external and dmz, the IPv4 and IPv6 source becomes the gateway's address.",
        "Rule `bad` rejects packets in state invalid and untracked.",
    )


def test_markdown() -> None:
    """A row for each end, a column for each, refusals in words, notes below."""
    reach = Matrix(
        ("external", "gateway"),
        {
            ("external", "external"): Cell((), "drop"),
            ("external", "gateway"): Cell(
                (Service("drop", "everything from @bad", "a"), Service("accept", "tcp 22", "b")), "reject"
            ),
            ("gateway", "external"): Cell((Service("drop", "tcp 25", "c"),), "accept"),
        },
        ("A note.",),
    )
    assert markdown(reach) == (
        "| from | to external | to gateway |\n"
        "|---|---|---|\n"
        "| **external** | nothing | not from @bad<br>tcp 22<br>the rest is rejected |\n"
        "| **gateway** | not tcp 25<br>everything else |  |\n"
        "\n"
        "- A note.\n"
    )
