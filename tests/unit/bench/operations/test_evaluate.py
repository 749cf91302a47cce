# SPDX-License-Identifier: Apache-2.0
import io
import json
from typing import Any

import pytest

from bench.evaluate import Judgement
from bench.operations.evaluate import evaluate
from bench.operations.records import Observation, Writer
from bench.operations.scenario import Operations
from bench.points import PROFILES
from bench.records import Gate, Ledger
from bench.result import Figure

GREEN = Gate("filter", passed=True, listed_sent=10, listed_blocked=10, near_sent=10, near_passed=10)
RED = Gate("filter", passed=False, listed_sent=10, listed_blocked=9, near_sent=10, near_passed=10, detail="x")
LEAKS = "neurowall/leaked_packets@small"
BANS = "neurowall/effective_ms@small"
LOADS = "neurowall/load_seconds@small"
RATIO = "neurowall/neurowall@churning:quiet"

SCENARIO = Operations.model_validate(
    {
        "purpose": "Is a run judged by what it observed?",
        "kind": "operations",
        "systems": ["neurowall", "nft-set"],
        "points": {
            "small": {"hosts4": 100},
            "large": {"hosts4": 200, "profiles": ["rfc"]},
            "quiet": {"hosts4": 100},
            "churning": {"hosts4": 100},
        },
        "tasks": [
            {"operation": "load", "points": ["small", "large"]},
            {"operation": "ban", "points": ["small"]},
            {"operation": "replace", "points": ["small"]},
            {"operation": "churn", "points": ["churning"], "base": "quiet"},
        ],
        "bars": [
            {"figure": "N6", "metric": LEAKS, "at_most": 0},
            {"figure": "N6", "metric": BANS, "at_most": 50},
            {"figure": "N6", "metric": LOADS, "at_most": 1.0},
            {"figure": "N6", "metric": "neurowall/load_seconds@large", "at_most": 1.0},
            {"figure": "N6", "ratio": RATIO, "bar": 0.5},
        ],
        "profiles": {name: {"blocks": 2} for name in PROFILES},
    }
)


def observe(block: int, operation: str, **changes: Any) -> Observation:
    """One observation of Neurowall at the small point."""
    values = {"system": "neurowall", "point": "small", "gates": (GREEN,), **changes}
    return Observation(block=block, operation=operation, **values)


def good(**changes: Any) -> list[Observation]:
    """Two blocks in which all went well; changes go to the replacement of the second."""
    seen = []
    for block in (0, 1):
        extra = changes if block else {}
        leaks = {"leaked_packets": [0.0], "probed_packets": [5e6], "replace_seconds": [2.0]}
        seen += [
            observe(block, "load", samples={"load_seconds": [0.5 + block / 100]}),
            observe(block, "ban", samples={"effective_ms": [10.0 + n % 7 for n in range(100)]}),
            observe(block, "replace", **{"samples": leaks, "ledgers": (Ledger(10, 0, 10),), **extra}),
            observe(block, "churn", point="churning", samples={"drop_mpps": [0.9, 0.92]}),
            observe(block, "churn", point="quiet", samples={"drop_mpps": [1.0, 1.01]}, again=[1.01, 1.0]),
        ]
    return seen


def judge(seen: list[Observation], **options: Any) -> Judgement:
    """The judgement in the quick profile."""
    return evaluate(SCENARIO, "quick", seen, **{"seed": 1, "skipped": {}, **options})


def figure(found: Judgement, key: str) -> Figure:
    """The figure of that name."""
    return next(each for each in found.figures if each.key == key)


