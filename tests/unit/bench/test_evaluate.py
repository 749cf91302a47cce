# SPDX-License-Identifier: Apache-2.0
from typing import Any

import pytest

from bench.evaluate import Judgement, derive, evaluate
from bench.scenario import Scenario


@pytest.fixture
def judge(scenario: Scenario, measure: Any) -> Any:
    """Measure a scenario (by default the small one) in the simulated lab, and judge it."""

    def run(chosen: Scenario = scenario, skipped: Any = None, interrupted: str | None = None) -> Judgement:
        records = measure(chosen)
        return evaluate(chosen, records, seed=1, skipped=skipped or {}, interrupted=interrupted)

    return run


def with_bar(document: dict[str, Any], bar: float) -> Scenario:
    """The small scenario with one bar."""
    document["bars"] = [{"figure": "N1", "ratio": "neurowall/xdp-touch@hosts-500", "bar": bar}]
    return Scenario.model_validate(document)


def test_ratios_are_those_of_the_systems_whatever_the_block(judge: Any) -> None:
    """The drift between blocks is 20 %, the ratio stays within 2 %."""
    found = judge()
    assert found.ratios["neurowall/xdp-touch@hosts-500"].value == pytest.approx(0.95, rel=0.02)
    assert found.ratios["neurowall/nft-set@hosts-500"].value == pytest.approx(1.9 / 0.6, rel=0.02)
    assert found.ratios["neurowall/xdp-touch@hosts-500"].n == 16
    assert found.verdict == "pass"
    assert [figure.verdict for figure in found.figures] == ["pass", "pass"]


@pytest.mark.parametrize(("bar", "verdict"), [(0.80, "pass"), (1.10, "fail"), (0.95, "too-noisy")])
def test_a_verdict_can_come_out_against_us(
    judge: Any, document: dict[str, Any], lab: Any, bar: float, verdict: str
) -> None:
    """The true ratio is 0.95."""
    lab.noise = 0.05
    found = judge(with_bar(document, bar))
    assert (found.verdict, found.figures[0].verdict) == (verdict, verdict)


def test_too_noisy_tells_how_many_blocks_would_decide(judge: Any, document: dict[str, Any], lab: Any) -> None:
    """More than were run, since these did not."""
    lab.noise = 0.1
    figure = judge(with_bar(document, 0.93)).figures[0]
    assert figure.verdict == "too-noisy"
    assert figure.blocks_needed is None or figure.blocks_needed > 4


def test_metrics_have_the_keys_and_units_of_the_format(judge: Any) -> None:
    """`<system>/<metric>@<point>`; the cost is against xdp-null in the same round."""
    found = judge()
    cost = found.metrics["neurowall/cost_ns@hosts-500"]
    rate = found.metrics["neurowall/drop_mpps@hosts-500"]
    assert (cost.unit, rate.unit, found.metrics["nft-set/load_seconds@hosts-500"].unit) == ("ns", "Mpps", "s")
    assert cost.value == pytest.approx(1e3 / 1.9 - 1e3 / 3.0, rel=0.25)
    assert found.metrics["xdp-null/cost_ns@hosts-500"].value == 0
    assert rate.ci_low < rate.value < rate.ci_high
    assert [len(block) for block in found.samples["neurowall/drop_mpps@hosts-500"]] == [4, 4, 4, 4]


def test_the_same_system_twice_gives_one_and_the_noise_floor(judge: Any) -> None:
    """The A/A ratio holds 1; what the run can tell is about its noise, not its drift."""
    found = judge()
    ratio = found.ratios["xdp-touch/xdp-touch@hosts-500"]
    assert ratio.ci_low < 1 < ratio.ci_high
    assert ratio.bar is None
    assert 0.001 < found.noise_floor["hosts-500"] < 0.05


def test_a_failed_gate_voids_the_system_and_the_scenario(judge: Any, lab: Any) -> None:
    """No figure with it is left, those without it are; the reason says what was seen."""
    lab.leak.add("nft-set")
    found = judge()
    assert found.verdict == "void"
    assert [figure.verdict for figure in found.figures] == ["pass", "void"]
    assert "got through" in found.figures[1].reason
    assert not [key for key in (*found.metrics, *found.ratios) if "nft-set" in key]
    row = next(row for row in found.gates if row.system == "nft-set")
    assert (row.passed, row.gates) == (0, 32)


def test_a_refused_configuration_is_void(judge: Any, lab: Any) -> None:
    """A rival whose ruleset was rejected has no ratio, however plausible its rate would have been."""
    lab.refuse.add("nft-set")
    found = judge()
    assert found.verdict == "void"
    assert "neurowall/nft-set@hosts-500" not in found.ratios
    assert any("syntax error" in reason and "(4 times)" in reason for reason in found.reasons)


