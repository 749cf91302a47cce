# SPDX-License-Identifier: Apache-2.0
"""Policies applied and changed: changes of one rule, and probes that tell two policies apart."""

import itertools

import numpy as np
import pytest
from pydantic import ValidationError

from bench import scenario
from bench.operations import metrics, policy
from bench.operations.run import expected_seconds
from bench.operations.scenario import Operations
from bench.points import PROFILES
from bench.rulebook import Size, beginning, make
from tests.unit.bench.operations.test_scenario import DOCUMENT

BOOK = make(Size(200), 1)


def read(points: dict[str, object], task: dict[str, object]) -> Operations:
    """A scenario of one task."""
    return Operations.model_validate(
        {**DOCUMENT, "systems": ["neurowall", "nft-set", "nft-linear"], "points": points, "tasks": [task]}
    )


def test_the_shipped_scenario_has_the_figures_and_fits_its_profiles() -> None:
    """Two seconds for 2,000 rules, 0.3 for a change of one; enough changes for a p99 in `standard`."""
    found = scenario.load(scenario.locate("policy-apply"))
    assert isinstance(found, Operations)
    assert {bar.metric: bar.at_most for bar in found.bars} == {
        "neurowall/apply_seconds@rules-2000": 2,
        "neurowall/apply_worst_seconds@rules-2000": 2,
        "neurowall/change_seconds@rules-2000": 0.3,
        "neurowall/change_p99_seconds@rules-2000": 0.3,
    }
    assert found.points["rules-2000"].rules == 2000
    assert found.profiles.standard.changes >= metrics.NEEDED["p99"]
    for profile, seconds in (("ci", 45), ("quick", 95), ("standard", 300)):
        assert expected_seconds(found, profile) < seconds  # type: ignore[arg-type]
    assert all(found.metrics_of("nft-linear", "rules-2000", profile) for profile in PROFILES)


@pytest.mark.parametrize(
    ("points", "task", "why"),
    [
        ({"p": {"hosts4": 10}}, {"operation": "apply"}, "must have stateful rules"),
        ({"p": {"rules": 100, "hosts4": 10}}, {"operation": "ban"}, "or none of its tasks"),
        ({"p": {"rules": 10}}, {"operation": "change"}, "more than 10 rules"),
        ({"p": {"rules": 100}}, {"operation": "apply", "systems": ["nft-set"]}, "no operation apply"),
    ],
)
def test_a_task_that_its_point_does_not_fit_is_refused(
    points: dict[str, object], task: dict[str, object], why: str
) -> None:
    """With the reason."""
    with pytest.raises(ValidationError, match=why):
        read(points, {**task, "points": ["p"]})


def test_a_change_is_of_one_rule() -> None:
    """Another action, other ports, one gone, one more: each in turn, all else as it was, in order."""
    changes = list(itertools.islice(policy.edits(BOOK, np.random.default_rng(1)), 40))
    sizes = [len(book.rules) - len(BOOK.rules) for book in changes]
    assert sizes == [0, 0, -1, 1] * 10
    for book in changes:
        assert len(set(book.rules) ^ set(BOOK.rules)) <= 2
        assert len(set(BOOK.rules) - set(book.rules)) <= 1
        kept = [rule for rule in book.rules if rule in BOOK.rules]
        assert kept == [rule for rule in BOOK.rules if rule in kept]
    assert all(book.rules != BOOK.rules for book in changes)


def test_witnesses_meet_another_fate_after_the_change() -> None:
    """What the old rules let through the new ones stop, or the other way; a fair part of changes has some."""
    rng = np.random.default_rng(2)
    proven = 0
    for book in itertools.islice(policy.edits(BOOK, rng), 60):
        found = policy.Witnesses.of(BOOK, book, rng)
        for probes in found.pool:
            assert (book.accepts(probes.sources, probes.port) == probes.accepted).all()
            assert (BOOK.accepts(probes.sources, probes.port) != probes.accepted).all()
        assert sum(len(probes.sources) for probes in found.pool) <= policy.WITNESSES
        proven += bool(found.pool)
    assert proven > 20


def test_a_whole_policy_and_its_beginning_are_told_apart() -> None:
    """By packets that only one of them accepts; none tell a policy from itself."""
    rng = np.random.default_rng(3)
    assert policy.Witnesses.of(beginning(BOOK), BOOK, rng).pool
    assert not policy.Witnesses.of(BOOK, BOOK, rng).pool


def test_the_worst_is_the_largest_sample() -> None:
    """And has no interval: it was seen."""
    found = metrics.estimate("change_worst_seconds", [[0.1, 0.4], [0.2]], 1)
    assert (found.value, found.ci_low, found.ci_high, found.n, found.blocks) == (0.4, 0.4, 0.4, 3, 2)
