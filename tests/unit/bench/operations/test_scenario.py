# SPDX-License-Identifier: Apache-2.0
import copy
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from bench import scenario
from bench.operations.run import expected_seconds
from bench.operations.scenario import Operations
from bench.points import PROFILES
from bench.scenario import ScenarioError

SHIPPED = ("list-load", "footprint", "rule-churn", "api-latency")
DOCUMENT: dict[str, Any] = {
    "purpose": "Is the scenario file understood as it is written?",
    "kind": "operations",
    "systems": ["neurowall", "nft-set", "ipset"],
    "points": {
        "quiet": {"hosts4": 100},
        "churning": {"hosts4": 100},
        "small": {"hosts4": 50, "profiles": ["ci"]},
        "prefixes": {"prefixes4": 50},
    },
    "tasks": [
        {"operation": "load", "points": ["quiet", "small"]},
        {"operation": "ban", "points": ["quiet"], "profiles": ["standard"]},
        {"operation": "churn", "points": ["churning"], "base": "quiet", "batch": 5, "pool": 20},
    ],
    "profiles": {name: {"blocks": 2} for name in PROFILES},
}


def read(**changes: Any) -> Operations:
    """The document with some keys replaced."""
    return Operations.model_validate({**copy.deepcopy(DOCUMENT), **changes})


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_scenario_is_valid_and_fits_its_profiles(name: str) -> None:
    """It loads, measures something in every profile, and a quick run is meant to take about a minute."""
    found = scenario.load(scenario.locate(name))
    assert isinstance(found, Operations)
    for profile in PROFILES:
        measured = [m for p in found.points for s in found.systems for m in found.metrics_of(s, p, profile)]
        assert measured
        assert any("neurowall" in found.systems_at(point) for point in found.points)
    assert expected_seconds(found, "ci") < 45
    assert expected_seconds(found, "quick") < 70
    assert expected_seconds(found, "standard") < 240


def test_a_bar_of_every_shipped_scenario_is_measured_in_some_profile() -> None:
    """A bar that nothing measures would be skipped for ever."""
    for name in SHIPPED:
        found = scenario.load(scenario.locate(name))
        assert isinstance(found, Operations)
        for bar in found.bars:
            system, _, rest = bar.key.partition("/")
            metric, _, point = rest.partition("@")
            assert any(metric in found.metrics_of(system, point, profile) for profile in PROFILES)


def test_tasks_are_those_of_the_point_the_system_and_the_profile() -> None:
    """In order of the file; a system that lacks the operation is left out."""
    found = read()
    assert [t.operation for t in found.tasks_at("neurowall", "quiet")] == ["load", "ban"]
    assert [t.operation for t in found.tasks_at("neurowall", "quiet", "quick")] == ["load"]
    assert [t.operation for t in found.tasks_at("ipset", "quiet")] == ["load"]
    assert found.tasks_at("ipset", "churning") == ()
    assert found.tasks_at("neurowall", "small", "quick") == ()
    assert found.tasks_at("xdp-null", "quiet") == ()


def test_the_base_of_a_churn_is_measured_by_it() -> None:
    """It has a rate without a task of its own, but no changes."""
    found = read()
    assert "drop_mpps" in found.metrics_of("neurowall", "quiet")
    assert "changes_per_second" not in found.metrics_of("neurowall", "quiet")
    assert "changes_per_second" in found.metrics_of("neurowall", "churning")
    assert found.systems_at("churning") == ("neurowall", "nft-set")


def test_reads_and_scrapes_are_of_systems_with_an_api() -> None:
    """Always over TLS, a ban only if it says so. A flood is dropped at the point, not at its base."""
    reads = {"operation": "read", "points": ["churning"], "base": "quiet"}
    found = read(
        points=DOCUMENT["points"] | {"many": {"hosts4": 50, "rules": 20}},
        tasks=[
            *DOCUMENT["tasks"][:2],
            reads,
            {"operation": "scrape", "points": ["many", "small"]},
            {"operation": "ban", "points": ["churning"], "https": True},
        ],
    )
    assert found.systems_at("many") == ("neurowall",)
    assert found.metrics_of("neurowall", "many") == ("scrape_ms", "scrape_p50_ms")
    assert "drop_mpps" in found.metrics_of("neurowall", "churning")
    assert {"read_ms", "effective_ms"} <= set(found.metrics_of("neurowall", "quiet"))
    assert "drop_mpps" not in found.metrics_of("neurowall", "quiet")
    assert [task.remote for task in found.tasks] == [False, False, True, True, True]


CHURN = DOCUMENT["tasks"][2]
READ = {"operation": "read", "points": ["churning"], "base": "quiet"}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"tasks": [{"operation": "load", "points": ["nowhere"]}]}, "no point 'nowhere'"),
        ({"tasks": [{"operation": "ban", "points": ["quiet"], "systems": ["ipset"]}]}, "no operation ban"),
        ({"tasks": [{"operation": "load", "points": ["quiet"], "systems": ["xdp-null"]}]}, "is not among"),
        ({"tasks": [{"operation": "load", "points": ["prefixes"]}]}, "needs IPv4 hosts"),
        ({"tasks": [{"operation": "fly", "points": ["quiet"]}]}, "does not match any of the expected tags"),
        ({"tasks": [CHURN | {"base": "small"}]}, "must have the same rules"),
        ({"tasks": [CHURN | {"pool": 9}]}, "at least two batches"),
        ({"tasks": [READ | {"base": "small"}]}, "must have the same rules as the read's point"),
        ({"tasks": [READ | {"systems": ["ipset"]}]}, "no operation read"),
        ({"tasks": [READ | {"points": ["prefixes"], "base": "prefixes"}]}, "needs IPv4 hosts"),
        ({"tasks": [CHURN | {"points": ["churning", "quiet"]}]}, "one point, and its base"),
        (
            {"bars": [{"figure": "N6", "metric": "ipset/effective_ms@quiet", "at_most": 1}]},
            "no task measures",
        ),
        ({"bars": [{"figure": "N6", "ratio": "ipset/ipset@churning:quiet", "bar": 1}]}, "no task measures"),
        ({"kind": "packets"}, "Input should be 'operations'"),
        ({"traffic": {}}, "Extra inputs are not permitted"),
    ],
)
def test_what_cannot_be_measured_is_refused(changes: dict[str, Any], why: str) -> None:
    """Each error says what is wrong."""
    with pytest.raises(ValidationError, match=why):
        read(**changes)


def test_errors_of_a_file_name_line_and_field(tmp_path: Path) -> None:
    """As for every scenario."""
    file = tmp_path / "mine.yaml"
    tasks = [{"operation": "load", "points": ["nowhere"]}]
    file.write_text(json.dumps({**DOCUMENT, "tasks": tasks}, indent=1))
    with pytest.raises(ScenarioError, match=r"mine.yaml:\d+: tasks.*no point 'nowhere'"):
        scenario.load(file)


def test_an_override_reaches_a_profile() -> None:
    """`--set` works as for every scenario."""
    found = scenario.load(scenario.locate("list-load"), {"profiles.quick.bans": "3"})
    assert isinstance(found, Operations)
    assert found.profile("quick").bans == 3
