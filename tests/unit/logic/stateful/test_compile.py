# SPDX-License-Identifier: Apache-2.0
import json
import random
from typing import Any

import pytest

from neurowall.logic.stateful.compile import compile_ruleset
from neurowall.logic.stateful.fallback import Fallback
from neurowall.model.policy import load_policy
from neurowall.model.ruleset import Chain, Hook, Ruleset, Set
from tests.net.rule_oracle import Packet, decide
from tests.unit.logic.stateful.interpreter import Interpreter

BASE: dict[str, Any] = {
    "interfaces": [{"name": "wan0", "zone": "external"}, {"name": "lan0", "zone": "internal"}]
}


def compiled(policy: dict[str, Any], **options: Any) -> Ruleset:
    """The table of a policy."""
    return compile_ruleset(load_policy(json.dumps(BASE | policy), "policy.yaml"), **options)


def inwards(name: str, **fields: Any) -> dict[str, Any]:
    """A rule from outside to inside."""
    return {"name": name, "from": "external", "to": "internal", "action": "accept"} | fields


def many(count: int, seed: int = 1) -> list[dict[str, Any]]:
    """Rules of mixed forms, as a large site has them."""
    rng = random.Random(seed)
    rules = []
    for number in range(count):
        port = rng.randrange(1, 60000)
        form: dict[str, Any] = rng.choice(
            (
                {"protocol": "tcp", "ports": port},
                {"source": f"10.{rng.randrange(256)}.{rng.randrange(256)}.0/24"},
                {
                    "destination": f"172.16.{rng.randrange(256)}.{rng.randrange(256)}",
                    "protocol": "tcp",
                    "ports": port,
                },
                {
                    "source": f"10.{rng.randrange(256)}.0.0/16",
                    "protocol": "udp",
                    "ports": f"{port}-{port + 50}",
                },
                {"source": f"2001:db8:{rng.randrange(65536):x}::/48", "protocol": "udp", "ports": 53},
            )
        )
        rules.append(inwards(f"r{number}", **form, action=rng.choice(("accept", "drop"))))
    return rules


def expressions(ruleset: Ruleset, chain: str) -> list[Any]:
    """The rules of a chain."""
    found = ruleset.chain(chain)
    assert found is not None
    return [json.loads(rule) for rule in found.rules]


def test_nothing_asked_is_nothing_made() -> None:
    """Without rules, defaults and NAT there is no table."""
    assert not compiled({})


def test_translation_alone_filters_nothing() -> None:
    """A policy of NAT makes no chain of the filter."""
    ruleset = compiled({"nat": {"masquerade": [{"from": "internal", "to": "external"}]}})
    assert [chain.hook.hook for chain in ruleset.chains if chain.hook] == ["postrouting"]


def test_no_rules_are_not_absent_rules() -> None:
    """`rules: []` filters: what nothing accepts meets the defaults."""
    ruleset = compiled({"rules": []})
    policies = {chain.name: chain.hook.policy for chain in ruleset.chains if chain.hook}
    assert policies == {"input": "drop", "forward": "drop", "output": "accept"}


def test_the_same_policy_gives_the_same_table() -> None:
    """Compiling twice gives equal values, element by element."""
    policy = {"rules": many(200)}
    assert compiled(policy) == compiled(policy)


@pytest.mark.parametrize("count", [100, 600])
def test_the_cost_of_a_packet_hardly_depends_on_the_number_of_rules(count: int) -> None:
    """Packets of every kind meet few rules of nftables on their way, among hundreds as among thousands."""
    policy = BASE | {"rules": many(count)}
    table = Interpreter(compiled(policy))
    rng = random.Random(7)
    for _ in range(40):
        source = f"10.{rng.randrange(256)}.{rng.randrange(256)}.9"
        target = f"172.16.{rng.randrange(256)}.{rng.randrange(256)}"
        packet = Packet("wan0", "lan0", source, target, rng.choice((6, 17, 1)), 9, rng.randrange(1, 60000))
        assert table.decide(packet) == decide(policy, packet)
        assert table.looks < 40


