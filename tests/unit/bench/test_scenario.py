# SPDX-License-Identifier: Apache-2.0
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from bench import scenario
from bench.points import PROFILES, SystemName
from bench.scenario import Scenario, ScenarioError
from bench.sut.xdp import TOUCH_LINES
from neurowall.kernel.buckets import lines_for
from neurowall.model.policy import Capacity


@pytest.fixture
def problems(tmp_path: Path, document: dict[str, Any]) -> Any:
    """Write the small scenario with changes, load it, and answer what is wrong with it."""

    def load(overrides: dict[str, str] | None = None, text: str | None = None, **changes: Any) -> list[str]:
        path = tmp_path / "small.yaml"
        path.write_text(text or yaml.safe_dump(document | changes, sort_keys=False))
        with pytest.raises(ScenarioError) as caught:
            scenario.load(path, overrides)
        return [line.removeprefix(f"{tmp_path}/") for line in str(caught.value).splitlines()]

    return load


def packets(name: str) -> Scenario:
    """A shipped scenario of trials."""
    found = scenario.load(scenario.locate(name))
    assert isinstance(found, Scenario)
    return found


def line_of(document: dict[str, Any], text: str) -> int:
    """Where a text stands in the written document, from 1."""
    return next(
        n for n, line in enumerate(yaml.safe_dump(document, sort_keys=False).splitlines(), 1) if text in line
    )


@pytest.mark.parametrize("name", scenario.names())
def test_every_shipped_scenario_loads(name: str) -> None:
    """And says what it is for."""
    assert len(scenario.load(scenario.locate(name)).purpose) > 50


def test_shipped_scenarios_hold_the_bars_of_the_design() -> None:
    """Section 13, N1 to N4: nobody lowers one by accident."""
    bars = {
        (bar.figure, bar.ratio): bar.bar
        for name in ("drop-flood", "forward-clean", "rule-scaling")
        for bar in scenario.load(scenario.locate(name)).bars
    }
    assert bars == {
        ("N1", "neurowall/xdp-touch@mix-300000"): 0.80,
        ("N1", "neurowall/xdp-null@mix-300000"): 0.45,
        ("N1", "neurowall/neurowall-classic@mix-300000"): 1.5,
        ("N1", "neurowall/xdp-touch@mix-300000-v6"): 0.70,
        ("N2", "neurowall/neurowall@hosts-1000000:hosts-1000"): 0.92,
        ("N2", "neurowall/neurowall@prefixes-250000:prefixes-1000"): 0.92,
        ("N2", "neurowall/xdp-touch@hosts-1000000-uniform"): 0.75,
        ("N3", "neurowall/nft-set@hosts-250000"): 2.3,
        ("N3", "neurowall/ipset@hosts-250000"): 2.0,
        ("N4", "neurowall/xdp-null@mix-250000"): 0.85,
        ("N4", "neurowall/xdp-null@mix-250000-v6"): 0.80,
    }


def test_the_points_of_the_figures_are_those_of_the_design() -> None:
    """Counts, traffic and profiles of N1 and N2."""
    flood = packets("drop-flood")
    assert flood.points["mix-300000"].counts == (250_000, 50_000, 0, 0)
    assert flood.points["mix-300000-v6"].counts == (250_000, 50_000, 50_000, 10_000)
    assert flood.traffic_at("mix-300000-v6").ipv6_every == 10
    assert flood.traffic_at("mix-300000").sources == "listed"
    scaling = packets("rule-scaling")
    for point in ("hosts-1000", "hosts-1000000", "prefixes-1000", "prefixes-250000"):
        sent = scaling.traffic_at(point)
        assert (sent.sources, sent.set_size, sent.position) == ("fixed-set", 1000, "uniform")
        assert scaling.smallest(point).entries_of(4) == 1000
        assert set(scaling.points[point].profiles) == set(PROFILES)
    assert scaling.traffic_at("hosts-1000000-uniform").sources == "listed"
    v6 = [point for point in scaling.points.values() if point.family == 6]
    assert max(point.hosts6 for point in v6) == max(point.prefixes6 for point in v6) == 50_000


def test_xdp_touch_has_a_table_as_large_as_that_of_neurowall() -> None:
    """At its default capacity, which no point of the scaling exceeds."""
    capacity = Capacity()
    assert lines_for(capacity.hosts4) == TOUCH_LINES
    for point in packets("rule-scaling").points.values():
        for kind in ("hosts4", "prefixes4", "hosts6", "prefixes6"):
            assert getattr(point, kind) <= getattr(capacity, kind)


