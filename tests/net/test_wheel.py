# SPDX-License-Identifier: Apache-2.0
import subprocess
import zipfile
from pathlib import Path

import pytest

from bench.testbed.run import Run
from tests.net.conftest import MakeDaemon
from tests.net.installed import TREE, Installed
from tests.net.probes import Probes

pytestmark = pytest.mark.root

LISTED, OTHER = "203.0.113.7", "203.0.113.8"


def test_the_wheel_holds_all_of_the_packages(installed: Installed) -> None:
    """What git knows of them, migrations, console and examples among it; and every compiled object."""
    listing = subprocess.run(
        ["git", "-C", str(TREE), "ls-files", "neurowall", "bench", "scenarios"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    wanted = {f"bench/{name}" if name.startswith("scenarios/") else name for name in listing}
    wanted |= {f"neurowall/objects/{path.name}" for path in (TREE / "build/bpf").glob("*.bpf.o")}
    wanted |= {f"neurowall/objects/{path.name}" for path in (TREE / "bpf").glob("*.bcc.c")}
    with zipfile.ZipFile(installed.wheel) as wheel:
        assert wanted - set(wheel.namelist()) == set()


def test_units_come_with_it(installed: Installed) -> None:
    """Beside the environment's programs, for root to copy."""
    share = installed.root / "share/neurowall"
    for folder in ("systemd", "systemd/examples", "sysusers.d", "tmpfiles.d"):
        here = sorted(path.name for path in (TREE / "packaging" / folder).iterdir() if path.is_file())
        assert sorted(path.name for path in (share / folder).iterdir() if path.is_file()) == here
    assert (share / "docs/operations.md").is_file()


def test_the_harness_finds_its_scenarios(installed: Installed) -> None:
    """A customer measures from the wheel too."""
    names = {path.stem for path in (TREE / "scenarios").glob("*.yaml")}
    listed = installed.says(str(installed.root / "bin/neurowall-bench"), "list")
    assert {name for name in names if name in listed} == names


def test_a_daemon_from_the_wheel_blocks_without_a_compiler(
    run: Run, installed: Installed, make_daemon: MakeDaemon, probes: Probes
) -> None:
    """Nothing of the source tree is used, and PATH holds nothing but the environment."""
    where = Path(
        installed.says(installed.python, "-c", "import neurowall; print(neurowall.__file__)").strip()
    )
    assert installed.root in where.parents
    daemon = make_daemon()
    strict = ("env", "-u", "PYTHONPATH", "-u", "NEUROWALL_OBJECTS", f"PATH={installed.path}")
    daemon.start(launcher=(*strict, installed.program))
    maps = Path(f"/proc/{daemon.process.pid}/environ").read_bytes() if daemon.process else b""
    assert f"PATH={installed.path}".encode() in maps.split(b"\0")
    daemon.post("block", LISTED)
    assert probes.arrived(LISTED, OTHER) == {OTHER}
    assert daemon.packets("block-list") == 1
