# SPDX-License-Identifier: Apache-2.0
"""Scenarios of floods, limits and features: what is planned, judged, void and shown."""

import dataclasses
import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bench import plan as planning
from bench import result as results
from bench import scenario as scenarios
from bench.classes import ClassCount
from bench.evaluate import evaluate
from bench.points import PROFILES
from bench.records import Core, Ledger, Measured, Trial, Writer, parse
from bench.report import curves, html, lines, markdown, tables, terminal
from bench.scenario import Scenario

LIMITS = [
    {"name": "s", "key": "source", "packets_per_second": 5, "burst": 5},
    {"name": "p", "key": "source-prefix", "packets_per_second": 1, "burst": 10},
]
LEGIT, FLOOD = {"name": "legit", "share": 1}, {"name": "flood", "share": 15, "sources": 2560, "networks": 10}
SHIPPED = ("rate-limit-flood", "rate-limit-accuracy", "mixed-traffic", "all-features", "feature-cost")


@pytest.fixture
def flood(document: dict[str, Any]) -> dict[str, Any]:
    """A flood that limits must drop."""
    return document | {
        "systems": ["xdp-null", "neurowall", "xdp-lru-limiter"],
        "points": {"random": {}},
        "traffic": {"kind": "flood", "sources": "classes", "classes": [FLOOD, LEGIT]},
        "defence": {"limits": LIMITS, "events": True},
        "metrics": ["drop_mpps", "cost_ns", "legit_loss_ratio"],
        "bars": [{"figure": "N5", "ratio": "neurowall/xdp-null@random", "bar": 0.5}],
        "control": {"same": "xdp-null"},
    }


@pytest.fixture
def mixed(flood: dict[str, Any]) -> dict[str, Any]:
    """The same beside legitimate packets, at three rates."""
    loads = {"low": 0.2, "high": 0.8, "double": 2.0}
    return flood | {
        "points": {name: {"load": load, "hosts4": 100} for name, load in loads.items()},
        "traffic": flood["traffic"] | {"kind": "clean"},
        "metrics": ["cpu_ns_per_packet", "legit_loss_ratio", "attack_pass_ratio"],
        "bars": [
            {"figure": "N9", "metric": "neurowall/legit_loss_ratio@high", "at_most": 0.001},
            {"figure": "N9", "metric": "neurowall/attack_pass_ratio@high", "at_most": 0},
        ],
    }


def seen(classes: tuple[ClassCount, ...], unsent: int = 0) -> Measured:
    """A trial with these counts."""
    sent, passed = sum(one.sent for one in classes), sum(one.passed for one in classes)
    return Measured(1.0, Ledger(sent, passed, sent - passed), Core(1, 1), unsent, classes=classes)


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("profile", PROFILES)
def test_shipped_scenarios_can_be_planned(name: str, profile: Any) -> None:
    """And every bar is about systems that some profile measures."""
    found = scenarios.load(scenarios.locate(name))
    assert isinstance(found, Scenario)
    made = planning.make(name, found, profile, lambda *_: None)
    assert made.trials > 0
    if profile == "ci":
        assert made.seconds < 150


def test_each_feature_has_a_gateway_of_its_own_and_the_empty_one_is_shared() -> None:
    """Measured interleaved, so that a feature's cost is a paired difference."""
    found = scenarios.load(scenarios.locate("feature-cost"))
    assert isinstance(found, Scenario)
    (group,) = planning.make("feature-cost", found, "quick", lambda *_: None).groups
    stations = planning.stations_of(group.arms)
    assert {str(s) for s in stations if s.system == "neurowall"} == {
        "neurowall",
        "neurowall-limits-100pps-2000pps",
        "neurowall-flows",
        "neurowall-events",
        "neurowall-spoofing",
        "neurowall-limits-flows-events-spoofing-100pps-2000pps",
    }
    assert [
        len(points) for s, points in stations.items() if (s.system, s.role) == ("xdp-null", "measured")
    ] == [6]
    assert [found.base_of(point) for point in found.points] == [None, *["none"] * 5]


def test_features_and_limits_reach_the_gateways(flood: dict[str, Any], measure: Any, lab: Any) -> None:
    """All of them of the scenario, or those of the point; neurowall-lists and empty systems have none."""
    flood["systems"] += ["neurowall-lists"]
    flood["points"] = {"all": {}, "one": {"features": ["limits"], "limits": LIMITS[:1]}}
    measure(Scenario.model_validate(flood | {"bars": []}))
    told = {(system, None if one is None else (one.events, len(one.limits))) for system, one in lab.defences}
    assert told == {
        ("xdp-null", None),
        ("neurowall", (True, 2)),
        ("neurowall", (False, 1)),
        ("xdp-lru-limiter", (True, 2)),
        ("xdp-lru-limiter", (False, 1)),
        ("neurowall-lists", (False, 0)),
    }