def test_a_point_can_differ_from_the_scenario_in_its_traffic(document: dict[str, Any]) -> None:
    """Only in what it says; where packets must arrive, the judged rate is of those that do."""
    document["points"] |= {
        "fixed": {"hosts4": 700, "sources": "fixed-set"},
        "miss": {"hosts4": 700, "position": "miss", "systems": ["xdp-null", "neurowall"]},
        "half": {"hosts4": 700, "load": 0.5},
    }
    document["traffic"] |= {"set_size": 500}
    asked = Scenario.model_validate(document)
    assert asked.traffic_at("hosts-500") == asked.traffic
    assert asked.traffic_at("fixed").sources == "fixed-set"
    assert asked.traffic_at("half").load == 0.5
    assert asked.metrics_at("fixed") == asked.metrics == ("drop_mpps", "cost_ns", "load_seconds")
    assert asked.metrics_at("miss") == ("forward_mpps", "cost_ns", "load_seconds")
    verdicts = {point: asked.traffic_at(point).null_verdict for point in asked.points}
    assert verdicts == {"hosts-500": "drop", "fixed": "drop", "miss": "pass", "half": "drop"}
    assert (asked.smallest("fixed").hosts4, asked.largest("hosts-500").hosts4) == (500, 700)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"sources": "near-listed", "position": "first"}, "position first is of a flood of listed sources"),
        ({"sources": "fixed-set", "position": "last"}, "position last is of a flood of listed sources"),
        ({"kind": "clean", "position": "miss"}, "position miss is of a flood"),
        ({"sources": "fixed-set", "set_size": 501}, "has fewer than 501 entries in common with its like"),
        ({"ipv6_share": 0.1}, "sends IPv6 traffic but has no IPv6 entries"),
        ({"ipv6_share": 0.6}, "ipv6_share: input should be less than or equal to 0.5"),
        ({"load": 4.5}, "load: input should be less than or equal to 4"),
        ({"load": 1.5}, "a load above 1 is of classes only"),
    ],
)
def test_traffic_that_cannot_be_sent_is_refused(
    problems: Any, document: dict[str, Any], changes: dict[str, Any], why: str
) -> None:
    """Before anything is configured."""
    document["traffic"] |= changes
    (found,) = problems()
    assert why in found


@pytest.mark.parametrize(
    ("bar", "why"),
    [
        ({"bar": 1}, "give a ratio or a metric, one of them"),
        ({"ratio": "neurowall/nft-set@hosts-500"}, "give bar (at least) or at_most, one of them"),
        (
            {"ratio": "neurowall/nft-set@hosts-500", "metric": "neurowall/load_seconds@hosts-500", "bar": 1},
            "give a ratio or a metric, one of them",
        ),
        ({"metric": "neurowall/effective_ms@hosts-500", "at_most": 1}, "'effective_ms' is not among"),
        ({"metric": "ipset/load_seconds@hosts-500", "at_most": 1}, "'ipset' is not measured at hosts-500"),
        ({"metric": "neurowall/load_seconds@hosts-50", "at_most": 1}, "there is no point 'hosts-50'"),
    ],
)
def test_a_bar_is_one_goal_of_one_thing(
    problems: Any, document: dict[str, Any], bar: dict[str, Any], why: str
) -> None:
    """A ratio or a metric, from below or from above."""
    document["bars"] = [{"figure": "N6", **bar}]
    (found,) = problems()
    assert why in found


def test_goals_read_as_people_say_them(document: dict[str, Any]) -> None:
    """At least, at most; a limit of zero is one as well."""
    document["bars"] = [
        {"figure": "N3", "ratio": "neurowall/nft-set@hosts-500", "bar": 2.3},
        {"figure": "N6", "metric": "neurowall/load_seconds@hosts-500", "at_most": 4},
        {"figure": "N6", "metric": "neurowall/load_seconds@hosts-500", "at_most": 0},
    ]
    bars = Scenario.model_validate(document).bars
    assert [(bar.text, bar.goal) for bar in bars] == [(">= 2.3", 2.3), ("<= 4", 4), ("<= 0", 0)]
    assert bars[1].key == "neurowall/load_seconds@hosts-500"


def test_the_kind_says_what_a_file_is_read_as(problems: Any, document: dict[str, Any]) -> None:
    """Operations have fields of their own; there is no third kind."""
    document["kind"] = "operations"
    assert any("tasks: is missing" in line for line in problems())
    document["kind"] = "poem"
    (found,) = problems()
    assert found.startswith(f"small.yaml:{line_of(document, 'kind: poem')}: kind: ")


def test_an_unknown_key_is_named_with_its_line(problems: Any, document: dict[str, Any]) -> None:
    """File, line, field."""
    document["control"] = {"same": "xdp-touch", "speed": 3}
    assert problems() == [f"small.yaml:{line_of(document, 'speed')}: control.speed: unknown key"]


def test_every_bad_value_is_reported_at_once(problems: Any, document: dict[str, Any]) -> None:
    """Not one after the other."""
    document["traffic"]["family"] = 5
    document["points"]["hosts-500"]["hosts4"] = -1
    found = problems()
    assert len(found) == 2
    assert found[0].startswith(f"small.yaml:{line_of(document, 'hosts4')}: points.hosts-500.hosts4: ")
    assert "not -1" in found[0]
    assert found[1].startswith(f"small.yaml:{line_of(document, 'family')}: traffic.family: ")


