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

OUTSIDE, INSIDE = "198.18.0.1", "198.19.0.1"
OUTSIDE6, INSIDE6 = "2001:2:0:1::1", "2001:2:0:2::1"
HOST, HOST6 = "198.19.0.9", "2001:2:0:2::9"
FAR, FAR6 = "203.0.113.7", "2001:db8:7::1"


@pytest.fixture(scope="module")
def wire(chain: Chain) -> Iterator[Wire]:
    """Packets through the gateway: the client is external, the server internal."""
    wire = Wire(chain)
    try:
        yield wire
    finally:
        wire.close()


def hold(wire: Wire, nat: dict[str, Any], rules: list[dict[str, Any]] | None = None) -> None:
    """Put a policy in force that translates, and with *rules* filters too."""
    policy: dict[str, Any] = {
        "interfaces": [{"name": "g0", "zone": "external"}, {"name": "g1", "zone": "internal"}],
        "nat": nat,
    }
    if rules is not None:
        policy["rules"] = rules
    wire.hold(compile_ruleset(load_policy(json.dumps(policy), "policy.yaml")))


def tcp(source: str, target: str, port: int, *, source_port: int = 40000, protocol: int = 6) -> Packet:
    """The first packet of a connection."""
    return Packet(None, None, source, target, protocol, source_port, port)


def forwards(**fields: Any) -> dict[str, Any]:
    """A policy's NAT with one port forward."""
    forward = {"name": "web", "from": "external", "protocol": "tcp", "ports": 8443, "to": HOST}
    return {"port_forwards": [forward | fields]}


def test_a_port_forward_leads_inside_and_is_accepted_and_counted(wire: Wire) -> None:
    """With no rule that accepts anything, the forwarded port arrives inside, and no other one does."""
    hold(wire, forwards(to_ports=443), rules=[])
    assert wire.crossing(tcp(FAR, OUTSIDE, 8443)) == [("server", tcp(FAR, HOST, 443))]
    assert wire.crossing(tcp(FAR, OUTSIDE, 8444)) == []
    assert wire.crossing(tcp(FAR, OUTSIDE, 8443, protocol=17)) == []
    assert wire.crossing(tcp(FAR, HOST, 443, source_port=40001)) == []
    assert wire.counts()["forward-web"] == 1
    assert wire.counts()["default-forward"] == 1


def test_a_port_forward_is_counted_where_nothing_is_filtered(wire: Wire) -> None:
    """A policy of NAT alone translates and counts."""
    hold(wire, forwards())
    assert wire.crossing(tcp(FAR, OUTSIDE, 8443)) == [("server", tcp(FAR, HOST, 8443))]
    assert wire.counts() == {"forward-web": 1}


@pytest.mark.parametrize("port", [9000, 9004, 9010])
@pytest.mark.parametrize("protocol", [6, 17])
def test_a_forwarded_range_keeps_the_order_of_its_ports(wire: Wire, port: int, protocol: int) -> None:
    """The first port of a range becomes the first of the other, the last the last."""
    hold(wire, forwards(protocol=["tcp", "udp"], ports="9000-9010", to_ports="7000-7010"), rules=[])
    arrived = ("server", tcp(FAR, HOST, port - 2000, protocol=protocol))
    assert wire.crossing(tcp(FAR, OUTSIDE, port, protocol=protocol)) == [arrived]
    assert wire.crossing(tcp(FAR, OUTSIDE, 8999, protocol=protocol)) == []
    assert wire.crossing(tcp(FAR, OUTSIDE, 9011, protocol=protocol)) == []


def test_a_port_forward_of_ipv6(wire: Wire) -> None:
    """IPv6 is translated as IPv4 is, and a forward of one family leaves the other alone."""
    hold(wire, forwards(to=HOST6, to_ports=443), rules=[])
    assert wire.crossing(tcp(FAR6, OUTSIDE6, 8443)) == [("server", tcp(FAR6, HOST6, 443))]
    assert wire.crossing(tcp(FAR, OUTSIDE, 8443)) == []


def test_a_port_forward_asks_source_and_address(wire: Wire) -> None:
    """Only listed sources reach it, and only by the address that it names."""
    hold(wire, forwards(source=["203.0.113.0/29"], address=OUTSIDE), rules=[])
    assert wire.crossing(tcp(FAR, OUTSIDE, 8443)) == [("server", tcp(FAR, HOST, 8443))]
    assert wire.crossing(tcp("203.0.113.8", OUTSIDE, 8443)) == []
    assert wire.crossing(tcp(FAR, INSIDE, 8443, source_port=40001)) == []


@pytest.mark.parametrize("address", [None, OUTSIDE])
def test_hairpin_comes_back_to_the_same_network_from_the_gateway(wire: Wire, address: str | None) -> None:
    """A client inside that asks for the outside address is led to the host; its source is the gateway."""
    given = {"address": address} if address else {}
    hold(wire, forwards(hairpin=True, to_ports=443, **given), rules=[])
    client = "198.19.0.50"
    assert wire.crossing(tcp(client, OUTSIDE, 8443), outwards=True) == [("server", tcp(INSIDE, HOST, 443))]
    assert wire.crossing(tcp(client, INSIDE, 8443), outwards=True) == []
    assert wire.crossing(tcp(FAR, OUTSIDE, 8443)) == [("server", tcp(FAR, HOST, 443))]


