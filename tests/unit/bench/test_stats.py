# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from bench import stats
from bench.stats import Estimate


def simulate(
    rng: np.random.Generator, blocks: int, rounds: int, between: float, within: float, ratio: float = 1.0
) -> list[list[float]]:
    """A series of ratios with block effects: lognormal, `between` and `within` as sigmas."""
    effects = rng.normal(0, between, (blocks, 1)) + rng.normal(0, within, (blocks, rounds))
    series: list[list[float]] = (ratio * np.exp(effects)).tolist()
    return series


@pytest.mark.parametrize(("between", "within"), [(0.0, 0.1), (0.05, 0.05), (0.1, 0.02)])
@pytest.mark.parametrize("blocks", [3, 5, 12])
def test_the_interval_covers_the_truth_in_95_of_100_runs(
    monkeypatch: pytest.MonkeyPatch, between: float, within: float, blocks: int
) -> None:
    """With and without block effects; rounds taken as independent would cover far less."""
    monkeypatch.setattr(stats, "RESAMPLES", 500)
    rng = np.random.default_rng(7)
    hits = 0
    for run in range(600):
        estimate = stats.geometric_mean(simulate(rng, blocks, 5, between, within, ratio=2.0), seed=run)
        hits += estimate.ci_low <= 2.0 <= estimate.ci_high
    assert 0.92 <= hits / 600 <= 0.98


def test_resampling_rounds_instead_of_blocks_would_cover_too_little() -> None:
    """The mutation that the coverage test must catch: one block of 15 rounds instead of 3 blocks of 5."""
    rng = np.random.default_rng(7)
    hits = 0
    for _ in range(300):
        flat = np.log(simulate(rng, 3, 5, 0.1, 0.02)).ravel()
        reach = stats.t975(len(flat) - 1) * flat.std(ddof=1) / np.sqrt(len(flat))
        hits += abs(flat.mean()) <= reach
    assert hits / 300 < 0.8


def test_a_ratio_is_the_geometric_mean_over_blocks() -> None:
    """Twice in one block and half in another cancel; blocks count alike, whatever their rounds."""
    estimate = stats.geometric_mean([[2.0, 2.0, 2.0], [0.5]], seed=1)
    assert estimate.value == pytest.approx(1.0)
    assert (estimate.n, estimate.blocks) == (4, 2)


def test_same_against_same_has_one_inside_its_interval() -> None:
    """An A/A pair measured under shared drift, which pairing removes."""
    rng = np.random.default_rng(3)
    drift = np.exp(rng.normal(0, 0.4, (6, 5)))
    arms = [
        {(b, r): drift[b, r] * np.exp(rng.normal(0, 0.02)) for b in range(6) for r in range(5)}
        for _ in range(2)
    ]
    estimate = stats.geometric_mean(stats.pair(*arms), seed=1)
    assert estimate.ci_low < 1 < estimate.ci_high
    assert stats.noise_floor(estimate) < 0.05


def test_pairs_are_made_within_a_round_and_the_rest_is_left_out() -> None:
    """A missing partner, or one that measured nothing, makes no pair."""
    over = {(0, 0): 2.0, (0, 1): 3.0, (1, 0): 8.0, (1, 1): 5.0}
    under = {(0, 0): 1.0, (1, 0): 2.0, (1, 1): 0.0, (2, 0): 1.0}
    assert stats.pair(over, under) == [[2.0], [4.0]]


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.80, 0.90, "pass"),
        (0.7999, 0.90, "too-noisy"),
        (0.70, 0.80, "too-noisy"),
        (0.70, 0.7999, "fail"),
    ],
)
def test_the_verdict_is_the_interval_against_the_bar(low: float, high: float, verdict: str) -> None:
    """Pass if ci_low >= bar, fail if ci_high < bar, else too noisy to tell."""
    assert stats.judge(Estimate(0.8, low, high, n=10, blocks=5), 0.80) == verdict


def test_one_block_decides_nothing() -> None:
    """Its rounds show no spread between blocks, however clear they look."""
    assert stats.judge(stats.geometric_mean([[2.0, 2.01, 1.99]], seed=1), 1.0) == "too-noisy"
    assert stats.judge(stats.geometric_mean([[0.5, 0.51, 0.49]], seed=1), 1.0) == "too-noisy"


def test_more_blocks_are_asked_for_when_the_ratio_is_nearer_to_the_bar() -> None:
    """And as many as told do decide, when the spread stays what it was."""
    series = simulate(np.random.default_rng(5), 5, 5, 0.1, 0.02)
    middle = stats.geometric_mean(series, seed=1).value
    far, near = stats.blocks_needed(series, middle / 1.12), stats.blocks_needed(series, middle / 1.05)
    assert far is not None
    assert near is not None
    assert 5 < far < near
    assert stats.blocks_needed(series, middle) is None


