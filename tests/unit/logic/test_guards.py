# SPDX-License-Identifier: Apache-2.0
"""Guards between an old and a new policy: nothing passes that either side would drop."""

from dataclasses import replace
from ipaddress import ip_address, ip_network
from random import Random

import pytest

from neurowall.kernel.layout import Constant
from neurowall.logic import guards
from neurowall.logic.guards import between
from neurowall.model.flows import FlowRules
from neurowall.model.guards import Guard, Guards
from neurowall.model.parts import FlowModeName
from neurowall.model.policy import Failsafe

LAN = Guard("lan0", "auto", external=False, unparsed="pass", networks=None, checks_destination=True)
WAY = Failsafe(interface="lan0", source="192.0.2.0/24", port=22, address="192.0.2.1", packets_per_second=100)
NETWORKS = (
    "192.0.2.0/24",
    "192.0.2.128/25",
    "192.0.2.7",
    "198.51.100.0/22",
    "2001:db8::/32",
    "2001:db8:1::/48",
)
SOURCES = (
    "192.0.2.1",
    "192.0.2.7",
    "192.0.2.200",
    "198.51.101.1",
    "203.0.113.1",
    "2001:db8::1",
    "2001:db8:1::1",
)


def only(*interfaces: Guard, failsafe: tuple[Failsafe, ...] = ()) -> Guards:
    """These and no more."""
    return Guards(interfaces, failsafe)


def of(old: Guard, new: Guard) -> Guard:
    """What is in force for one interface meanwhile."""
    (found,) = between(only(old), only(new)).interfaces
    return found


def holds(networks: tuple[str, ...] | None, source: str) -> bool:
    """Whether a source may send."""
    return networks is None or any(ip_address(source) in ip_network(each) for each in networks)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (None, None, None),
        (None, ("192.0.2.0/24",), ("192.0.2.0/24",)),
        (("192.0.2.0/24",), None, ("192.0.2.0/24",)),
        (("192.0.2.0/24",), ("192.0.2.128/25", "198.51.100.0/24"), ("192.0.2.128/25",)),
        (("192.0.2.0/25",), ("192.0.2.128/25",), ()),
        (("192.0.2.0/24", "2001:db8::/32"), ("192.0.2.0/24",), ("192.0.2.0/24",)),
        (("0.0.0.0/1", "192.0.2.0/24"), ("192.0.2.0/24", "192.0.0.0/16"), ("192.0.2.0/24",)),
    ],
)
def test_networks_are_what_both_hold(
    old: tuple[str, ...] | None, new: tuple[str, ...] | None, expected: tuple[str, ...] | None
) -> None:
    """Without any on one side, those of the other; nothing in common lets nobody send."""
    assert of(replace(LAN, networks=old), replace(LAN, networks=new)).networks == expected


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [("off", "native", "native"), ("native", "off", "native"), ("auto", "native", "auto")],
)
def test_a_program_stays_as_long_as_one_side_has_it(old: str, new: str, expected: str) -> None:
    """The mode changes last: nothing else guards while it does."""
    assert of(replace(LAN, mode=old), replace(LAN, mode=new)).mode == expected  # type: ignore[arg-type]


def test_the_stricter_switch_counts() -> None:
    """Whichever side it is on."""
    loose = replace(LAN, checks_destination=False)
    strict = replace(LAN, external=True, unparsed="drop", checks_destination=True)
    assert of(loose, strict) == of(strict, loose) == strict
    assert of(loose, loose) == loose


def test_interfaces_of_both_are_guarded() -> None:
    """Those of the new side first, in its order."""
    wan, dmz = replace(LAN, name="wan0"), replace(LAN, name="dmz0", networks=("192.0.2.0/24",))
    found = between(only(LAN, wan), only(dmz, LAN))
    assert found.interfaces == (dmz, LAN, wan)


