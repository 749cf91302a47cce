# SPDX-License-Identifier: Apache-2.0
from collections.abc import Mapping
from typing import Any

import pytest

from neurowall.kernel.routes import Route
from neurowall.logic.evaluate import Listed, PacketInvalid, Verdict, evaluate, read_packet
from tests.unit.logic.packet_world import World, load

Json = dict[str, Any]

POLICY: Json = {
    "interfaces": [
        {"name": "wan0", "zone": "external"},
        {"name": "lan0", "zone": "internal", "networks": ["198.18.0.0/24", "2001:db8:0:2::/64"]},
        {"name": "dmz0", "zone": "dmz"},
    ],
    "zones": [{"name": "dmz", "kind": "internal"}],
    "failsafe": [{"interface": "lan0", "source": "198.18.0.10", "port": 22, "address": "198.18.0.1"}],
    "rules": [
        {"name": "web", "from": "external", "to": "dmz", "protocol": "tcp", "ports": 443, "action": "accept"},
        {"name": "out", "from": "internal", "to": ["external", "dmz"], "action": "accept"},
    ],
    "nat": {"masquerade": [{"from": "internal", "to": "external"}]},
}


def policy(**changes: Any) -> Json:
    """The policy with some parts replaced."""
    return POLICY | changes


def rule(name: str, action: str, **fields: Any) -> Json:
    """A rule from the internet to the gateway."""
    return {"name": name, "from": "external", "to": "gateway", "action": action} | fields


def judge(text: str, raw: Json = POLICY, lists: Mapping[str, Listed] | None = None) -> Verdict:
    """What becomes of a packet."""
    return evaluate(
        load(raw), read_packet(text), lambda address: (lists or {}).get(address, Listed()), World()
    )


def stages(found: Verdict) -> list[str]:
    """The steps in order, with what each did."""
    return [f"{step.stage} {step.does}" for step in found.steps]


def test_a_forwarded_packet_meets_every_step_in_the_order_of_the_kernel() -> None:
    """Arrival, spoofing, source, destination, route, rules, source NAT; the packet leaves translated."""
    found = judge("tcp 198.18.0.10:4711 -> 203.0.113.7:443 via lan0")
    assert stages(found) == [
        "arrival continue",
        "spoofing continue",
        "source-lists continue",
        "destination-lists continue",
        "route continue",
        "rules accept",
        "source-nat translate",
    ]
    assert (found.verdict, found.decided_by, found.name) == ("accept", "rules", "out")
    assert (found.hook, found.arrives, found.leaves) == ("forward", "internal", "external")
    assert found.sent is not None
    assert found.sent.ends == "192.0.2.1:4711 -> 203.0.113.7:443"


def test_a_source_that_does_not_belong_behind_the_interface_is_spoofed() -> None:
    """Only where networks are declared, only for sources outside of them, and before all lists."""
    allowed = {"203.0.113.7": Listed("allow", "friends", "203.0.113.7")}
    found = judge("tcp 203.0.113.7 -> 198.51.100.10:443 via lan0", lists=allowed)
    assert (found.verdict, found.decided_by, found.name) == ("drop", "spoofing", "lan0")
    assert found.hook is None
    assert judge("tcp 203.0.113.7 -> 198.51.100.10:443 via wan0").verdict == "accept"
    assert judge("tcp 198.18.0.99 -> 198.51.100.10:443 via lan0").verdict == "accept"


@pytest.mark.parametrize(
    ("text", "stage"),
    [
        ("udp 0.0.0.0:68 -> 255.255.255.255:67 via lan0", "essential"),
        ("udp [fe80::1]:546 -> [ff02::1:2]:547 via lan0", "essential"),
        ("icmpv6 nd-neighbor-solicit 2001:db8:ffff::1 -> ff02::1 via lan0", "essential"),
        ("icmpv6 nd-neighbor-solicit 2001:db8:ffff::1 -> ff02::1 via lan0 ttl 254", "spoofing"),
        ("icmpv6 mld-listener-report fe80::1 -> ff02::16 via lan0", "essential"),
        ("icmpv6 mld-listener-report 2001:db8:ffff::1 -> ff02::16 via lan0", "spoofing"),
        ("icmpv6 mld-listener-report fe80::1 -> ff05::16 via lan0 ttl 2", "spoofing"),
        ("udp 0.0.0.0:69 -> 255.255.255.255:67 via lan0", "spoofing"),
        ("udp [2001:db8:ffff::1]:546 -> [ff02::1:2]:547 via lan0", "spoofing"),
    ],
)
def test_essential_traffic_passes_before_the_check_of_sources(text: str, stage: str) -> None:
    """What keeps the link alive is exactly that of the kernel program."""
    found = judge(text)
    assert found.steps[1].stage == stage
    assert (found.decided_by == "spoofing") == (stage == "spoofing")


