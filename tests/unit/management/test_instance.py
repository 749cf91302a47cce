# SPDX-License-Identifier: Apache-2.0
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from neurowall.management.errors import CannotRun, CommandError, ExitCode, UsageProblem
from neurowall.management.instance import Instance, Record, _ask_to_exit, holder, locked, stop_holder

HOLD = """
import signal, sys
from pathlib import Path
from neurowall.management.instance import Instance, locked
if sys.argv[2] == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
with locked(Instance("main", Path(sys.argv[1]))):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def instance(tmp_path: Path) -> Instance:
    """An instance whose run directory does not exist yet."""
    return Instance("main", tmp_path / "run")


@contextmanager
def held_by_another(instance: Instance, manner: str = "polite") -> Iterator[int]:
    """Another process holds the lock; gives its pid."""
    argv = [sys.executable, "-c", HOLD, str(instance.run_dir), manner]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        try:
            yield process.pid
        finally:
            process.kill()


def test_paths_are_below_the_run_directory(instance: Instance) -> None:
    """Everything of an instance is in one directory, so that `down` can remove it."""
    paths = (instance.socket, instance.lock, instance.record_file)
    assert {path.parent for path in paths} == {instance.run_dir / "main"}


@pytest.mark.parametrize("name", ["", "../etc", "Main", "a b", "-x", "a" * 33, "a/b", "main\n"])
def test_a_bad_name_is_refused(name: str, tmp_path: Path) -> None:
    """A name becomes a path, so anything but a plain word is a usage error."""
    with pytest.raises(UsageProblem, match="not valid"):
        Instance(name, tmp_path)


def test_the_directory_is_closed_to_others(instance: Instance) -> None:
    """Only root and the group may enter."""
    instance.create()
    assert instance.directory.stat().st_mode & 0o777 == 0o750


def test_a_second_holder_is_refused_by_pid(instance: Instance) -> None:
    """The error names the pid of the one that runs."""
    with held_by_another(instance) as pid:
        with pytest.raises(CommandError, match=f"already runs as pid {pid} ") as caught, locked(instance):
            pass
        assert caught.value.exit_code == ExitCode.FAILED
        assert holder(instance) == pid


def test_a_dead_holder_does_not_block(instance: Instance) -> None:
    """The file stays behind after SIGKILL, the lock does not."""
    with held_by_another(instance):
        pass
    assert instance.lock.exists()
    assert holder(instance) is None
    with locked(instance):
        assert instance.lock.read_text() == f"{os.getpid()}\n"


def test_nobody_holds_what_does_not_exist(instance: Instance) -> None:
    """Asking creates nothing."""
    assert holder(instance) is None
    assert not instance.directory.exists()


def test_stop_ends_the_holder(instance: Instance) -> None:
    """stop_holder returns when the lock is free."""
    with held_by_another(instance) as pid:
        assert stop_holder(instance) == pid
        assert holder(instance) is None
    assert stop_holder(instance) is None


def test_stop_gives_up_on_a_stubborn_holder(instance: Instance) -> None:
    """A daemon that does not follow SIGTERM is named, not killed."""
    with held_by_another(instance, "stubborn") as pid, pytest.raises(CommandError, match=f"pid {pid} still"):
        stop_holder(instance, timeout=0.1)


def test_the_record_survives(instance: Instance) -> None:
    """What a start wrote, a later `down` reads."""
    instance.create()
    record = Record(netns="gateway", state_dir="/var/lib/x", config="policy.yaml")
    instance.record(record)
    assert instance.recorded() == record
    assert not list(instance.directory.glob("*.tmp"))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"netns": null}', '{"nets": 1}'])
def test_an_unreadable_record_is_none(instance: Instance, text: str) -> None:
    """A damaged record must not keep `down` from working."""
    instance.create()
    instance.record_file.write_text(text)
    assert instance.recorded() is None


@pytest.mark.parametrize("kind", ["link", "dangling", "hard", "folder", "fifo"])
def test_what_is_no_lock_is_left_alone(instance: Instance, tmp_path: Path, kind: str) -> None:
    """Root writes into the lock in a directory that may be another user's: never into another file."""
    other = tmp_path / "other"
    other.write_text("ours")
    instance.create()
    match kind:
        case "link":
            instance.lock.symlink_to(other)
        case "dangling":
            instance.lock.symlink_to(tmp_path / "gone")
        case "hard":
            instance.lock.hardlink_to(other)
        case "folder":
            instance.lock.mkdir()
        case "fifo":
            os.mkfifo(instance.lock)
    for ask in (holder, stop_holder):
        with pytest.raises(CannotRun, match="no lock that Neurowall made"):
            ask(instance)
    with pytest.raises(CannotRun, match="no lock that Neurowall made"), locked(instance):
        pass
    assert other.read_text() == "ours"
    assert not (tmp_path / "gone").exists()


def test_the_record_is_not_written_through_a_link(instance: Instance, tmp_path: Path) -> None:
    """The same for how the instance was started."""
    other = tmp_path / "other"
    other.write_text("ours")
    instance.create()
    instance.record_file.with_suffix(".tmp").symlink_to(other)
    instance.record(Record(None, "/var/lib/x", ""))
    assert other.read_text() == "ours"
    assert instance.recorded()


@pytest.mark.root
def test_a_lock_of_a_third_user_is_none(instance: Instance) -> None:
    """Neither the directory's owner nor root made it."""
    with locked(instance):
        os.chown(instance.lock, 64998, 64998)
        with pytest.raises(CannotRun, match="no lock that Neurowall made"):
            holder(instance)


@pytest.mark.root
def test_nobody_names_a_process_that_is_not_his(instance: Instance) -> None:
    """The directory may be another user's, and root's `down` ends whom its lock names."""
    with held_by_another(instance) as pid, subprocess.Popen(["sleep", "60"]) as victim:
        instance.lock.write_text(f"{victim.pid}\n")
        assert holder(instance) == victim.pid  # root's directory: root's word
        for path, owner in ((instance.directory, 64998), (instance.lock, 0), (instance.lock, 64998)):
            os.chown(path, owner, owner)
            assert holder(instance) is None  # held, but by whom is not believed
            assert stop_holder(instance) is None
        with pytest.raises(CommandError, match="already runs as pid unknown"), locked(instance):
            pass
        _ask_to_exit(instance, victim.pid)  # as if its number was another's a moment ago
        with pytest.raises(subprocess.TimeoutExpired):
            victim.wait(0.2)
        victim.kill()
        assert Path(f"/proc/{pid}").exists()


@pytest.mark.root
def test_a_process_of_the_directorys_owner_is_ended(instance: Instance) -> None:
    """Root's `down` for the daemon of another user."""
    instance.create()
    with held_by_another(instance), subprocess.Popen(["sleep", "60"], user=64998, group=64998) as daemon:
        instance.lock.write_text(f"{daemon.pid}\n")
        os.chown(instance.directory, 64998, 64998)
        assert holder(instance) == daemon.pid
        _ask_to_exit(instance, daemon.pid)
        assert daemon.wait(5) == -signal.SIGTERM
