# SPDX-License-Identifier: Apache-2.0
"""The import rules of pyproject.toml, on a small tree that breaks them one at a time."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
MODULES = [
    "neurowall/management/api/app.py",
    "neurowall/logic/engine.py",
    "neurowall/data/state.py",
    "neurowall/kernel/dataplane.py",
    "neurowall/kernel/libbpf.py",
    "neurowall/kernel/netlink.py",
    "neurowall/kernel/objects.py",
    "neurowall/model/entries.py",
    "bench/traffic/xdpgen.py",
]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree of empty modules in the real layout, with the real rules."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for name in MODULES:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        for folder in (path.parent, path.parent.parent):
            (folder / "__init__.py").touch()
    return tmp_path


def lint(tree: Path) -> subprocess.CompletedProcess[str]:
    """Judge the tree by the rules."""
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-logo", "--no-cache"]
    environment = {"PYTHONPATH": str(tree), "PATH": "/usr/bin:/bin", "COLUMNS": "200"}
    return subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)


def test_allowed_imports_are_kept(tree: Path) -> None:
    """Every arrow of the design, all at once."""
    (tree / "neurowall/management/api/app.py").write_text("import neurowall.logic.engine\n")
    (tree / "neurowall/logic/engine.py").write_text(
        "import neurowall.data.state\nimport neurowall.kernel.dataplane\nimport neurowall.model.entries\n"
    )
    (tree / "neurowall/data/state.py").write_text("import neurowall.model.entries\n")
    (tree / "neurowall/kernel/dataplane.py").write_text("import neurowall.model.entries\n")
    (tree / "neurowall/kernel/libbpf.py").write_text("import neurowall.kernel.objects\n")
    (tree / "bench/traffic/xdpgen.py").write_text(
        "import neurowall.model.entries\nfrom neurowall.kernel import libbpf, netlink, objects\n"
    )
    done = lint(tree)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("module", "imported"),
    [
        ("neurowall/logic/engine.py", "neurowall.management.api.app"),
        ("neurowall/data/state.py", "neurowall.kernel.libbpf"),
        ("neurowall/kernel/dataplane.py", "neurowall.data.state"),
        ("neurowall/kernel/dataplane.py", "neurowall.logic.engine"),
        ("neurowall/model/entries.py", "neurowall.data.state"),
        ("neurowall/model/entries.py", "socket"),
        ("neurowall/management/api/app.py", "bench.traffic.xdpgen"),
        ("bench/traffic/xdpgen.py", "neurowall.kernel.dataplane"),
        ("bench/traffic/xdpgen.py", "neurowall.logic.engine"),
        ("bench/traffic/xdpgen.py", "neurowall.management.api.app"),
    ],
)
def test_a_forbidden_import_is_broken(tree: Path, module: str, imported: str) -> None:
    """Each import against the arrows fails the check."""
    (tree / module).write_text(f"import {imported}\n")
    done = lint(tree)
    assert done.returncode == 1
    assert f"-> {imported}" in done.stdout


def test_a_package_beside_the_layers_is_broken(tree: Path) -> None:
    """Whatever is added to neurowall belongs to one of the five layers."""
    (tree / "neurowall/utils").mkdir()
    (tree / "neurowall/utils/__init__.py").touch()
    done = lint(tree)
    assert done.returncode == 1
    assert "neurowall.utils" in done.stdout