def test_a_missing_key_is_named_at_its_parent(problems: Any, document: dict[str, Any]) -> None:
    """There is no better line than where its parent begins, or the next."""
    del document["profiles"]["ci"]["rounds"]
    (found,) = problems()
    line = line_of(document, "ci:")
    assert found in {f"small.yaml:{n}: profiles.ci.rounds: is missing" for n in (line, line + 1)}


@pytest.mark.parametrize(
    ("ratio", "why"),
    [
        ("neurowall/xdp-touch@hosts-501", "there is no point 'hosts-501'; did you mean 'hosts-500'?"),
        ("neurowall/ipset@hosts-500", "'ipset' is not measured at hosts-500"),
        ("neurowall@hosts-500", "string should match pattern"),
    ],
)
def test_a_bar_must_name_what_is_measured(
    problems: Any, document: dict[str, Any], ratio: str, why: str
) -> None:
    """Else it would be void in every run."""
    document["bars"][1]["ratio"] = ratio
    (found,) = problems()
    assert found.startswith(f"small.yaml:{line_of(document, ratio)}: bars[1].ratio: {why}")


def test_traffic_needs_entries_of_its_family(problems: Any, document: dict[str, Any]) -> None:
    """A flood of listed IPv6 sources from a list without any cannot be sent."""
    document["points"]["hosts-500"]["family"] = 6
    (found,) = problems()
    assert "points.hosts-500: sends IPv6 traffic but has no IPv6 entries" in found


def test_the_control_must_be_measured_at_every_point(problems: Any, document: dict[str, Any]) -> None:
    """A point without it could not be checked."""
    document["points"]["hosts-500"]["systems"] = ["neurowall", "xdp-touch"]
    (found,) = problems()
    assert "points.hosts-500.systems: 'xdp-null' must be here" in found


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("systems: [none]\npurpose: too late", "small.yaml:1: purpose: must be the first key of a scenario"),
        ("- a\n- b", "small.yaml:1: expected keys and values"),
        ("", "small.yaml:1: is empty: a scenario begins with `purpose:`"),
        ("purpose: x\npurpose: y", "small.yaml:2: key 'purpose' is already used in line 1"),
        ("purpose: [x", "small.yaml:1: not valid YAML: "),
        ("purpose: {a: 1}\n  b: 2", "small.yaml:2: not valid YAML: "),
    ],
)
def test_what_is_no_scenario_is_refused_by_line(problems: Any, text: str, why: str) -> None:
    """Broken YAML included."""
    (found,) = problems(text=text or "\n")
    assert found.startswith(why)


def test_overrides_go_over_the_file_and_change_the_digest(tmp_path: Path, document: dict[str, Any]) -> None:
    """Values are YAML; lists by position."""
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    plain = scenario.load(path)
    changed = scenario.load(
        path,
        {
            "profiles.quick.blocks": "7",
            "bars.0.bar": "0.5",
            "systems": "[xdp-null, xdp-touch, neurowall, nft-set]",
        },
    )
    assert changed.profile("quick").blocks == 7
    assert changed.bars[0].bar == 0.5
    assert changed.digest != plain.digest
    assert scenario.load(path, {"profiles.quick.blocks": "4"}).digest == plain.digest


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        (
            "profiles.quick.blocks",
            "1",
            "--set: profiles.quick.blocks: input should be greater than or equal to 2",
        ),
        ("profiles.fast.blocks", "1", "--set profiles.fast.blocks=1: the scenario has no such field"),
        ("bars.9.bar", "1", "--set bars.9.bar=1: the scenario has no such field"),
        ("profiles.quick.blocks", "[", "--set profiles.quick.blocks=[: the value is not YAML"),
        ("bars.0.ratio", "a/b@c", "--set: bars[0].ratio: there is no point 'c'"),
    ],
)
def test_a_bad_override_names_itself(problems: Any, field: str, value: str, why: str) -> None:
    """Not a line of the file, where nothing is wrong."""
    (found,) = problems({field: value})
    assert found.startswith(why)


def test_an_unknown_scenario_suggests_the_nearest() -> None:
    """Or all there are."""
    with pytest.raises(ScenarioError, match="did you mean 'drop-flood'"):
        scenario.locate("dropflood")
    with pytest.raises(
        ScenarioError, match=r"known: all-features, .*drop-flood, .*forward-clean, .*rule-scaling"
    ):
        scenario.locate("xyz")
    with pytest.raises(ScenarioError, match="no such scenario file"):
        scenario.locate("missing/file.yaml")


def test_the_digest_survives_layout_and_round_trip(document: dict[str, Any], tmp_path: Path) -> None:
    """A result stores the document; read again it is the same scenario."""
    stored = Scenario.model_validate(document)
    path = tmp_path / "small.yaml"
    path.write_text("# a comment\n" + yaml.safe_dump(document, sort_keys=False, default_flow_style=True))
    assert scenario.load(path).digest == stored.digest
    assert Scenario.model_validate(stored.model_dump(mode="json")).digest == stored.digest


def test_names_of_systems_are_those_of_the_registry() -> None:
    """A scenario can name every system there is, and no other."""
    from bench.sut.registry import SYSTEMS

    assert set(get_args(SystemName)) == set(SYSTEMS)
