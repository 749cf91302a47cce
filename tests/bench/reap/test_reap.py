# SPDX-License-Identifier: Apache-2.0
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.testbed import procfs, removal, undo
from bench.testbed.base import Chain, Run, TestbedError
from bench.testbed.journal import FILE_NAME, Journal, locked
from bench.testbed.procfs import RUN_TAG, Identity
from bench.testbed.reap import ReapError, reap, survey

GONE = Identity(2**22 - 1, 1, "another boot")
"""An owner that is dead for sure."""


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Where runs are kept."""
    return tmp_path / "runs"


def dead_run(runs: Path, run_id: str = "cafe", owner: Identity = GONE) -> Journal:
    """A run whose owner died, with its journal still open for writing."""
    (runs / run_id).mkdir(parents=True)
    return Journal.begin(runs / run_id / FILE_NAME, run_id, owner, ["bench"])


@pytest.fixture
def sleeper() -> Iterator["subprocess.Popen[bytes]"]:
    """A process that belongs to no run."""
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def test_without_a_runs_directory_there_is_nothing_to_do(runs: Path) -> None:
    """The first command on a fresh machine."""
    assert reap(runs) == []
    assert survey(runs) == []


class TestOwner:
    def test_a_dead_owners_run_is_removed(self, runs: Path) -> None:
        """Files and directories it journalled go, with its own directory last."""
        record = dead_run(runs)
        record.create("directory", str(runs.parent / "made"))
        record.create("file", str(runs.parent / "written"))
        (runs.parent / "made" / "deep").mkdir(parents=True)
        (runs.parent / "written").touch()
        gone = [(one.kind, Path(one.name).name) for one in reap(runs)]
        assert gone == [("file", "written"), ("directory", "made"), ("directory", "cafe")]
        assert list(runs.iterdir()) == []
        assert sorted(path.name for path in runs.parent.iterdir()) == ["runs"]

    @pytest.mark.parametrize("part", ["pid", "start_time", "boot_id"])
    def test_an_owner_is_pid_and_start_time_and_boot(self, runs: Path, part: str) -> None:
        """A living process of the same pid but another start is not the owner."""
        me = Identity.of(os.getpid())
        other = {
            "pid": Identity(2**22 - 1, me.start_time, me.boot_id),
            "start_time": Identity(me.pid, me.start_time - 1, me.boot_id),
            "boot_id": Identity(me.pid, me.start_time, "another"),
        }[part]
        dead_run(runs, "dead", other)
        dead_run(runs, "live", me)
        assert {state.run_id: state.alive for state in survey(runs)} == {"dead": False, "live": True}
        assert [one.run_id for one in reap(runs)] == ["dead"]
        assert [path.name for path in runs.iterdir()] == ["live"]

    def test_a_zombie_owner_is_dead(self, runs: Path) -> None:
        """Killed but not yet waited for: nobody comes back to tidy up."""
        with subprocess.Popen(["sleep", "60"]) as owner:
            dead_run(runs, "cafe", Identity.of(owner.pid))
            assert reap(runs) == []
            owner.kill()
            os.waitid(os.P_PID, owner.pid, os.WEXITED | os.WNOWAIT)
            assert [one.run_id for one in reap(runs)] == ["cafe"]

    def test_a_living_run_named_explicitly_is_refused(self, runs: Path) -> None:
        """The error says whose it is and what to do."""
        dead_run(runs, "live", Identity.of(os.getpid()))
        with pytest.raises(TestbedError, match=rf"run live is alive \(pid {os.getpid()}\).*--force"):
            reap(runs, run_id="live")
        assert [one.run_id for one in reap(runs, run_id="live", force=True)] == ["live"]

    def test_force_needs_a_name_and_a_name_must_exist(self, runs: Path) -> None:
        """No way to remove all living runs at once; unknown names are answered with the known ones."""
        dead_run(runs)
        with pytest.raises(TestbedError, match="--force needs --run ID"):
            reap(runs, force=True)
        with pytest.raises(TestbedError, match="no run beef here; known runs: cafe"):
            reap(runs, run_id="beef")
        assert [path.name for path in runs.iterdir()] == ["cafe"]


class TestOnlyItsOwn:
    def test_directories_without_a_journal_are_left_alone(self, runs: Path) -> None:
        """Whatever their names look like."""
        for name in ("0123456789ab", "notes", ".hidden", ".a.b.c"):
            (runs / name).mkdir(parents=True)
        assert reap(runs) == []
        assert len(list(runs.iterdir())) == 4

    def test_a_journal_nobody_can_read_is_reported_and_left(self, runs: Path) -> None:
        """The other runs are removed nevertheless."""
        dead_run(runs, "cafe")
        (runs / "beef").mkdir()
        (runs / "beef" / FILE_NAME).write_text("garbage\n{}\n")
        with pytest.raises(ReapError, match=r"beef/journal.jsonl:1: unreadable") as raised:
            reap(runs)
        assert [one.run_id for one in raised.value.removed] == ["cafe"]
        assert [path.name for path in runs.iterdir()] == ["beef"]

    def test_a_copied_run_directory_is_left_alone(self, runs: Path) -> None:
        """A directory whose journal is another run's removes nothing of that run."""
        dead_run(runs, "live", Identity.of(os.getpid()))
        shutil.copytree(runs / "live", runs / "copy")
        with pytest.raises(ReapError, match="a copy"):
            reap(runs)
        assert sorted(path.name for path in runs.iterdir()) == ["copy", "live"]

    def test_a_journalled_pid_that_was_reused_is_not_killed(
        self, runs: Path, sleeper: "subprocess.Popen[bytes]"
    ) -> None:
        """Another start time is another process."""
        found = Identity.of(sleeper.pid)
        record = dead_run(runs, "cafe", Identity(GONE.pid, 1, found.boot_id))
        record.started("daemon", Identity(found.pid, found.start_time - 1, found.boot_id))
        reap(runs)
        assert sleeper.poll() is None
        record = dead_run(runs, "cafe", Identity(GONE.pid, 1, found.boot_id))
        record.started("daemon", found)
        assert ("process", "daemon") in [(one.kind, one.name) for one in reap(runs)]
        assert sleeper.wait(5) == -9

    def test_only_exactly_this_tag_is_killed(self, runs: Path) -> None:
        """Not a longer value, not another variable."""
        dead_run(runs, "cafe")
        tags = ({RUN_TAG: "cafe"}, {RUN_TAG: "cafe2"}, {f"X{RUN_TAG}": "cafe"})
        sleepers = [subprocess.Popen(["sleep", "60"], env={**os.environ, **tag}) for tag in tags]
        try:
            reap(runs)
            assert sleepers[0].wait(5) == -9
            assert [sleeper.poll() for sleeper in sleepers[1:]] == [None, None]
        finally:
            for sleeper in sleepers:
                sleeper.kill()
                sleeper.wait()

    def test_links_in_the_run_directory_are_not_followed(self, runs: Path) -> None:
        """Deleting the directory leaves what its symbolic links point to."""
        dead_run(runs)
        (runs.parent / "precious").mkdir()
        (runs.parent / "precious" / "file").touch()
        (runs / "cafe" / "link").symlink_to(runs.parent / "precious")
        reap(runs)
        assert (runs.parent / "precious" / "file").exists()


