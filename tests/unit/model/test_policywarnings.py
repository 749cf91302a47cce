# SPDX-License-Identifier: Apache-2.0
import pytest

from neurowall.model.policy import load_policy
from neurowall.model.policywarnings import warnings_of

HEAD = """\
interfaces:
  - {name: wan0, zone: external}
  - {name: lan0, zone: internal}
  - {name: dmz0, zone: dmz}
zones: [{name: dmz, kind: internal}]
failsafe: [{interface: lan0, source: 192.0.2.0/24, port: 22, address: 192.0.2.1}]
forwarding: [ipv4, ipv6]
"""
SOME = "{name: some, from: internal, to: external, rate: {at_most: 1/second}, action: accept}"
NETS = """\
sets: [{name: nets, entries: [192.0.2.0/25, 192.0.2.128/25]}]
rules:
  - {name: all, from: any, to: any, source: "@nets", action: drop}
  - {name: one, from: internal, to: dmz, source: 192.0.2.64/26, action: accept}
"""
FORWARD = "{name: web, from: any, protocol: tcp, ports: 80, to: 192.0.2.9, hairpin: true}"
OUT = "{name: out, from: internal, to: external, action: accept}"


def warnings(text: str) -> list[str]:
    """What is said about a valid policy."""
    return list(warnings_of(load_policy(text, "policy.yaml")))


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"rules: [{OUT}]\n",
        # What looks like a repetition and is none.
        f"rules: [{OUT}, {{name: all, from: any, to: external, action: accept}}]\n",
        f"rules: [{SOME}, {OUT}]\n",
        f"rules: [{{name: look, from: internal, to: external, monitor: true, action: drop}}, {OUT}]\n",
        f"rules: [{{name: off, from: internal, to: external, enabled: false, action: drop}}, {OUT}]\n",
        f"rules: [{{name: old, from: internal, to: external, state: established, action: drop}}, {OUT}]\n",
        f"rules: [{OUT}, {{name: bad, from: internal, to: external, state: invalid, action: drop}}]\n",
        "rules: [{name: web, from: external, to: gateway, protocol: tcp, ports: 443, action: accept}]\n",
        f"rules: []\nnat: {{port_forwards: [{FORWARD}]}}\n",
    ],
)
def test_says_nothing_about_what_is_meant(text: str) -> None:
    """No warning without a reason."""
    assert warnings(HEAD + text) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            f"rules: [{OUT}, {{name: web, from: internal, to: external, protocol: tcp, action: drop}}]\n",
            "rules[1] 'web': never decides: rules[0] 'out' matches all of it; move it up, or remove it",
        ),
        (
            NETS,
            "rules[1] 'one': never decides: rules[0] 'all' matches all of it; move it up, or remove it",
        ),
        (
            "rules: [{name: open, from: [internal, external], to: gateway, action: accept}]\n",
            "rules[0] 'open': opens every port of the gateway to everybody outside: name protocol and ports",
        ),
        ("sets: [{name: old, entries: [192.0.2.1]}]\n", "sets[0]: '@old' is not used"),
        (
            'sets: [{name: none}]\nrules: [{name: a, from: any, to: dmz, source: "@none", action: drop}]\n',
            "sets[0]: '@none' is empty: what names it alone matches nothing",
        ),
        (
            "defaults: {input: accept}\n",
            "defaults.input: accepts what no rule refuses from the internet to the gateway: use drop",
        ),
        (
            "defaults: {forward: accept}\n",
            "defaults.forward: accepts what no rule refuses from the internet through the gateway: use drop",
        ),
    ],
)
def test_says_what_is_probably_not_meant(text: str, expected: str) -> None:
    """One sentence, with the part to blame."""
    assert warnings(HEAD + text) == ([expected])


