# SPDX-License-Identifier: Apache-2.0
"""Stateful rules measured in namespaces: connections are new, the rules decide, and what voids a run."""

from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest

from bench import scenario
from bench.gate import run_gate
from bench.measure import conntrack
from bench.netns import NetnsLab
from bench.points import Traffic
from bench.result import Result
from bench.rulebook import SERVICE, Rulebook, Size, beginning, make
from bench.scenario import Scenario
from bench.sut import nftcounter, nftrules
from bench.sut.base import Rules
from bench.sut.nft import TABLE, NftLinear
from bench.sut.xdp import NoSystem
from bench.testbed.base import Chain, Run
from bench.traffic.base import Flow, Kind, TrafficError
from bench.traffic.stateful import stateful_trial
from bench.traffic.trial import Trial
from bench.traffic.wire import generator, release
from neurowall.model.entries import EntrySet

pytestmark = [pytest.mark.root, pytest.mark.tool("nft")]

Measure = Callable[[dict[str, Any]], Result]
BOOK = make(Size(60), 1)
RULES = Rules(EntrySet.empty(), book=BOOK)


@pytest.fixture
def chain() -> Iterator[Chain]:
    """Client, gateway and server; skips where the generator cannot run."""
    if why := generator().available():
        pytest.skip(why)
    with (
        TemporaryDirectory(prefix="nwb-") as runs,
        Run.begin(Path(runs), signals=False) as run,
        Chain(run, "stateful").build() as built,
    ):
        yield built
        release(built)


@pytest.fixture
def linear(chain: Chain) -> Iterator[NftLinear]:
    """The book's rules in force, as lines of nftables."""
    system = NftLinear()
    system.configure(chain, RULES)
    yield system
    system.close()


def flow(chain: Chain, count: int) -> Flow:
    """Packets from so many sources that the rules accept."""
    sources = BOOK.sources(count, np.random.default_rng(1))
    return Flow(4, sources, chain.server_if.v4, kind=Kind.CLEAN, ports=(1024, SERVICE))


def nft(chain: Chain, text: str) -> None:
    """Change the gateway's rules behind the system's back."""
    done = chain.gateway.exec(["nft", "-f", "-"], input=text)
    assert done.returncode == 0, done.stderr


def measure_trial(chain: Chain, system: Any, count: int, *, opened: bool, seconds: float = 0.1) -> Trial:
    """One trial from so many sources."""
    return stateful_trial(chain, system, BOOK, flow(chain, count), seconds, opened=opened)


def test_packets_of_known_connections_are_all_new_to_the_rules(chain: Chain, linear: NftLinear) -> None:
    """One way only: a thousand packets of each, and the rules are asked about every one of them."""
    nft(chain, f"table inet {TABLE} {{ counter seen {{ }}\n}}\n"
        f"insert rule inet {TABLE} forward ct state established counter name seen\n")  # fmt: skip
    found = measure_trial(chain, linear, 20, opened=False)
    assert found.delivered == found.sent > 2000
    assert sum(linear.rule_packets()[name] for name in BOOK.used) == found.sent
    with chain.gateway.enter():
        assert nftcounter.packets(TABLE, "seen", nftcounter.NFPROTO_INET) == 0
    assert conntrack.read(chain.gateway).entries == 20


def test_each_packet_opens_a_connection_and_none_is_left(chain: Chain, linear: NftLinear) -> None:
    """Twice the same sources: the second trial finds an empty table too, and leaves one."""
    for _ in range(2):
        found = measure_trial(chain, linear, 3000, opened=True, seconds=5)
        assert found.delivered == found.sent == 3000
        assert conntrack.read(chain.gateway).entries == 0


def test_packets_that_pass_by_the_rules_void_the_trial(chain: Chain, linear: NftLinear) -> None:
    """As those of established connections would; here the first rule of the hook accepts all."""
    nft(chain, f"insert rule inet {TABLE} forward ct state new accept\n")
    with pytest.raises(TrafficError, match="the rules that accept them counted 0"):
        measure_trial(chain, linear, 20, opened=False)


