# SPDX-License-Identifier: Apache-2.0
"""However a run of operations ends, nothing is left behind."""

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bench import result as results
from bench.progress import Event
from bench.result import Result
from bench.session import Session
from bench.testbed.journal import DEFAULT_RUNS_DIR
from bench.testbed.procfs import tagged

pytestmark = [pytest.mark.root, pytest.mark.tool("nft")]

BENCH = [sys.executable, "-c", "from bench.cli import main; main()"]
REPLACE = {"operation": "replace", "points": ["small"], "pps": 100_000, "at_least_pps": 5000}


def namespaces() -> set[str]:
    """Of all runs, by name."""
    return {path.name for path in Path("/run/netns").glob("nwb-*")}


def test_an_interrupted_run_keeps_what_it_measured(
    run_scenario: Callable[..., Result], session: Session, tmp_path: Path
) -> None:
    """It is void and says why; the signal goes on to the caller, and namespaces are gone."""

    def interrupt(event: Event) -> None:
        if event.kind == "trial":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_scenario(
            tell=interrupt,
            systems=["nft-set"],
            points={"small": {"hosts4": 1000}},
            tasks=[{"operation": "load", "points": ["small"]}, REPLACE],
            profile={"blocks": 2},
        )
    (found,) = session.results
    assert (found.verdict, found.run.interrupted) == ("void", "SIGINT")
    assert [row.gates for row in found.gates] == [1]
    assert results.load(tmp_path / "small").run.interrupted == "SIGINT"
    assert session.testbed is not None
    assert not [name for name in namespaces() if session.testbed.id in name]


def test_what_a_killed_run_left_is_reaped(tmp_path: Path) -> None:
    """SIGKILL while a daemon is up and a list is being replaced: `reap` removes all of it."""
    scenario = tmp_path / "mine.yaml"
    profile = "{blocks: 2, packets: 100000000}"
    scenario.write_text(
        "purpose: Is everything removed that a killed run of operations has made?\n"
        "kind: operations\nsystems: [neurowall]\npoints:\n  small: {hosts4: 1000}\n"
        "tasks:\n  - {operation: replace, points: [small], pps: 100000, at_least_pps: 5000}\n"
        f"profiles: {{ci: {profile}, quick: {profile}, standard: {profile}, rfc: {profile}}}\n"
    )
    argv = ["run", str(scenario), "--profile", "ci", "--out", str(tmp_path / "out")]
    log = tmp_path / "log"
    with log.open("wb") as output:
        owner = subprocess.Popen([*BENCH, *argv], stdout=output, stderr=output)
    try:
        run_id = _await_replacement(owner, log)
        owner.send_signal(signal.SIGKILL)
    finally:
        owner.kill()
        owner.wait()
    assert [name for name in namespaces() if run_id in name]
    reap = [*BENCH, "reap", "--run", run_id]
    done = subprocess.run(reap, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not [name for name in namespaces() if run_id in name]
    assert not tagged(run_id)
    assert not (DEFAULT_RUNS_DIR / run_id).exists()


def _await_replacement(owner: "subprocess.Popen[bytes]", log: Path) -> str:
    """Wait until the daemon is up and both lists are staged, and answer the id of the run."""
    deadline = time.monotonic() + 40
    while time.monotonic() < deadline:
        assert owner.poll() is None, log.read_text()
        for staged in DEFAULT_RUNS_DIR.glob("*/neurowall/list-3.txt"):
            run = staged.parent.parent
            with contextlib.suppress(FileNotFoundError):  # a run of somebody else's that is ending
                if f'"pid":{owner.pid},' in (run / "journal.jsonl").read_text():
                    return run.name
        time.sleep(0.05)
    pytest.fail(f"no replacement began: {log.read_text()}")
