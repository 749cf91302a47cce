# SPDX-License-Identifier: Apache-2.0
from collections import Counter
from typing import Any

import numpy as np

from bench.records import Difference, Load, Trial
from bench.scenario import Scenario


def trials(records: list[Any]) -> list[Trial]:
    """The trials that count."""
    return [record for record in records if isinstance(record, Trial) and record.role != "warmup"]


def test_every_round_measures_every_arm_once_in_an_order_of_its_own(measure: Any) -> None:
    """4 systems, the A/A copy and the control with one source, in 4 rounds of 4 blocks."""
    found = trials(measure())
    assert Counter((t.block, t.round) for t in found) == {(b, r): 6 for b in range(4) for r in range(4)}
    orders = set()
    for block, number in {(t.block, t.round) for t in found}:
        arms = [(t.system, t.role) for t in found if (t.block, t.round) == (block, number)]
        assert len(set(arms)) == 6
        assert [t.order for t in found if (t.block, t.round) == (block, number)] == list(range(6))
        orders.add(tuple(arms))
    assert len(orders) > 10


def test_the_same_seed_repeats_the_order_and_another_does_not(measure: Any) -> None:
    """So a replay does what the first run did."""

    def order(seed: int) -> list[tuple[str, str]]:
        return [(t.system, t.role) for t in trials(measure(seed=seed))]

    first = order(1)
    assert order(1) == first
    assert order(2) != first


def test_every_trial_stands_between_two_gates(measure: Any) -> None:
    """But the control with one fixed source, whose gateway has another arm that is gated."""
    for trial in trials(measure()):
        assert (trial.before is None, trial.after is None) == (trial.role == "fixed",) * 2


def test_each_block_has_fresh_gateways_all_closed_again(measure: Any, lab: Any) -> None:
    """5 stations in 4 blocks, each with its own label; the last opened of a block is the first closed."""
    measure()
    assert len(lab.opened) == len(set(lab.opened)) == 20
    assert lab.closed[:5] == lab.opened[:5][::-1]
    assert sorted(lab.closed) == sorted(lab.opened)


def test_the_first_trial_of_every_gateway_is_a_warm_up(measure: Any, lab: Any) -> None:
    """It is written down with its role and nothing else in the block comes before it."""
    records = measure()
    for block in range(4):
        of_block = [r for r in records if isinstance(r, Trial) and r.block == block]
        assert [t.role for t in of_block[:5]] == ["warmup"] * 5
        assert "warmup" not in {t.role for t in of_block[5:]}


def test_the_control_sends_from_one_source_and_the_others_from_all(measure: Any, lab: Any) -> None:
    """500 hosts are listed, each is a source."""
    measure()
    assert Counter(sources for _, _, sources in lab.trials) == {500: 100, 1: 16}


def test_a_refused_system_does_not_stop_the_others(measure: Any, lab: Any) -> None:
    """Its refusal is recorded in every block, with what the system said."""
    lab.refuse.add("nft-set")
    events: list[Any] = []
    records = measure(events=events)
    refused = [r for r in records if isinstance(r, Load) and r.problem]
    assert [(r.system, r.block) for r in refused] == [("nft-set", block) for block in range(4)]
    assert {t.system for t in trials(records)} == {"xdp-null", "xdp-touch", "neurowall"}
    assert sum(event.kind == "refused" and "syntax error" in event.text for event in events) == 4


def test_an_interruption_closes_what_is_open_and_keeps_the_records(measure: Any, lab: Any) -> None:
    """In the middle of the second block."""
    lab.interrupt_after = 40
    records = measure()
    assert sorted(lab.closed) == sorted(lab.opened)
    assert len(lab.opened) == 10
    assert len([r for r in records if isinstance(r, Trial)]) == 40


def test_arms_that_differ_are_recorded_once_a_block(measure: Any, lab: Any) -> None:
    """With what differs."""
    lab.offloads["nft-set"] = "on"
    found = [r for r in measure() if isinstance(r, Difference)]
    assert [(r.block, r.system, r.what) for r in found] == [(b, "nft-set", "tso is on") for b in range(4)]


def test_points_with_equal_rules_share_their_gateways(
    measure: Any, document: dict[str, Any], lab: Any
) -> None:
    """A second point with IPv6 traffic on the same rules adds trials, not configurations."""
    document["points"] = {
        "mix": {"hosts4": 300, "hosts6": 200},
        "mix-v6": {"hosts4": 300, "hosts6": 200, "family": 6},
    }
    document["bars"] = []
    records = measure(Scenario.model_validate(document))
    assert len(lab.opened) == 20
    assert Counter(t.point for t in trials(records)) == {"mix": 96, "mix-v6": 96}
    assert {record.points for record in records if isinstance(record, Load)} == {("mix", "mix-v6")}


def test_progress_counts_every_trial(measure: Any) -> None:
    """The last event says that all are done."""
    events: list[Any] = []
    measure(events=events)
    done = [event.done for event in events]
    assert done == sorted(done)
    assert np.unique([event.total for event in events]).tolist() == [96]
    assert (events[0].kind, events[-1].kind, events[-1].done) == ("scenario-started", "scenario-finished", 96)