def test_connections_that_are_not_tracked_void_the_trial(chain: Chain, linear: NftLinear) -> None:
    """The rules count every packet, but no connection is opened."""
    nft(chain, f"add chain inet {TABLE} early {{ type filter hook prerouting priority raw; }}\n"
        f"add rule inet {TABLE} early notrack\n")  # fmt: skip
    with pytest.raises(TrafficError, match="but 0 connections were opened"):
        measure_trial(chain, linear, 3000, opened=True, seconds=5)


def test_more_connections_than_the_kernel_tracks_are_refused_beforehand(
    chain: Chain, linear: NftLinear, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Nothing is sent."""
    (tmp_path / "nf_conntrack_max").write_text("1000\n")
    monkeypatch.setattr(conntrack, "_LIMIT", tmp_path / "nf_conntrack_max")
    with pytest.raises(TrafficError, match="3000 connections to open, but nf_conntrack_max is"):
        measure_trial(chain, linear, 3000, opened=True)
    assert conntrack.read(chain.gateway).entries == 0


@pytest.mark.parametrize("size", [Size(0), Size(10), Size(60), Size(300, mixed=True)])
def test_the_gate_is_green_for_every_book(chain: Chain, size: Size, rng: np.random.Generator) -> None:
    """Of rules in force, packets arrive as the oracle says, decided by the rule that it names."""
    rules, system = Rules(EntrySet.empty(), book=make(size, 2)), NftLinear()
    system.configure(chain, rules)
    for _ in range(2):
        found = run_gate(chain, system, rules, rng)
        assert found.passed, found.detail
        assert (found.listed_blocked, found.near_passed) == (found.listed_sent, found.near_sent)
        assert found.near_sent > 100
        assert (found.listed_sent > 200) == bool(size.rules)
    system.close()


def test_a_gateway_without_rules_is_green_as_such_and_red_as_a_filter(
    chain: Chain, rng: np.random.Generator
) -> None:
    """The control lets all through; called a firewall, it is caught."""
    nothing = NoSystem()
    assert run_gate(chain, nothing, RULES, rng).passed
    nothing.gate = "filter"
    found = run_gate(chain, nothing, RULES, rng)
    assert not found.passed
    assert "got through against the rules" in found.detail


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (Rulebook(BOOK.rules[:-6], BOOK.used), "did not arrive against the rules"),
        (Rulebook(BOOK.rules[6:], BOOK.used), "got through against the rules"),
        (Rulebook((*BOOK.rules[6:], *BOOK.rules[:6]), BOOK.used), "got through against the rules"),
        (make(Size(60), 2), "against the rules"),
        (beginning(BOOK), "did not arrive against the rules"),
    ],
    ids=["rules-missing", "drops-missing", "another-order", "other-rules", "fewer-rules"],
)
def test_the_gate_is_red_where_other_rules_are_in_force(
    chain: Chain, broken: Rulebook, why: str, rng: np.random.Generator
) -> None:
    """Whichever way they differ."""
    system = NftLinear()
    system.configure(chain, Rules(EntrySet.empty(), book=broken))
    found = run_gate(chain, system, RULES, rng)
    system.close()
    assert not found.passed
    assert why in found.detail


def test_the_gate_is_red_where_the_right_packets_pass_for_another_reason(
    chain: Chain, linear: NftLinear, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every fate is right, but one rule's packets are counted by nobody."""
    counted = linear.rule_packets
    monkeypatch.setattr(linear, "rule_packets", lambda: counted() | {"trusted-0": 0})
    found = run_gate(chain, linear, RULES, rng)
    assert not found.passed
    assert "1 rules did not decide what they had to: trusted-0 counted 0 of" in found.detail


def test_counters_of_a_table_are_read_in_one_go(chain: Chain, linear: NftLinear) -> None:
    """All of them, as nft names them; of a table that is not there none."""
    with chain.gateway.enter():
        found = nftcounter.all_packets(TABLE)
        assert nftcounter.all_packets("nobody") == {}
    assert set(nftrules.by_rule(found)) == {"default", *(rule.name for rule in BOOK.rules)}
    assert set(linear.rule_packets()) == set(nftrules.by_rule(found))


def test_a_gateway_is_configured_with_its_book(chain: Chain) -> None:
    """By the lab: the same list with two books are two sets of rules."""
    lab, entries = NetnsLab(chain.run), EntrySet.empty()
    traffic = Traffic.model_validate({"kind": "clean", "sources": "accepted"})
    seen = []
    for size in (Size(0), Size(20)):
        gateway = lab.place("nft-linear", entries, traffic, "lab", make(size, 1))
        seen.append(gateway.gate(np.random.default_rng(1)))
        assert "conntrack" not in gateway.parity()
        gateway.close()
    assert [(gate.kind, gate.passed) for gate in seen] == [("pass", True), ("filter", True)]


def test_a_stateful_scenario_is_measured_whole(measure: Measure) -> None:
    """Every cell proven: gates green, ledgers closed, nothing void; more rules in a row cost more."""
    profile = {"blocks": 2, "rounds": 1, "trial_seconds": 0.05, "warmup_seconds": 0.02}
    found = measure(
        {
            "purpose": "Is a scenario of stateful rules measured and judged?",
            "systems": ["none", "nft-linear"],
            "points": {
                "rules-0": {"rules": 0},
                "rules-10": {"rules": 10},
                "rules-1000": {"rules": 1000},
                "asked-1000": {"rules": 1000, "connections": "known"},
            },
            "traffic": {
                "kind": "clean",
                "sources": "accepted",
                "connections": "opened",
                "source_count": 20000,
                "set_size": 100,
            },
            "metrics": ["forward_mpps", "cost_ns"],
            "control": {"system": "none", "same": "none", "bar": 0.01, "core_busy": 0.01},
            "profiles": dict.fromkeys(("ci", "quick", "standard", "rfc"), profile),
        }
    )
    assert found.void == []
    assert found.verdict == "pass", found.reasons
    assert all(row.passed == row.gates > 0 for row in found.gates)
    assert all(row.closed and row.delivered == row.sent > 50 for row in found.ledger)
    rates = {name: metric.value for name, metric in found.metrics.items()}
    for point in ("rules-1000", "asked-1000"):
        linear = rates[f"nft-linear/forward_mpps@{point}"]
        assert linear < 0.5 * rates["nft-linear/forward_mpps@rules-10"]


def test_neurowall_is_measured_by_the_shipped_scenario(measure: Measure) -> None:
    """The daemon's own rules: each gate green rule by rule, each packet's connection decided by them."""
    found = scenario.load(scenario.locate("stateful-forward"), {"traffic.source_count": "5000"})
    assert isinstance(found, Scenario)
    points = {"rules-0", "rules-10", "mixed-1000", "asked-1000"}
    changes: dict[str, Any] = {
        "points": {
            name: point.model_copy(
                update={
                    "profiles": ("ci",),
                    "systems_in": {},
                    "systems": ("none", "neurowall"),
                    "rules": min(200, point.rules or 0),
                }
            )
            for name, point in found.points.items()
            if name in points
        },
        "bars": (),
        "control": found.control.model_copy(update={"same": "none", "bar": 0.01, "core_busy": 0.01}),
    }
    result = measure(found.model_copy(update=changes).model_dump())
    assert result.void == []
    assert result.verdict != "void", result.reasons
    ours = {row.point: row for row in result.gates if row.system == "neurowall"}
    assert {point: row.kind for point, row in ours.items()} == {
        "rules-0": "pass",
        "rules-10": "filter",
        "mixed-1000": "filter",
        "asked-1000": "filter",
    }
    assert all(row.passed == row.gates for row in ours.values())
    assert all(row.closed and row.delivered == row.sent > 1000 for row in result.ledger)
    assert "neurowall/neurowall@rules-10:rules-0" in result.ratios
