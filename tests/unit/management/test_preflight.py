# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from neurowall.management.daemon import preflight
from neurowall.management.errors import CannotRun, ExitCode

ROOT = (1 << 41) - 1
NET_ADMIN, SYS_ADMIN, PERFMON, BPF = 1 << 12, 1 << 21, 1 << 38, 1 << 39


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A /proc of root on a machine that can run Neurowall."""
    (tmp_path / "self/ns").mkdir(parents=True)
    (tmp_path / "1/ns").mkdir(parents=True)
    for process in ("self", "1"):
        (tmp_path / process / "ns/mnt").symlink_to("mnt:[4026531832]")
    (tmp_path / "filesystems").write_text("nodev\tsysfs\nnodev\tbpf\n\text4\n")
    grant(tmp_path, ROOT)
    return tmp_path


def grant(proc: Path, capabilities: int) -> None:
    """Give this process these capabilities."""
    (proc / "self/status").write_text(
        f"Name:\tpython\nCapPrm:\t0000000000000000\nCapEff:\t{capabilities:016x}\n"
    )


def missing(proc: Path, *, admin: bool = False, release: str = "6.1.0-18-amd64") -> tuple[str, ...]:
    """What check() complains about; empty if nothing."""
    try:
        preflight.check(admin=admin, proc=proc, release=release)
    except CannotRun as error:
        return error.details or ("an error without details",)
    return ()


def test_the_exit_code_says_that_it_cannot_run_here(proc: Path) -> None:
    """Scripts tell a machine that cannot run it from a policy that is wrong."""
    grant(proc, 0)
    with pytest.raises(CannotRun) as caught:
        preflight.check(admin=False, proc=proc)
    assert caught.value.exit_code is ExitCode.CANNOT_RUN


def test_root_on_a_current_kernel_can_run(proc: Path) -> None:
    """Nothing is missing."""
    assert missing(proc) == ()
    assert missing(proc, admin=True) == ()


def test_an_ordinary_user_is_told_to_use_root(proc: Path) -> None:
    """Every missing capability is named, and the remedy."""
    grant(proc, 0)
    (problem,) = missing(proc)
    assert "CAP_NET_ADMIN, CAP_PERFMON, CAP_BPF" in problem.replace(
        "CAP_BPF, CAP_PERFMON", "CAP_PERFMON, CAP_BPF"
    )
    assert "sudo" in problem


def test_the_narrow_capabilities_are_enough_without_a_namespace(proc: Path) -> None:
    """CAP_BPF and CAP_PERFMON load programs; only entering a namespace takes CAP_SYS_ADMIN."""
    grant(proc, NET_ADMIN | BPF | PERFMON)
    assert missing(proc) == ()
    (problem,) = missing(proc, admin=True)
    assert "CAP_SYS_ADMIN" in problem


def test_no_cap_bpf_is_named(proc: Path) -> None:
    """CAP_NET_ADMIN alone is not enough."""
    grant(proc, NET_ADMIN | PERFMON)
    (problem,) = missing(proc)
    assert problem.startswith("no CAP_BPF:")


def test_no_bpffs_is_named(proc: Path) -> None:
    """A kernel without bpffs cannot keep enforcement alive."""
    (proc / "filesystems").write_text("nodev\tsysfs\nnodev\tnotbpf\n")
    (problem,) = missing(proc)
    assert "bpffs" in problem


@pytest.mark.parametrize(
    ("release", "fine"), [("5.3.18", False), ("5.4.0-216", True), ("10.0", True), ("4.19", False)]
)
def test_the_floor_is_5_4(proc: Path, release: str, fine: bool) -> None:
    """Compared as numbers, not as text."""
    assert (missing(proc, release=release) == ()) is fine


def test_a_private_mount_namespace_is_refused(proc: Path) -> None:
    """Pins made in one would die with the process; the error names --netns."""
    (proc / "self/ns/mnt").unlink()
    (proc / "self/ns/mnt").symlink_to("mnt:[4026532000]")
    (problem,) = missing(proc)
    assert "--netns" in problem


def test_a_hidden_pid_1_is_replaced_by_kernel_threads(proc: Path) -> None:
    """Some sandboxes hide pid 1; kthreadd lives in the same mount namespace."""
    (proc / "1/ns/mnt").unlink()
    (proc / "2/ns").mkdir(parents=True)
    (proc / "2/ns/mnt").symlink_to("mnt:[4026532000]")
    (proc / "2/comm").write_text("kthreadd\n")
    (problem,) = missing(proc)
    assert "private mount namespace" in problem
    (proc / "2/comm").write_text("bash\n")  # a container, where pid 2 is anybody
    assert missing(proc) == ()


def test_nothing_to_compare_with_is_no_reason_to_refuse(proc: Path) -> None:
    """Where /proc hides both, the mount itself may still fail, and says so then."""
    (proc / "1/ns/mnt").unlink()
    assert missing(proc) == ()


def test_everything_missing_is_said_at_once(proc: Path) -> None:
    """One run of the command tells all there is to mend."""
    grant(proc, 0)
    (proc / "filesystems").write_text("")
    assert len(missing(proc, release="4.4.0")) == 3


def test_without_cap_sys_admin_the_bpffs_must_be_there(proc: Path, tmp_path: Path) -> None:
    """Root mounts it before; with CAP_SYS_ADMIN the daemon does."""
    place = tmp_path / "no bpffs"
    place.mkdir()
    grant(proc, NET_ADMIN | BPF | PERFMON)
    (problem,) = preflight.missing(admin=False, bpffs=place, proc=proc)
    assert f"no bpffs at {place}" in problem
    assert "neurowall prepare" in problem
    grant(proc, ROOT)
    assert preflight.missing(admin=False, bpffs=place, proc=proc) == ()