def test_without_hairpin_clients_inside_are_not_led_to_the_host(wire: Wire) -> None:
    """The forward is for its own zones only."""
    hold(wire, forwards(), rules=[])
    assert wire.crossing(tcp("198.19.0.50", OUTSIDE, 8443), outwards=True) == []


@pytest.mark.parametrize(
    ("outside", "inside", "far", "one", "other"),
    [
        ("203.0.113.16/28", "198.19.0.16/28", "198.51.100.1", "203.0.113.21", "198.19.0.21"),
        ("203.0.113.16", "198.19.0.40", "198.51.100.1", "203.0.113.16", "198.19.0.40"),
        ("2001:db8:1::/112", "2001:2:0:2::/112", FAR6, "2001:db8:1::77", "2001:2:0:2::77"),
    ],
)
def test_one_to_one_translates_both_ways(
    wire: Wire, outside: str, inside: str, far: str, one: str, other: str
) -> None:
    """A host keeps its place in the prefix, and rules see its inside address."""
    pair = {"name": "pair", "zone": "external", "outside": outside, "inside": inside}
    hold(
        wire,
        {"one_to_one": [pair]},
        rules=[
            {"name": "in", "from": "external", "to": "internal", "destination": other, "protocol": "tcp",
             "ports": 80, "action": "accept"},
            {"name": "out", "from": "internal", "to": "external", "source": other, "action": "accept"},
        ],
    )  # fmt: skip
    assert wire.crossing(tcp(far, one, 80)) == [("server", tcp(far, other, 80))]
    assert wire.crossing(tcp(far, one, 81)) == []
    outwards = wire.crossing(tcp(other, far, 443, source_port=40001), outwards=True)
    assert outwards == [("client", tcp(one, far, 443, source_port=40001))]


def test_one_to_one_of_many_hosts(wire: Wire) -> None:
    """Each host has its own address outside, both ways; others are left alone."""
    pairs = [
        {
            "name": f"pair-{n}",
            "zone": "external",
            "outside": f"203.0.113.{n}",
            "inside": f"198.19.0.{300 - n}",
        }
        for n in range(100, 120)
    ]
    hold(wire, {"one_to_one": pairs})
    far = "198.51.100.1"
    for outside, inside in (("203.0.113.100", "198.19.0.200"), ("203.0.113.119", "198.19.0.181")):
        assert wire.crossing(tcp(far, outside, 80)) == [("server", tcp(far, inside, 80))]
        translated = [("client", tcp(outside, far, 443))]
        assert wire.crossing(tcp(inside, far, 443), outwards=True) == translated
    assert wire.crossing(tcp("198.19.0.180", far, 80), outwards=True) == [
        ("client", tcp("198.19.0.180", far, 80))
    ]


def test_one_to_one_is_no_port_forward(wire: Wire) -> None:
    """The same host and port, reached by static NAT, are left to the rules."""
    pair = {"name": "pair", "zone": "external", "outside": "203.0.113.16", "inside": HOST}
    hold(wire, forwards() | {"one_to_one": [pair]}, rules=[])
    assert wire.crossing(tcp("198.51.100.1", OUTSIDE, 8443)) == [("server", tcp("198.51.100.1", HOST, 8443))]
    assert wire.crossing(tcp("198.51.100.1", "203.0.113.16", 8443)) == []


def test_masquerade_and_source_nat_by_source_and_family(wire: Wire) -> None:
    """Fixed addresses first, then the interface's own; each for its sources and families."""
    hold(
        wire,
        {
            "source": [
                {"from": "internal", "to": "external", "source": "198.19.0.32/27", "address": "203.0.113.99"}
            ],
            "masquerade": [{"from": "internal", "to": "external", "source": "198.19.0.0/25"}],
        },
    )
    target = "198.51.100.1"
    assert wire.crossing(tcp("198.19.0.40", target, 80), outwards=True) == [
        ("client", tcp("203.0.113.99", target, 80))
    ]
    assert wire.crossing(tcp("198.19.0.70", target, 80), outwards=True) == [
        ("client", tcp(OUTSIDE, target, 80))
    ]
    plain = tcp("198.19.0.200", target, 80)
    assert wire.crossing(plain, outwards=True) == [("client", plain)]
    plain = tcp(HOST6, FAR6, 80)
    assert wire.crossing(plain, outwards=True) == [("client", plain)]


def test_masquerade_of_ipv6(wire: Wire) -> None:
    """Where it is asked for, IPv6 is masqueraded too."""
    hold(wire, {"masquerade": [{"from": "internal", "to": "external", "families": ["ipv4", "ipv6"]}]})
    assert wire.crossing(tcp(HOST6, FAR6, 80), outwards=True) == [("client", tcp(OUTSIDE6, FAR6, 80))]
    assert wire.crossing(tcp(FAR6, HOST6, 80)) == [("server", tcp(FAR6, HOST6, 80))]
