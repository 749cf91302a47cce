# SPDX-License-Identifier: Apache-2.0
import contextlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from bench import cli
from bench import result as results
from bench.lab import LabError
from bench.lists import Counts


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Run the program in an empty directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(cli.app, list(arguments))

    return run


@pytest.fixture
def small(tmp_path: Path, document: dict[str, Any]) -> str:
    """The small scenario as a file."""
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    return "small.yaml"


@pytest.fixture
def simulated(monkeypatch: pytest.MonkeyPatch, lab: Any) -> Any:
    """The program believes to be root and measures in the simulated lab."""

    class FakeRun:
        @classmethod
        @contextlib.contextmanager
        def begin(cls, **_: Any) -> Iterator[None]:
            yield None

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr("bench.testbed.base.Run", FakeRun)
    monkeypatch.setattr("bench.netns.NetnsLab", lambda _: lab)
    monkeypatch.setattr("bench.measure.environment.fingerprint", lambda: {"machine": "m1"})
    monkeypatch.setattr("bench.cli._available", lambda *_: None)
    return lab


def test_list_names_every_scenario_with_its_bars(call: Any) -> None:
    """And exits 0."""
    shown = call("list")
    assert shown.exit_code == 0
    for needle in (
        "drop-flood",
        "forward-clean",
        "N3: neurowall/nft-set@hosts-250000 >= 2.3",
        "mix-250000-v6",
    ):
        assert needle in shown.stdout


def test_plan_says_what_is_skipped_and_why_and_touches_nothing(call: Any, tmp_path: Path) -> None:
    """Systems and points of other profiles, nft-linear at 250,000; and the expected duration."""
    needles = {
        "quick": (
            "nft-linear: not in profile quick at this point",
            "only in standard, rfc",
            "250,000 hosts4",
        ),
        "standard": ("hosts-250000: nft-linear: one rule an entry", "expected duration:"),
    }
    for profile, wanted in needles.items():
        shown = call("plan", "drop-flood", "--profile", profile)
        assert shown.exit_code == 0
        words = " ".join(shown.stdout.split())
        assert [needle for needle in wanted if needle not in words] == []
    assert list(tmp_path.iterdir()) == []


def test_scenarios_of_operations_are_listed_and_planned_like_the_others(call: Any) -> None:
    """With their bars, goals from above included, points and expected duration."""
    shown = call("list")
    assert "N6: neurowall/load_seconds@" in shown.stdout
    assert " <= 4" in shown.stdout
    shown = call("plan", "list-load")
    assert shown.exit_code == 0
    assert "list-load: about " in shown.stdout
    assert "expected duration:" in shown.stdout


