# SPDX-License-Identifier: Apache-2.0
"""The scenarios of many rules with few of them: everything but the sizes is as shipped."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bench import records, scenario
from bench.bars import parts
from bench.records import Load, Trial
from bench.report import curves
from bench.result import Result
from bench.scenario import Scenario

pytestmark = [pytest.mark.root, pytest.mark.tool("nft", "ipset", "iptables")]

Measure = Callable[[Scenario], Result]
QUIET = {"control.bar": "0.01", "control.core_busy": "0.01"}
"""The bars for core and sources of a machine that others use as well."""


def shipped(name: str, points: list[str], changes: dict[str, str]) -> Scenario:
    """A shipped scenario with changed fields and these points only, without bars for others."""
    found = scenario.load(scenario.locate(name), changes | QUIET)
    assert isinstance(found, Scenario)
    kept = {point: spec for point, spec in found.points.items() if point in points}
    bars = tuple(bar for bar in found.bars if all(at in kept for at in parts(bar.key)[1::2]))
    return Scenario.model_validate(found.model_copy(update={"points": kept, "bars": bars}).model_dump())


def trials(directory: Path) -> list[Trial]:
    """The trials of the raw file that count."""
    stored = records.read(directory / "small" / "raw.jsonl")
    return [record for record in stored if isinstance(record, Trial) and record.role != "warmup"]


def test_rule_scaling_compares_two_sizes_with_the_same_packets(measure: Measure, tmp_path: Path) -> None:
    """Both gateways of a block at once, gates green, every packet accounted for, a curve in the report."""
    points = ["hosts-1000", "hosts-1000000", "hosts-1000000-uniform", "prefixes-1000", "prefixes-250000"]
    sizes = {"hosts-1000000.hosts4": 20_000, "hosts-1000000-uniform.hosts4": 20_000}
    sizes["prefixes-250000.prefixes4"] = 5000
    changes = {f"points.{field}": str(size) for field, size in sizes.items()}
    found = measure(shipped("rule-scaling", points, changes))
    assert found.void == []
    assert found.verdict != "void", found.reasons
    assert all(row.passed == row.gates for row in found.gates)
    assert all(row.closed and row.sent > 1000 for row in found.ledger)
    assert {figure.key: figure.verdict != "skipped" for figure in found.figures} == {
        "neurowall/neurowall@hosts-1000000:hosts-1000": True,
        "neurowall/neurowall@prefixes-250000:prefixes-1000": True,
        "neurowall/xdp-touch@hosts-1000000-uniform": True,
    }
    assert all(figure.noise_floor is not None for figure in found.figures)
    assert found.ratios["neurowall/neurowall@hosts-1000000:hosts-1000"].n == 4
    ours = [t for t in trials(tmp_path) if t.system == "neurowall" and t.point.startswith("hosts")]
    assert len({(t.block, t.round, t.order) for t in ours}) == len(ours) == 12
    assert all(t.measured is not None and t.measured.ledger.delivered == 0 for t in ours)
    memory = [found.metrics[f"neurowall/memory_mib@{point}"].value for point in points[:2]]
    assert all(20 < value < 1000 for value in memory)
    loads = [r for r in records.read(tmp_path / "small" / "raw.jsonl") if isinstance(r, Load)]
    assert ("xdp-touch", ("hosts-1000", "hosts-1000000", "hosts-1000000-uniform")) in {
        (load.system, load.points) for load in loads
    }
    assert [curve.sizes for curve in curves.of(found) if curve.metric == "drop_mpps"] == [
        [1000, 20_000],
        [1000, 5000],
    ]


def test_misses_arrive_and_first_and_last_are_dropped(measure: Measure) -> None:
    """At every position and by every system, rivals included."""
    points = [f"hosts-250000-{position}" for position in ("first", "last", "miss")]
    changes = {f"points.{point}.hosts4": "3000" for point in points}
    changes |= {f"points.{point}.profiles": "[ci]" for point in points}
    found = measure(shipped("rule-scaling", points, changes | {"profiles.ci.rounds": "1"}))
    assert found.void == []
    assert {row.system for row in found.ledger} == {
        "xdp-null", "xdp-touch", "neurowall", "neurowall-classic", "nft-set", "ipset"
    }  # fmt: skip
    for row in found.ledger:
        assert row.closed
        counted, zero = row.dropped_by_rule, row.delivered
        if row.point.endswith("miss"):
            counted, zero = zero, counted
            assert row.system != "xdp-touch"
        assert counted > 1000
        assert zero == 0
    assert found.metrics["ipset/forward_mpps@hosts-250000-miss"].value > 0
    assert found.metrics["ipset/drop_mpps@hosts-250000-last"].value > 0


def test_a_flood_of_both_families_is_dropped_whole(measure: Measure) -> None:
    """A tenth IPv6; the sink sees none of either, and the ledger closes over both."""
    point = "mix-300000-v6"
    changes = {"hosts4": "2500", "prefixes4": "500", "hosts6": "500", "prefixes6": "100", "systems_in": "{}"}
    changes["systems"] = "[xdp-null, xdp-touch, neurowall, nft-set, ipset]"
    changes = {f"points.{point}.{field}": value for field, value in changes.items()}
    found = measure(shipped("drop-flood", [point], changes | {"profiles.ci.rounds": "1"}))
    assert found.void == []
    assert all(row.closed and row.delivered == 0 and row.dropped_by_rule > 1000 for row in found.ledger)
    # A gate probes each family of which there are entries.
    assert all(row.listed_sent == 512 * row.gates for row in found.gates)