@pytest.mark.parametrize(
    ("source", "stage"),
    [
        ("127.0.0.1", "martian"),
        ("198.18.0.10", "foreign"),  # behind lan0
        ("192.0.2.1", "foreign"),  # of the gateway
        ("203.0.113.7", None),
    ],
)
def test_sources_that_cannot_come_from_outside(source: str, stage: str | None) -> None:
    """Before every list; DHCP from 0.0.0.0 is essential."""
    found = judge(
        f"udp {source}:68 -> 198.51.100.10:443 via wan0", lists={source: Listed("allow", "all", source)}
    )
    assert (found.decided_by == stage) == (stage is not None)
    assert (found.verdict == "drop" and found.name == "wan0") == (stage is not None)
    essential = judge("udp 0.0.0.0:68 -> 255.255.255.255:67 via wan0")
    assert essential.steps[1].stage == "essential"


def test_link_local_traffic_is_not_spoofed_and_is_asked_of_the_lists() -> None:
    """It has no network in a policy, and no router forwards it."""
    found = judge("udp [fe80::5]:5353 -> [ff02::fb]:5353 via lan0")
    assert stages(found)[1:3] == ["spoofing continue", "source-lists continue"]


def test_block_lists_drop_by_source_everywhere_and_by_destination_from_inside() -> None:
    """The list that decides is named; multicast destinations are not looked up; an allowed source is free."""
    lists = {
        "203.0.113.7": Listed("block", "abuse", "203.0.113.0/24", ("watched",)),
        "198.18.0.11": Listed("allow", "staff", "198.18.0.11"),
        "224.0.0.251": Listed("block", "abuse", "224.0.0.251"),
    }
    found = judge("tcp 203.0.113.7 -> 198.51.100.10:443 via wan0", lists=lists)
    assert (found.verdict, found.decided_by, found.name) == ("drop", "source-lists", "abuse")
    assert "through 203.0.113.0/24; counted by watched" in found.steps[-1].text
    found = judge("tcp 198.18.0.10 -> 203.0.113.7:443 via lan0", lists=lists)
    assert (found.verdict, found.decided_by, found.name) == ("drop", "destination-lists", "abuse")
    found = judge("tcp 198.18.0.11 -> 203.0.113.7:443 via lan0", lists=lists)
    assert (found.verdict, found.decided_by) == ("accept", "rules")
    found = judge("udp 198.18.0.10:5353 -> 224.0.0.251:5353 via lan0", lists=lists)
    assert found.decided_by == "defaults"
    # From outside the destination is not asked for.
    found = judge("tcp 192.0.2.10 -> 203.0.113.7:443 via wan0", lists=lists)
    assert "destination-lists" not in [step.stage for step in found.steps]


def test_the_failsafe_passes_lists_and_rules_for_exactly_its_connection() -> None:
    """Another interface, source, address, port or protocol does not meet it."""
    lists = {"198.18.0.10": Listed("block", "abuse", "198.18.0.10")}
    found = judge("tcp 198.18.0.10 -> 198.18.0.1:22 via lan0", lists=lists)
    assert (found.verdict, found.decided_by, found.hook) == ("accept", "failsafe", "input")
    assert "at most 1000 packets a second" in found.steps[2].text
    for text in (
        "tcp 198.18.0.10 -> 198.18.0.1:23 via lan0",
        "udp 198.18.0.10 -> 198.18.0.1:22 via lan0",
        "tcp 198.18.0.10 -> 192.0.2.1:22 via lan0",
        "tcp 198.18.0.10 -> 198.18.0.1:22 via dmz0",
    ):
        assert judge(text, lists=lists).decided_by == "source-lists", text
    found = judge("tcp 198.18.0.11 -> 198.18.0.1:22 via lan0")
    assert (found.verdict, found.decided_by) == ("drop", "defaults")


