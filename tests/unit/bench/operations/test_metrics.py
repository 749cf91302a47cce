# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from bench.operations import metrics
from bench.operations.loading import Probing
from bench.operations.rate import Meter
from bench.operations.scenario import Ban, Churn, Footprint, Load, Read, Replace, Scrape


class Readings(Meter):
    """A meter whose readings are given."""

    def __init__(self, *readings: tuple[float, int]) -> None:
        self.readings = list(readings)


def test_a_sum_is_exact() -> None:
    """Every leaked packet was counted, there is nothing to estimate."""
    found = metrics.estimate("leaked_packets", [[1, 2], [4]], 0)
    assert (found.value, found.ci_low, found.ci_high, found.n, found.blocks) == (7, 7, 7, 3, 2)


def test_a_p99_lies_in_its_interval_and_above_the_median() -> None:
    """Of 400 exponential times in two blocks."""
    rng = np.random.default_rng(1)
    series = rng.exponential(10, (2, 200)).tolist()
    high, middle = (metrics.estimate(name, series, 0) for name in ("effective_ms", "effective_p50_ms"))
    assert high.ci_low <= high.value <= high.ci_high
    assert high.ci_low < high.ci_high
    assert middle.value < 0.3 * high.value
    assert high.n == 400


def test_the_interval_of_a_p99_holds_the_true_one_about_as_often_as_it_says() -> None:
    """More than 80 % of 30 simulated runs: the tail of a sample is thin, so it is somewhat short of 95 %."""
    rng = np.random.default_rng(5)
    true = 10 * np.log(100)
    hits = 0
    for number in range(30):
        found = metrics.quantile(rng.exponential(10, (3, 200)).tolist(), 0.99, number)
        hits += found.ci_low <= true <= found.ci_high
    assert hits > 0.8 * 30


def test_a_slow_block_widens_the_interval() -> None:
    """Blocks are drawn whole: the same samples shuffled over blocks would promise too much."""
    rng = np.random.default_rng(2)
    slow = [*rng.normal(10, 1, (3, 100)).tolist(), rng.normal(40, 1, 100).tolist()]
    mixed = rng.permutation(np.concatenate(slow)).reshape(4, 100).tolist()
    apart, together = (metrics.quantile(series, 0.5, 1) for series in (slow, mixed))
    assert apart.ci_high - apart.ci_low > 3 * (together.ci_high - together.ci_low)


def test_a_duration_has_a_positive_interval() -> None:
    """Times are ratios to one another: a geometric mean, unless one is zero."""
    assert metrics.estimate("load_seconds", [[1.0], [3.0]], 0).ci_low > 0
    assert metrics.estimate("load_seconds", [[0.0], [2.0]], 0).value == 1.0


def test_no_samples_are_an_error() -> None:
    """Not a zero."""
    with pytest.raises(ValueError, match="no samples"):
        metrics.quantile([[]], 0.99, 0)


def test_every_metric_of_every_task_is_defined() -> None:
    """With a unit and a way to sum it up."""
    churn = {"operation": "churn", "points": ["a"], "base": "b"}
    tasks = [kind.model_validate({"operation": kind.__name__.lower(), "points": ["a"]}) for kind in PLAIN]
    read = {"operation": "read", "points": ["a"], "base": "b"}
    for task in (*tasks, Churn.model_validate(churn), Read.model_validate(read)):
        assert set(task.metrics) <= set(metrics.METRICS)


PLAIN = (Load, Ban, Replace, Footprint, Scrape)


class TestProbing:
    METER = Readings((0.0, 0), (1.0, 1000), (2.0, 1000), (3.0, 5000))

    def test_packets_between_readings_are_interpolated(self) -> None:
        """Half of a second of 1000."""
        assert self.METER.packets(0.5, 1.0) == 500
        assert self.METER.packets(0.5, 2.5) == 2500

    def test_a_replacement_that_was_hardly_probed_does_not_count(self) -> None:
        """The other one does, with its packets; the rate is over both."""
        found = Probing.of(self.METER, [(1.0, 2.0), (2.0, 3.0)], 2000)
        assert (found.probed, found.packets, found.rate) == (1, 4000, 2000)
        assert found.problem(2000) is None

    def test_too_few_probes_prove_nothing(self) -> None:
        """In all, or in every single one."""
        found = Probing.of(self.METER, [(0.0, 2.0)], 1000)
        assert found.problem(1000) == "only 500 probes a second during replacements, below 1,000"

    def test_no_replacement_proves_nothing(self) -> None:
        """The traffic was over before the first was done."""
        assert "no replacement was finished" in (Probing.of(self.METER, [], 1).problem(1) or "")
