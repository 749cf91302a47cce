# SPDX-License-Identifier: Apache-2.0
"""tools/apt.sh against stand-ins for dpkg-query, apt-cache, apt-get and id: nothing is installed here."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]

STAND_INS = {
    # Installed is what stands in the file `installed`.
    "dpkg-query": 'grep -qx "${@: -1}" "$HERE/installed" && printf installed',
    "apt-cache": 'grep -qx "$2" "$HERE/offered" && printf "%s:\\n  Candidate: 1.0\\n" "$2"',
    # What was asked, and whether services were refused meanwhile.
    "apt-get": 'echo "$*" >>"$HERE/apt-get.log"; cat "$NEUROWALL_POLICY_RC_D" >>"$HERE/policy.log"; '
    'exit "$(cat "$HERE/exit" 2>/dev/null || echo 0)"',
    "id": 'cat "$HERE/uid"',
}


class Machine:
    """A pretended machine: package lists, and what is installed and offered on it."""

    def __init__(self, here: Path) -> None:
        self.here = here
        self.policy = here / "policy-rc.d"
        (here / "tools/packages").mkdir(parents=True)
        (here / "bin").mkdir()
        shutil.copy(ROOT / "tools/apt.sh", here / "tools/apt.sh")
        for name, body in STAND_INS.items():
            (here / "bin" / name).write_text(f"#!/bin/bash\n{body}\n")
            (here / "bin" / name).chmod(0o755)
        self.write("tools/packages/setup.txt", "# why\nnftables\n\nbpftool|linux-tools  # either\n")
        self.write("uid", "0\n")
        self.write("installed", "")
        self.write("offered", "nftables\nlinux-tools\n")

    def write(self, name: str, text: str) -> None:
        """Put a file on the machine."""
        (self.here / name).write_text(text)

    def read(self, name: str) -> str:
        """A file of the machine, empty if it is not there."""
        path = self.here / name
        return path.read_text() if path.exists() else ""

    def run(self, *lists: str) -> subprocess.CompletedProcess[str]:
        """Run tools/apt.sh with the stand-ins first on PATH."""
        environment = {
            "PATH": f"{self.here / 'bin'}:{os.environ['PATH']}",
            "HERE": str(self.here),
            "NEUROWALL_POLICY_RC_D": str(self.policy),
        }
        command = [str(self.here / "tools/apt.sh"), *lists]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine with nothing installed, and root on it."""
    return Machine(tmp_path)


def test_nothing_missing_asks_nobody(machine: Machine) -> None:
    """With every package there, apt-get is not called, and root is not needed; an alternative counts."""
    machine.write("installed", "nftables\nlinux-tools\n")
    machine.write("uid", "1000\n")
    assert machine.run("setup").returncode == 0
    assert machine.read("apt-get.log") == ""


def test_installs_what_is_missing_and_offered(machine: Machine) -> None:
    """One update, then one install of the missing packages, taking the alternative that the release has."""
    assert machine.run("setup").returncode == 0
    update, install = machine.read("apt-get.log").splitlines()
    assert update.endswith(" update")
    assert install.endswith(" install --no-install-recommends -y nftables linux-tools")


def test_installed_packages_are_not_asked_for_again(machine: Machine) -> None:
    """Only the missing ones are named."""
    machine.write("installed", "nftables\n")
    assert machine.run("setup").returncode == 0
    assert machine.read("apt-get.log").splitlines()[1].endswith(" -y linux-tools")


@pytest.mark.parametrize("code", [0, 100])
def test_services_are_refused_only_meanwhile(machine: Machine, code: int) -> None:
    """While apt runs a policy says 101 to every start; afterwards it is gone, also when apt failed."""
    machine.write("exit", f"{code}\n")
    assert machine.run("setup").returncode == code
    assert "exit 101" in machine.read("policy.log")
    assert not machine.policy.exists()


def test_an_existing_policy_is_respected(machine: Machine) -> None:
    """The administrator's policy decides, and is still there afterwards."""
    machine.write("policy-rc.d", "#!/bin/sh\nexit 0\n")
    assert machine.run("setup").returncode == 0
    assert machine.policy.read_text() == "#!/bin/sh\nexit 0\n"


def test_a_policy_left_by_a_killed_run_goes_at_the_next(machine: Machine) -> None:
    """Ours is recognised by its mark."""
    assert machine.run("setup").returncode == 0
    machine.write("policy-rc.d", machine.read("policy.log").split("exit 101")[0] + "exit 101\n")
    assert machine.run("setup").returncode == 0
    assert not machine.policy.exists()


def test_without_root_says_what_to_run(machine: Machine) -> None:
    """Nothing is tried; the message names the packages and the command."""
    machine.write("uid", "1000\n")
    done = machine.run("setup")
    assert done.returncode == 1
    assert "nftables bpftool|linux-tools" in done.stderr
    assert "sudo tools/apt.sh setup" in done.stderr
    assert machine.read("apt-get.log") == ""


def test_a_package_of_no_release_is_named(machine: Machine) -> None:
    """When no alternative is offered nothing is installed, and the line is named."""
    machine.write("offered", "nftables\n")
    done = machine.run("setup")
    assert done.returncode == 1
    assert "'bpftool|linux-tools'" in done.stderr
    assert "install" not in machine.read("apt-get.log")
    assert not machine.policy.exists()


def test_an_unknown_list_is_an_error(machine: Machine) -> None:
    """A typing error does not install half of something."""
    done = machine.run("setup", "nosuch")
    assert done.returncode != 0
    assert "packages/nosuch.txt" in done.stderr
    assert machine.read("apt-get.log") == ""
