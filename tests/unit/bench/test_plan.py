# SPDX-License-Identifier: Apache-2.0
from typing import Any

import pytest

from bench import plan, scenario
from bench.lists import Counts
from bench.plan import Plan
from bench.points import PROFILES
from bench.scenario import Scenario


def all_available(system: str, counts: Counts) -> str | None:
    """Nft-linear beyond 10,000 entries is not; everything else is."""
    return "linear beyond 10,000 entries" if system == "nft-linear" and counts.hosts4 > 10_000 else None


def test_what_is_not_available_is_skipped_with_its_reason(document: dict[str, Any]) -> None:
    """And is no arm of any group."""
    document["systems"].append("nft-linear")
    document["points"]["hosts-20000"] = {"hosts4": 20_000}
    made = plan.make("small", Scenario.model_validate(document), "quick", all_available)
    assert made.skipped == {("nft-linear", "hosts-20000"): "linear beyond 10,000 entries"}
    arms = {(arm.system, arm.point) for group in made.groups for arm in group.arms}
    assert ("nft-linear", "hosts-500") in arms
    assert ("nft-linear", "hosts-20000") not in arms


def test_a_point_of_other_profiles_is_skipped_with_all_its_systems(document: dict[str, Any]) -> None:
    """The reason names the profiles that have it."""
    document["points"]["hosts-1000"] = {"hosts4": 1000, "profiles": ["standard", "rfc"]}
    chosen = Scenario.model_validate(document)
    quick = plan.make("small", chosen, "quick", all_available)
    assert [group.points for group in quick.groups] == [("hosts-500",)]
    assert set(quick.skipped) == {(system, "hosts-1000") for system in chosen.systems}
    assert all("standard, rfc" in reason for reason in quick.skipped.values())
    assert len(plan.make("small", chosen, "standard", all_available).groups) == 2


def test_without_the_control_system_there_is_no_control_arm(scenario: Scenario) -> None:
    """The plan does not invent what it cannot measure."""
    made = plan.make("small", scenario, "quick", lambda s, _: "no root" if s.startswith("xdp") else None)
    assert {arm.role for group in made.groups for arm in group.arms} == {"measured"}


def test_nothing_available_is_an_empty_plan(scenario: Scenario) -> None:
    """Every cell has its reason."""
    made = plan.make("small", scenario, "quick", lambda *_: "no root")
    assert made.groups == ()
    assert made.trials == 0
    assert len(made.skipped) == 4


def test_trials_are_blocks_times_rounds_times_arms(scenario: Scenario) -> None:
    """4 systems, an A/A copy, a control; 4 rounds in 4 blocks."""
    assert plan.make("small", scenario, "quick", all_available).trials == 96


BENCH = ("drop-flood", "forward-clean", "rule-scaling")
"""What `make bench` runs."""


def shipped(name: str, profile: Any) -> Plan:
    """The plan of a scenario that comes with Neurowall."""
    found = scenario.load(scenario.locate(name))
    assert isinstance(found, Scenario)
    return plan.make(name, found, profile, all_available)


@pytest.mark.parametrize(("profile", "limit"), [("ci", 110), ("quick", 280)])
def test_shipped_scenarios_together_are_expected_within_their_time(profile: Any, limit: float) -> None:
    """`make bench` (quick) must end within five minutes."""
    assert sum(shipped(name, profile).seconds for name in BENCH) <= limit


@pytest.mark.parametrize(("profile", "limit"), [("ci", 40), ("quick", 105), ("standard", 360)])
def test_rule_scaling_is_expected_within_its_time(profile: Any, limit: float) -> None:
    """A million rules take their time to load, so the plan must be careful with them."""
    assert shipped("rule-scaling", profile).seconds <= limit


@pytest.mark.parametrize("name", BENCH)
def test_longer_profiles_measure_more(name: str) -> None:
    """In every scenario of `make bench`."""
    seconds = [shipped(name, profile).seconds for profile in PROFILES]
    assert seconds == sorted(seconds)


