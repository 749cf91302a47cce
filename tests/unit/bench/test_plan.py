# SPDX-License-Identifier: Apache-2.0
from typing import Any

import pytest

from bench import plan, scenario
from bench.lists import Counts
from bench.scenario import PROFILES, Scenario


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


@pytest.mark.parametrize(("profile", "limit"), [("ci", 60), ("quick", 270), ("standard", 720)])
def test_shipped_scenarios_together_are_expected_within_their_time(profile: Any, limit: float) -> None:
    """`make bench` (quick) must end within five minutes."""
    plans = [
        plan.make(name, scenario.load(scenario.locate(name)), profile, all_available)
        for name in ("drop-flood", "forward-clean")
    ]
    assert sum(made.seconds for made in plans) <= limit


def test_longer_profiles_measure_more() -> None:
    """In every shipped scenario."""
    for name in scenario.names():
        loaded = scenario.load(scenario.locate(name))
        seconds = [plan.make(name, loaded, profile, all_available).seconds for profile in PROFILES]
        assert seconds == sorted(seconds)
