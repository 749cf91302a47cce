# SPDX-License-Identifier: Apache-2.0
import json
import socket
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from bench.testbed.chain import Chain
from neurowall.logic.stateful.compile import compile_ruleset
from neurowall.model.policy import load_policy
from neurowall.model.ruleset import Ruleset
from tests.net.rule_oracle import Packet, decide
from tests.net.rule_policies import packets_for, random_policy
from tests.net.rule_wire import Wire

pytestmark = [pytest.mark.root, pytest.mark.tool("conntrack")]

ZONES = {"g0": "external", "g1": "internal"}
PACKETS = 250


@pytest.fixture(scope="module")
def wire(chain: Chain) -> Iterator[Wire]:
    """Packets of every protocol through the gateway."""
    wire = Wire(chain)
    try:
        yield wire
    finally:
        wire.close()


def compiled(policy: dict[str, Any]) -> Ruleset:
    """The table of a policy."""
    return compile_ruleset(load_policy(json.dumps(policy), "policy.yaml"))


def as_tracked(packet: Packet) -> Packet:
    """The packet with the state that conntrack gives the first one of its kind."""
    is_answer = packet.protocol in (1, 58) and packet.icmp_type not in (8, 128)
    return replace(packet, state="invalid") if is_answer else packet


def unlike(packets: list[Packet]) -> list[Packet]:
    """Each packet once: a second one may belong to the first one's connection."""
    return list(dict.fromkeys(packets))


def seen_of(verdict: str, packet: Packet) -> str:
    """What is seen of a verdict: no ICMP error answers an ICMP error (RFC 1122, 3.2.2; RFC 4443, 2.4)."""
    is_error = (packet.protocol, packet.icmp_type) in ((1, 3), (1, 11), (58, 1), (58, 3))
    return "drop" if is_error and verdict == "reject" else verdict


def check_forwarding(wire: Wire, seed: int) -> None:
    """Compare the gateway that holds a random policy with the policy itself, packet by packet."""
    policy = random_policy(seed, (6, 40, 150, 300)[seed % 4], ZONES, states=seed % 2 == 0)
    packets = [as_tracked(each) for each in unlike(packets_for(policy, seed, PACKETS, [("g0", "g1")]))]
    wire.hold(compiled(policy))
    decisions = [decide(policy, packet) for packet in packets]
    counts = Counter(name for each in decisions for name in each.counters)
    fates = wire.fates(packets, counts)
    wrong = [
        (packets[number], fate, decisions[number])
        for number, fate in fates.items()
        if fate != seen_of(decisions[number].verdict, packets[number])
    ]
    assert not wrong
    assert wire.counts() == counts


@pytest.mark.parametrize("seed", range(8))
def test_the_kernel_forwards_as_the_policy_read_line_by_line(wire: Wire, seed: int) -> None:
    """Packets at the edges of random policies meet the verdict, and the counters, of their first match."""
    check_forwarding(wire, seed)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(1000, 1100))
def test_the_kernel_forwards_as_the_policy_for_long(wire: Wire, seed: int) -> None:
    """The same for a hundred policies more."""
    check_forwarding(wire, seed)


GATEWAY = {4: "198.19.0.1", 6: "2001:2:0:2::1"}


@pytest.mark.parametrize("seed", range(100, 103))
def test_the_kernel_takes_in_as_the_policy_read_line_by_line(wire: Wire, seed: int) -> None:
    """Packets to the gateway itself raise the counters of their first match."""
    policy = random_policy(seed, (40, 150)[seed % 2], ZONES)
    chosen = packets_for(policy, seed, PACKETS, [("g0", None)])
    packets = [as_tracked(replace(each, destination=GATEWAY[each.family])) for each in chosen]
    packets = unlike(packets)
    wire.hold(compiled(policy))
    counts = Counter(name for packet in packets for name in decide(policy, packet).counters)
    wire.fates(packets, counts)
    assert wire.counts() == counts


def closed(**fields: Any) -> dict[str, Any]:
    """A policy that accepts nothing by rule."""
    interfaces = [{"name": name, "zone": zone} for name, zone in ZONES.items()]
    return {"interfaces": interfaces, "rules": []} | fields


