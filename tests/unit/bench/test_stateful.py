# SPDX-License-Identifier: Apache-2.0
"""Scenarios of stateful rules: what they may say, what is planned, what is sent, and which ratios result."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from pydantic import ValidationError

from bench import plan as planning
from bench import rulegate, scenario
from bench.lists import Counts
from bench.measure.conntrack import Table
from bench.points import Point, Traffic
from bench.report import curves
from bench.rulebook import SERVICE, Size, make
from bench.scenario import Scenario
from bench.sut import nftrules
from bench.traffic import stateful
from bench.traffic.trial import Trial

DOCUMENT: dict[str, Any] = {
    "purpose": "What does a test of stateful scenarios need?",
    "systems": ["none", "neurowall", "nft-linear"],
    "points": {
        "rules-0": {"rules": 0},
        "rules-10": {"rules": 10},
        "rules-200": {"rules": 200},
        "asked-10": {"rules": 10, "connections": "known"},
    },
    "traffic": {
        "kind": "clean",
        "sources": "accepted",
        "connections": "opened",
        "source_count": 500,
        "set_size": 50,
    },
    "metrics": ["forward_mpps"],
    "bars": [{"figure": "N13", "ratio": "neurowall/neurowall@rules-200:rules-10", "bar": 0.9}],
    "control": {"system": "none", "same": "none"},
    "profiles": {
        name: {"blocks": 3, "rounds": 2, "trial_seconds": 0.1} for name in ("ci", "quick", "standard", "rfc")
    },
}


def read(**changes: Any) -> Scenario:
    """The document with some keys replaced."""
    return Scenario.model_validate(DOCUMENT | changes)


def planned(asked: Scenario) -> planning.Plan:
    """Its plan in the quick profile."""
    return planning.make("small", asked, "quick", lambda *_: None)


def test_the_shipped_scenario_measures_what_the_figure_asks_for_in_every_profile() -> None:
    """Flat from 10 to 1,000 rules, in connections opened; and it fits the time of each profile."""
    found = scenario.load(scenario.locate("stateful-forward"))
    assert isinstance(found, Scenario)
    (bar,) = found.bars
    assert (bar.ratio, bar.bar) == ("neurowall/neurowall@rules-1000:rules-10", 0.90)
    assert found.traffic_at("rules-1000").connections == "opened"
    assert found.traffic_at("asked-1000").connections == "known"
    most = {"ci": 30, "quick": 90, "standard": 480}
    for profile, seconds in most.items():
        made = planning.make("stateful-forward", found, cast("Any", profile), lambda *_: None)
        assert made.seconds < seconds
        (group,) = made.groups  # all points interleaved
        assert {"rules-0", "rules-10", "rules-1000"} <= set(group.points)


def test_far_fewer_connections_are_opened_than_the_kernel_tracks_by_default() -> None:
    """A full table would be what is measured."""
    found = scenario.load(scenario.locate("stateful-forward"))
    assert isinstance(found, Scenario)
    for point in found.points:
        assert found.traffic_at(point).accepted_count <= stateful.FULL * 262_144


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"points": {"rules-10": {"rules": 9}}, "bars": []}, "expected no rule, or 10 and more"),
        ({"points": {"rules-10": {"hosts4": 9}}, "bars": []}, "rules go with accepted sources"),
        ({"points": {"rules-10": {"rules": 10, "sources": "near-listed"}}, "bars": [],
          "traffic": DOCUMENT["traffic"] | {"connections": "known"}},
         "rules go with accepted sources"),
        ({"systems": ["none", "nft-set"], "points": {"rules-10": {"rules": 10}}, "bars": []},
         "'nft-set' has no stateful rules"),
        ({"traffic": {"kind": "flood", "sources": "accepted"}}, "clean IPv4 traffic, flat out"),
        ({"traffic": {"kind": "clean", "sources": "accepted", "family": 6}}, "clean IPv4 traffic, flat out"),
        ({"traffic": {"kind": "clean", "sources": "accepted", "load": 0.5}}, "clean IPv4 traffic, flat out"),
        ({"traffic": {"kind": "clean", "sources": "accepted", "ipv6_share": 0.1}}, "without IPv6"),
        ({"traffic": {"kind": "clean", "sources": "near-listed", "connections": "opened"},
          "points": {"hosts": {"hosts4": 100}}, "bars": []}, "opened by accepted sources only"),
    ],
)  # fmt: skip
def test_a_scenario_that_contradicts_itself_is_refused(changes: dict[str, Any], why: str) -> None:
    """With the reason."""
    with pytest.raises(ValidationError, match=why):
        read(**changes)


def test_one_gateway_without_rules_serves_all_points_and_rules_have_their_own() -> None:
    """The points are interleaved; those with the same rules share a gateway, whatever they are sent."""
    made = planned(read())
    (group,) = made.groups
    stations = planning.stations_of(group.arms)
    assert {str(station): set(points) for station, points in stations.items()} == {
        "none": set(DOCUMENT["points"]),
        "none-same": set(DOCUMENT["points"]),
        "neurowall-rules-0": {"rules-0"},
        "neurowall-rules-10": {"rules-10", "asked-10"},
        "neurowall-rules-200": {"rules-200"},
        "nft-linear-rules-0": {"rules-0"},
        "nft-linear-rules-10": {"rules-10", "asked-10"},
        "nft-linear-rules-200": {"rules-200"},
    }
    assert made.lists == (Counts(),)


def test_order_and_number_of_rules_tell_gateways_apart() -> None:
    """A mixed book is another one, and no point of the same curve."""
    points = {"rules-10": {"rules": 10}, "mixed-10": {"rules": 10, "rules_mixed": True}}
    (group,) = planned(read(points=points, bars=[])).groups
    names = {str(station) for station in planning.stations_of(group.arms)}
    assert {"neurowall-rules-10", "neurowall-mixed-10"} <= names
    assert Point(rules=10).kind != Point(rules=10, rules_mixed=True).kind
    assert Point(rules=10).kind == Point(rules=20).kind


def test_all_points_are_sent_sources_that_the_largest_book_accepts(lab: Any, measure: Any) -> None:
    """As many as the kind of connections asks for; each gateway gets the book of its size."""
    asked = read()
    measure(asked)
    sent = {(label.partition("-")[2], len(stream.sources)): stream for label, stream in lab.sent}
    assert {count for label, count in sent if label == "neurowall-rules-10"} == {500, 50}
    assert {count for label, count in sent if label == "neurowall-rules-200"} == {500}
    books = {len(book.rules): book for book in lab.books}
    assert set(books) == {0, 10, 200}
    for (_, count), stream in sent.items():
        if count > 1:
            assert books[200].accepts(stream.sources, SERVICE).all()
            assert books[10].accepts(stream.sources, SERVICE).all()


def test_points_are_compared_with_those_of_fewer_rules(run_small: Callable[..., Any]) -> None:
    """Without rules and with the fewest, sent the same packets; no other pair."""
    found = run_small(read())
    own = {name for name in found.ratios if name.startswith("neurowall/neurowall@")}
    assert own == {
        "neurowall/neurowall@rules-10:rules-0",
        "neurowall/neurowall@rules-200:rules-0",
        "neurowall/neurowall@rules-200:rules-10",
    }
    (figure,) = found.figures
    assert figure.verdict == "pass"
    (curve,) = curves.of(found)
    assert curve.sizes == [0, 10, 200]
    assert "stateful rules" in curve.title


def test_the_words_for_a_point_name_its_rules() -> None:
    """In plans."""
    assert Point(rules=1000).rules_text == "1,000 stateful"
    assert Point(hosts4=2000, rules=10, rules_mixed=True).rules_text == "2,000 hosts4, 10 stateful (mixed)"
    assert Point(hosts4=2000, prefixes6=1).rules_text == "2,000 hosts4, 1 prefixes6"


def test_the_gate_asks_half_at_the_service_port_and_for_both_fates() -> None:
    """The pool has edges of every rule a UDP packet can meet; every probe carries the oracle's word."""
    book, rng = make(Size(200), 1), np.random.default_rng(1)
    pooled = rulegate.pool(book, rng)
    assert rulegate.pool(book, rng) is pooled
    ports = [probes.port for probes in pooled]
    assert ports[0] == SERVICE
    assert len(set(ports)) == len(ports) == rulegate.PORTS
    met = {number for probes in pooled for number in probes.rules.tolist()}
    assert {book.rules[number].name for number in met if number >= 0} >= set(book.used)
    assert len(met) > 60
    chosen = rulegate.draw(pooled, rng)
    assert len(chosen) == rulegate.PORTS_IN_GATE
    accepted = np.concatenate([probes.accepted for probes in chosen])
    assert accepted.sum() > 100
    assert (~accepted).sum() >= rulegate.PROBES
    for probes in chosen:
        assert (book.accepts(probes.sources, probes.port) == probes.accepted).all()


