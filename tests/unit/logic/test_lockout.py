# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from neurowall.kernel.routes import Route
from neurowall.logic.evaluate import Listed
from neurowall.logic.lockout import Session, locked_out
from tests.unit.logic.packet_world import World, interfaces, load

Json = dict[str, Any]

INSIDE = Session("198.18.0.10", 50_000, "198.18.0.1", 22)
OUTSIDE = Session("203.0.113.7", 50_000, "192.0.2.1", 22)
SSH = {"name": "ssh", "from": "internal", "to": "gateway", "protocol": "tcp", "ports": 22, "action": "accept"}
BASE: Json = {"interfaces": interfaces(), "zones": [{"name": "dmz", "kind": "internal"}], "rules": [SSH]}


def judge(session: Session, raw: Json, lists: Mapping[str, Listed] | None = None) -> str | None:
    """What the guard says."""
    return locked_out(load(raw), session, lambda address: (lists or {}).get(address, Listed()), World())


def test_a_policy_that_lets_the_session_go_on_and_be_opened_again_is_no_lock_out() -> None:
    """By a rule, by a default, or as nothing filters."""
    assert judge(INSIDE, BASE) is None
    assert judge(OUTSIDE, BASE | {"rules": [], "defaults": {"input": "accept"}}) is None
    nothing = {key: value for key, value in BASE.items() if key != "rules"}
    assert judge(OUTSIDE, nothing) is None


def test_a_session_that_only_conntrack_keeps_alive_is_a_lock_out() -> None:
    """The default, or the rule, that would refuse it next time is named, and the fix."""
    said = judge(OUTSIDE, BASE)
    assert said is not None
    assert said.startswith("this policy would cut your session 203.0.113.7:50000 -> 192.0.2.1:22: ")
    assert "could not be opened again: its packets are dropped: defaults.input decides: drop" in said
    assert "add a rule from external to gateway that accepts tcp port 22 from 203.0.113.7" in said
    assert said.endswith("or a failsafe entry")
    no = SSH | {"name": "no-ssh", "action": "reject"}
    said = judge(INSIDE, BASE | {"rules": [no, SSH]})
    assert said is not None
    assert "rejected: rule no-ssh decides: reject; add before rule no-ssh, a rule from internal" in said


def test_a_block_list_that_holds_the_client_is_a_lock_out() -> None:
    """XDP knows no connections."""
    lists = {"198.18.0.10": Listed("block", "abuse", "198.18.0.0/16")}
    said = judge(INSIDE, BASE, lists)
    assert said is not None
    assert "its packets are dropped: block list abuse holds 198.18.0.10 through 198.18.0.0/16" in said
    assert "allow 198.18.0.10 or take 198.18.0.10 out of list abuse" in said
    entry = {"interface": "lan0", "source": "198.18.0.10", "port": 22, "address": "198.18.0.1"}
    assert judge(INSIDE, BASE | {"failsafe": [entry], "rules": []}, lists) is None


def test_a_block_list_that_holds_the_gateways_own_address_is_a_lock_out() -> None:
    """On internal interfaces destinations are looked up."""
    said = judge(INSIDE, BASE, {"198.18.0.1": Listed("block", "abuse", "198.18.0.1")})
    assert said is not None
    assert "take 198.18.0.1 out of list abuse" in said


def test_a_client_that_does_not_belong_behind_its_interface_is_locked_out() -> None:
    """The fix names the interface."""
    declared = [
        each | ({"networks": ["198.51.100.0/24"]} if each["name"] == "lan0" else {}) for each in interfaces()
    ]
    said = judge(INSIDE, BASE | {"interfaces": declared})
    assert said is not None
    assert "spoofed" in said
    assert "add its network to `networks` of lan0" in said


def test_a_port_forward_that_takes_the_sessions_port_is_a_lock_out() -> None:
    """The packets would be accepted, and reach another host."""
    forward = {"name": "git", "from": "external", "protocol": "tcp", "ports": 22, "to": "198.51.100.10"}
    said = judge(OUTSIDE, BASE | {"nat": {"port_forwards": [forward]}, "defaults": {"input": "accept"}})
    assert said is not None
    assert "its packets go to another host, for port forward git takes it" in said


