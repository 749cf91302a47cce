# SPDX-License-Identifier: Apache-2.0
"""The scenarios of floods, limits and features with short trials: all but lengths and sizes is as shipped."""

from collections.abc import Callable
from typing import Any

import pytest

from bench import scenario
from bench.report import curves
from bench.result import Result
from bench.scenario import Scenario
from bench.sut.xdplru import XdpLruLimiter

pytestmark = [pytest.mark.root, pytest.mark.tool("nft")]

Measure = Callable[[Scenario], Result]
QUIET = {"control.bar": "0.01", "control.core_busy": "0.01", "profiles.ci.warmup_seconds": "0.05"}
"""The bars for core and sources of a machine that others use as well."""


FEW_NETWORKS = {
    "points__sources-1000000__classes": "[{name: flood, share: 511, sources: 65536, networks: 256}, "
    "{name: legit, share: 1, sources: 8192}]"
}
"""A flood of which limits let little through, also where a busy machine makes it slow."""


def shipped(name: str, points: list[str], systems: list[str], seconds: float, **changes: str) -> Scenario:
    """A shipped scenario with changed fields, these points and systems only, and no bars."""
    more = {field.replace("__", "."): value for field, value in changes.items()}
    found = scenario.load(scenario.locate(name), QUIET | {"profiles.ci.trial_seconds": str(seconds)} | more)
    assert isinstance(found, Scenario)
    kept: dict[str, Any] = {}
    for point in points:
        wanted = [s for s in systems if s in found.systems_at(point)]
        kept[point] = found.points[point].model_dump() | {
            "systems": wanted, "systems_in": {}, "profiles": ["ci"], "share": 1
        }  # fmt: skip
    document = found.model_dump() | {"points": kept, "systems": systems, "bars": []}
    document["control"]["same"] = "xdp-null"
    return Scenario.model_validate(document)


def whole(found: Result) -> bool:
    """Whether nothing is void, every gate green and every packet accounted for."""
    assert found.void == []
    assert all(row.closed and row.sent > 1000 for row in found.ledger)
    return found.verdict != "void" and all(row.passed == row.gates > 0 for row in found.gates)


def test_limits_drop_a_flood_of_random_sources(measure: Measure) -> None:
    """All but what they admit, and legitimate sources get through meanwhile."""
    systems = ["xdp-null", "neurowall", "xdp-lru-limiter"]
    found = measure(shipped("rate-limit-flood", ["sources-1000000"], systems, 0.2, **FEW_NETWORKS))
    assert whole(found)
    rows = {(row.system, row.name): row for row in found.classes}
    for system in systems[1:]:
        assert rows[system, "legit"].passed == rows[system, "legit"].sent > 0
        assert rows[system, "flood"].passed <= 0.01 * rows[system, "flood"].sent
        assert found.metrics[f"{system}/legit_loss_ratio@sources-1000000"].value == 0
    assert found.ratios["neurowall/xdp-null@sources-1000000"].value > 0


def test_limits_admit_what_they_say(measure: Measure) -> None:
    """Of one source beside a flood of random ones; the empty system lets all of both through."""
    points = ["sources-1-flood"]
    systems = ["xdp-null", "neurowall"]
    found = measure(shipped("rate-limit-accuracy", points, systems, 0.6))
    assert whole(found)
    for point in points:
        for system in systems[1:]:
            assert found.metrics[f"{system}/limit_error_ratio@{point}"].value < 0.05
            assert found.metrics[f"{system}/limit_worst_ratio@{point}"].value < 0.1
        assert f"xdp-null/limit_error_ratio@{point}" not in found.metrics
    empty = [row for row in found.classes if row.system == "xdp-null"]
    assert all(row.passed == row.sent for row in empty)


def test_two_cpus_race_for_one_bucket(measure: Measure) -> None:
    """Each CPU has a queue of its own, and both together get what one would."""
    asked = shipped("rate-limit-accuracy", ["sources-1-two-cpus"], ["xdp-null", "xdp-lru-limiter"], 0.4)
    found = measure(asked)
    assert whole(found)
    assert found.metrics["xdp-lru-limiter/limit_error_ratio@sources-1-two-cpus"].value < 0.05


def test_mixed_traffic_has_a_matrix_and_a_curve(measure: Measure) -> None:
    """Of every class what passed; what is listed or spoofed does not, what is legitimate does."""
    sizes = {f"points__{p}__{k}": "500" for p in ("attack-20", "attack-40") for k in ("hosts4", "prefixes4")}
    systems = ["xdp-null", "neurowall", "nft-limit"]
    found = measure(shipped("mixed-traffic", ["attack-20", "attack-40"], systems, 0.2, **sizes))
    assert whole(found)
    for row in found.classes:
        if row.system == "xdp-null":
            assert row.passed == row.sent
        elif row.name in ("listed", "spoofed"):
            assert (row.passed, row.allowed) == (0, 0)
        elif row.name != "legit":
            assert 0 < row.passed <= 1.05 * (row.allowed or 0)
    assert found.metrics["neurowall/attack_pass_ratio@attack-20"].value == 0
    assert found.metrics["neurowall/legit_loss_ratio@attack-20"].value < 0.01
    assert {curve.metric for curve in curves.of(found)} >= {"legit_loss_ratio", "attack_pass_ratio"}


def test_every_feature_on_drops_and_passes_the_same(measure: Measure) -> None:
    """A flood of listed sources, and clean neighbours, beside the same firewall with lists alone."""
    points = ["mix-300000", "clean-250000"]
    few = {
        "hosts4": "2500",
        "prefixes4": "500",
        "hosts6": "500",
        "prefixes6": "100",
    }  # so they share gateways
    sizes = {f"points__{point}__{kind}": count for point in points for kind, count in few.items()}
    systems = ["xdp-null", "neurowall", "neurowall-lists"]
    found = measure(shipped("all-features", points, systems, 0.1, **sizes))
    assert whole(found)
    proven = {row.system: row.listed_sent // row.gates for row in found.gates if row.point == "mix-300000"}
    assert proven["neurowall"] > proven["neurowall-lists"] + 1000  # the gate proves every feature
    assert found.ratios["neurowall/neurowall-lists@clean-250000"].value > 0


def test_a_feature_has_its_price(measure: Measure) -> None:
    """Over the point without any, in the same rounds; a rival's beside it."""
    systems = ["xdp-null", "neurowall", "xdp-lru-flows"]
    found = measure(shipped("feature-cost", ["none", "flows"], systems, 0.1))
    assert whole(found)
    assert set(found.metrics) > {"neurowall/feature_ns@flows", "xdp-lru-flows/cost_ns@flows"}
    assert "neurowall/neurowall@flows:none" in found.ratios


def test_a_limiter_that_was_not_loaded_makes_the_run_void(
    measure: Measure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its program runs, drops nothing, and is found out by the gate before anything is judged."""
    monkeypatch.setattr(XdpLruLimiter, "_prepare", _without_limits)
    systems = ["xdp-null", "xdp-lru-limiter"]
    found = measure(shipped("rate-limit-flood", ["sources-1000000"], systems, 0.1, **FEW_NETWORKS))
    assert found.verdict == "void"
    (void,) = found.void
    assert void.system == "xdp-lru-limiter"
    assert any("effectiveness gates failed" in why and "got through" in why for why in void.reasons)
    assert any("of the flood got through, and more than limits admit" in why for why in void.reasons)


def _without_limits(_: XdpLruLimiter, loading: Any) -> None:
    for name in ("by_source", "by_prefix"):
        loading.set_max_entries(name, 16)