def test_the_failsafe_is_not_translated() -> None:
    """The loader refuses a port forward of its port; were there one, it would take everybody else only."""
    forward = {"name": "git", "from": "internal", "protocol": "tcp", "ports": 22, "to": "198.51.100.10"}
    other = load(policy(failsafe=[], nat={"port_forwards": [forward]}))
    both = load(POLICY).model_copy(update={"nat": other.nat})
    names = []
    for client in ("198.18.0.10", "198.18.0.11"):
        packet = read_packet(f"tcp {client} -> 198.18.0.1:22 via lan0")
        names.append(evaluate(both, packet, lambda _address: Listed(), World()).name)
    assert names == ["failsafe", "git"]


def test_without_via_the_way_back_to_the_source_says_where_a_packet_arrives() -> None:
    """The gateway's own addresses are where it sends from."""
    assert judge("tcp 198.18.0.10 -> 203.0.113.7:443").arrives == "internal"
    found = judge("tcp 192.0.2.1 -> 203.0.113.7:443")
    assert (found.hook, found.arrives, found.leaves) == ("output", None, "external")
    assert (found.verdict, found.name) == ("accept", "defaults.output")
    assert judge("tcp 192.0.2.1 -> 198.18.0.1:22").name == "loopback"


def test_to_gives_the_way_out_and_no_route_is_asked() -> None:
    """For a network that is planned, or another routing table."""
    found = judge("tcp 203.0.113.7 -> 198.18.7.7:443 via wan0 to dmz0")
    assert (found.leaves, found.verdict, found.name) == ("dmz", "accept", "web")


def test_interfaces_that_nobody_has_are_refused_with_the_nearest_name() -> None:
    """A typing error must not look like an interface that is not declared."""
    with pytest.raises(PacketInvalid, match="no interface 'wan1': did you mean 'wan0'"):
        judge("tcp 203.0.113.7 -> 192.0.2.1:443 via wan1")
    with pytest.raises(PacketInvalid, match="no interface 'x': there are lo, wan0"):
        judge("tcp 203.0.113.7 -> 192.0.2.1:443 to x")
    with pytest.raises(PacketInvalid, match="'dmz' is a zone: write one of its interfaces, dmz0"):
        judge("tcp 203.0.113.7 -> 192.0.2.1:443 to dmz")


def test_an_interface_that_the_policy_does_not_declare_meets_no_list_and_no_rule() -> None:
    """Its packets meet the defaults."""
    lists = {"198.18.9.10": Listed("block", "abuse", "198.18.9.10")}
    anything = [
        {"name": f"to-{name}", "from": "any", "to": name, "action": "accept"} for name in ("any", "gateway")
    ]
    for target in ("192.0.2.1", "203.0.113.7"):
        found = judge(f"tcp 198.18.9.10 -> {target}:443 via oth0", policy(rules=anything), lists)
        assert (found.verdict, found.decided_by, found.arrives) == ("drop", "defaults", None)


def test_the_first_rule_that_matches_decides_and_limits_are_told() -> None:
    """What holds beyond a limit is in the step."""
    rules = [
        rule("ssh", "accept", protocol="tcp", ports=22, rate={"at_most": "3/minute", "per": "source"}),
        rule(
            "slow",
            "accept",
            protocol="tcp",
            ports="20-30",
            connection_limit={"at_most": 9},
        ),
        rule("rest", "reject"),
    ]
    found = judge("tcp 203.0.113.7 -> 192.0.2.1:22", policy(rules=rules))
    assert (found.verdict, found.name) == ("accept", "ssh")
    assert found.limits == ("while under 3/minute of each source (burst 5)",)
    assert found.steps[-1].text.endswith("beyond that rule slow: accept")
    found = judge("tcp 203.0.113.7 -> 192.0.2.1:23", policy(rules=rules))
    assert found.limits == ("while there are at most 9 connections of each source",)
    assert found.steps[-1].text.endswith("beyond that rule rest: reject")
    found = judge("tcp 203.0.113.7 -> 192.0.2.1:22", policy(rules=rules[:1]))
    assert found.steps[-1].text.endswith("beyond that defaults.input: drop")
    assert judge("udp 203.0.113.7 -> 192.0.2.1:22", policy(rules=rules)).verdict == "reject"


