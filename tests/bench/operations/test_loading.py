# SPDX-License-Identifier: Apache-2.0
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from bench import schemas
from bench.operations import run as running
from bench.operations.base import Operated
from bench.operations.rivals import OperatedIpSet, OperatedNft
from bench.operations.systems import SYSTEMS
from bench.result import Result, dump
from bench.sut.base import Rules
from bench.testbed.base import Chain

pytestmark = [pytest.mark.root, pytest.mark.tool("nft", "ipset", "iptables")]

Measure = Callable[..., Result]
PROFILE = {"blocks": 2, "bans": 6, "packets": 200_000}
POINT = {"hosts4": 4000, "prefixes4": 200, "hosts6": 50}
REPLACE = {"operation": "replace", "points": ["small"], "pps": 100_000, "at_least_pps": 5000}


def bar(system: str) -> dict[str, Any]:
    """No leaked packet of that system."""
    return {"figure": "N6", "metric": f"{system}/leaked_packets@small", "at_most": 0}


def operate(
    monkeypatch: pytest.MonkeyPatch, name: str, made: Callable[[], Operated]
) -> Mapping[str, Callable[[], Operated]]:
    """Put another operator in place of one."""
    systems = {**SYSTEMS, name: made}
    monkeypatch.setattr(running, "SYSTEMS", systems)
    return systems


def test_neurowall_is_loaded_banned_with_and_replaced_without_a_leak(
    run_scenario: Measure, tmp_path: Path
) -> None:
    """Every figure is there, every gate is green, every packet is accounted for, and the file validates."""
    tasks: list[dict[str, Any]] = [{"operation": name, "points": ["small"]} for name in ("load", "ban")]
    found = run_scenario(
        systems=["neurowall"],
        points={"small": POINT},
        tasks=[*tasks, REPLACE],
        bars=[bar("neurowall")],
        profile=PROFILE,
    )
    assert found.void == []
    assert found.verdict == "pass", found.reasons
    values = {key.partition("/")[2].partition("@")[0]: m for key, m in found.metrics.items()}
    assert values["leaked_packets"].value == 0
    assert values["probed_packets"].value > 1000
    assert values["effective_ms"].n == 6
    assert 0 < values["effective_p50_ms"].value <= values["effective_ms"].value
    assert 0 < values["load_seconds"].value < 60
    assert values["api_ms"].n > 5
    assert all(row.passed == row.gates == 8 for row in found.gates)
    assert all(row.closed and row.sent > 100_000 for row in found.ledger)
    jsonschema.validate(dump(found), schemas.documents()["result.schema.json"])
    lines = [json.loads(line) for line in (tmp_path / "small" / "raw.jsonl").read_text().splitlines()]
    assert [line["operation"] for line in lines] == ["load", "ban", "replace"] * 2


def test_rivals_replace_without_a_leak_in_one_transaction(run_scenario: Measure) -> None:
    """Their best: nftables by flush and fill in one, ipset by swap."""
    found = run_scenario(
        systems=["nft-set", "ipset"],
        points={"small": POINT},
        tasks=[{"operation": "load", "points": ["small"]}, REPLACE],
        bars=[bar("nft-set"), bar("ipset")],
        profile=PROFILE,
    )
    assert found.verdict == "pass", found.reasons
    for system in ("nft-set", "ipset"):
        assert found.metrics[f"{system}/probed_packets@small"].value > 1000
        assert found.metrics[f"{system}/load_seconds@small"].value > 0


class FlushThenRefill(OperatedNft):
    """The way not to do it: the set is empty between two transactions."""

    def stage(self, rules: Rules) -> Path:
        """Two files; the second is named like the first."""
        file = super().stage(rules)
        text = file.read_text()
        flush = [line for line in text.splitlines() if line.startswith("flush")]
        file.with_suffix(".flush").write_text("\n".join(flush) + "\n")
        file.write_text("".join(part for part in text.splitlines(keepends=True) if part[:5] != "flush"))
        return file

    def replace(self, staged: Path) -> None:
        """Flush, then fill."""
        super().replace(staged.with_suffix(".flush"))
        super().replace(staged)


def test_a_replacement_that_flushes_and_refills_is_seen_to_leak(
    run_scenario: Measure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All else is well, gates are green and the ledger is closed, but packets passed."""
    operate(monkeypatch, "nft-set", FlushThenRefill)
    found = run_scenario(
        systems=["nft-set"],
        points={"small": POINT},
        tasks=[REPLACE],
        bars=[bar("nft-set")],
        profile=PROFILE,
    )
    assert found.void == []
    assert found.verdict == "fail"
    assert found.metrics["nft-set/leaked_packets@small"].value > 0
    assert found.ledger[0].delivered > 0
    assert found.ledger[0].closed


class TestVoid:
    """Each of these would give a fine figure, and must give none."""

    def test_a_load_that_only_says_that_it_is_done(
        self, run_scenario: Measure, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its last entry is not blocked."""

        class Liar(OperatedIpSet):
            def load(self, chain: Chain, rules: Rules, room: int) -> float:
                started = super().load(chain, rules, room)
                chain.gateway.exec(["ipset", "flush"]).check()
                return started

        operate(monkeypatch, "ipset", Liar)
        monkeypatch.setattr("bench.operations.site.PATIENCE", 0.2)
        found = run_scenario(
            systems=["ipset"],
            points={"small": POINT},
            tasks=[{"operation": "load", "points": ["small"]}],
            profile=PROFILE,
        )
        assert found.verdict == "void"
        assert "last entry is not blocked" in found.void[0].reasons[0]
        assert found.metrics == {}

    def test_a_replacement_that_was_not_made(
        self, run_scenario: Measure, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Nothing leaks where nothing changes; the gate asks for the new list."""

        class Idle(OperatedIpSet):
            def replace(self, staged: Path) -> None:
                time.sleep(0.7)  # once within the traffic

        operate(monkeypatch, "ipset", Idle)
        found = run_scenario(
            systems=["ipset"], points={"small": POINT}, tasks=[REPLACE], profile=PROFILE | {"packets": 1}
        )
        assert found.verdict == "void"
        assert "listed addresses got through" in found.void[0].reasons[0]

    def test_a_replacement_without_enough_probes(self, run_scenario: Measure) -> None:
        """The rate that was sustained is below the one that the figure asks for."""
        found = run_scenario(
            systems=["ipset"],
            points={"small": POINT},
            tasks=[REPLACE | {"pps": 2000, "at_least_pps": 100_000}],
            profile=PROFILE | {"packets": 1},
        )
        assert found.verdict == "void"
        assert "probes a second during replacements, below 100,000" in found.void[0].reasons[0]

    def test_a_command_that_fails(self, run_scenario: Measure, monkeypatch: pytest.MonkeyPatch) -> None:
        """What it said is in the result."""

        class Broken(OperatedNft):
            def stage(self, rules: Rules) -> Path:
                file = super().stage(rules)
                file.write_text("add elephant\n")
                return file

        operate(monkeypatch, "nft-set", Broken)
        found = run_scenario(systems=["nft-set"], points={"small": POINT}, tasks=[REPLACE], profile=PROFILE)
        assert found.verdict == "void"
        assert "nft refused its input" in found.void[0].reasons[0]