def test_a_good_run_passes_with_every_number_behind_it() -> None:
    """Metrics with intervals, ratios, A/A, gates and ledger."""
    found = judge(good())
    assert found.verdict == "pass", found.figures
    assert found.metrics[BANS].value == pytest.approx(16)
    assert found.metrics["neurowall/effective_p50_ms@small"].value < 14
    assert found.metrics[BANS].n == 200
    assert figure(found, LEAKS).reason == "of 10,000,000 probes"
    assert found.ratios[RATIO].value == pytest.approx(0.905, abs=0.01)
    assert found.ratios[RATIO].bar == 0.5
    assert found.noise_floor["quiet"] < 0.05
    assert figure(found, RATIO).noise_floor == found.noise_floor["quiet"]
    assert [(row.system, row.point, row.sent) for row in found.ledger] == [("neurowall", "small", 20)]
    assert next(row for row in found.gates if row.point == "small").gates == 6


def test_one_leaked_packet_fails() -> None:
    """Among ten million."""
    leaks = {"leaked_packets": [1.0], "probed_packets": [5e6]}
    found = judge(good(samples=leaks, ledgers=(Ledger(10, 1, 9),)))
    assert found.verdict == "fail"
    assert figure(found, LEAKS).verdict == "fail"
    assert found.metrics[LEAKS].value == 1


def test_what_the_profile_leaves_out_is_skipped() -> None:
    """And does not make the run anything else than it is."""
    found = judge(good())
    skipped = figure(found, "neurowall/load_seconds@large")
    assert (skipped.verdict, skipped.reason) == ("skipped", "neurowall: not in profile quick")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"gates": (GREEN, RED)}, "replace: an effectiveness gate failed because x"),
        ({"ledgers": (Ledger(1000, 0, 990),)}, "replace: open ledger"),
        ({"ledgers": (Ledger(0, 0, 0),)}, "replace: the generator sent nothing"),
        ({"problem": "only 5 probes a second"}, "replace: only 5 probes a second"),
    ],
)
def test_what_proves_nothing_is_void(changes: dict[str, Any], why: str) -> None:
    """No metric of that system at that point is left, and the figures say why."""
    found = judge(good(**changes))
    assert found.verdict == "void"
    assert why in found.void[0].reasons[0]
    assert why in figure(found, LEAKS).reason
    assert not [key for key in found.metrics if key.endswith("@small")]
    assert "neurowall/drop_mpps@quiet" in found.metrics


def test_a_p99_of_too_few_is_not_judged() -> None:
    """It would be the largest of them."""
    few = [seen for seen in good() if seen.operation != "ban" or seen.block]
    found = figure(judge(few), BANS)
    assert (found.verdict, found.reason) == ("too-noisy", "100 samples, where a p99 needs 200")


def test_a_slow_p99_fails_though_the_median_is_fast() -> None:
    """Three of a hundred bans took a second."""
    slow = [1000.0 if n % 33 == 0 else 10.0 for n in range(100)]
    seen = [o for o in good() if o.operation != "ban"]
    seen += [observe(block, "ban", samples={"effective_ms": slow}) for block in (0, 1)]
    assert figure(judge(seen), BANS).verdict == "fail"


def test_an_interrupted_run_is_void() -> None:
    """Not every block was measured."""
    found = judge(good(), interrupted="SIGINT")
    assert found.verdict == "void"
    assert "interrupted by SIGINT" in found.reasons[0]


def test_a_system_that_is_not_there_is_skipped() -> None:
    """With the reason of the plan."""
    cell = ("neurowall", "small")
    seen = [o for o in good() if o.point != "small"]
    found = judge(seen, skipped={cell: "needs root"})
    assert figure(found, LEAKS).reason == "neurowall: needs root"
    assert found.verdict == "pass"


def test_nothing_observed_is_void_for_every_bar() -> None:
    """A run that measured nothing reached nothing."""
    assert judge([]).verdict == "void"
    assert figure(judge([]), LEAKS).reason == "not measured"


def test_raw_records_are_json_lines() -> None:
    """With everything that was observed."""
    file = io.StringIO()
    writer = Writer(file)
    for seen in good():
        writer.write(seen)
    lines = [json.loads(line) for line in file.getvalue().splitlines()]
    assert len(lines) == 10
    assert lines[2]["samples"]["probed_packets"] == [5e6]
    assert lines[2]["gates"][0]["passed"] is True