def test_a_flood_that_limits_drop_is_judged_by_its_rate(flood: dict[str, Any], run_small: Any) -> None:
    """What passes within a hundredth of it does not matter; the empty system has no legitimate loss."""
    found = run_small(Scenario.model_validate(flood))
    assert (found.verdict, found.void) == ("pass", [])
    assert found.ratios["neurowall/xdp-null@random"].value == pytest.approx(1.9 / 3, rel=0.1)
    assert found.metrics["neurowall/legit_loss_ratio@random"].value == 0
    assert "xdp-null/legit_loss_ratio@random" not in found.metrics


def test_a_flood_that_gets_through_is_void(flood: dict[str, Any], run_small: Any, lab: Any) -> None:
    """More than a hundredth of it, and more than limits admit."""
    lab.admit = 0.5
    found = run_small(Scenario.model_validate(flood))
    assert found.verdict == "void"
    assert {row.system for row in found.void} == {"neurowall", "xdp-lru-limiter"}
    assert any("more than limits admit" in reason for reason in found.reasons)


def test_a_rival_too_slow_for_limits_has_no_figure(flood: dict[str, Any], run_small: Any, lab: Any) -> None:
    """What limits admit is then no small part of the flood; that is a finding and not a void run."""
    lab.admit = 0.02
    flood["bars"] = []
    found = run_small(Scenario.model_validate(flood))
    assert (found.verdict, found.reasons) == ("pass", [])
    assert found.void[0].reasons == [
        "limits let 2.0% of the flood through, as much as they may at so low a rate"
    ]
    assert "neurowall/drop_mpps@random" not in found.metrics


def test_mixed_traffic_is_judged_class_by_class(mixed: dict[str, Any], run_small: Any, lab: Any) -> None:
    """Nothing lost and nothing passed is a pass at any load; a loss is a figure and no void run."""
    lab.rates["neurowall"] = 9.0
    found = run_small(Scenario.model_validate(mixed))
    assert (found.verdict, found.void) == ("pass", [])
    assert found.metrics["xdp-null/attack_pass_ratio@high"].value == 1
    rows = {(row.system, row.point, row.name): row for row in found.classes}
    own, empty = rows["neurowall", "high", "flood"], rows["xdp-null", "high", "flood"]
    assert own.passed == pytest.approx(0.005 * own.sent, rel=0.01)
    assert own.allowed == pytest.approx(0.4 * own.sent, rel=0.01)
    assert (empty.passed, empty.allowed) == (empty.sent, None)
    lab.lost = {"neurowall": 0.01}
    lost = run_small(Scenario.model_validate(mixed))
    assert [figure.verdict for figure in lost.figures] == ["fail", "pass"]
    lab.lost, lab.admit = {}, 0.5
    passed = run_small(Scenario.model_validate(mixed))
    assert [figure.verdict for figure in passed.figures] == ["pass", "fail"]


def test_what_a_slow_gateway_could_not_be_sent_is_lost(
    mixed: dict[str, Any], run_small: Any, lab: Any
) -> None:
    """Above the empty system's own rate not even that has to keep the pace."""
    lab.rates["neurowall"] = 1.2
    found = run_small(Scenario.model_validate(mixed))
    assert found.verdict == "fail"
    loss = {p: found.metrics[f"neurowall/legit_loss_ratio@{p}"].value for p in ("low", "high", "double")}
    assert loss["low"] == 0
    assert loss["high"] == pytest.approx(0.5, abs=0.05)
    assert loss["double"] == pytest.approx(0.8, abs=0.05)
    assert found.metrics["xdp-null/legit_loss_ratio@double"].value == pytest.approx(0.5, abs=0.05)
    assert {control.point for control in found.controls if control.check == "offered"} == {"low", "high"}


def test_paced_sources_that_keep_to_their_limit_prove_nothing(mixed: dict[str, Any], run_small: Any) -> None:
    """They must send more than it admits; then its error is judged, without any ratio."""
    paced = {"name": "paced", "share": 1, "sources": 10}
    asked = mixed | {
        "points": {"paced": {"pps": 1000}},
        "traffic": {"kind": "clean", "sources": "classes", "classes": [paced]},
        "metrics": ["limit_error_ratio", "limit_worst_ratio"],
        "bars": [{"figure": "N10", "metric": "neurowall/limit_error_ratio@paced", "at_most": 0.05}],
    }
    found = run_small(Scenario.model_validate(asked))
    assert (found.verdict, found.ratios, found.void) == ("pass", {}, [])
    assert found.metrics["neurowall/limit_error_ratio@paced"].value == pytest.approx(0.02)
    assert "xdp-null/limit_error_ratio@paced" not in found.metrics
    few = ClassCount("paced", 1000, 900, 900.0)
    scenario = Scenario.model_validate(asked)
    judged = evaluate(
        scenario, [Trial(0, 0, 0, "neurowall", "paced", "measured", seen((few,)))], seed=1, skipped={}
    )
    assert "too few to exceed what limits admit" in judged.void[0].reasons[0]