def udp(source: str, source_port: int, port: int) -> Packet:
    """A datagram to the gateway."""
    family = 6 if ":" in source else 4
    return Packet("g0", None, source, GATEWAY[family], 17, source_port, port)


@pytest.mark.parametrize(
    ("kind", "hops", "passes"), [(135, 255, True), (135, 64, False), (131, 1, True), (128, 64, False)]
)
def test_what_keeps_the_link_alive_is_accepted(wire: Wire, kind: int, hops: int, passes: bool) -> None:
    """Neighbour discovery from the link and multicast listeners pass where nothing else does."""
    wire.hold(compiled(closed()))
    packet = Packet("g0", None, "2001:db8:5::99", GATEWAY[6], 58, icmp_type=kind)
    wire.fates([packet], Counter() if passes else Counter({"default-input": 1}), hops=hops, patience=0.3)
    assert wire.counts()["default-input"] == (0 if passes else 1)


@pytest.mark.parametrize(
    ("source", "ports", "passes"),
    [
        ("203.0.113.7", (67, 68), True),
        ("203.0.113.7", (67, 69), False),
        ("203.0.113.7", (68, 67), False),
        ("fe80::7", (547, 546), True),
        ("2001:db8:5::7", (547, 546), False),
    ],
)
def test_answers_to_the_gateways_dhcp_client_are_accepted(
    wire: Wire, source: str, ports: tuple[int, int], passes: bool
) -> None:
    """DHCP servers answer from their port to the client's, DHCPv6 servers from the link."""
    wire.hold(compiled(closed()))
    wire.fates([udp(source, *ports)], Counter() if passes else Counter({"default-input": 1}), patience=0.3)
    assert wire.counts()["default-input"] == (0 if passes else 1)


def test_failsafe_is_accepted_exactly(wire: Wire) -> None:
    """Interface, source, own address and port must all match."""
    entry = {"interface": "g0", "source": "203.0.113.0/24", "port": 22, "address": GATEWAY[4]}
    wire.hold(compiled(closed(failsafe=[entry | {"allow_external": True}])))
    own = Packet("g0", None, "203.0.113.7", GATEWAY[4], 6, 40000, 22)
    others = [
        replace(own, source="198.51.100.7"),
        replace(own, destination="198.18.0.1"),
        replace(own, destination_port=23),
        replace(own, protocol=17),
    ]
    expected = Counter({"failsafe": 1, "default-input": len(others)})
    wire.fates([own, *others], expected)
    assert wire.counts() == expected


def test_undeclared_interfaces_meet_the_defaults(wire: Wire, chain: Chain) -> None:
    """What comes by an interface that the policy does not name matches no rule, not even of `any`."""
    rules = [
        {"name": "all", "from": "any", "to": "any", "action": "accept"},
        {"name": "own", "from": "any", "to": "gateway", "action": "accept"},
    ]
    policy = closed(rules=rules)
    wire.hold(compiled(policy))
    forwarded = Packet("g0", "g1", "203.0.113.7", "198.19.0.9", 17, 40000, 80)
    assert wire.fates([forwarded], Counter({"rule-all": 1})) == {0: "accept"}
    policy["interfaces"] = policy["interfaces"][1:]
    wire.hold(compiled(policy))
    expected = Counter({"default-forward": 1, "default-input": 1})
    assert wire.fates([forwarded, udp("203.0.113.7", 40000, 80)], expected)[0] == "drop"
    assert wire.counts() == expected


def test_loopback_is_always_accepted(wire: Wire, chain: Chain) -> None:
    """The gateway's own programs talk to each other, even where its output is closed."""
    wire.hold(compiled(closed(defaults={"output": "drop"})))
    with chain.gateway.enter():
        here, there = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    with here, there:
        here.bind(("127.0.0.1", 0))
        here.settimeout(5)
        there.sendto(b"own", here.getsockname())
        assert here.recv(16) == b"own"
        with pytest.raises(PermissionError):
            there.sendto(b"out", (chain.server_if.v4, 9))
    assert wire.counts() == {"default-output": 1}
