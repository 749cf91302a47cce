# SPDX-License-Identifier: Apache-2.0
import dataclasses
from collections import Counter
from typing import Any

import numpy as np
import pytest

from bench import space
from bench.lists import Counts, generate
from bench.records import Difference, Load, Trial
from bench.scenario import Scenario


def trials(records: list[Any]) -> list[Trial]:
    """The trials that count."""
    return [record for record in records if isinstance(record, Trial) and record.role != "warmup"]


def rate(trial: Trial) -> float:
    """Mpps that were dropped."""
    assert trial.measured is not None
    return trial.measured.rate("drop_mpps")


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


@pytest.fixture
def scaling(document: dict[str, Any]) -> dict[str, Any]:
    """Two sizes of one shape, which a bar compares."""
    document["points"] = {"small": {"hosts4": 100}, "large": {"hosts4": 900}}
    document["traffic"] |= {"sources": "fixed-set", "set_size": 50}
    document["bars"] = [{"figure": "N2", "ratio": "neurowall/neurowall@large:small", "bar": 0.9}]
    return document


def test_points_that_a_bar_compares_alternate_in_every_round(
    measure: Any, scaling: dict[str, Any], lab: Any
) -> None:
    """Both gateways stand at the same time, and which of the two is first is chance."""
    records = measure(Scenario.model_validate(scaling))
    ours = [t for t in trials(records) if t.system == "neurowall"]
    assert Counter((t.block, t.round, t.point) for t in ours) == {
        (block, number, point): 1 for block in range(4) for number in range(4) for point in ("small", "large")
    }
    by_order = sorted(ours, key=lambda t: (t.block, t.round, t.order))
    first = [by_order[2 * i].point for i in range(16)]
    assert 3 <= first.count("small") <= 13
    assert lab.opened[:7] == lab.closed[:7][::-1]


def test_points_of_a_shape_are_sent_the_very_same_packets(
    measure: Any, scaling: dict[str, Any], lab: Any
) -> None:
    """One fixed set, from entries that both lists have."""
    scaling["points"]["uniform"] = {"hosts4": 900, "sources": "listed"}
    measure(Scenario.model_validate(scaling))
    sets: dict[str, set[tuple[int, ...]]] = {label.partition("-")[2]: set() for label, _ in lab.sent}
    for label, stream in lab.sent:
        if len(stream.sources) > 1:
            sets[label.partition("-")[2]].add(tuple(sorted(stream.sources.tolist())))
    (small,) = sets["neurowall-100h4"]
    assert len(small) == 50
    assert {len(sent) for sent in sets["neurowall-900h4"]} == {50, 900}
    assert small in sets["neurowall-900h4"]
    smallest = generate(Counts(hosts4=100), 1).v4
    assert space.covered(smallest, np.array(small, np.uint32)).all()


def test_one_measurement_serves_all_points_of_a_gateway_without_rules(
    measure: Any, scaling: dict[str, Any], lab: Any
) -> None:
    """The record of every further point says so; firewalls are measured for each point."""
    records = measure(Scenario.model_validate(scaling))
    shared = [t for t in trials(records) if t.shared]
    assert {(t.system, t.point) for t in shared} == {("xdp-null", "large"), ("xdp-touch", "large")}
    for trial in shared:
        twin = dataclasses.replace(trial, point="small", shared=False)
        assert twin in records
    assert len([t for t in trials(records) if not t.shared]) == 4 * 4 * 8
    loads = {(r.system, r.points) for r in records if isinstance(r, Load)}
    assert ("xdp-null", ("small", "large")) in loads
    assert ("neurowall", ("large",)) in loads


def test_a_tenth_of_the_packets_can_be_ipv6(measure: Any, document: dict[str, Any], lab: Any) -> None:
    """Of the same kind of sources; the control with one source has one of each."""
    document["points"] = {"mix": {"hosts4": 300, "hosts6": 200, "ipv6_share": 0.1}}
    document["bars"] = []
    measure(Scenario.model_validate(document))
    seen = {(len(stream.sources), len(stream.sources6)) for _, stream in lab.sent}
    assert seen == {(300, 200), (1, 1)}
    assert {stream.traffic.ipv6_every for _, stream in lab.sent} == {10}


def test_a_load_is_a_share_of_what_the_control_does_in_the_same_block(
    measure: Any, document: dict[str, Any], lab: Any
) -> None:
    """Measured flat out once a block, written down; the control with one source stays flat out."""
    lab.noise = 0.0
    document["traffic"]["load"] = 0.5
    records = measure(Scenario.model_validate(document))
    flat = {t.block: rate(t) for t in trials(records) if t.role == "flat"}
    assert len(flat) == 4
    assert len(set(flat.values())) == 4  # blocks differ
    for label, stream in lab.sent:
        if stream.pps is not None:
            block = int(label.partition("-")[0].removeprefix("b"))
            assert stream.pps == pytest.approx(0.5e6 * flat[block])
    paced = [t for t in trials(records) if t.role in ("measured", "same")]
    kept = [rate(t) / flat[t.block] for t in paced if t.system == "xdp-touch"]
    assert kept == pytest.approx([0.5] * 32, rel=1e-3)
    fixed = [rate(t) / flat[t.block] for t in trials(records) if t.role == "fixed"]
    assert fixed == pytest.approx([lab.fixed_gain] * 16, rel=1e-3)


def test_without_the_control_nothing_is_sent_at_a_load(
    measure: Any, document: dict[str, Any], lab: Any
) -> None:
    """Nobody knows how much that would be."""
    document["traffic"]["load"] = 0.5
    lab.refuse.add("xdp-null")
    records = measure(Scenario.model_validate(document))
    assert {t.measured for t in trials(records)} == {None}
    assert all("could not be measured" in (t.problem or "") for t in trials(records))


def test_progress_counts_every_trial(measure: Any) -> None:
    """The last event says that all are done."""
    events: list[Any] = []
    measure(events=events)
    done = [event.done for event in events]
    assert done == sorted(done)
    assert np.unique([event.total for event in events]).tolist() == [96]
    assert (events[0].kind, events[-1].kind, events[-1].done) == ("scenario-started", "scenario-finished", 96)