def test_monitor_rules_are_told_and_decide_nothing() -> None:
    """Nor do disabled ones; of those the default names the ones that nearly matched."""
    rules = [
        rule("seen", "drop", monitor=True),
        rule("off", "accept", enabled=False),
        rule("other-port", "accept", protocol="tcp", ports=443),
        rule("far-off", "accept", protocol="udp", ports=443),
    ]
    found = judge("tcp 203.0.113.7 -> 192.0.2.1:22", policy(rules=rules))
    assert (found.verdict, found.name) == ("drop", "defaults.input")
    assert found.steps[-3].does == "count"
    assert found.steps[-3].name == "seen"
    assert found.steps[-2].text == (
        "none of 3 rules from external to gateway for state new matches; "
        "closest: off (it is disabled), other-port (but for its ports)"
    )


@pytest.mark.parametrize(
    ("state", "verdict", "name"),
    [
        ("new", "drop", "defaults.input"),
        ("untracked", "drop", "defaults.input"),
        ("established", "accept", "established"),
        ("related", "accept", "related"),
        ("invalid", "drop", "invalid"),
    ],
)
def test_states_decide_where_no_rule_of_that_state_matches(state: str, verdict: str, name: str) -> None:
    """A rule of that state is asked before."""
    text = f"tcp 203.0.113.7 -> 192.0.2.1:22 state {state}"
    found = judge(text)
    assert (found.verdict, found.name) == (verdict, name)
    rules = [rule("this", "reject", state=state)]
    assert judge(text, policy(rules=rules)).name == "this"
    if state != "new":
        assert judge(text, policy(rules=[rule("new-ones", "reject")])).name == name


@pytest.mark.parametrize(
    ("text", "accepted"),
    [
        ("icmpv6 nd-neighbor-advert fe80::1 -> 2001:db8:0:1::1 via wan0", "neighbour discovery"),
        ("icmpv6 nd-neighbor-advert fe80::1 -> 2001:db8:0:1::1 via wan0 ttl 64", None),
        ("icmpv6 mld-listener-query fe80::1 -> ff02::1 via oth0", "multicast listener discovery"),
        ("udp 192.0.2.10:67 -> 192.0.2.1:68 via wan0", "DHCP"),
        ("udp 192.0.2.10:68 -> 192.0.2.1:67 via wan0", None),
        ("udp [fe80::1]:547 -> [2001:db8:0:1::1]:546 via wan0", "DHCP"),
        ("udp [2001:db8:0:1::10]:547 -> [2001:db8:0:1::1]:546 via wan0", None),
        ("icmpv6 nd-neighbor-solicit 2001:db8:0:1::1 -> 2001:db8:0:1::10", "neighbour discovery"),
        ("udp 192.0.2.1:68 -> 192.0.2.10:67", "DHCP"),
        ("udp 192.0.2.1:67 -> 192.0.2.10:68", None),
        ("udp 203.0.113.7:67 -> 198.51.100.10:68 via wan0", None),
        ("udp 203.0.113.7:68 -> 198.51.100.10:67 via wan0", None),
        ("icmpv6 mld-listener-query 2001:db8:ffff::7 -> 2001:db8:0:4::10 via wan0", None),
    ],
)
def test_what_the_gateway_itself_needs_is_accepted_before_all_rules(text: str, accepted: str | None) -> None:
    """Neighbour discovery, MLD and answers of DHCP, on every interface; never what only looks like them."""
    rules = [
        {"name": f"{one}-{other}", "from": one, "to": other, "state": ["new", "untracked"], "action": "drop"}
        for one, other in (("external", "gateway"), ("gateway", "external"), ("external", "dmz"))
    ]
    found = judge(text, policy(rules=rules))
    assert (found.name if found.decided_by == "built-in" else None) == accepted


def test_without_rules_and_defaults_nothing_filters() -> None:
    """NAT is still done."""
    raw = policy()
    del raw["rules"]
    found = judge("tcp 198.18.0.10 -> 203.0.113.7:443 via lan0", raw)
    assert (found.verdict, found.decided_by) == ("accept", "unfiltered")
    assert found.sent is not None
    assert found.sent.source == "192.0.2.1"