def test_blocks_needed_is_enough_to_decide() -> None:
    """Repeating the same blocks up to the number told moves the bar out of the interval."""
    block_means = [0.95, 1.0, 1.05, 1.1, 0.9]
    needed = stats.blocks_needed([[m] for m in block_means], 0.94)
    assert needed is not None
    repeated = [[m] for m in (block_means * (needed // 5 + 1))[: needed + 1]]
    assert stats.judge(stats.geometric_mean(repeated, seed=1), 0.94) == "pass"


def test_an_arithmetic_mean_takes_zero_and_negative_values() -> None:
    """Costs in ns may be; a geometric mean of them is refused."""
    assert stats.mean([[-1.0, 1.0], [0.0, 3.0]], seed=1).value == pytest.approx(0.75)
    with pytest.raises(ValueError, match="positive"):
        stats.geometric_mean([[0.0, 1.0]], seed=1)


def test_the_same_seed_gives_the_same_interval() -> None:
    """A stored run judged again says the same."""
    series = simulate(np.random.default_rng(5), 4, 3, 0.1, 0.1)
    assert stats.mean(series, seed=9) == stats.mean(series, seed=9)


def test_student_quantiles_are_those_of_the_tables() -> None:
    """Also where the formula takes over."""
    for degrees, quantile in ((1, 12.706), (4, 2.776), (30, 2.042), (40, 2.021), (60, 2.000), (120, 1.980)):
        assert stats.t975(degrees) == pytest.approx(quantile, abs=0.001)
    with pytest.raises(ValueError, match="two blocks"):
        stats.t975(0)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(1.0, 1.1, "pass"), (1.0, 1.1001, "too-noisy"), (1.1, 1.2, "too-noisy"), (1.1001, 1.2, "fail")],
)
def test_at_most_is_the_same_from_above(low: float, high: float, verdict: str) -> None:
    """Pass if ci_high <= bar, fail if ci_low > bar, else too noisy to tell."""
    estimate = Estimate((low + high) / 2, low, high, n=10, blocks=5)
    assert stats.judge_at_most(estimate, 1.1) == verdict
    assert stats.judge_at_most(Estimate(1.0, low, high, n=5, blocks=1), 1.1) == "too-noisy"


@pytest.mark.parametrize(("value", "verdict"), [(0.0, "pass"), (0.2, "fail")])
def test_at_most_nothing_counts(value: float, verdict: str) -> None:
    """One leaked packet in one block of five is one too many, whatever the interval."""
    assert stats.judge_at_most(Estimate(value, 0.0, 2 * value, n=5, blocks=5), 0) == verdict


@pytest.mark.parametrize(("value", "verdict"), [(0.90, "pass"), (0.82, "too-noisy"), (0.70, "fail")])
def test_a_bar_within_the_noise_floor_decides_nothing(value: float, verdict: str) -> None:
    """However narrow the interval: the A/A pair strayed by 5 %, and so may this one have. Both ways alike."""
    estimate = Estimate(value, value - 0.001, value + 0.001, n=10, blocks=5)
    assert stats.judge(estimate, 0.80, 0.05) == verdict
    opposite = {"pass": "fail", "fail": "pass"}.get(verdict, verdict)
    assert stats.judge_at_most(estimate, 0.80, 0.05) == opposite
    assert stats.judge(estimate, 0.80) == ("pass" if value > 0.80 else "fail")


def decided(runs: int, bias: float, judged_with_floor: bool) -> dict[str, float]:
    """Shares of verdicts where the truth is at the bar, and gateways differ by a bias that lasts a run."""
    rng = np.random.default_rng(11)
    verdicts = []
    for run in range(runs):
        own, same = (
            stats.geometric_mean(
                simulate(rng, 6, 4, 0.005, 0.01, ratio=float(np.exp(rng.normal(0, bias)))), seed=run
            )
            for _ in range(2)
        )
        floor = stats.noise_floor(same) if judged_with_floor else 0.0
        verdicts.append(stats.judge_at_most(own, 1.0, floor))
    return {verdict: verdicts.count(verdict) / runs for verdict in ("pass", "fail", "too-noisy")}


def test_at_most_passes_falsely_in_one_of_forty_runs_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the truth at the bar; and the noise floor makes it rarer still."""
    monkeypatch.setattr(stats, "RESAMPLES", 500)
    plain, floored = decided(400, 0.0, judged_with_floor=False), decided(400, 0.0, judged_with_floor=True)
    assert plain["pass"] <= 0.045
    assert plain["fail"] <= 0.045
    assert floored["pass"] <= 0.02
    assert floored["fail"] <= 0.02


def test_the_noise_floor_sees_what_the_interval_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where two gateways of one system differ all run long, intervals alone decide mostly, and wrongly.

    The A/A pair strays as far as the pair that is judged, so that it halves the false verdicts; more of them
    would take a gateway's memory to be placed anew, which is what blocks are for.
    """
    monkeypatch.setattr(stats, "RESAMPLES", 500)
    plain, floored = decided(300, 0.03, judged_with_floor=False), decided(300, 0.03, judged_with_floor=True)
    assert plain["pass"] + plain["fail"] > 0.6
    assert floored["pass"] + floored["fail"] < 0.6 * (plain["pass"] + plain["fail"])


def test_blocks_needed_waits_for_the_noise_floor_too() -> None:
    """It shrinks with the root of the blocks: from 10 % to 5 % takes four times as many."""
    series = [[1.06], [1.0601], [1.0599], [1.06]]
    assert stats.blocks_needed(series, 1.0) == 5
    needed = stats.blocks_needed(series, 1.0, 0.1)
    assert needed is not None
    assert needed == pytest.approx(4 * (np.log(1.1) / np.log(1.06)) ** 2, abs=1)


def test_blocks_to_tell_is_what_the_interval_reaches() -> None:
    """So many blocks of that spread have an interval within the difference, one fewer has not."""
    series = simulate(np.random.default_rng(5), 8, 4, 0.03, 0.02)
    spread = float(np.std([np.log(block).mean() for block in series], ddof=1))
    needed = stats.blocks_to_tell(series, 0.05)
    assert needed is not None
    for blocks, enough in ((needed, True), (needed - 1, False)):
        assert (stats.t975(blocks - 1) * spread / np.sqrt(blocks) <= np.log(1.05)) is np.bool_(enough)
    assert stats.blocks_to_tell(series, 0.0001) is None
    assert stats.blocks_to_tell([[1.0]], 0.05) is None