def test_an_interface_that_the_policy_leaves_out_is_a_lock_out() -> None:
    """Input on it meets the default."""
    said = judge(Session("198.18.9.10", 50_000, "198.18.9.1", 22), BASE)
    assert said is not None
    assert "declare the interface that it arrives by" in said


def test_answers_that_do_not_leave_are_a_lock_out() -> None:
    """A rule for established connections may drop them."""
    silent = {"name": "mute", "from": "gateway", "to": "internal", "state": "established", "action": "drop"}
    said = judge(INSIDE, BASE | {"rules": [SSH, silent]})
    assert said is not None
    assert "its answers are dropped: rule mute decides: drop" in said


def test_a_rule_for_established_connections_that_drops_the_session_is_a_lock_out() -> None:
    """Even if a new one would be accepted."""
    cut = {"name": "cut", "from": "internal", "to": "gateway", "state": "established", "action": "drop"}
    said = judge(INSIDE, BASE | {"rules": [SSH, cut]})
    assert said is not None
    assert "its packets are dropped: rule cut decides: drop" in said


@pytest.mark.parametrize("client", ["198.18.0.1", "192.0.2.1"])
def test_an_operator_on_the_gateway_itself_cannot_be_locked_out(client: str) -> None:
    """Loopback is always accepted."""
    assert judge(Session(client, 50_000, "198.18.0.1", 22), BASE | {"rules": []}) is None


def test_a_session_from_where_no_route_leads_is_not_judged() -> None:
    """It cannot be what it says."""

    class Nowhere(World):
        def route(self, destination: str, source: str | None = None, arriving: str | None = None) -> Route:
            return Route("none", why="there is no route")

    assert locked_out(load(BASE), OUTSIDE, lambda _address: Listed(), Nowhere()) is None


def test_what_the_kernel_refuses_by_itself_is_not_the_policys_doing() -> None:
    """A reverse path filter, or a route that is missing one way."""

    class OneWay(World):
        def route(self, destination: str, source: str | None = None, arriving: str | None = None) -> Route:
            return Route("none", why="reverse path") if arriving else super().route(destination)

    assert locked_out(load(BASE | {"rules": []}), OUTSIDE, lambda _address: Listed(), OneWay()) is None


def test_a_link_local_session_names_its_interface() -> None:
    """As SSH_CONNECTION writes it; no route is needed to know where it arrives."""
    inside = Session("fe80::7%lan0", 50_000, "fe80::1%lan0", 22)

    class Ambiguous(World):
        def addresses(self) -> Mapping[str, frozenset[str]]:
            return {name: held | {"fe80::1"} for name, held in super().addresses().items()}

        def route(self, destination: str, source: str | None = None, arriving: str | None = None) -> Route:
            if destination == "fe80::1":
                return Route("local")
            return Route("none") if destination == "fe80::7" else super().route(destination)

    no_list: Callable[[str], Listed] = lambda _address: Listed()  # noqa: E731
    assert locked_out(load(BASE), inside, no_list, Ambiguous()) is None
    said = locked_out(load(BASE), Session("fe80::7%wan0", 50_000, "fe80::1%wan0", 22), no_list, Ambiguous())
    assert said is not None
    assert "add a rule from external to gateway that accepts tcp port 22 from fe80::7" in said
    # Without the interface it is a lock-out only if it is one by every interface.
    anywhere = Session("fe80::7", 50_000, "fe80::1", 22)
    assert locked_out(load(BASE), anywhere, no_list, Ambiguous()) is None
    assert locked_out(load(BASE | {"rules": []}), anywhere, no_list, Ambiguous()) is not None


def test_a_session_that_a_server_of_both_families_sees_is_one_of_ipv4() -> None:
    """Its addresses are those of the packets."""
    session = Session("::ffff:198.18.0.10", 50_000, "::ffff:198.18.0.1", 22)
    assert judge(session, BASE) is None
    assert judge(session, BASE | {"rules": []}) is not None


def test_ipv6_sessions_are_judged_alike() -> None:
    """The addresses are shown in brackets."""
    session = Session("2001:db8:ffff::7", 50_000, "2001:db8:0:1::1", 22)
    said = judge(session, BASE)
    assert said is not None
    assert "[2001:db8:ffff::7]:50000 -> [2001:db8:0:1::1]:22" in said
    assert judge(Session("2001:db8:0:2::10", 50_000, "2001:db8:0:2::1", 22), BASE) is None