class TestTwoAtOnce:
    def test_a_journal_somebody_holds_is_left_to_them(
        self, runs: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Another reap is at it, for long: nothing is done twice, and the answer says so."""
        dead_run(runs)
        monkeypatch.setattr(removal, "LOCK_SECONDS", 0.05)
        with locked(runs / "cafe" / FILE_NAME) as ours:
            assert ours
            with pytest.raises(ReapError, match="held by another process"):
                reap(runs)
        assert [one.run_id for one in reap(runs)] == ["cafe"]

    def test_many_at_once_remove_everything_once(self, runs: Path) -> None:
        """Whoever comes second waits and finds nothing left."""
        for run_id in ("cafe", "beef", "feed"):
            record = dead_run(runs, run_id)
            record.create("directory", str(runs.parent / f"made-by-{run_id}"))
            (runs.parent / f"made-by-{run_id}").mkdir()
        count = f"len(reap(Path({str(runs)!r})))"
        code = f"from pathlib import Path; from bench.testbed.reap import reap; print({count})"
        command, here = [sys.executable, "-c", code], Path(__file__).parents[3]
        reapers = [subprocess.Popen(command, stdout=subprocess.PIPE, cwd=here) for _ in range(4)]
        counts = [int(reaper.communicate(timeout=30)[0]) for reaper in reapers]
        assert [reaper.returncode for reaper in reapers] == [0] * 4
        assert sum(counts) == 6
        assert list(runs.iterdir()) == []

    @pytest.mark.parametrize("held", [True, False])
    def test_an_owner_in_another_pid_namespace_lives_while_it_holds_its_journal(
        self, runs: Path, monkeypatch: pytest.MonkeyPatch, held: bool
    ) -> None:
        """Its pid means nothing here: whatever process has that pid, the lock decides."""
        record = dead_run(runs)
        text = record.path.read_text()
        record.path.write_text(text.replace(str(procfs.pid_namespace()), "4711"))
        if held:
            record = Journal.open(record.path)
        assert [state.alive for state in survey(runs)] == [held]
        assert [one.run_id for one in reap(runs)] == ([] if held else ["cafe"])
        record.close()

    @pytest.mark.root
    def test_a_living_run_can_be_removed_by_force(self, runs: Path) -> None:
        """Its children and namespaces go, the owner stays and can still close."""
        run = Run.begin(runs, signals=False)
        chain = Chain(run).build()
        child = chain.server.spawn(["sleep", "60"])
        gone = {(one.kind, one.name) for one in reap(runs, run_id=run.id, force=True)}
        assert {("process", "sleep"), ("netns", f"nwb-{run.id}-chain-server")} <= gone
        assert not child.alive()
        run.close()
        assert list(runs.iterdir()) == []


class TestInterrupted:
    def test_a_run_that_died_before_its_journal_had_a_name(self, runs: Path) -> None:
        """Its hidden directory goes; that of a living process stays."""
        me = Identity.of(os.getpid())
        for owner in (GONE, me):
            (runs / removal.hidden_name("cafe", owner)).mkdir(parents=True)
        assert [one.kind for one in reap(runs)] == ["directory"]
        assert [path.name for path in runs.iterdir()] == [f".cafe.{me.pid}.{me.start_time}"]

    def test_what_resists_keeps_the_journal_for_the_next_time(
        self, runs: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A failed removal is reported, the rest is done, and a second reap finishes."""
        record = dead_run(runs)
        for name in ("one", "two"):
            record.create("file", str(runs.parent / name))
            (runs.parent / name).touch()

        def refuse(name: str) -> bool:
            if name.endswith("two"):
                raise OSError("refused by the test")
            return undo.remove_file(Path(name))

        with monkeypatch.context() as patched:
            patched.setitem(removal._REMOVE, "file", refuse)
            with pytest.raises(ReapError, match=r"run cafe: file .*two: refused by the test") as raised:
                reap(runs)
        assert [Path(one.name).name for one in raised.value.removed] == ["one"]
        assert [Path(one.name).name for one in reap(runs)] == ["two", "cafe"]


@pytest.mark.root
class TestMounts:
    def test_a_foreign_bpffs_bound_into_the_run_directory_keeps_its_pins(self, tmp_path: Path) -> None:
        """The mount point goes, what it shows belongs to somebody else."""
        with Run.begin(tmp_path / "outer", signals=False) as outer:
            foreign = outer.mount_bpffs(outer.make_directory("foreign"))
            (foreign / "dir").mkdir()
            pin = foreign / "dir" / "map"
            create = ["bpftool", "map", "create", str(pin), "type", "array", "key", "4", "value", "4"]
            outer.exec([*create, "entries", "1", "name", "foreign"]).check()
            inner = Run.begin(tmp_path / "inner", signals=False)
            bound = inner.make_directory("bound")
            outer.exec(["mount", "--bind", str(foreign), str(bound)]).check()
            inner.close()
            assert pin.exists()
            assert not procfs.mounts_below(tmp_path / "inner")
            assert procfs.mounted_at(foreign)

    def test_a_busy_mount_is_detached(self, tmp_path: Path) -> None:
        """Somebody standing in it cannot hold up the clean-up."""
        run = Run.begin(tmp_path / "runs", signals=False)
        path = run.mount_bpffs(run.make_directory("bpf"))
        with subprocess.Popen(["sleep", "60"], cwd=path) as sleeper:
            run.close()
            assert sleeper.poll() is None
            sleeper.kill()
        assert not procfs.mounts_below(tmp_path)
        assert list((tmp_path / "runs").iterdir()) == []

    def test_a_mount_that_is_not_a_namespace_is_left_alone(self, tmp_path: Path) -> None:
        """A journalled netns name under which something else is mounted is reported."""
        with Run.begin(tmp_path / "outer", signals=False) as outer, Chain(outer).build() as chain:
            name = chain.client.name
            outer.exec(["mount", "--bind", sys.executable, f"/run/netns/{name}"]).check()
            try:
                dead_run(tmp_path / "runs").create("netns", name)
                with pytest.raises(ReapError, match="not a network namespace: left alone"):
                    reap(tmp_path / "runs")
            finally:
                outer.exec(["umount", f"/run/netns/{name}"]).check()
