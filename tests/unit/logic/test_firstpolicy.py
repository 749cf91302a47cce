# SPDX-License-Identifier: Apache-2.0
from typing import Any

import pytest

from neurowall.kernel.machine import Device, Listener
from neurowall.logic.firstpolicy import Machine, first_policy, quoted
from neurowall.logic.lockout import Session, locked_out
from neurowall.logic.packetverdict import Listed
from neurowall.model.policy import Policy, load_policy
from neurowall.model.yamltext import read_yaml

WAN = Device(
    "wan0",
    2,
    addresses=("198.51.100.2/24", "2001:db8:1::2/64"),
    routed=("198.51.100.0/24", "2001:db8:1::/64"),
    default=frozenset({4, 6}),
)
LAN = Device(
    "lan0",
    3,
    addresses=("192.168.7.1/24", "2001:db8:7::1/64"),
    routed=("192.168.7.0/24", "192.168.64.0/18", "2001:db8:7::/64"),
)
OUTSIDE = Session("203.0.113.9", 50_000, "198.51.100.2", 2222)
INSIDE = Session("192.168.7.20", 50_000, "192.168.7.1", 22)


def text(*devices: Device, session: Session | None = None, **more: Any) -> str:
    """The policy's text."""
    facts: dict[str, Any] = {"listeners": (), "forwarding": {4: True, 6: False}} | more
    return first_policy(Machine(devices, session=session, **facts))


def policy(*devices: Device, **more: Any) -> Policy:
    """The policy, which must be valid."""
    return load_policy(text(*devices, **more), "policy.yaml")


def rules(made: Policy) -> set[str]:
    """The names of those that are enabled."""
    return {rule.name for rule in made.rules or () if rule.enabled}


class TestInterfaces:
    def test_a_default_route_makes_it_external(self) -> None:
        """The rest is internal, with the networks behind it, routed ones too."""
        wan, lan = policy(WAN, LAN).interfaces
        assert (wan.name, wan.zone, wan.networks) == ("wan0", "external", ())
        assert (lan.name, lan.zone) == ("lan0", "internal")
        assert set(lan.networks) == {"192.168.7.0/24", "192.168.64.0/18", "2001:db8:7::/64"}

    def test_ports_and_unused_ones_are_left_out_and_said(self) -> None:
        """A comment says why, so that nobody wonders."""
        port = Device("eth1", 4, master="br0", addresses=())
        idle = Device("eth2", 5, up=False)
        made = text(WAN, port, idle)
        assert len(load_policy(made, "policy.yaml").interfaces) == 1
        assert "# not guarded: eth1: a port of br0" in made
        assert "# not guarded: eth2: down, without an address" in made

    def test_what_is_no_ethernet_has_no_xdp(self) -> None:
        """XDP reads Ethernet headers; a tunnel's packets have none. And its far side is anybody's."""
        tunnel = Device("wg0", 6, type=65_534, addresses=("10.9.0.1/24",), routed=("10.9.0.0/24",))
        made = policy(WAN, tunnel).interface("wg0")
        assert made
        assert (made.xdp, made.networks) == ("off", ())

    def test_a_carrier_of_vlans_has_no_networks(self) -> None:
        """It sees the tagged packets too, whose sources are not its own."""
        vlan = Device("lan0.10", 7, lower="lan0", addresses=("192.168.10.1/24",), routed=("192.168.10.0/24",))
        made = policy(WAN, LAN, vlan)
        networks = {each.name: each.networks for each in made.interfaces}
        assert networks == {"wan0": (), "lan0": (), "lan0.10": ("192.168.10.0/24",)}

    def test_two_that_claim_the_same_have_no_networks(self) -> None:
        """Else the packets of one of them would be dropped as spoofed."""
        twin = Device("lan1", 8, addresses=("192.168.7.2/24",), routed=("192.168.7.0/24",))
        assert [each.networks for each in policy(WAN, LAN, twin).interfaces] == [(), (), ()]

    def test_nothing_to_guard_is_said(self) -> None:
        """A policy without interfaces would be none."""
        with pytest.raises(ValueError, match="nothing to guard"):
            text(Device("eth0", 2, up=False))

    def test_odd_names_are_quoted(self) -> None:
        """YAML would read another value into them."""
        for name in ("off", "1e3", "a#b", "0x10", "no", "-", "a: b", "eth0"):
            assert read_yaml(f"a: [{quoted(name)}]", "x").data == {"a": [name]}
        assert policy(Device("1e3", 2, addresses=("192.0.2.1/24",))).interfaces[0].name == "1e3"


