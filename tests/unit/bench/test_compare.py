# SPDX-License-Identifier: Apache-2.0
from typing import Any

import pytest

from bench.compare import Comparison, Incomparable, compare
from bench.result import Result


@pytest.fixture
def pair(run_small: Any, lab: Any) -> Any:
    """The same scenario before and after a change of one system's rate."""

    def run(factor: float) -> tuple[Result, Result]:
        old = run_small()
        lab.rates["neurowall"] *= factor
        return old, run_small()

    return run


def verdict(comparison: Comparison, name: str) -> str:
    """How one metric changed."""
    return next(change.verdict for change in comparison.changes if change.name == name)


@pytest.mark.parametrize(("factor", "expected"), [(1.3, "higher"), (0.7, "lower"), (1.0, "same")])
def test_a_change_counts_beyond_both_intervals(pair: Any, factor: float, expected: str) -> None:
    """30 % in a ratio is seen, nothing is invented where nothing changed."""
    found = compare(*pair(factor))
    assert verdict(found, "neurowall/nft-set@hosts-500") == expected
    assert verdict(found, "xdp-touch/xdp-touch@hosts-500") == "same"


def test_rates_that_drift_between_blocks_hide_what_ratios_show(pair: Any) -> None:
    """The rate's interval holds the drift, the ratio's does not."""
    found = compare(*pair(1.15))
    assert verdict(found, "neurowall/nft-set@hosts-500") == "higher"
    assert verdict(found, "neurowall/drop_mpps@hosts-500") == "same"


def test_different_machines_are_refused_unless_forced(pair: Any) -> None:
    """Forced, the comparison carries a warning."""
    old, new = pair(1.0)
    other = new.model_copy(
        update={"environment": {"machine": "m2", "cpu": {"model": "y"}, "kernel": {"release": "6.1"}}}
    )
    with pytest.raises(Incomparable, match=r"different machines \(cpu\)"):
        compare(old, other)
    assert "DIFFERENT MACHINES" in compare(old, other, force=True).warnings[0]


def test_different_scenarios_are_never_compared(pair: Any) -> None:
    """Whatever is forced."""
    old, new = pair(1.0)
    with pytest.raises(Incomparable, match="different scenarios"):
        compare(old, new.model_copy(update={"scenario": "other"}), force=True)


def test_a_changed_scenario_and_a_void_run_are_warned_about(run_small: Any, document: Any, lab: Any) -> None:
    """They are compared, and the reader is told."""
    from bench.scenario import Scenario

    old = run_small()
    lab.leak.add("nft-set")
    document["bars"] = []
    found = compare(old, run_small(Scenario.model_validate(document)))
    assert set(found.warnings) == {"the scenario was changed between the two runs", "the new run is void"}
    assert "neurowall/nft-set@hosts-500" in found.only_old