def test_a_gate_without_rules_has_probes_that_all_pass() -> None:
    """The same code proves that a gateway without rules lets everything through."""
    (probes,) = rulegate.draw(
        rulegate.pool(make(Size(0), 1), np.random.default_rng(1)), np.random.default_rng(1)
    )
    assert probes.accepted.all()
    assert len(probes.sources) == rulegate.PROBES


def trial_of(sent: int, delivered: int) -> Trial:
    """A trial that says so many were sent and delivered."""
    return cast("Trial", SimpleNamespace(sent=sent, delivered=delivered))


def test_a_full_or_nearly_full_table_is_told() -> None:
    """Anything refused, or more than three quarters of the limit."""
    empty = Table(0, 1000, 5)
    assert stateful.crowded(empty, Table(750, 1000, 5)) is None
    assert "too full" in (stateful.crowded(empty, Table(751, 1000, 5)) or "")
    assert "refused 1 packets" in (stateful.crowded(empty, Table(10, 1000, 6)) or "")
    assert stateful.crowded(empty, Table(5000, 0, 5)) is None  # no limit


def test_packets_that_no_rule_decided_are_told() -> None:
    """Beyond a thousandth: they came through as established, or past the rules."""
    assert stateful.undecided(trial_of(10_000, 10_000), 9_990) is None
    assert "counted 0" in (stateful.undecided(trial_of(10_000, 10_000), 0) or "")
    assert "counted 20000" in (stateful.undecided(trial_of(10_000, 10_000), 20_000) or "")


