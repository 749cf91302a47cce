# SPDX-License-Identifier: Apache-2.0
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from bench import result as results
from bench import schemas
from bench.report import files
from bench.result import Result
from bench.sut import registry
from bench.sut.base import ConfigureReport, Rules
from bench.sut.nft import NftSet
from bench.sut.xdp import NoSystem
from bench.testbed.base import Chain
from bench.testbed.ethtool import Ethtool
from neurowall.model.entries import EntrySet

pytestmark = [pytest.mark.root, pytest.mark.tool("nft", "ipset", "iptables")]

Measure = Callable[[dict[str, Any]], Result]
SEGMENTATION = ("tx-scatter-gather", "tx-checksum-ip-generic", "tx-tcp-segmentation")
PROFILE = {"blocks": 2, "rounds": 2, "trial_seconds": 0.05, "warmup_seconds": 0.02}


def document(kind: str, systems: list[str], **changes: Any) -> dict[str, Any]:
    """A scenario small enough for a test; the bars for core and sources are those of a shared machine."""
    flood = kind == "flood"
    return {
        "purpose": "Does the whole harness work on this machine?",
        "systems": systems,
        "points": {"mix": {"hosts4": 400, "prefixes4": 60, "hosts6": 100, "prefixes6": 20}},
        "traffic": {"kind": kind, "sources": "listed" if flood else "near-listed", "source_count": 4096},
        "metrics": ["drop_mpps" if flood else "forward_mpps", "cost_ns", "load_seconds"],
        "control": {"bar": 0.01, "core_busy": 0.01},
        "profiles": dict.fromkeys(("ci", "quick", "standard", "rfc"), PROFILE),
    } | changes


def void_reasons(found: Result, system: str) -> str:
    """Why a system is void."""
    return "; ".join(reason for row in found.void if row.system == system for reason in row.reasons)


@pytest.mark.parametrize(("kind", "family"), [("flood", 4), ("clean", 6)])
def test_every_system_is_measured_with_all_packets_accounted_for(
    measure: Measure, tmp_path: Path, kind: str, family: int
) -> None:
    """Gates green, ledger closed, arms alike, rates of every system, and files that validate."""
    systems = ["xdp-null", "neurowall", "neurowall-classic", "nft-set", "nft-linear", "ipset"]
    systems += ["xdp-touch"] if kind == "flood" else ["none"]
    described = document(kind, systems)
    described["points"]["mix"]["family"] = family
    found = measure(described)
    assert found.void == []
    assert found.verdict == "pass", found.reasons
    assert {row.system for row in found.ledger} == set(systems)
    assert all(row.closed and row.sent > 1000 for row in found.ledger)
    assert all(row.passed == row.gates == (16 if row.system == "xdp-null" else 8) for row in found.gates)
    for row in found.ledger:
        lost = sum(row.elsewhere.values())
        assert (row.delivered if kind == "flood" else row.dropped_by_rule) == 0
        assert row.delivered + row.dropped_by_rule == pytest.approx(row.sent, abs=lost + row.sent * 0.001)
    metric = described["metrics"][0]
    assert all(found.metrics[f"{system}/{metric}@mix"].value > 0 for system in systems)
    assert set(found.environment["systems"]) == set(systems)
    stored = json.loads((tmp_path / "small" / "result.json").read_text())
    jsonschema.validate(stored, schemas.documents()["result.schema.json"])
    assert files.write(tmp_path, [results.load(tmp_path / "small")]).verdict == "pass"


def test_a_linear_rule_set_costs_more_than_a_set(measure: Measure) -> None:
    """A difference of a hundred times is seen on any machine, in the right direction."""
    described = document(
        "flood", ["xdp-null", "nft-set", "nft-linear"], points={"hosts-5000": {"hosts4": 5000}}
    )
    described["bars"] = [{"figure": "N3", "ratio": "nft-set/nft-linear@hosts-5000", "bar": 3}]
    found = measure(described)
    assert found.ratios["nft-set/nft-linear@hosts-5000"].value > 10