def test_a_packet_without_a_route_is_dropped_by_the_kernel() -> None:
    """The kernel's reason is told."""

    class Nowhere(World):
        def route(self, destination: str, source: str | None = None, arriving: str | None = None) -> Route:
            return Route("none", why="there is no route")

    packet = read_packet("tcp 198.18.0.10 -> 203.0.113.7:443 via lan0")
    found = evaluate(load(POLICY), packet, lambda _address: Listed(), Nowhere())
    assert (found.verdict, found.decided_by, found.sent) == ("drop", "route", None)
    assert found.steps[-1].text == "203.0.113.7: there is no route"
    with pytest.raises(PacketInvalid, match="add `via INTERFACE`"):
        evaluate(load(POLICY), read_packet("gre 198.18.0.10 -> 203.0.113.7"), lambda _: Listed(), Nowhere())


def test_a_port_forward_is_accepted_before_rules_and_hairpin_takes_the_gateways_source() -> None:
    """From outside the source stays; from the target's own zone it becomes the gateway's."""
    forward: Json = {
        "name": "www",
        "from": "external",
        "protocol": ["tcp"],
        "ports": "8000-8009",
        "to": "198.51.100.10",
        "to_ports": "9000-9009",
        "hairpin": True,
    }
    raw = policy(nat={"port_forwards": [forward]}, rules=[])
    found = judge("tcp 203.0.113.7:4711 -> 192.0.2.1:8003 via wan0", raw)
    assert (found.verdict, found.decided_by, found.name) == ("accept", "port-forward", "www")
    assert found.sent is not None
    assert found.sent.ends == "203.0.113.7:4711 -> 198.51.100.10:9003"
    found = judge("tcp 198.51.100.11:4711 -> 192.0.2.1:8003 via dmz0", raw)
    assert found.sent is not None
    assert found.sent.ends == "198.51.100.1:4711 -> 198.51.100.10:9003"
    found = judge("tcp 198.18.0.10:4711 -> 192.0.2.1:8003 via lan0", raw)
    assert found.sent is not None
    assert found.sent.ends == "198.18.0.10:4711 -> 198.51.100.10:9003"
    # The address of the interface itself is not meant by hairpin.
    assert judge("tcp 198.51.100.11 -> 198.51.100.1:8003 via dmz0", raw).name == "defaults.input"
    assert judge("tcp 203.0.113.7 -> 192.0.2.1:8010 via wan0", raw).name == "defaults.input"


def test_known_connections_are_said_to_be_translated_as_they_began() -> None:
    """The way of an answer through a translation cannot be told from the answer alone."""
    found = judge("tcp 203.0.113.7:443 -> 192.0.2.1:4711 via wan0 state established")
    assert (found.verdict, found.name) == ("accept", "established")
    (said,) = [step.text for step in found.steps if step.stage == "destination-nat"]
    assert "taken as if this were that one" in said
    found = judge("tcp 203.0.113.7:443 -> 192.0.2.1:4711 via wan0 state established", policy(nat={}))
    assert "destination-nat" not in [step.stage for step in found.steps]


def test_one_to_one_translates_prefixes_both_ways_and_rules_see_the_inside() -> None:
    """The host part stays; an accept is up to the rules."""
    entry = {"name": "pool", "zone": "external", "outside": "203.0.113.64/28", "inside": "198.51.100.0/28"}
    raw = policy(nat={"one_to_one": [entry]})
    found = judge("tcp 203.0.113.7:1 -> 203.0.113.74:443 via wan0", raw)
    assert (found.verdict, found.name) == ("accept", "web")
    assert found.sent is not None
    assert found.sent.ends == "203.0.113.7:1 -> 198.51.100.10:443"
    assert judge("tcp 203.0.113.7 -> 203.0.113.74:80 via wan0", raw).name == "defaults.forward"
    rules = [{"name": "out", "from": "dmz", "to": "external", "action": "accept"}]
    found = judge("tcp 198.51.100.10:1 -> 203.0.113.7:443 via dmz0", raw | {"rules": rules})
    assert found.sent is not None
    assert found.sent.ends == "203.0.113.74:1 -> 203.0.113.7:443"


def test_an_invalid_packet_is_not_translated() -> None:
    """It belongs to no connection, and only connections are translated."""
    rules = [{"name": "odd", "from": "internal", "to": "external", "state": "invalid", "action": "accept"}]
    found = judge("icmp echo-reply 198.18.0.10 -> 203.0.113.7 via lan0", policy(rules=rules))
    assert (found.verdict, found.name) == ("accept", "odd")
    assert found.sent is not None
    assert found.sent.source == "198.18.0.10"
