# SPDX-License-Identifier: Apache-2.0
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.net.serviceunit import PACKAGING, PROGRAM, allowed_syscalls, make_user, read_unit

NAMES = sorted(path.name for path in (PACKAGING / "systemd").glob("*.service"))
DAEMON = "neurowall@.service"
MOST_EXPOSED = {DAEMON: 2.0, "neurowall-prepare@.service": 5.0, "neurowall-down@.service": 6.0}

pytestmark = pytest.mark.tool("systemd-analyze")


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units as instance `main`, with a program that exists here."""
    for name in NAMES:
        text = (PACKAGING / "systemd" / name).read_text().replace(PROGRAM, shutil.which("true") or "")
        for instance in ("", "main"):
            (tmp_path / name.replace("@", f"@{instance}")).write_text(text)
    return tmp_path


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Ask systemd-analyze, which needs no running systemd for this."""
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", NAMES)
def test_systemd_takes_every_line(units: Path, name: str) -> None:
    """No unknown key, no value that it would ignore."""
    done = analyze("verify", "--man=no", units / name.replace("@", "@main"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_verify_would_say_so(units: Path) -> None:
    """The check above can fail."""
    unit = units / "neurowall@main.service"
    unit.write_text(unit.read_text().replace("ProtectSystem=strict", "ProtectSystem=stricter"))
    assert "stricter" in analyze("verify", "--man=no", unit).stderr


@pytest.mark.parametrize("name", NAMES)
def test_exposure_is_bounded(units: Path, name: str) -> None:
    """By systemd's own scale of 10; root's units are short and cannot have private mounts."""
    done = analyze("security", "--offline=true", units / name.replace("@", "@main"))
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert found, done.stderr
    assert float(found[1]) <= MOST_EXPOSED[name]


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_of_the_sandbox_has_a_reason(name: str) -> None:
    """A comment above it or above the group that it belongs to."""
    lines = (PACKAGING / "systemd" / name).read_text().partition("[Service]\n")[2].splitlines()
    for place, line in enumerate(lines):
        if line.startswith(("Capability", "Ambient", "ReadWritePaths", "MemoryMax", "SystemCallFilter=@")):
            above = [each for each in lines[:place] if each.startswith("#") or not each]
            assert above, line
            assert above[-1].startswith("#"), line


def test_the_daemon_gets_three_capabilities() -> None:
    """Those of the design, and nothing that can gain more."""
    unit = read_unit(DAEMON, "main")
    wanted = {"CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON"}
    assert set(unit.words("AmbientCapabilities")) == set(unit.words("CapabilityBoundingSet")) == wanted
    assert (unit.text("User"), unit.on("NoNewPrivileges")) == ("neurowall", True)


def test_the_daemon_may_call_bpf_and_not_mount() -> None:
    """The filter is an allow list."""
    allowed = allowed_syscalls(read_unit(DAEMON, "main"))
    assert {"bpf", "execve", "sendmsg", "mmap"} <= allowed
    assert not {"mount", "ptrace", "init_module", "setuid", "kexec_load", "reboot", "add_key"} & allowed


def test_a_drop_in_for_older_kernels_replaces_the_capabilities() -> None:
    """They know CAP_SYS_ADMIN only."""
    unit = read_unit(DAEMON, "main", PACKAGING / "systemd/examples/older-kernels.conf")
    assert set(unit.words("AmbientCapabilities")) == {"CAP_SYS_ADMIN", "CAP_NET_ADMIN"}
    assert set(unit.words("CapabilityBoundingSet")) == {"CAP_SYS_ADMIN", "CAP_NET_ADMIN"}


@pytest.mark.root
@pytest.mark.tool("systemd-sysusers", "systemd-tmpfiles")
def test_user_and_directories_are_made(tmp_path: Path) -> None:
    """In a root directory of their own: the user cannot log in, and does not own the shared directories."""
    uid, gid = make_user(tmp_path)
    assert 0 < uid < 1000
    (line,) = (each for each in (tmp_path / "etc/passwd").read_text().splitlines() if "neurowall" in each)
    assert line.endswith(":/usr/sbin/nologin")
    folder = tmp_path / "usr/lib/tmpfiles.d"
    folder.mkdir(parents=True)
    shutil.copy(PACKAGING / "tmpfiles.d/neurowall.conf", folder)
    command = ["systemd-tmpfiles", f"--root={tmp_path}", "--create", "neurowall.conf"]
    subprocess.run(command, check=True, capture_output=True)
    for path, mode, owner in (
        ("run/neurowall", 0o40755, (0, 0)),
        ("var/lib/neurowall", 0o40755, (0, 0)),
        ("etc/neurowall", 0o40750, (0, gid)),
    ):
        found = (tmp_path / path).stat()
        assert (found.st_mode, (found.st_uid, found.st_gid)) == (mode, owner), path
