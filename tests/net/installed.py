# SPDX-License-Identifier: Apache-2.0
"""Neurowall as a gateway has it: the wheel in an environment of its own, outside of the source tree."""

import os
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

TREE = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Installed:
    """An environment. dependencies: an empty folder on its path, where a sandbox binds the tests' own."""

    root: Path
    wheel: Path
    dependencies: Path

    @property
    def program(self) -> str:
        """The command `neurowall`."""
        return str(self.root / "bin/neurowall")

    @property
    def python(self) -> str:
        """Its interpreter."""
        return str(self.root / "bin/python")

    @property
    def path(self) -> str:
        """A PATH with nothing else in it: no compiler, no nft, no ip."""
        return str(self.root / "bin")

    def environment(self) -> dict[str, str]:
        """As a service has it."""
        return {"PATH": self.path, "LANG": "C.UTF-8"}

    def says(self, *command: str) -> str:
        """What a command prints, run far from the source tree; it must succeed."""
        done = subprocess.run(
            command, cwd="/", env=self.environment(), capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


def install(directory: Path) -> Installed:
    """Build the wheel and install it below *directory*, without network: its packages are the tests' own."""
    subprocess.run(
        [TREE / "tools/wheel.sh", directory / "dist"], check=True, capture_output=True, timeout=120
    )
    (wheel,) = (directory / "dist").glob("neurowall-*.whl")
    environment = directory / "venv"
    # The distribution's Python, and its modules: python3-nftables is no package of PyPI.
    python = getattr(sys, "_base_executable", sys.executable)
    subprocess.run([python, "-m", "venv", "--without-pip", "--system-site-packages", environment], check=True)
    dependencies = directory / "dependencies"
    dependencies.mkdir()
    (packages,) = environment.glob("lib/python3*/site-packages")
    # This tree is installed among the tests' packages, but by a path that is not followed from here.
    (packages / "dependencies.pth").write_text(f"{dependencies}\n{sysconfig.get_path('purelib')}\n")
    pip: list[str | Path] = [
        sys.executable,
        "-m",
        "pip",
        "-qq",
        "--disable-pip-version-check",
        "--python",
        environment / "bin/python",
    ]
    subprocess.run([*pip, "install", "--no-deps", "--no-index", wheel], check=True, timeout=120, cwd="/")
    for path in (directory, *directory.rglob("*")):
        if not path.is_symlink():  # readable for the daemon's user, whatever this process's umask is
            path.chmod(path.stat().st_mode | (0o055 if path.is_dir() else 0o044))
    assert os.access(environment / "bin/neurowall", os.X_OK)
    return Installed(environment, wheel, dependencies)