class TestVoid:
    """Each of these would give a plausible rate, and must give none."""

    def test_a_rival_whose_ruleset_was_rejected(
        self, measure: Measure, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What nft said is in the result; the others are measured."""

        class Rejected(NftSet):
            def ruleset(self, rules: Rules, device: str) -> str:
                return super().ruleset(rules, device).replace("policy accept;", "policy acept;")

        monkeypatch.setattr(registry, "SYSTEMS", {**registry.SYSTEMS, "nft-set": Rejected})
        found = measure(document("flood", ["xdp-null", "nft-set", "ipset"]))
        assert found.verdict == "void"
        assert "nft refused the ruleset" in void_reasons(found, "nft-set")
        assert not [key for key in found.metrics if key.startswith("nft-set/")]
        assert "ipset/drop_mpps@mix" in found.metrics

    def test_a_rival_that_does_not_notice_the_rejection(
        self, measure: Measure, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its ruleset is refused and it says that all is well: the gate sees through it."""

        class Careless(NftSet):
            def configure(self, chain: Chain, rules: Rules) -> ConfigureReport:
                super().configure(chain, Rules(EntrySet.from_strings(["192.88.98.1"])))
                chain.gateway.exec(["nft", "-f", "-"], input="table netdev x { chain }")
                return ConfigureReport(0.01)

        monkeypatch.setattr(registry, "SYSTEMS", {**registry.SYSTEMS, "nft-set": Careless})
        found = measure(document("clean", ["xdp-null", "nft-set"]))
        assert found.verdict == "void"
        assert "listed addresses got through" in void_reasons(found, "nft-set")

    def test_a_list_that_was_loaded_in_part(self, measure: Measure, monkeypatch: pytest.MonkeyPatch) -> None:
        """Half of the hosts are missing."""

        class Half(NftSet):
            def configure(self, chain: Chain, rules: Rules) -> ConfigureReport:
                v4 = rules.entries.v4
                kept = v4.take(np.arange(len(v4)) % 2 == 0)
                return super().configure(chain, Rules(EntrySet(kept, rules.entries.v6)))

        monkeypatch.setattr(registry, "SYSTEMS", {**registry.SYSTEMS, "nft-set": Half})
        found = measure(document("flood", ["xdp-null", "nft-set"]))
        assert found.verdict == "void"
        assert "listed addresses got through" in void_reasons(found, "nft-set")
        assert "listed packets reached the server" in void_reasons(found, "nft-set")

    def test_a_generator_without_a_receiver(self, measure: Measure, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without GRO or a program a veth peer swallows every frame, and the generator is all the faster."""

        class Deaf(NoSystem):
            def configure(self, chain: Chain, rules: Rules) -> ConfigureReport:
                with chain.gateway.enter(), Ethtool() as ethtool:
                    ethtool.set_features(chain.gateway_in.name, {"rx-gro": False})
                return ConfigureReport(0.0)

        monkeypatch.setattr(registry, "SYSTEMS", {**registry.SYSTEMS, "none": Deaf})
        found = measure(document("clean", ["xdp-null", "none"]))
        assert found.verdict == "void"
        assert "open ledger" in void_reasons(found, "none")
        assert not [key for key in found.metrics if key.startswith("none/")]

    def test_unequal_offloads(self, measure: Measure, monkeypatch: pytest.MonkeyPatch) -> None:
        """One arm with segmentation offload on: it filters well, and is not compared."""

        class Favoured(NftSet):
            def configure(self, chain: Chain, rules: Rules) -> ConfigureReport:
                with chain.client.enter(), Ethtool() as ethtool:
                    ethtool.set_features(chain.client_if.name, dict.fromkeys(SEGMENTATION, True))
                return super().configure(chain, rules)

        monkeypatch.setattr(registry, "SYSTEMS", {**registry.SYSTEMS, "nft-set": Favoured})
        found = measure(document("flood", ["xdp-null", "nft-set", "ipset"]))
        assert found.verdict == "void"
        assert "tx-tcp-segmentation" in void_reasons(found, "nft-set")
        assert {row.system for row in found.void} == {"nft-set"}
        assert all(row.passed == row.gates for row in found.gates)