def test_calibrate_shows_every_system_and_writes_its_file(
    call: Any, simulated: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it cannot measure is named with the reason, and alone it ends in 4."""
    monkeypatch.setattr("bench.calibrate.COUNTS", Counts(hosts4=500))
    simulated.refuse.add("ipset")
    options = ("--blocks", "3", "--rounds", "2", "--seed", "1")
    shown = call("calibrate", "--system", "neurowall", "--system", "ipset", "--out", "o", *options)
    assert shown.exit_code == 0, shown.output
    assert re.search(r"neurowall +1\.0", shown.stdout)
    assert "ipset: not calibrated: nft: Error: syntax error" in shown.stdout
    stored = json.loads((tmp_path / "o" / "calibration.json").read_text())
    assert list(stored["systems"]) == ["neurowall"]
    assert call("calibrate", "--system", "ipset", "--out", "p", *options).exit_code == 4
    assert "there is no system 'moon'" in call("calibrate", "--system", "moon").stderr


@pytest.mark.parametrize(("noise", "bar", "options", "code"), [
    (0.01, 0.8, [], 0),
    (0.01, 1.2, [], 1),
    (0.05, 0.95, [], 3),
    (0.05, 0.95, ["--too-noisy-ok"], 0),
    (0.01, 1.2, ["--too-noisy-ok"], 1),
])  # fmt: skip
def test_the_exit_code_is_the_verdict(
    call: Any, small: str, simulated: Any, noise: float, bar: float, options: list[str], code: int
) -> None:
    """0 pass, 1 fail, 3 too noisy; `make bench` forgives noise only."""
    simulated.noise = noise
    shown = call("run", small, "--set", f"bars.0.bar={bar}", "--seed", "1", "--out", "o", *options)
    assert shown.exit_code == code, shown.output


def test_a_void_run_exits_3_also_where_noise_is_forgiven(call: Any, small: str, simulated: Any) -> None:
    """It proves nothing, and says so."""
    simulated.leak.add("nft-set")
    shown = call("run", small, "--out", "o", "--too-noisy-ok")
    assert shown.exit_code == 3
    assert "VOID" in shown.stdout
    assert "got through" in shown.stdout


def test_a_run_writes_all_files_and_prints_where(
    call: Any, small: str, simulated: Any, tmp_path: Path
) -> None:
    """Result, raw samples, summary and both reports; the seed is recorded."""
    shown = call("run", small, "--out", "o", "--seed", "7", "--profile", "ci")
    names = {str(path.relative_to(tmp_path / "o")) for path in (tmp_path / "o").rglob("*") if path.is_file()}
    assert names == {"report.html", "report.md", "summary.json", "small/raw.jsonl", "small/result.json"}
    stored = results.load(tmp_path / "o" / "small")
    assert (stored.run.seed, stored.profile, stored.raw, stored.run.blocks_done) == (
        7,
        "ci",
        ["raw.jsonl"],
        2,
    )
    assert "o/report.html" in shown.stdout
    assert (
        json.loads((tmp_path / "o/summary.json").read_text())["scenarios"][0]["result"] == "small/result.json"
    )


def test_json_progress_is_one_event_a_line_on_stderr(call: Any, small: str, simulated: Any) -> None:
    """So that stdout stays the table."""
    shown = call("run", small, "--out", "o", "--progress", "json")
    events = [json.loads(line) for line in shown.stderr.splitlines()]
    assert {event["kind"] for event in events} >= {"scenario-started", "trial", "scenario-finished"}
    assert events[-1]["done"] == events[-1]["total"] == 96
    trial = next(event for event in events if event["kind"] == "trial")
    assert trial["details"]["mpps"] > 0


def test_an_interrupted_run_keeps_its_partial_result(
    call: Any, small: str, simulated: Any, tmp_path: Path
) -> None:
    """Marked, void, exit 130."""
    simulated.interrupt_after = 60
    shown = call("run", small, "--out", "o")
    assert shown.exit_code == 130
    stored = results.load(tmp_path / "o" / "small")
    assert (stored.verdict, stored.run.interrupted, stored.run.blocks_done) == ("void", "SIGINT", 2)
    assert (tmp_path / "o" / "report.html").is_file()
    assert simulated.opened
    assert sorted(simulated.closed) == sorted(simulated.opened)


def test_a_replay_repeats_order_and_compares(call: Any, small: str, simulated: Any, tmp_path: Path) -> None:
    """Same seed, same scenario: the systems come in the same order."""
    call("run", small, "--out", "o", "--set", "profiles.quick.blocks=3")
    first = [system for system, _, _ in simulated.trials]
    simulated.trials.clear()
    shown = call("replay", "o/small/result.json", "--out", "again")
    assert shown.exit_code == 0, shown.output
    assert [system for system, _, _ in simulated.trials] == first
    assert "new / old" in shown.stdout
    old, new = (results.load(tmp_path / name / "small") for name in ("o", "again"))
    assert (old.run.seed, old.run.scenario_sha256) == (new.run.seed, new.run.scenario_sha256)


def test_a_replay_wants_the_same_list(call: Any, small: str, simulated: Any, tmp_path: Path) -> None:
    """Another content under the same name is refused."""
    (tmp_path / "list.txt").write_text("8.8.8.8\n")
    call("run", small, "--out", "o", "--list", "list.txt")
    (tmp_path / "list.txt").write_text("9.9.9.9\n")
    shown = call("replay", "o/small/result.json", "--out", "again")
    assert shown.exit_code == 4
    assert "not the list of that run" in shown.stderr


def test_a_replay_refuses_a_scenario_that_was_edited(
    call: Any, small: str, simulated: Any, tmp_path: Path
) -> None:
    """Its digest no longer fits."""
    call("run", small, "--out", "o")
    path = tmp_path / "o/small/result.json"
    path.write_text(path.read_text().replace('"trial_seconds": 0.1,', '"trial_seconds": 0.2,'))
    shown = call("replay", str(path), "--out", "again")
    assert shown.exit_code == 4
    assert "digest" in shown.stderr


def test_a_list_file_is_used_and_its_bad_lines_are_shown(
    call: Any, small: str, simulated: Any, tmp_path: Path
) -> None:
    """Counted, the first few by number, and the rest of the list is used."""
    bad = "".join(f"nonsense {n}\n" for n in range(8))
    (tmp_path / "list.txt").write_text(f"8.8.8.8\t3\n{bad}9.9.9.9\n8.8.8.8\n10.0.0.1\n")
    shown = call("run", small, "--out", "o", "--list", "list.txt")
    assert shown.exit_code == 0, shown.output
    assert "list.txt:2: " in shown.stderr
    assert "and 3 more bad lines" in shown.stderr
    stored = results.load(tmp_path / "o/small").run.given_list
    assert stored is not None
    assert (stored.problems, stored.duplicates, stored.special) == (8, 1, 1)
    assert stored.used == {"hosts-500": "2 hosts4"}


def test_systems_that_cannot_be_configured_are_void(call: Any, small: str, simulated: Any) -> None:
    """The control too: then there is nothing to compare with."""

    def refuse(*_: Any) -> None:
        raise LabError("no BPF")

    simulated.place = refuse
    shown = call("run", small, "--out", "o")
    assert shown.exit_code == 3
    assert "no BPF" in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["run", "dropflood"], "did you mean 'drop-flood'?"),
        (["run", "small.yaml", "--set", "profiles"], "expected FIELD=VALUE"),
        (["run", "small.yaml", "--set", "profiles.quick.blocks=0"], "profiles.quick.blocks: input should be"),
        (["run", "small.yaml", "--testbed", "moon"], "there is no testbed 'moon' (known: netns)"),
        (["run", "small.yaml", "--list", "missing.txt"], "missing.txt: No such file"),
        (
            ["run", "small.yaml", "--list", "garbage.txt"],
            "garbage.txt: no address or prefix in it (2 bad lines)",
        ),
        (["run", "small.yaml", "--out", "taken"], "taken: exists and is not empty"),
        (["run", "small.yaml", "--out", "garbage.txt"], "garbage.txt: File exists"),
        (["run", "small.yaml", "other/small.yaml"], "two of the scenarios have the same name"),
        (["compare", "a.json", "b.json"], "a.json: No such file or directory; give a result.json"),
        (["report", "taken"], "no */result.json here"),
        (["replay", "garbage.txt"], "garbage.txt: not JSON"),
        (["plan", "small.yaml", "--list", "garbage.txt"], "no address or prefix"),
    ],
)
def test_what_cannot_run_exits_4_with_one_clear_error(
    call: Any, small: str, simulated: Any, tmp_path: Path, arguments: list[str], why: str
) -> None:
    """And measures nothing."""
    (tmp_path / "garbage.txt").write_text("<html>\nnot a list\n")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").write_text("")
    (tmp_path / "other").mkdir()
    (tmp_path / "other/small.yaml").write_text((tmp_path / "small.yaml").read_text())
    shown = call(*arguments)
    assert shown.exit_code == 4, shown.output
    assert why in shown.stderr
    assert "Traceback" not in shown.output
    assert simulated.trials == []


def test_without_root_a_run_is_refused(call: Any, small: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the way out, and before a directory is made."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    shown = call("run", small, "--out", "o")
    assert shown.exit_code == 4
    assert "need root" in shown.stderr
    assert not Path("o").exists()


def test_a_machine_where_nothing_can_be_measured_exits_4(
    call: Any, small: str, simulated: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the first reason."""
    monkeypatch.setattr("bench.cli._available", lambda *_: "no BPF in this kernel")
    shown = call("run", small, "--out", "o")
    assert shown.exit_code == 4
    assert "no BPF in this kernel" in shown.stderr


def test_the_report_of_a_run_is_written_again(call: Any, small: str, simulated: Any, tmp_path: Path) -> None:
    """From its results alone."""
    call("run", small, "--out", "o")
    before = (tmp_path / "o/report.html").read_text()
    (tmp_path / "o/report.html").unlink()
    assert call("report", "o").exit_code == 0
    assert (tmp_path / "o/report.html").read_text() == before
