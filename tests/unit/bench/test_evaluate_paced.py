# SPDX-License-Identifier: Apache-2.0
"""Figures of which less is better, absolute ones, and packets that come at a fixed rate."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from bench.evaluate import Judgement, evaluate
from bench.records import Core, Gate, Ledger, Load, Measured, Record, Role, Trial
from bench.scenario import Scenario

GATE = Gate("filter", True, 256, 256, 256, 256)
P99 = {"none": 50.0, "xdp-null": 48.0, "neurowall": 51.0, "nft-set": 90.0}
CPU = {"none": 900.0, "xdp-null": 800.0, "neurowall": 1000.0, "nft-set": 2000.0}
WANTED = 100_000


@pytest.fixture
def paced(document: dict[str, Any]) -> dict[str, Any]:
    """Clean traffic at half load, judged by its latency."""
    return document | {
        "systems": ["none", "xdp-null", "neurowall"],
        "traffic": {"kind": "clean", "sources": "near-listed", "load": 0.5},
        "metrics": ["latency_p99_us"],
        "bars": [{"figure": "N12", "ratio": "neurowall/none@hosts-500", "at_most": 1.1}],
        "control": {"same": "xdp-null"},
    }


def one(seconds: float, sent: int, unsent: int, p99: float, cpu: float) -> Measured:
    """A trial in which everything arrived; the core slept half of the time."""
    core = Core(seconds, seconds / 2)
    return Measured(seconds, Ledger(sent, sent, 0), core, unsent, cpu, None, {"p50": p99 / 8, "p99": p99})


def records(
    scenario: Scenario,
    noise: float = 0.005,
    unsent: dict[str, int] | None = None,
    fixed_gain: float = 1.05,
    cost: dict[str, float] | None = None,
) -> Iterator[Record]:
    """Six blocks of four rounds; `cost` is a factor by point."""
    rng, missing = np.random.default_rng(1), unsent or {}
    for block in range(6):
        for point in scenario.points:
            for system in scenario.systems_at(point):
                yield Load(block, system, "measured", (point,), seconds=0.5, memory_mib=100.0)
            flat = Measured(0.1, Ledger(200_000, 200_000, 0), Core(0.1, 0.1))
            yield Trial(block, 0, -1, "xdp-null", point, "flat", flat, GATE, GATE)
            for number in range(4):
                arms: list[tuple[str, Role]] = [(system, "measured") for system in scenario.systems_at(point)]
                for system, role in (*arms, ("xdp-null", "same")):
                    off = (cost or {}).get(point, 1.0) * float(np.exp(rng.normal(0, noise)))
                    short = missing.get(system, 0)
                    found = one(0.2, WANTED - short, short, P99[system] * off, CPU[system] * off)
                    yield Trial(block, number, 0, system, point, role, found, GATE, GATE)
                sent = round(200_000 * fixed_gain)
                fixed = Measured(0.1, Ledger(sent, sent, 0), Core(0.1, 0.1))
                yield Trial(block, number, 0, "xdp-null", point, "fixed", fixed)


def judge(document: dict[str, Any], **options: Any) -> Judgement:
    """Judge simulated records of a scenario."""
    scenario = Scenario.model_validate(document)
    return evaluate(scenario, list(records(scenario, **options)), seed=1, skipped={})


@pytest.mark.parametrize(("at_most", "verdict"), [(1.1, "pass"), (1.001, "fail"), (1.02, "too-noisy")])
def test_less_is_better(paced: dict[str, Any], at_most: float, verdict: str) -> None:
    """The true ratio is 1.02."""
    paced["bars"][0]["at_most"] = at_most
    found = judge(paced)
    assert (found.verdict, found.figures[0].verdict) == (verdict, verdict)
    assert (found.figures[0].at_most, found.figures[0].bar) == (at_most, None)
    ratio = found.ratios["neurowall/none@hosts-500"]
    assert ratio.value == pytest.approx(1.02, abs=0.005)
    assert (ratio.at_most, ratio.bar) == (at_most, None)
    assert found.metrics["neurowall/latency_p99_us@hosts-500"].unit == "us"


def test_every_figure_states_the_noise_floor_it_was_judged_with(paced: dict[str, Any]) -> None:
    """That of the A/A pair beside it; a bar within it is not decided, though the interval would."""
    found = judge(paced)
    assert found.figures[0].noise_floor == found.noise_floor["hosts-500"]
    assert 0 < found.noise_floor["hosts-500"] < 0.02
    same = [t for t in records(Scenario.model_validate(paced)) if isinstance(t, Trial)]
    biased = [
        dataclasses.replace(t, measured=times(t.measured, 1.2)) if t.role == "same" else t for t in same
    ]
    doubted = evaluate(Scenario.model_validate(paced), biased, seed=1, skipped={})
    assert doubted.figures[0].noise_floor == pytest.approx(0.2, abs=0.02)
    assert (doubted.figures[0].verdict, found.figures[0].verdict) == ("too-noisy", "pass")
    assert "within the noise floor" in doubted.figures[0].reason


def times(measured: Measured | None, factor: float) -> Measured:
    """The same trial with longer latencies."""
    assert measured is not None
    longer = {name: value * factor for name, value in measured.latency_us.items()}
    return dataclasses.replace(measured, latency_us=longer)


@pytest.mark.parametrize(("growth", "verdict"), [(1.0, "pass"), (1.03, "pass"), (1.2, "fail")])
def test_cost_at_two_sizes_is_a_ratio_within_a_round(
    paced: dict[str, Any], growth: float, verdict: str
) -> None:
    """N12: 1 k over 1 M rules; more cost at the larger makes it smaller."""
    name = "neurowall/neurowall@hosts-500:hosts-1000"
    paced["points"]["hosts-1000"] = {"hosts4": 1000}
    paced |= {"metrics": ["cpu_ns_per_packet"], "bars": [{"figure": "N12", "ratio": name, "bar": 0.95}]}
    found = judge(paced, cost={"hosts-1000": growth})
    assert found.ratios[name].value == pytest.approx(1 / growth, rel=0.005)
    assert found.figures[0].verdict == verdict
    assert found.figures[0].noise_floor == max(found.noise_floor.values())


@pytest.mark.parametrize(("at_most", "verdict"), [(0.6, "pass"), (0.4, "fail")])
def test_a_metric_itself_has_a_bar(paced: dict[str, Any], at_most: float, verdict: str) -> None:
    """Rules loaded within half a second; the A/A pair was not measured by that."""
    paced["metrics"] = ["latency_p99_us", "load_seconds", "memory_mib"]
    paced["bars"] = [{"figure": "N6", "metric": "neurowall/load_seconds@hosts-500", "at_most": at_most}]
    found = judge(paced)
    figure = found.figures[0]
    assert (figure.verdict, figure.metric, figure.noise_floor) == (
        verdict,
        "neurowall/load_seconds@hosts-500",
        None,
    )
    assert found.metrics["neurowall/memory_mib@hosts-500"].value == pytest.approx(100)


def test_an_idle_core_is_no_fault_at_half_load_and_the_offered_rate_is_checked(paced: dict[str, Any]) -> None:
    """Flat out, the core must be busy; at a load, the packets must have been sent."""
    found = judge(paced)
    assert {control.check: control.verdict for control in found.controls} == {
        "sources": "pass",
        "offered": "pass",
    }


def test_a_rate_that_the_control_cannot_be_sent_voids_the_run(paced: dict[str, Any]) -> None:
    """Then the generator was too slow, or others held the core."""
    found = judge(paced, unsent={"xdp-null": WANTED // 50})
    assert found.verdict == "void"
    assert any("could not keep its pace" in reason for reason in found.reasons)


def test_a_system_that_cannot_take_the_offered_rate_is_void_alone(paced: dict[str, Any]) -> None:
    """What it would cost at that rate is not known; the others are judged."""
    found = judge(paced, unsent={"neurowall": WANTED // 50})
    assert [(void.system, void.point) for void in found.void] == [("neurowall", "hosts-500")]
    assert "98.0%" in found.figures[0].reason
    assert found.verdict == "void", "it is the figure's own system"
    assert "none/latency_p99_us@hosts-500" in found.metrics
    assert judge(paced, unsent={"neurowall": WANTED // 200}).verdict == "pass"


def test_a_rival_that_cannot_take_the_offered_rate_leaves_the_verdict_alone(paced: dict[str, Any]) -> None:
    """It is slower than the load, which is a finding; no figure of it is made up."""
    found = judge(paced | {"systems": [*paced["systems"], "nft-set"]}, unsent={"nft-set": WANTED // 50})
    assert [void.system for void in found.void] == ["nft-set"]
    assert (found.verdict, found.reasons) == ("pass", [])
    assert not [key for key in (*found.metrics, *found.ratios) if "nft-set" in key]


def test_one_stall_does_not_outweigh_the_other_rounds(paced: dict[str, Any]) -> None:
    """In two of six blocks the machine stood still for a while: their medians do not show it."""
    scenario = Scenario.model_validate(paced)
    stalled = [
        dataclasses.replace(record, measured=times(record.measured, 100))
        if isinstance(record, Trial)
        and (record.system, record.round, record.block % 3) == ("neurowall", 2, 1)
        else record
        for record in records(scenario)
    ]
    found = evaluate(scenario, stalled, seed=1, skipped={})
    ratio = found.ratios["neurowall/none@hosts-500"]
    assert ratio.value == pytest.approx(1.02, abs=0.01)
    assert (ratio.n, found.verdict) == (6, "pass")
    assert found.metrics["neurowall/latency_p99_us@hosts-500"].ci_high < 60
    assert max(max(block) for block in found.samples["neurowall/latency_p99_us@hosts-500"]) > 5000


def test_sources_are_checked_flat_out_also_where_trials_are_not(paced: dict[str, Any]) -> None:
    """At half load everything keeps its rate, so that would check nothing."""
    found = judge(paced, fixed_gain=1.3)
    (control,) = (control for control in found.controls if control.check == "sources")
    assert control.value == pytest.approx(1 / 1.3, abs=0.01)
    assert control.verdict == "fail"
    assert found.verdict == "void"


def test_a_trial_that_serves_several_points_is_counted_once(paced: dict[str, Any]) -> None:
    """Its rate stands at both points, its packets and gates at its own."""
    paced["points"]["hosts-1000"] = {"hosts4": 1000}
    scenario = Scenario.model_validate(paced)
    measured = [
        dataclasses.replace(record, shared=record.point == "hosts-1000" and record.system == "xdp-null")
        if isinstance(record, Trial)
        else record
        for record in records(scenario)
    ]
    found = evaluate(scenario, measured, seed=1, skipped={})
    assert "xdp-null/latency_p99_us@hosts-1000" in found.metrics
    cells = [(row.system, row.point) for row in found.ledger]
    assert cells == [(row.system, row.point) for row in found.gates]
    assert ("xdp-null", "hosts-1000") not in cells
    assert len(cells) == 5
