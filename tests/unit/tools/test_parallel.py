# SPDX-License-Identifier: Apache-2.0
"""How `make test` shares tests out, tried on a few that say where they ran."""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
TEST = """
import json, os, time
import pytest

@pytest.mark.parametrize("number", range(3))
def test_where(number):
    began = time.monotonic()
    time.sleep(0.05)
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    said = [os.environ["PYTEST_XDIST_WORKER"], __file__, nice, began, time.monotonic()]
    with open("said", "a") as file:
        file.write(json.dumps(said) + "\\n")
"""
FILES = (
    *("tests/net/test_a.py", "tests/unit/test_b.py", "tests/net/test_c.py", "tests/bench/run/test_d.py"),
    *("tests/bpf/test_e.py", "tests/unit/test_f.py", "tests/services/test_g.py"),
)


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, str, int, float, float]]:
    """Of each test: its worker, file, niceness, begin and end."""
    tree = tmp_path_factory.mktemp("tree")
    for name in FILES:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(TEST)
    (tree / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "-n", "2", "--import-mode=importlib", "-p", "tests.conftest"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    if os.geteuid() == 0:  # this test itself is at a lower priority
        command = ["nice", "-n", str(-os.getpriority(os.PRIO_PROCESS, 0)), *command]
    done = subprocess.run(
        command,
        cwd=tree,
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "21 passed" in done.stdout.splitlines()[-1]
    rows = [json.loads(line) for line in (tree / "said").read_text().splitlines()]
    return [(worker, str(Path(file).relative_to(tree)), *more) for worker, file, *more in rows]


def test_what_uses_the_network_stays_in_one_worker(said: list[tuple[str, str, int, float, float]]) -> None:
    """In the order of collection, and one after the other; the other worker does the rest meanwhile."""
    first = [row for row in said if "/net/" in row[1] or "/bench/" in row[1]]
    assert len({row[0] for row in first}) == 1
    assert [row[1] for row in first[::3]] == [
        *sorted(name for name in FILES if "bench" in name or "net" in name)
    ]
    assert all(row[4] <= later[3] for row, later in itertools.pairwise(first))
    assert {row[0] for row in said} > {first[0][0]}


@pytest.mark.root
def test_the_others_only_take_what_is_left(said: list[tuple[str, str, int, float, float]]) -> None:
    """They are at a lower priority wherever they run, and those with deadlines at the normal one."""
    for _worker, file, nice, *_ in said:
        assert nice == (10 if "/unit/" in file or "/bpf/" in file else 0)
