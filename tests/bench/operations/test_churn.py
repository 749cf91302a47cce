# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from bench.operations import run as running
from bench.operations.base import Verb
from bench.operations.rivals import OperatedNft
from bench.operations.systems import SYSTEMS
from bench.result import Result
from bench.sut.base import Rules, SutError
from bench.sut.nft import TABLE
from bench.testbed.base import Chain

pytestmark = [pytest.mark.root, pytest.mark.tool("nft")]

Measure = Callable[..., Result]
BARS = [
    {"figure": "N6", "metric": f"{system}/{metric}@churning", "at_most": 0}
    for metric in ("leaked_packets", "wrong_verdicts")
    for system in ("neurowall", "nft-set")
]


def churning(*systems: str, **task: Any) -> dict[str, Any]:
    """A scenario of a churn beside 3000 hosts."""
    churn = {"operation": "churn", "points": ["churning"], "base": "quiet", "batch": 100, "pool": 1000}
    return {
        "systems": systems,
        "points": {"quiet": {"hosts4": 3000}, "churning": {"hosts4": 3000}},
        "tasks": [churn | {"rate": 2000} | task],
        "bars": [bar for bar in BARS if str(bar["metric"]).partition("/")[0] in systems],
        "profile": {"blocks": 2, "rounds": 1, "trial_seconds": 0.4},
    }


def test_changes_are_made_verified_and_touch_nobody_else(run_scenario: Measure) -> None:
    """Neurowall and nftables: rates with and without changes, an A/A pair, no leak, no wrong verdict."""
    found = run_scenario(**churning("neurowall", "nft-set"))
    assert found.void == []
    assert found.verdict == "pass", found.figures
    assert all(row.closed and row.delivered == 0 for row in found.ledger)
    for system in ("neurowall", "nft-set"):
        assert found.metrics[f"{system}/changes_per_second@churning"].value > 100
        assert found.ratios[f"{system}/{system}@churning:quiet"].n == 2
        assert found.ratios[f"{system}/{system}@quiet"].n == 2
    assert "neurowall/nft-set@churning" in found.ratios
    assert set(found.noise_floor) == {"quiet"}


def test_a_rate_is_not_exceeded(run_scenario: Measure) -> None:
    """However fast the system is; in 0.4 s the first batch of 100 counts as much as 250 a second."""
    found = run_scenario(**churning("nft-set", rate=500))
    assert 0 < found.metrics["nft-set/changes_per_second@churning"].value < 800


class Operator(OperatedNft):
    """One that a test breaks."""

    def __init__(self) -> None:
        super().__init__()
        self.listed: list[str] = []

    def load(self, chain: Chain, rules: Rules, room: int) -> float:
        """Note who is listed."""
        self.listed = rules.texts["hosts4"]
        return super().load(chain, rules, room)


def broken(monkeypatch: pytest.MonkeyPatch, kind: Callable[[], Operator]) -> None:
    """Use it for nft-set."""
    monkeypatch.setattr(running, "SYSTEMS", {**SYSTEMS, "nft-set": kind})


def test_a_change_that_is_only_promised_is_a_wrong_verdict(
    run_scenario: Measure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of each block is forgotten, and every unblock."""

    class Forgetful(Operator):
        def change(self, verb: Verb, addresses: Sequence[str]) -> None:
            if verb == "block":  # what was never blocked could not be unblocked
                super().change(verb, addresses[: len(addresses) // 2])

    broken(monkeypatch, Forgetful)
    found = run_scenario(**churning("nft-set"))
    assert found.verdict == "fail"
    assert found.metrics["nft-set/wrong_verdicts@churning"].value >= 50
    assert found.metrics["nft-set/leaked_packets@churning"].value == 0


def test_a_change_that_lets_others_through_for_a_moment_leaks(
    run_scenario: Measure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each change a thousand listed hosts are taken out and put back."""

    class Clumsy(Operator):
        def change(self, verb: Verb, addresses: Sequence[str]) -> None:
            super().change(verb, addresses)
            some = ", ".join(self.listed[:1000])
            assert self._library is not None
            self._library.run(f"delete element netdev {TABLE} hosts4 {{ {some} }}")
            self._library.run(f"add element netdev {TABLE} hosts4 {{ {some} }}")

    broken(monkeypatch, Clumsy)
    found = run_scenario(**churning("nft-set"))
    assert found.void == []
    assert found.verdict == "fail"
    assert found.metrics["nft-set/leaked_packets@churning"].value > 0
    assert found.metrics["nft-set/leaked_packets@quiet"].value == 0


def test_a_refused_change_voids_both_points(run_scenario: Measure, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what was said."""

    class Refusing(Operator):
        def change(self, verb: Verb, addresses: Sequence[str]) -> None:
            raise SutError("no")

    broken(monkeypatch, Refusing)
    found = run_scenario(**churning("nft-set"))
    assert found.verdict == "void"
    assert {(row.point, row.reasons[0]) for row in found.void} == {
        ("quiet", "churn: no (2 times)"),
        ("churning", "churn: no (2 times)"),
    }
