# SPDX-License-Identifier: Apache-2.0
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from neurowall.management.errors import CommandError, ExitCode, UsageProblem
from neurowall.management.instance import Instance, Record, holder, locked, stop_holder

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


@pytest.mark.root
def test_nobody_names_a_process_that_is_not_his(instance: Instance) -> None:
    """The lock's file may be another user's, and root's `down` ends whom it names."""
    with locked(instance):
        os.chown(instance.lock, 64998, 64998)
        assert holder(instance) is None  # held, but by whom is not believed
        os.chown(instance.lock, 0, 0)
        assert holder(instance) == os.getpid()