def test_rules_that_take_turns_overlap_without_a_level_each() -> None:
    """By source and by port in turn: every one overlaps all of the other form, and is still found at once."""
    rules = []
    for number in range(200):
        rules.append(inwards(f"s{number}", source=f"10.1.{number}.0/24", action="drop"))
        rules.append(inwards(f"p{number}", protocol="tcp", ports=1000 + number))
    policy = BASE | {"rules": rules}
    table = Interpreter(compiled(policy))
    for source, port in (("10.1.199.1", 1199), ("10.1.199.1", 1198), ("10.2.0.1", 1199), ("10.2.0.1", 9)):
        packet = Packet("wan0", "lan0", source, "192.0.2.1", 6, 9, port)
        assert table.decide(packet) == decide(policy, packet)
        assert table.looks < 15


@pytest.mark.parametrize("change", ["removed", "added", "action", "port"])
def test_a_change_of_one_rule_changes_few_objects(change: str) -> None:
    """Of a table of 600 rules, a map or two, their chain and the rule's own are others afterwards."""
    rules = many(600)
    position = next(number for number, rule in enumerate(rules) if number > 300 and "destination" in rule)
    before = compiled({"rules": rules})
    if change == "removed":
        del rules[position]
    elif change == "added":
        rules.insert(position, inwards("new", source="10.9.9.9", protocol="tcp", ports=4433))
    elif change == "action":
        rules[position]["action"] = "reject"
    else:
        rules[position]["ports"] = 60123
    after = compiled({"rules": rules})
    assert len(set(before.sets) ^ set(after.sets)) <= 4
    assert len(set(before.chains) ^ set(after.chains)) <= 4
    assert set(before.chains) != set(after.chains) or set(before.sets) != set(after.sets)


def test_a_map_never_changes_under_its_name() -> None:
    """Tables of different rules share no name of a map that holds something else in the other."""
    rules = many(300)
    one, other = compiled({"rules": rules}).by_name, compiled({"rules": rules[:100] + rules[101:]}).by_name
    assert one.keys() & other.keys()
    assert one.keys() != other.keys()
    assert all(one[name] == other[name] for name in one.keys() & other.keys())


def test_ways_of_the_same_rules_share_a_chain() -> None:
    """`any` to `any` is compiled once, however many zones there are."""
    interfaces = [{"name": f"eth{number}", "zone": f"zone-{number}"} for number in range(5)]
    zones = [{"name": f"zone-{number}", "kind": "internal"} for number in range(5)]
    rules = [rule | {"from": "any", "to": "any"} for rule in many(50)]
    ruleset = compiled({"interfaces": interfaces, "zones": zones, "rules": rules})
    own = [chain.name for chain in ruleset.chains if chain.name.startswith("forward.zone")]
    assert {name.split(".")[1] for name in own} == {"zone-0"}


def test_a_log_is_limited_and_says_what_happened() -> None:
    """By default the kernel log, ten lines a second; a group and a prefix of its own where they are given."""
    own = {"prefix": "mine ", "group": 3, "rate": "2/minute", "burst": 7}
    ruleset = compiled({"rules": [inwards("a", log=True), inwards("b", source="192.0.2.1", log=own)]})
    assert expressions(ruleset, "rule.a")[0] == [
        {"limit": {"rate": 10, "per": "second", "burst": 5}},
        {"log": {"prefix": "a accept: ", "level": "info"}},
    ]
    assert expressions(ruleset, "rule.b")[0] == [
        {"limit": {"rate": 2, "per": "minute", "burst": 7}},
        {"log": {"prefix": "mine ", "group": 3}},
    ]


def test_defaults_that_accept_are_not_logged() -> None:
    """`defaults.log` speaks of what is not accepted."""
    ruleset = compiled({"defaults": {"log": True, "input": "reject"}})
    assert "log" in json.dumps(expressions(ruleset, "default.input"))
    assert "log" not in json.dumps(expressions(ruleset, "default.output"))


def test_a_rule_that_is_switched_off_leaves_nothing() -> None:
    """Not even its counter is made."""
    assert compiled({"rules": [inwards("a", enabled=False)]}) == compiled({"rules": []})