def test_packets_that_opened_no_connection_are_told() -> None:
    """A second packet of one would cost less."""
    assert stateful.unopened(trial_of(10_000, 10_000), 9_995) is None
    assert "5000 connections" in (stateful.unopened(trial_of(10_000, 10_000), 5000) or "")


def test_counters_are_read_however_names_are_written() -> None:
    """Hyphens or underscores; others are nobody's rule."""
    counters = {"rule-partner-0": 3, "rule_blocked_1": 4, "default-forward": 5, "default-input": 6}
    counters |= {"state_invalid": 7}
    assert nftrules.by_rule(counters) == {"partner-0": 3, "blocked-1": 4, "default": 5}
    assert nftrules.dropped(make(Size(20), 1), counters) == 4 + 5 + 7


def test_the_rival_has_a_line_for_each_rule() -> None:
    """In the order of the book, with a counter of its own, behind established connections."""
    book = make(Size(30), 1)
    text = nftrules.ruleset(book, "t", "g0", "g1")
    lines = [line.strip() for line in text.splitlines()]
    rules = [line for line in lines if "counter name rule-" in line]
    assert [line.split("rule-")[1].split()[0] for line in rules] == [rule.name for rule in book.rules]
    hook = "type filter hook forward priority filter; policy accept;"
    assert lines[lines.index(hook) + 1] == "ct state established,related accept"
    assert nftrules.ruleset(make(Size(0), 1), "t", "g0", "g1") == ""


def test_traffic_knows_how_many_sources_it_takes() -> None:
    """Each opens one connection, or sends many packets of one."""
    asked = {"kind": "clean", "sources": "accepted", "source_count": 7, "set_size": 3}
    assert Traffic.model_validate(asked).accepted_count == 3
    assert Traffic.model_validate({**asked, "connections": "opened"}).accepted_count == 7
