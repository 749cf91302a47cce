# SPDX-License-Identifier: Apache-2.0
"""tools/bench.sh with a stand-in for neurowall-bench that ends as told."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]

# Writes what it was asked, and the verdict it is told, where --out says.
STAND_IN = """#!/bin/bash
printf '%s\\n' "$@" >"$HERE/asked"
out="${@: -1}"
mkdir -p "$out"
[ -z "$VERDICT" ] || printf '{"verdict": "%s"}' "$VERDICT" >"$out/summary.json"
exit "$CODE"
"""


def bench(here: Path, code: int, verdict: str, *arguments: str, uid: int = 0) -> tuple[int, list[str]]:
    """Run the script on a tree whose neurowall-bench ends with this code; its code, and what it asked for."""
    (here / "tools").mkdir()
    (here / ".venv/bin").mkdir(parents=True)
    (here / "bin").mkdir()
    shutil.copy(ROOT / "tools/bench.sh", here / "tools/bench.sh")
    (here / ".venv/bin/neurowall-bench").write_text(STAND_IN)
    (here / ".venv/bin/neurowall-bench").chmod(0o755)
    (here / ".venv/bin/python").symlink_to(sys.executable)
    (here / "bin/id").write_text(f"#!/bin/sh\necho {uid}\n")
    (here / "bin/id").chmod(0o755)
    environment = {
        "PATH": f"{here / 'bin'}:{os.environ['PATH']}",
        "HERE": str(here),
        "CODE": str(code),
        "VERDICT": verdict,
    }
    command = [str(here / "tools/bench.sh"), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    asked = here / "asked"
    return done.returncode, asked.read_text().splitlines() if asked.exists() else []


@pytest.mark.parametrize(
    ("code", "verdict", "expected"),
    [
        (0, "pass", 0),
        (3, "too-noisy", 0),
        (3, "void", 3),
        (3, "", 3),  # no summary: nothing says that it was only noise
        (1, "fail", 1),
        (1, "too-noisy", 1),  # a failure beside the noise
        (4, "", 4),
        (130, "", 130),
    ],
)
def test_only_noise_is_forgiven(tmp_path: Path, code: int, verdict: str, expected: int) -> None:
    """A run that is too noisy to tell ends with 0; void, failed and impossible ones keep their code."""
    assert bench(tmp_path, code, verdict, "quick", "", "drop-flood")[0] == expected


def test_passes_profile_list_and_scenarios_on(tmp_path: Path) -> None:
    """A list with a space in its name stays one argument; the results go to bench-results."""
    _, asked = bench(tmp_path, 0, "pass", "ci", "my list.txt", "drop-flood", "forward-clean")
    options = ["--profile", "ci", "--list", "my list.txt", "--out"]
    assert asked[:-1] == ["run", "drop-flood", "forward-clean", *options]
    assert asked[-1].startswith("bench-results/20")


def test_without_a_list_none_is_named(tmp_path: Path) -> None:
    """An empty LIST is no list."""
    assert "--list" not in bench(tmp_path, 0, "pass", "quick", "", "drop-flood")[1]


def test_without_root_nothing_is_started(tmp_path: Path) -> None:
    """Exit 4, cannot run here."""
    assert bench(tmp_path, 0, "pass", "quick", "", "drop-flood", uid=1000) == (4, [])