def test_established_connections_go_to_the_flowtable() -> None:
    """Of all interfaces, where both the policy and the kernel want it."""
    plain = {"rules": [inwards("a")]}
    asked = plain | {"flowtable": True}
    ruleset = compiled(asked, flowtable=True)
    assert ruleset.flowtable == ("wan0", "lan0")
    assert expressions(ruleset, "flow")[0] == [{"flow": {"op": "add", "flowtable": "@offload"}}]
    assert '{"goto":{"target":"flow"}}' in ruleset.chain("forward").rules[0]  # type: ignore[union-attr]
    assert compiled(asked) == compiled(plain, flowtable=True) == compiled(plain)


def test_rules_for_established_connections_forbid_the_flowtable() -> None:
    """They would not see the packets that bypass the stack."""
    rules = [inwards("a", state="established", action="drop"), inwards("b")]
    ruleset = compiled({"rules": rules, "flowtable": True}, flowtable=True)
    assert ruleset.flowtable == ()
    assert ruleset.chain("flow") is None


def test_the_fallback_is_merged_in() -> None:
    """Its counters, sets and chains stand beside the policy's own, also where these are none."""
    added = Fallback(
        ("fallback-block",),
        (Set("fallback-block4", ("ipv4_addr",), frozenset({'"192.0.2.1"'})),),
        (Chain("fallback", (), Hook("filter", "prerouting", -310, "accept")),),
    )
    alone = compiled({}, fallback=added)
    assert alone == Ruleset(added.counters, added.sets, added.chains)
    both = compiled({"rules": []}, fallback=added)
    assert set(added.chains) < set(both.chains)
    assert set(added.sets) <= set(both.sets)
    assert set(added.counters) < set(both.counters)


FILLERS = [inwards(f"filler-{n}", source=f"198.51.100.{n}", protocol="tcp", ports=9) for n in range(1, 8)]


def agrees(rules: list[dict[str, Any]], *packets: tuple[str, int]) -> bool:
    """Whether TCP packets from a source to a port meet the rules as these are written."""
    policy = BASE | {"rules": [*FILLERS, *rules]}
    table = Interpreter(compiled(policy))
    sent = [Packet("wan0", "lan0", source, "192.0.2.1", 6, 9, port) for source, port in packets]
    return all(table.decide(packet) == decide(policy, packet) for packet in sent)


def test_a_rule_that_was_cut_is_not_compared_whole() -> None:
    """It would take what an earlier rule, asked later because of a third one, decides."""
    tcp = {"protocol": "tcp"}
    rules = [
        inwards("seen", source="10.1.0.0/24", ports=80, monitor=True, **tcp),
        inwards("kept", source="10.1.0.0/16", ports=80, action="drop", **tcp),
        inwards("cut", source="10.1.2.0/24", ports="1-1000", **tcp),
    ]
    assert agrees(rules, ("10.1.2.3", 80), ("10.1.2.3", 81), ("10.1.0.1", 80), ("10.1.3.1", 81))


def test_a_rule_in_two_maps_matches_once() -> None:
    """Hosts and a prefix of one rule are looked up apart, and each packet is counted once."""
    hosts = [f"10.0.0.{n}" for n in range(1, 10, 2)]
    rule = inwards("seen", source=[*hosts, "10.9.0.0/16"], protocol="tcp", ports=80, monitor=True)
    assert agrees([rule], ("10.0.0.3", 80), ("10.9.1.1", 80), ("10.0.0.4", 80), ("10.0.0.3", 81))


def test_zones_may_be_called_as_states_and_hooks_are() -> None:
    """No name of a zone meets one of the compiler's own."""
    names = ("new", "established", "input", "forward", "default", "rule")
    interfaces = [{"name": f"eth{number}", "zone": zone} for number, zone in enumerate(names)]
    zones = [{"name": zone, "kind": "internal"} for zone in names]
    rules = [
        {
            "name": f"r-{to}-{state}",
            "from": "any",
            "to": to,
            "state": state,
            "protocol": "udp",
            "action": "drop",
        }
        for to in ("any", "gateway")
        for state in ("new", "established", "invalid")
    ]
    policy = {"interfaces": interfaces, "zones": zones, "rules": rules}
    table = Interpreter(compiled(policy))
    for oif in ("eth0", None):
        for state in ("new", "established", "related", "invalid"):
            packet = Packet("eth1", oif, "192.0.2.1", "192.0.2.2", 17, 1, 1, state=state)
            assert table.decide(packet) == decide(policy, packet)
