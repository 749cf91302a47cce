# SPDX-License-Identifier: Apache-2.0
import json
from collections.abc import Iterator
from typing import Any

import pytest

from bench.testbed.chain import Chain
from neurowall.logic.stateful.compile import compile_ruleset
from neurowall.model.policy import load_policy
from tests.net.rule_oracle import Packet
from tests.net.rule_wire import Wire

pytestmark = [pytest.mark.root, pytest.mark.tool("conntrack")]

FAR, OTHER = ("203.0.113.7", "203.0.113.8"), ("2001:db8:7::1", "2001:db8:7::2")
HOST = {4: "198.19.0.9", 6: "2001:2:0:2::9"}
UDP = 17


@pytest.fixture(scope="module")
def wire(chain: Chain) -> Iterator[Wire]:
    """Packets through the gateway: the client is external, the server internal."""
    wire = Wire(chain)
    try:
        yield wire
    finally:
        wire.close()


def hold(wire: Wire, *rules: dict[str, Any]) -> None:
    """Put rules from external to internal in force."""
    ways = {"from": "external", "to": "internal"}
    policy = {
        "interfaces": [{"name": "g0", "zone": "external"}, {"name": "g1", "zone": "internal"}],
        "rules": [ways | {"name": f"r{number}"} | rule for number, rule in enumerate(rules)],
    }
    wire.hold(compile_ruleset(load_policy(json.dumps(policy), "policy.yaml")))


def connections(source: str, count: int, protocol: int = UDP) -> list[Packet]:
    """The first packets of so many connections."""
    family = 6 if ":" in source else 4
    return [Packet("g0", "g1", source, HOST[family], protocol, 30000 + n, 80) for n in range(count)]


def accepted(wire: Wire, packets: list[Packet]) -> int:
    """How many of them reached the server."""
    return list(wire.fates(packets, {}, patience=0.2).values()).count("accept")


@pytest.mark.parametrize("sources", [FAR, OTHER])
def test_a_rate_for_each_source(wire: Wire, sources: tuple[str, str]) -> None:
    """Each source has a burst of its own; beyond it the next rule decides."""
    rate = {"at_most": "1/hour", "burst": 3, "per": "source"}
    hold(wire, {"rate": rate, "action": "accept"}, {"action": "drop"})
    assert accepted(wire, connections(sources[0], 5)) == 3
    assert accepted(wire, connections(sources[1], 5)) == 3
    assert wire.counts() == {"rule-r0": 6, "rule-r1": 4}


def test_a_rate_for_the_rule(wire: Wire) -> None:
    """All sources of both families share one burst."""
    hold(wire, {"rate": {"at_most": "1/hour", "burst": 4}, "action": "accept"})
    assert accepted(wire, [*connections(FAR[0], 3), *connections(OTHER[0], 3)]) == 4
    assert wire.counts() == {"rule-r0": 4, "default-forward": 2}


@pytest.mark.parametrize("sources", [FAR, OTHER])
def test_a_connection_limit_for_each_source(wire: Wire, sources: tuple[str, str]) -> None:
    """So many connections of each source are accepted, and their own packets go on to be."""
    hold(wire, {"connection_limit": {"at_most": 2}, "action": "accept"})
    assert accepted(wire, connections(sources[0], 4)) == 2
    assert accepted(wire, connections(sources[1], 4)) == 2
    assert wire.counts() == {"rule-r0": 4, "default-forward": 4}


def test_a_connection_limit_for_the_rule(wire: Wire) -> None:
    """Sources share it where it is the rule's."""
    hold(wire, {"connection_limit": {"at_most": 3, "per": "rule"}, "action": "accept"})
    assert accepted(wire, [*connections(FAR[0], 2), *connections(FAR[1], 3)]) == 3


def test_rate_and_connection_limit_both_hold(wire: Wire) -> None:
    """A packet must be within both."""
    rate = {"at_most": "1/hour", "burst": 5, "per": "source"}
    hold(wire, {"rate": rate, "connection_limit": {"at_most": 2, "per": "rule"}, "action": "accept"})
    assert accepted(wire, connections(FAR[0], 8)) == 2


def test_a_limit_drops_no_more_than_it_says(wire: Wire) -> None:
    """A limited drop comes back beyond its limit, among many rules as among few."""
    few: list[dict[str, Any]] = [
        {"rate": {"at_most": "1/hour", "burst": 2}, "protocol": "udp", "action": "drop"},
        {"action": "accept"},
    ]
    hold(wire, *few)
    assert accepted(wire, connections(FAR[0], 5)) == 3
    many: list[dict[str, Any]] = [
        {"source": f"192.0.2.{n}", "protocol": "udp", "ports": n, "action": "reject"} for n in range(1, 40)
    ]
    hold(wire, *many, *few)
    assert accepted(wire, connections(FAR[0], 5)) == 3


def test_established_connections_meet_only_rules_of_their_state(wire: Wire) -> None:
    """Answers pass without a rule, and are counted or dropped by one that asks for their state."""
    answer = Packet("g1", "g0", HOST[4], FAR[0], UDP, 80, 30000)
    (first,) = connections(FAR[0], 1)
    hold(wire, {"protocol": "udp", "action": "accept"}, {"action": "drop"})
    assert wire.crossing(answer, outwards=True) == []
    assert wire.crossing(first)
    assert wire.crossing(answer, outwards=True)
    assert wire.crossing(first)
    assert wire.counts() == {"rule-r0": 1, "default-forward": 1}
    back = {"from": "internal", "to": "external", "state": "established", "protocol": "udp"}
    hold(wire, {"action": "accept"}, back | {"source": "198.19.0.9", "action": "drop"})
    assert wire.crossing(first)
    assert wire.crossing(answer, outwards=True) == []
    assert wire.counts() == {"rule-r0": 1, "rule-r1": 1}