@pytest.fixture
def scaling(document: dict[str, Any]) -> dict[str, Any]:
    """Two sizes that a bar compares, one between them, and one sent other packets on the largest."""
    document["points"] = {
        "small": {"hosts4": 100},
        "middle": {
            "hosts4": 300,
            "share": 0.5,
            "systems_in": {"quick": ["xdp-null", "xdp-touch", "nft-set"]},
        },
        "large": {"hosts4": 900},
        "uniform": {"hosts4": 900, "sources": "listed"},
        "other": {"prefixes4": 100},
    }
    document["traffic"] |= {"sources": "fixed-set", "set_size": 100}
    document["bars"] = [{"figure": "N2", "ratio": "neurowall/neurowall@large:small", "bar": 0.9}]
    return document


def test_what_is_compared_is_measured_together(scaling: dict[str, Any]) -> None:
    """Points of a bar, points sent the same packets, and points with the same rules: one group."""
    made = plan.make("small", Scenario.model_validate(scaling), "quick", all_available)
    assert [group.points for group in made.groups] == [("small", "middle", "large", "uniform"), ("other",)]
    scaling["traffic"] = {"kind": "flood", "sources": "listed"}
    del scaling["points"]["uniform"]
    made = plan.make("small", Scenario.model_validate(scaling), "quick", all_available)
    assert [group.points for group in made.groups] == [("small", "large"), ("middle",), ("other",)]


def test_a_gateway_without_rules_serves_all_points_that_are_sent_the_same(scaling: dict[str, Any]) -> None:
    """Once for the fixed set, once for the other packets; a firewall once for each list."""
    made = plan.make("small", Scenario.model_validate(scaling), "quick", all_available)
    arms = made.groups[0].arms
    null = [arm for arm in arms if (arm.system, arm.role) == ("xdp-null", "measured")]
    assert [arm.points for arm in null] == [("small", "middle", "large"), ("uniform",)]
    assert len({arm.station for arm in null}) == 1
    ours = [(arm.station.counts.hosts4, arm.points) for arm in arms if arm.system == "neurowall"]
    assert ours == [(100, ("small",)), (900, ("large",)), (900, ("uniform",))]
    assert made.lists == (Counts(100), Counts(300), Counts(900), Counts(prefixes4=100))


def test_a_point_with_a_share_is_measured_in_the_first_blocks_only(scaling: dict[str, Any]) -> None:
    """2 of 4; the others in all of them. Systems that a profile leaves out are skipped."""
    made = plan.make("small", Scenario.model_validate(scaling), "quick", all_available)
    group = made.groups[0]
    assert dict(group.blocks) == {"small": 4, "middle": 2, "large": 4, "uniform": 4}
    measured = [{point for arm in group.arms_in(block) for point in arm.points} for block in range(4)]
    assert ["middle" in points for points in measured] == [True, True, False, False]
    assert made.skipped["neurowall", "middle"] == "not in profile quick at this point"
    assert made.trials == 4 * sum(len(g.arms_in(block)) for g in made.groups for block in range(4))
    assert ("neurowall", "middle") not in plan.make(
        "small", Scenario.model_validate(scaling), "standard", all_available
    ).skipped


def test_where_packets_must_arrive_the_empty_system_lets_them(scaling: dict[str, Any]) -> None:
    """It is another gateway than the one that drops; nothing there is an A/A pair with xdp-touch."""
    scaling["points"]["miss"] = {
        "hosts4": 900, "sources": "listed", "position": "miss", "systems": ["xdp-null", "neurowall"]
    }  # fmt: skip
    made = plan.make("small", Scenario.model_validate(scaling), "quick", all_available)
    arms = [arm for arm in made.groups[0].arms if "miss" in arm.points]
    assert [(str(arm.station), arm.role) for arm in arms] == [
        ("xdp-null-pass", "measured"),
        ("neurowall-900h4", "measured"),
        ("xdp-null-pass", "fixed"),
    ]