def test_an_open_ledger_is_void(judge: Any, lab: Any) -> None:
    """1 % of the packets vanish: ten times what is tolerated."""
    lab.lose.add("neurowall")
    found = judge()
    assert found.verdict == "void"
    row = next(row for row in found.ledger if row.system == "neurowall")
    assert not row.closed
    assert row.worst == pytest.approx(0.01, rel=0.01)
    assert all(row.closed for row in found.ledger if row.system != "neurowall")


def test_unequal_offloads_are_void(judge: Any, lab: Any) -> None:
    """One arm with TSO on is not compared with others that have it off."""
    lab.offloads["nft-set"] = "on"
    found = judge()
    assert found.verdict == "void"
    assert any("tso is on" in reason for reason in found.reasons)


def test_a_generator_that_sends_nothing_is_void(judge: Any, lab: Any) -> None:
    """Instead of a rate of zero."""
    lab.silent.add("neurowall")
    found = judge()
    assert found.verdict == "void"
    assert any("sent nothing" in reason for reason in found.reasons)


def test_clean_traffic_that_nobody_receives_is_void(judge: Any, document: dict[str, Any], lab: Any) -> None:
    """No receiver: nothing reaches the server, whatever the generator says."""
    document |= {"traffic": {"kind": "clean", "sources": "near-listed"}, "metrics": ["forward_mpps"]}
    chosen = Scenario.model_validate(document)
    assert judge(chosen).verdict == "pass"
    lab.deaf = True
    found = judge(chosen)
    assert found.verdict == "void"
    assert any("nothing reached the server" in reason for reason in found.reasons)


def test_sources_that_cost_more_than_the_bar_void_the_run(judge: Any, lab: Any) -> None:
    """With one fixed source the empty system is 1.3 times as fast: the generator was measured."""
    lab.fixed_gain = 1.3
    found = judge()
    assert found.verdict == "void"
    assert all(figure.verdict == "void" for figure in found.figures)
    assert any("generator was the bottleneck" in reason for reason in found.reasons)


def test_a_core_with_time_to_spare_voids_the_run(judge: Any, lab: Any) -> None:
    """The firewall was not the bottleneck."""
    lab.busy = 0.9
    found = judge()
    assert found.verdict == "void"
    assert any("90%" in reason for reason in found.reasons)


def test_an_interrupted_run_is_void_and_keeps_what_it_measured(judge: Any, lab: Any) -> None:
    """Partial figures are there to look at, never to pass."""
    lab.interrupt_after = 60
    found = judge(interrupted="SIGINT")
    assert found.verdict == "void"
    assert found.metrics
    assert "SIGINT" in found.reasons[0]


def test_what_was_skipped_is_said_and_judges_nothing(judge: Any) -> None:
    """The other bar still decides."""
    found = judge(skipped={("nft-set", "hosts-500"): "nft is not installed"})
    assert [figure.verdict for figure in found.figures] == ["pass", "skipped"]
    assert "not installed" in found.figures[1].reason
    assert found.verdict == "pass"


def test_one_system_at_two_points_is_a_ratio(judge: Any, document: dict[str, Any]) -> None:
    """`neurowall/neurowall@hosts-1000:hosts-500`, paired by block and round."""
    document["points"]["hosts-1000"] = {"hosts4": 1000}
    name = "neurowall/neurowall@hosts-1000:hosts-500"
    document["bars"] = [{"figure": "N2", "ratio": name, "bar": 0.92}]
    found = judge(Scenario.model_validate(document))
    assert found.ratios[name].value == pytest.approx(1.0, rel=0.02)
    assert found.verdict == "pass"


def test_seeds_for_different_purposes_are_unrelated() -> None:
    """And the same for the same one."""
    assert derive(1, "order", 2) == derive(1, "order", 2)
    assert (
        len({derive(1, "order", 2), derive(1, "order", 3), derive(2, "order", 2), derive(1, "gate", 2)}) == 4
    )


def test_a_control_that_noise_hides_decides_nothing(judge: Any, document: dict[str, Any], lab: Any) -> None:
    """Sources cost nothing, noise makes it look so: what would pass does not, and is not void either."""
    lab.fixed_gain, lab.noise = 1.0, 0.5
    found = judge(with_bar(document, 0.01))
    sources = next(control for control in found.controls if control.check == "sources")
    assert sources.verdict == "too-noisy"
    assert (found.verdict, found.figures[0].verdict) == ("too-noisy", "too-noisy")
    assert "may have been the bottleneck" in found.figures[0].reason


def test_time_that_others_held_the_core_is_told(judge: Any, lab: Any) -> None:
    """It explains noise; the verdict stays that of the interval."""
    lab.waited = 0.3
    found = judge()
    assert found.contention == {"hosts-500": pytest.approx(0.3)}
    assert found.verdict == "pass"