def test_zones_without_interfaces() -> None:
    """A zone that no interface has, and what only names such zones."""
    text = HEAD.replace(
        "{name: dmz, kind: internal}", "{name: dmz, kind: internal}, {name: guests, kind: internal}"
    )
    text += (
        "rules: [{name: web, from: guests, to: external, action: accept}]\n"
        "nat:\n"
        "  masquerade: [{from: guests, to: external}]\n"
        "  port_forwards: [{name: web, from: guests, protocol: tcp, ports: 80, to: 192.0.2.9}]\n"
        "  one_to_one: [{name: web, zone: guests, outside: 203.0.113.9, inside: 192.0.2.9}]\n"
    )
    assert warnings(text) == [
        "zones[1]: 'guests' has no interface: rules for it match nothing",
        "rules[0] 'web': none of its zones has an interface: it matches nothing",
        "nat.port_forwards[0] 'web': none of its zones has an interface: it matches nothing",
        "nat.masquerade[0].from: no such zone has an interface: it matches nothing",
        "nat.one_to_one[0] 'web': zone 'guests' has no interface",
    ]


def test_external_only() -> None:
    """A server alone: nobody left who can reach it, sources checked, a hairpin without clients."""
    text = (
        "interfaces: [{name: wan0, zone: external, networks: 203.0.113.0/24}]\n"
        "forwarding: ipv6\n"
        "rules: []\n"
        f"nat: {{port_forwards: [{FORWARD}]}}\n"
    )
    assert warnings(text) == [
        (
            "interfaces[0].networks: 'wan0' is external: packets from elsewhere, the internet included, are "
            "dropped as spoofed there"
        ),
        "failsafe: nobody can reach the gateway itself: add a failsafe, or a rule `to: gateway`",
        "nat.port_forwards[0] 'web': hairpin is for clients in internal zones, and none has an interface",
        "forwarding: NAT for IPv4 is given, but 'ipv4' is not forwarded: add it",
    ]


def test_a_family_without_networks() -> None:
    """Networks of one family make every source of the other one spoofed."""
    text = HEAD.replace(
        "{name: lan0, zone: internal}", "{name: lan0, zone: internal, networks: 192.0.2.0/24}"
    )
    assert warnings(text) == [
        (
            "interfaces[1].networks: none is of ipv6, which is forwarded: all of it from 'lan0' is "
            "dropped as spoofed; add its networks"
        )
    ]
    assert warnings(text.replace("[ipv4, ipv6]", "ipv4")) == []


def test_forwarding_is_not_set() -> None:
    """Whoever lets traffic through should not depend on what the kernel happens to be set to."""
    text = HEAD.replace("forwarding: [ipv4, ipv6]\n", f"rules: [{OUT}]\n")
    assert warnings(text) == [
        "forwarding: not set, so forwarded traffic depends on the kernel: add `[ipv4, ipv6]`"
    ]


def test_bogons_inside_are_ones_own_hosts() -> None:
    """Private addresses are what networks inside have; outside it is meant."""
    text = HEAD.replace("{name: dmz0, zone: dmz}", "{name: dmz0, zone: dmz, bogons: drop}")
    said = "interfaces[2].bogons: 'dmz0' is internal: hosts with private addresses behind it are dropped"
    assert said in warnings(text)
    assert said not in warnings(HEAD)


def test_a_limit_that_nothing_asks() -> None:
    """Where no XDP program is, and in a zone without interfaces."""
    limits = """\
limits:
  - {name: syn, key: source, packets_per_second: 5}
  - {name: guests, zones: guests, key: source, packets_per_second: 5}
"""
    text = HEAD.replace("kind: internal}]", "kind: internal}, {name: guests, kind: internal}]")
    assert warnings(HEAD + "limits: [{name: syn, key: source, packets_per_second: 5}]\n") == []
    found = warnings(text.replace("external}", "external, xdp: off}") + limits)
    assert [each for each in found if each.startswith("limits")] == [
        "limits[0] 'syn': is not enforced on 'wan0', which is without XDP (`xdp: off`)",
        "limits[1] 'guests': none of its zones has an interface: it is never asked",
    ]


@pytest.mark.parametrize(
    ("interface", "warned"),
    [
        ("{name: wan0, zone: external}", False),
        ("{name: wan0, zone: external, xdp: off}", True),
        ("{name: lan0, zone: internal}", True),
    ],
)
def test_flows_that_nothing_keeps(interface: str, *, warned: bool) -> None:
    """They are for external interfaces with XDP."""
    text = f"interfaces: [{interface}]\nflows: {{mode: loose}}\n"
    assert ("flows.mode" in " ".join(warnings(text))) is warned
    assert "flows.mode" not in " ".join(warnings(text.replace("loose", "off")))
