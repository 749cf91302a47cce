# SPDX-License-Identifier: Apache-2.0
"""Policies of many rules applied and changed in namespaces: timed, and proven to be in force."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.operations import policy
from bench.operations.nftrules import OperatedNftRules
from bench.operations.scenario import Apply, Change, Profile
from bench.operations.site import Site, SiteError
from bench.result import Result
from bench.rulebook import Rulebook, Size, make
from bench.sut.base import Rules, RulesetRejected, SutError
from bench.testbed.base import Chain
from neurowall.model.entries import EntrySet

pytestmark = [pytest.mark.root, pytest.mark.tool("nft")]

BOOK = make(Size(120), 1)
APPLY = Apply(operation="apply", points=("p",))
CHANGE = Change(operation="change", points=("p",))


class Forgetful(OperatedNftRules):
    """Says yes and does nothing from the given request on."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.left = after

    def send(self, text: str) -> None:
        """As long as it remembers."""
        self.left -= 1
        if self.left >= 0:
            super().send(text)


@pytest.fixture
def place(chain: Chain) -> Iterator[Callable[[OperatedNftRules], Site]]:
    """Put a system on the chain with the first rules of the book in force."""
    placed: list[OperatedNftRules] = []

    def put(operated: OperatedNftRules) -> Site:
        site = Site(
            chain=chain,
            operated=operated,
            rules=Rules(EntrySet.empty(), book=BOOK),
            block=0,
            blocks=2,
            point="p",
            profile=Profile(blocks=2, applies=4, changes=16),
            seed=1,
            rng=np.random.default_rng(1),
            tell=lambda _: None,
        )
        placed.append(operated)
        site.load(0)
        return site

    yield put
    for each in placed:
        each.close()


def test_whole_policies_and_single_changes_are_timed_and_in_force(
    place: Callable[[OperatedNftRules], Site],
) -> None:
    """As many samples as a block's share; afterwards the whole policy holds, by every gate."""
    site = place(OperatedNftRules())
    applied, changed = policy.apply(site, APPLY), policy.change(site, CHANGE)
    assert len(applied.samples["apply_seconds"]) == 2
    assert len(changed.samples["change_seconds"]) == 8
    assert all(0 < took < 10 for each in (applied, changed) for s in each.samples.values() for took in s)
    assert "command_seconds" not in applied.samples  # the rival is a command
    assert len(applied.gates) + len(changed.gates) == 3
    assert all(gate.passed for gate in (*applied.gates, *changed.gates))
    assert all(gate.listed_sent > 100 and gate.near_sent > 50 for gate in applied.gates)


def test_an_apply_that_does_nothing_is_caught(place: Callable[[OperatedNftRules], Site]) -> None:
    """The first request is for the few rules; the second is answered and forgotten."""
    site = place(Forgetful(after=1))
    with pytest.raises(SiteError, match="the answer came, but the new rules are not in force"):
        policy.apply(site, APPLY)


def test_a_change_that_does_nothing_is_caught(place: Callable[[OperatedNftRules], Site]) -> None:
    """The whole policy is put first; of eight changes some can be seen by a packet."""
    site = place(Forgetful(after=1))
    with pytest.raises(SiteError, match="the answer came, but the new rules are not in force"):
        policy.change(site, CHANGE)


def test_what_the_system_says_to_bad_rules_is_told(
    place: Callable[[OperatedNftRules], Site],
) -> None:
    """With its own words; before it is loaded it says that."""
    with pytest.raises(SutError, match="call load"):
        OperatedNftRules().put(BOOK)
    operated = OperatedNftRules()
    place(operated)
    with pytest.raises(RulesetRejected, match="syntax error"):
        operated.send("table inet { nonsense")


def test_a_point_without_many_rules_has_nothing_to_apply(
    place: Callable[[OperatedNftRules], Site],
) -> None:
    """A defect of a scenario, not a crash."""
    site = place(OperatedNftRules())
    for book in (None, Rulebook(BOOK.rules[:5], BOOK.used)):
        site.rules = Rules(EntrySet.empty(), book=book)
        with pytest.raises(SiteError, match="no policy with rules to apply"):
            policy.apply(site, APPLY)


def test_a_scenario_of_policies_is_judged(run_scenario: Callable[..., Result], tmp_path: Path) -> None:
    """From file to figures: means, worst, tail; every observation is kept raw."""
    bar: dict[str, Any] = {"figure": "N14", "metric": "nft-linear/apply_worst_seconds@rules-60", "at_most": 9}
    found = run_scenario(
        systems=["nft-linear"],
        points={"rules-60": {"rules": 60}},
        tasks=[
            {"operation": "apply", "points": ["rules-60"]},
            {"operation": "change", "points": ["rules-60"]},
        ],
        bars=[bar],
        profile={"blocks": 2, "applies": 2, "changes": 4},
    )
    assert found.verdict == "pass", found.reasons
    metrics = {name: (metric.unit, metric.n) for name, metric in found.metrics.items()}
    assert metrics == {
        "nft-linear/apply_seconds@rules-60": ("s", 2),
        "nft-linear/apply_worst_seconds@rules-60": ("s", 2),
        "nft-linear/change_seconds@rules-60": ("s", 4),
        "nft-linear/change_p99_seconds@rules-60": ("s", 4),
        "nft-linear/change_worst_seconds@rules-60": ("s", 4),
    }
    assert all(row.passed == row.gates for row in found.gates)
    assert len((tmp_path / "small" / "raw.jsonl").read_text().splitlines()) == 4


def test_neurowall_applies_policies_by_request_and_by_command(run_scenario: Callable[..., Result]) -> None:
    """The daemon's answers are true: every new policy is in force when it comes, whole and rule by rule."""
    found = run_scenario(
        systems=["neurowall"],
        points={"rules-200": {"rules": 200}},
        tasks=[
            {"operation": "apply", "points": ["rules-200"]},
            {"operation": "change", "points": ["rules-200"]},
        ],
        profile={"blocks": 2, "applies": 2, "changes": 8},
    )
    assert found.void == []
    assert found.verdict == "pass", found.reasons
    assert all(row.passed == row.gates for row in found.gates)
    for metric, n in (("apply_seconds", 2), ("command_seconds", 2), ("change_seconds", 8)):
        assert found.metrics[f"neurowall/{metric}@rules-200"].n == n