def test_ways_in_are_what_both_give() -> None:
    """The narrower source and the lower rate; another service, or none, is no way in."""
    narrow = WAY.model_copy(update={"source": "192.0.2.64/26", "packets_per_second": 200})
    expected = narrow.model_copy(update={"packets_per_second": 100})
    for old, new in ((WAY, narrow), (narrow, WAY)):
        assert between(only(failsafe=(old,)), only(failsafe=(new,))).failsafe == (expected,)
    for change in (
        {"port": 23},
        {"interface": "dmz0"},
        {"address": "192.0.2.2"},
        {"source": "198.51.100.0/24"},
    ):
        other = WAY.model_copy(update=change)
        assert between(only(failsafe=(WAY,)), only(failsafe=(other,))).failsafe == ()
    assert between(only(failsafe=(WAY,)), only()).failsafe == ()


def test_ways_in_fit_the_kernel() -> None:
    """Sources of one service multiply where they overlap; the map takes four of them."""
    assert guards.MAX_SOURCES == Constant.FAILSAFE_PREFIXES
    wide, narrow = ("192.0.2.0/24", "198.51.100.0/24"), [f"192.0.2.{i}" for i in range(8)]
    old = tuple(WAY.model_copy(update={"source": source}) for source in wide)
    new = tuple(WAY.model_copy(update={"source": source}) for source in narrow)
    assert len(between(only(failsafe=old), only(failsafe=new)).failsafe) == 4
    assert between(only(failsafe=old), only(failsafe=(*old, WAY))).failsafe == old


def test_nothing_changes_between_equals() -> None:
    """The same guards on both sides are in force unchanged."""
    way = WAY.model_copy(update={"source": "192.0.2.7"})
    home = replace(LAN, networks=("192.0.2.9", "192.0.2.0/24"))
    same = only(home, replace(LAN, name="wan0"), failsafe=(WAY, way))
    assert between(same, same) == same


def test_a_packet_passes_only_if_both_sides_let_it_pass() -> None:
    """Random sides: sources and unparsed packets of every interface."""
    r, both, neither = Random(7), 0, 0
    for _ in range(500):
        old, new = random_side(r), random_side(r)
        found = between(old, new)
        for name in ("a", "b"):
            sides = [guard for side in (old, new) if (guard := side.find(name))]
            guard = found.find(name)
            assert (guard is not None) == bool(sides)
            for source in SOURCES if guard else ():
                wanted = all(holds(side.networks, source) for side in sides)
                assert guard
                assert holds(guard.networks, source) == wanted, (old, new, source)
                both, neither = both + wanted, neither + (not wanted)
            if guard:
                assert (guard.unparsed == "pass") == all(side.unparsed == "pass" for side in sides)
                assert guard.checks_destination == any(side.checks_destination for side in sides)
                assert guard.spoofing == any(side.spoofing for side in sides)
                assert guard.bogons == any(side.bogons for side in sides)
                assert set(guard.foreign) == {text for side in sides for text in side.foreign}
    assert min(both, neither) > 500


def random_side(r: Random) -> Guards:
    """One or two interfaces with anything."""
    return Guards(
        tuple(
            Guard(
                name,
                r.choice(("auto", "native", "off")),
                external=bool(r.randrange(2)),
                unparsed=r.choice(("pass", "drop")),
                networks=r.choice((None, tuple(r.sample(NETWORKS, r.randrange(1, 5))))),
                checks_destination=bool(r.randrange(2)),
                spoofing=bool(r.randrange(2)),
                foreign=tuple(r.sample(NETWORKS, r.randrange(3))),
                bogons=bool(r.randrange(2)),
            )
            for name in r.choice(("a", "b", "ab", "ba"))
        ),
        (),
    )


WAN = replace(LAN, name="wan0", external=True, zone="external")
RULES = FlowRules(1024, (60.0,) * 10, 100, 60.0)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("off", "off", "off"),
        ("off", "loose", "loose"),
        ("strict", "off", "strict"),
        ("loose", "strict", "strict"),
        ("strict", "loose", "strict"),
    ],
)
def test_flows_are_the_stricter_of_both(old: FlowModeName, new: FlowModeName, expected: str) -> None:
    """And kept as the new policy says, or the old one where it says nothing."""
    sides = [
        Guards((replace(WAN, flows=mode),), (), flows=None if mode == "off" else rules)
        for mode, rules in ((old, RULES), (new, replace(RULES, max_entries=2048)))
    ]
    found = between(*sides)
    assert found.interfaces[0].flows == expected
    assert found.flows == (sides[1].flows or sides[0].flows)