class TestSession:
    @pytest.mark.parametrize("session", [OUTSIDE, INSIDE])
    def test_it_has_a_failsafe_of_its_own(self, session: Session) -> None:
        """For exactly this client, whatever lists and rules are added later."""
        (failsafe,) = policy(WAN, LAN, session=session).failsafe
        assert (failsafe.source, failsafe.address) == (session.client, session.server)
        assert failsafe.port == session.server_port
        assert failsafe.allow_external == (session is OUTSIDE)

    def test_the_port_of_ssh_is_open_wherever_it_comes_from(self) -> None:
        """An operator's address changes over night."""
        rule = next(each for each in policy(WAN, LAN, session=OUTSIDE).rules or () if each.name == "ssh")
        assert (rule.ports, rule.from_, rule.to, rule.action) == ((2222,), ("any",), ("gateway",), "accept")

    def test_without_one_the_usual_port_is_open(self) -> None:
        """On the console nobody is cut, but tomorrow they come by SSH."""
        made = policy(WAN, LAN)
        assert made.failsafe == ()
        assert next(each for each in made.rules or () if each.name == "ssh").ports == (22,)

    def test_an_address_that_is_not_ours_is_no_failsafe(self) -> None:
        """Behind somebody's NAT the server's address is another one."""
        assert policy(WAN, session=Session("203.0.113.9", 1, "192.0.2.99", 22)).failsafe == ()
        assert policy(WAN, session=Session("fe80::9%wan0", 1, "fe80::1%wan0", 22)).failsafe == ()

    @pytest.mark.parametrize("session", [OUTSIDE, INSIDE])
    def test_the_lock_out_guard_agrees(self, session: Session) -> None:
        """By the very check that an apply makes."""
        made = policy(WAN, LAN, session=session)
        assert locked_out(made, session, lambda _: Listed(), _Routes()) is None
        without = load_policy(
            "interfaces: [{name: wan0, zone: external}, {name: lan0, zone: internal}]\nrules: []\n", "x"
        )
        assert locked_out(without, session, lambda _: Listed(), _Routes())


class _Route:
    def __init__(self, kind: Any, interface: str) -> None:
        self.kind, self.interface, self.source, self.why = kind, interface, None, ""


class _Routes:
    """The routing table of WAN and LAN."""

    def interfaces(self) -> tuple[str, ...]:
        return ("wan0", "lan0")

    def addresses(self) -> dict[str, frozenset[str]]:
        return {"wan0": frozenset({"198.51.100.2"}), "lan0": frozenset({"192.168.7.1"})}

    def route(self, destination: str, _source: str | None = None, _arriving: str | None = None) -> _Route:
        if destination in ("198.51.100.2", "192.168.7.1"):
            return _Route("local", "lo")
        return _Route("unicast", "lan0" if destination.startswith("192.168.") else "wan0")


class TestRest:
    def test_a_gateway_forwards_and_translates_as_it_does(self) -> None:
        """Private addresses inside are masqueraded; families stay as they are."""
        made = policy(WAN, LAN)
        assert made.forwarding == ("ipv4",)
        assert len(made.nat.masquerade) == 1
        assert {"inside-to-gateway", "from-inside"} <= rules(made)
        both = policy(WAN, LAN, forwarding={4: True, 6: True})
        assert both.forwarding == ("ipv4", "ipv6")

    def test_what_forwards_nothing_is_made_no_gateway(self) -> None:
        """How to is said in a comment."""
        made = text(WAN, LAN, forwarding={4: False, 6: False})
        assert load_policy(made, "policy.yaml").forwarding == ()
        assert "# forwarding: [ipv4, ipv6]" in made

    def test_public_addresses_inside_are_not_translated(self) -> None:
        """Nobody asked for it."""
        public = Device("lan0", 3, addresses=("203.0.113.1/24",), routed=("203.0.113.0/24",))
        assert policy(WAN, public).nat.masquerade == ()

    def test_a_single_server_has_no_inside(self) -> None:
        """Nor forwarding, nor NAT."""
        made = policy(WAN)
        assert rules(made) == {"ssh", "ping", "ping-ipv6"}
        assert (made.forwarding, made.nat.masquerade) == ((), ())

    def test_without_a_way_out_all_is_inside(self) -> None:
        """No rule names a zone that has no interface."""
        made = policy(LAN, listeners=(Listener("tcp", 80),))
        assert {zone for rule in made.rules or () for zone in (*rule.from_, *rule.to)} <= {
            "any",
            "gateway",
            "internal",
        }

    def test_what_listens_is_ready_and_closed(self) -> None:
        """An operator opens what strangers should reach; SSH and DHCP answers need nothing."""
        listeners = tuple(
            Listener(*each) for each in (("tcp", 22), ("tcp", 80), ("tcp", 443), ("udp", 53), ("udp", 68))
        )
        made = policy(WAN, listeners=listeners)
        served = {rule.name: rule for rule in made.rules or () if rule.name.startswith("served")}
        assert (served["served-tcp"].ports, served["served-udp"].ports) == ((80, 443), (53,))
        assert not any(rule.enabled for rule in served.values())

    def test_the_rest_is_dropped(self) -> None:
        """Into the machine and through it."""
        defaults = policy(WAN, LAN).defaults
        assert defaults
        assert (defaults.input, defaults.forward, defaults.output) == ("drop", "drop", "accept")