def test_the_losses_of_a_trial_are_what_its_counts_say() -> None:
    """Attack packets count beyond what limits allow and a twentieth more; legitimate ones unsent are lost."""
    legit, listed = ClassCount("legit", 1000, 990, None), ClassCount("listed", 500, 5, 0.0)
    limited = ClassCount("syn-flood", 500, 104, 100.0)
    trial = seen((legit, listed, limited))
    assert trial.value("legit_loss_ratio") == pytest.approx(0.01)
    assert trial.value("attack_pass_ratio") == pytest.approx(5 / 1000)
    over = dataclasses.replace(limited, passed=155)
    assert seen((legit, over)).value("attack_pass_ratio") == pytest.approx(50 / 500)
    assert seen((legit, listed, limited), unsent=10).value("legit_loss_ratio") == pytest.approx(0.01)
    assert seen((legit, listed, limited), unsent=2000).value("legit_loss_ratio") == pytest.approx(0.505)
    assert seen((limited,)).value("legit_loss_ratio") is None
    assert seen((legit,)).value("attack_pass_ratio") is None


def test_counts_of_classes_are_read_back_from_the_file(tmp_path: Any) -> None:
    """As any record is."""
    trial = Trial(0, 0, 0, "neurowall", "low", "measured", seen((ClassCount("legit", 10, 9, None),)))
    with (tmp_path / "raw.jsonl").open("w") as file:
        Writer(file).write(trial)
    assert list(parse((tmp_path / "raw.jsonl").read_text().splitlines(), "x")) == [trial]


def test_a_feature_costs_what_it_adds_to_the_point_without_any(flood: dict[str, Any], run_small: Any) -> None:
    """Paired by round, and a ratio beside it; a rival that has no such point has none."""
    flood["points"] = {
        "none": {"features": [], "systems": ["xdp-null", "neurowall"]},
        "limits": {"features": ["limits"]},
    }
    flood["metrics"] = ["forward_mpps", "feature_ns", "cost_ns"]
    legit = {"kind": "clean", "sources": "classes", "classes": [LEGIT]}
    found = run_small(Scenario.model_validate(flood | {"traffic": legit, "bars": []}))
    assert found.metrics["neurowall/feature_ns@limits"].value == pytest.approx(0, abs=10)
    assert found.ratios["neurowall/neurowall@limits:none"].value == pytest.approx(1, abs=0.02)
    assert "neurowall/feature_ns@none" not in found.metrics
    assert "xdp-lru-limiter/feature_ns@limits" not in found.metrics
    assert "xdp-lru-limiter/cost_ns@limits" in found.metrics
    assert curves.of(found) == []


def test_rates_make_a_curve_and_classes_a_matrix(mixed: dict[str, Any], run_small: Any, lab: Any) -> None:
    """In every kind of report."""
    lab.lost = {"neurowall": 0.01}
    found = run_small(Scenario.model_validate(mixed))
    drawn = {curve.metric: curve for curve in curves.of(found)}
    assert set(drawn) == {"cpu_ns_per_packet", "legit_loss_ratio", "attack_pass_ratio"}
    assert all((curve.sizes, curve.axis) == ([20, 80, 200], curves.LOAD) for curve in drawn.values())
    assert drawn["legit_loss_ratio"].title == "Legitimate packets lost, by offered rate"
    assert "of what the empty system forwards (log scale)" in lines.draw(drawn["legit_loss_ratio"])
    matrix = tables.classes(found)
    assert len(matrix.rows) == 3 * 3 * 2
    summary = results.summarise("r1", {"x": found})
    for page in (markdown.render(summary, [found]), html.render(summary, [found])):
        assert "What became of each class of packets" in page
        assert "by offered rate" in page
        assert "at most" in page
    console = Console(width=80, record=True, file=io.StringIO())
    terminal.show(console, summary, [found], Path())
    shown = console.export_text()
    assert "what became of each class of packets" in shown
    assert "99.0" in shown
    assert max(map(len, shown.splitlines())) <= 80


def sent(kind: str, *classes: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Traffic of classes."""
    return {"traffic": {"kind": kind, "sources": "classes", "classes": list(classes)} | more}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"defence": None}, "floods and paced classes need limits"),
        ({"defence": {"events": True}}, "floods and paced classes need limits"),
        (sent("flood"), "sources `classes` go with classes"),
        (sent("flood", LEGIT, sources="listed"), "go with classes"),
        (sent("flood", LEGIT, LEGIT), "the same name"),
        (sent("clean", LEGIT, load=0.5, pps=9), "not both"),
        (sent("clean", LEGIT, load=0.5, generators=2), "two generators"),
        (sent("clean", LEGIT, family=6), "classes are of IPv4 packets"),
        (sent("flood", LEGIT, {"name": "listed", "share": 1}), "listed sources need IPv4 entries"),
        (sent("flood", FLOOD | {"networks": 9}), "2560 sources do not fill 9 /24s"),
        (sent("flood", FLOOD | {"share": 4096}, LEGIT), "more than 4096 together"),
        ({"points": {"random": {"features": ["payload"]}}}, "features"),
    ],
)
def test_what_cannot_be_sent_or_set_up_is_refused(
    flood: dict[str, Any], changes: dict[str, Any], why: str
) -> None:
    """When the scenario is read."""
    with pytest.raises(ValueError, match=why):
        Scenario.model_validate(flood | changes)
